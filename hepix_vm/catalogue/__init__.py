# SPDX-License-Identifier: Apache-2.0
"""What the site believes and has decided: one store for every part."""
