# SPDX-License-Identifier: Apache-2.0
"""What the metadata agents of Neutron's releases do to our answers.

See ``tox -e neutron-matrix``.
"""
