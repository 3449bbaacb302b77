# SPDX-License-Identifier: Apache-2.0
"""The site's context: its start-up scripts for every virtual machine."""
