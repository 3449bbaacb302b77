# SPDX-License-Identifier: Apache-2.0
"""The daemon, with a real catalogue in SQLite."""
