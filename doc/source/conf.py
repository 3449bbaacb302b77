# SPDX-License-Identifier: Apache-2.0
"""Sphinx configuration."""

project = 'hepix_vm'
copyright = 'hepix_vm developers'
extensions = []
root_doc = 'index'
html_theme = 'alabaster'
exclude_patterns = []
