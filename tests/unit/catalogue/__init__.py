# SPDX-License-Identifier: Apache-2.0
"""The catalogue: decisions, store, reader and sync."""
