# SPDX-License-Identifier: Apache-2.0
"""Telling others: a program, a message bus, a mail."""
