# SPDX-License-Identifier: Apache-2.0
"""Telling others what happened: a program, a message bus, a mail."""
