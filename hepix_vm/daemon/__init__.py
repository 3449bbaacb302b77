# SPDX-License-Identifier: Apache-2.0
"""``hepix-vm-sync``: syncs by itself, one of several at a time."""
