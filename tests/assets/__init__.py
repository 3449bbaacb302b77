# SPDX-License-Identifier: Apache-2.0
"""Keys, CAs, CRLs and messages for tests of trust, made when asked for.

The clock is fixed: everything happens at :data:`tests.assets.pki.NOW`, so
that a case says the same in any year. ``python -m tests.assets DIRECTORY``
writes every case as a file, with what has to be said of it.
"""
