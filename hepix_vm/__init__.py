# SPDX-License-Identifier: Apache-2.0
"""Only endorsed virtual machine images boot: HEPiX lists for OpenStack."""
