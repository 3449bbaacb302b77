# SPDX-License-Identifier: Apache-2.0
"""A real OpenStack on loopback for tests: see :mod:`tests.cloud.cloud`."""
