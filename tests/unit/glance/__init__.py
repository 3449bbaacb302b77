# SPDX-License-Identifier: Apache-2.0
"""The code inside Glance, piece by piece."""
