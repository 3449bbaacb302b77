# SPDX-License-Identifier: Apache-2.0
"""What a site demands of a signed message."""

from __future__ import annotations

import dataclasses
import datetime
import re
from typing import Literal

from hepix_vm import errors
from hepix_vm.trust import names

CrlMode = Literal['require', 'if-present', 'off']
SigningPolicyMode = Literal['require', 'if-present', 'off']
MODES = ('require', 'if-present', 'off')


@dataclasses.dataclass(frozen=True, slots=True)
class Endorser:
    """Who may sign: the subject and issuer of the certificate."""

    subject: names.Name
    issuer: names.Name


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what one message may cost.

    :param message_bytes: size of the whole message, bytes
    :param header_bytes: size of one block of MIME headers, bytes
    :param embedded_certificates: certificates carried by a message, count
    :param embedded_bytes: size of all of them together, bytes
    :param certificate_bytes: size of one embedded certificate, bytes
    :param certificates: certificates considered as part of a path, count
    :param chain_depth: certificates from signer to anchor, both included
    :param signature_checks: public key operations for one message, count
    :param signers: signatures in one message, where a threshold allows
        more than one, count
    :param ber_depth: nesting of the signature structure, levels
    :param ber_nodes: elements of the signature structure, count
    :param json_depth: nesting of a list's objects and arrays, levels
    :param json_number: length of one number of a list, characters
    :param json_values: commas and opening brackets of a list, count
    :param images: entries of a list, count
    """

    message_bytes: int = 16 * 1024 * 1024
    header_bytes: int = 64 * 1024
    embedded_certificates: int = 256
    embedded_bytes: int = 32 * 32 * 1024
    certificate_bytes: int = 32 * 1024
    certificates: int = 32
    chain_depth: int = 6
    signature_checks: int = 60
    signers: int = 8
    ber_depth: int = 24
    ber_nodes: int = 20_000
    json_depth: int = 32
    json_number: int = 64
    json_values: int = 1_000_000
    images: int = 20_000

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 1:
                raise errors.Misconfigured(
                    f'limit {field.name} must be at least 1, found '
                    f'{getattr(self, field.name)}'
                )


@dataclasses.dataclass(frozen=True, slots=True)
class Policy:
    """The knobs of a verification; the defaults are the safe ones.

    :param crl: ``require``: every certificate below the root needs a
        current CRL of its own issuer; ``if-present``: CRLs that are there
        count; ``off``: revocation is not looked at
    :param signing_policy: ``require``: every issuing CA needs a
        signing_policy file; ``if-present``: files that are there bind;
        ``off``: files are not looked at
    :param pins: lower-case hex SHA-256 of the SubjectPublicKeyInfo; when
        not empty the signer's key must be among them (current and next)
    :param accept_self_signed_pinned: a self-signed signer that is among
        the anchors is accepted if its key is pinned; its CA flag is then
        tolerated and no CRL applies to it
    :param accept_server_auth: a signer whose extended key usage names
        only serverAuth is accepted
    :param allow_sha1_dangerous: SHA-1 counts as a digest, with a warning
    :param clock_skew: how far ahead of ours another clock may be
    :param threshold: distinct endorsers that must have signed; 1 also
        means that no more than one signature is accepted
    :param endorser: the subscribed endorser; None accepts whoever has a
        certificate of an anchor
    :param co_endorsers: further endorsers that count for the threshold
    :param list_identifier: the subscribed list; None accepts any
    :param limits: bounds on cost
    :raises hepix_vm.errors.Misconfigured: the knobs contradict each other
    """

    crl: CrlMode = 'require'
    signing_policy: SigningPolicyMode = 'if-present'
    pins: frozenset[str] = frozenset()
    accept_self_signed_pinned: bool = False
    accept_server_auth: bool = False
    allow_sha1_dangerous: bool = False
    clock_skew: datetime.timedelta = datetime.timedelta(minutes=5)
    threshold: int = 1
    endorser: Endorser | None = None
    co_endorsers: tuple[Endorser, ...] = ()
    list_identifier: str | None = None
    limits: Limits = dataclasses.field(default_factory=Limits)

    def __post_init__(self) -> None:
        for knob in ('crl', 'signing_policy'):
            if getattr(self, knob) not in MODES:
                raise errors.Misconfigured(
                    f'{knob} must be one of {", ".join(MODES)}, found '
                    f'{getattr(self, knob)!r}'
                )
        for pin in self.pins:
            if not re.fullmatch('[0-9a-f]{64}', pin):
                raise errors.Misconfigured(
                    'a pin is the SHA-256 of a SubjectPublicKeyInfo as 64 '
                    f'lower-case hex digits, found {pin!r}'
                )
        if self.accept_self_signed_pinned and not self.pins:
            raise errors.Misconfigured(
                'a self-signed signer is accepted only with a pin'
            )
        if not 1 <= self.threshold <= self.limits.signers:
            raise errors.Misconfigured(
                f'threshold must be 1 to {self.limits.signers}, found '
                f'{self.threshold}'
            )
        if self.clock_skew < datetime.timedelta(0):
            raise errors.Misconfigured('clock_skew must not be negative')
        self._check_endorsers()

    def _check_endorsers(self) -> None:
        if self.co_endorsers and self.endorser is None:
            raise errors.Misconfigured('co_endorsers need an endorser')
        named = len(self.endorsers)
        if named and self.threshold > named:
            raise errors.Misconfigured(
                f'threshold {self.threshold} exceeds the {named} endorsers'
            )

    @property
    def endorsers(self) -> frozenset[Endorser]:
        """Everybody who may sign; empty means anybody with a chain."""
        if self.endorser is None:
            return frozenset()
        return frozenset({self.endorser, *self.co_endorsers})
