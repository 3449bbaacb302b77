# SPDX-License-Identifier: Apache-2.0
"""The code inside Nova, piece by piece."""
