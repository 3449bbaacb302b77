# SPDX-License-Identifier: Apache-2.0
"""Signed bytes, trust anchors and a time to a list that is believed.

:func:`verify` is the only door into the catalogue: it alone makes an
:class:`EndorsedList`.
"""

from __future__ import annotations

from hepix_vm.trust.anchor_files import fingerprint
from hepix_vm.trust.anchors import load
from hepix_vm.trust.anchors import TrustAnchors
from hepix_vm.trust.codes import Code
from hepix_vm.trust.envelopes import Envelope
from hepix_vm.trust.envelopes import Opened
from hepix_vm.trust.envelopes import verify_enveloped
from hepix_vm.trust.names import Name
from hepix_vm.trust.names import NotAName
from hepix_vm.trust.policy import Endorser
from hepix_vm.trust.policy import Limits
from hepix_vm.trust.policy import Policy
from hepix_vm.trust.signers import Signer
from hepix_vm.trust.signing import sign
from hepix_vm.trust.verifier import EndorsedList
from hepix_vm.trust.verifier import VerifiedMessage
from hepix_vm.trust.verifier import verify
from hepix_vm.trust.verifier import verify_message

__all__ = [
    'Code',
    'EndorsedList',
    'Endorser',
    'Envelope',
    'Limits',
    'Name',
    'NotAName',
    'Opened',
    'Policy',
    'Signer',
    'TrustAnchors',
    'VerifiedMessage',
    'fingerprint',
    'load',
    'sign',
    'verify',
    'verify_enveloped',
    'verify_message',
]
