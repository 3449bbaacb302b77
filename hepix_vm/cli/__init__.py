# SPDX-License-Identifier: Apache-2.0
"""Thin commands over ``hepix_vm.operations``."""
