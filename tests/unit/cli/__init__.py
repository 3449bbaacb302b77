# SPDX-License-Identifier: Apache-2.0
"""Commands as an operator runs them, in this process."""
