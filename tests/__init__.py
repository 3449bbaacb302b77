# SPDX-License-Identifier: Apache-2.0
"""Tests, and the clouds that they run."""
