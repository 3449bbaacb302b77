# SPDX-License-Identifier: Apache-2.0
"""What an operator can do, as functions over values.

Everything that people and programs use stands on these modules: they take
and return values, read no configuration and print nothing.
"""
