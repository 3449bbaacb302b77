# SPDX-License-Identifier: Apache-2.0
"""Tempest, OpenStack's own suite, run without and with hepix_vm.

``python -m tests.tempest`` starts a stock cloud, runs the chosen tests of
Tempest against it, does the same with a cloud that has every part of hepix_vm
and where the images that Tempest boots are endorsed and imported, and
compares. Every test whose outcome differs has to be named, with the reason, in
``differences.txt``; a test named there that does not differ is as much of an
error.

``clouds`` the two clouds and Tempest's configuration for them; ``runs`` calls
Tempest and reads outcomes; ``outcomes`` compares them; ``selected.txt`` and
``left_out.txt`` say which tests run.
"""
