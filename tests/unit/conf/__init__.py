# SPDX-License-Identifier: Apache-2.0
"""Options, their sample file and what is refused in them."""
