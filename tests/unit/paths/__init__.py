# SPDX-License-Identifier: Apache-2.0
"""The table of paths, without a cloud."""
