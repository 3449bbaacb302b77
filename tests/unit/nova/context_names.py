# SPDX-License-Identifier: Apache-2.0
"""Instances of the databases in ``context_cells``."""

IMAGE = 'd9b2f6a4-6c1e-4f0d-9a57-0e3f6f0c2b11'
NAMES = [f'0b7c8f7e-5ad6-4bd0-9d8e-3f1c2b7a6{n:03x}' for n in range(8)]
