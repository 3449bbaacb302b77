# SPDX-License-Identifier: Apache-2.0
"""Figures of hepix_vm beside those of a peer, taken in the same run.

Every figure is a cost: less is better. A figure and its peer's are measured
in turn, so that a busy machine burdens both, and medians are compared. A
missed target is marked and ends nothing: machines differ.
"""
