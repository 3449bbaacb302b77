# SPDX-License-Identifier: Apache-2.0
"""What runs inside Glance, and what talks to it."""
