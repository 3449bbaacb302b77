# SPDX-License-Identifier: Apache-2.0
"""Hostile input for as long as one likes: known input, changed at random.

``FUZZ_SECONDS`` is for how long in all (default 60), ``FUZZ_SEED`` an
integer that decides about the changes (default 0; ``random`` draws one).
"""
