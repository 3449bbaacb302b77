# SPDX-License-Identifier: Apache-2.0
"""The tools that sites used before, one module each.

A reader turns what such a tool keeps on disk into a
:class:`~hepix_vm.operations.predecessors.values.Predecessor`. What it reads
was written by others and long ago: nothing of it is used before it is
checked, and no secret leaves the place where it stands.
"""
