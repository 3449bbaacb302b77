# SPDX-License-Identifier: Apache-2.0
"""What runs inside Nova, and what talks to it."""
