# SPDX-License-Identifier: Apache-2.0
"""A certificate revocation list of the anchor directory.

OpenSSL takes a delta CRL for a complete one unless told otherwise, and a
CRL without nextUpdate for one that never runs out; such lists are marked
as unusable here and never reach it.
"""

from __future__ import annotations

from collections.abc import Iterable
import dataclasses
import datetime
import functools
import hashlib

from cryptography.hazmat.primitives import serialization
from cryptography import x509

from hepix_vm.trust import algorithms
from hepix_vm.trust import certificates
from hepix_vm.trust import codes
from hepix_vm.trust import names

_KNOWN = frozenset(
    {
        x509.CRLNumber.oid,
        x509.AuthorityKeyIdentifier.oid,
        x509.IssuingDistributionPoint.oid,
        x509.IssuerAlternativeName.oid,
        x509.FreshestCRL.oid,
        x509.AuthorityInformationAccess.oid,
    }
)


@dataclasses.dataclass(frozen=True, slots=True)
class Flaw:
    """Why a CRL does not count.

    :param code: ``crl-unusable`` or ``weak-digest``
    :param text: in words
    """

    code: codes.Code
    text: str


@dataclasses.dataclass(frozen=True, eq=False)
class Crl:
    """One revocation list; compare by ``sha256``.

    :param x509: as cryptography loaded it
    :param file: name of the file in the anchor directory
    :param sha256: lower-case hex digest of the encoding
    :param issuer: who issued it
    :param this_update: since when it holds, UTC
    :param next_update: when it runs out, UTC; None if it does not say
    :param number: CRL number; None if it has none
    :param flaw: why it does not count; None if it does
    """

    x509: x509.CertificateRevocationList
    file: str
    sha256: str
    issuer: names.Name
    this_update: datetime.datetime
    next_update: datetime.datetime | None
    number: int | None
    flaw: Flaw | None

    @functools.cached_property
    def chaining_issuer(self) -> names.Name:
        """The issuer in the form in which chaining compares."""
        return self.issuer.normalised()

    @functools.cached_property
    def is_delta(self) -> bool:
        """Whether it lists changes to another CRL only."""
        return any(
            isinstance(extension.value, x509.DeltaCRLIndicator)
            for extension in self.x509.extensions
        )

    def revokes(self, serial: int) -> bool:
        """Whether it names a serial number as revoked."""
        entry = self.x509.get_revoked_certificate_by_serial_number(serial)
        if entry is None:
            return False
        for extension in entry.extensions:
            if isinstance(extension.value, x509.CRLReason):
                return (
                    extension.value.reason
                    is not x509.ReasonFlags.remove_from_crl
                )
        return True

    def signed_by(self, issuer: certificates.Certificate) -> bool:
        """Whether an issuer's key signed it."""
        return self.x509.is_signature_valid(issuer.public_key())

    @functools.cached_property
    def line(self) -> tuple[names.Name, bytes | None, bytes | None]:
        """What stays the same from one issue of this CRL to the next.

        Issuer, the issuer's key and the distribution point, as far as
        the CRL names them.
        """
        key = point = None
        if self.flaw is None:
            for extension in self.x509.extensions:
                value = extension.value
                if isinstance(value, x509.AuthorityKeyIdentifier):
                    key = value.key_identifier
                elif isinstance(value, x509.IssuingDistributionPoint):
                    point = value.public_bytes()
        return self.chaining_issuer, key, point

    def older_than(self, other: Crl) -> bool:
        """Whether this one is an earlier issue than the other."""
        mine, its = self.number, other.number
        if mine is not None and its is not None and mine != its:
            return mine < its
        return self.this_update < other.this_update


def without_superseded(crls: Iterable[Crl]) -> list[Crl]:
    """CRLs without those whose number another one supersedes.

    OpenSSL chooses by thisUpdate alone and takes either of two that were
    made in the same second.
    """
    every = list(crls)
    return [
        crl
        for crl in every
        if not any(
            other.line == crl.line
            and crl.number is not None
            and other.number is not None
            and crl.number < other.number
            and crl.this_update >= other.this_update
            for other in every
        )
    ]


def of(crl: x509.CertificateRevocationList, file: str) -> Crl:
    """A revocation list from one that cryptography has loaded.

    :raises hepix_vm.trust.certificates.Unreadable: its issuer or its
        extensions cannot be read
    """
    try:
        issuer = names.from_x509(crl.issuer)
        number = _number(crl)
        flaw = _flaw(crl)
    # Extension errors share no base but Exception.
    except Exception as error:
        raise certificates.Unreadable(
            f'{type(error).__name__}: {error}'[:200]
        ) from error
    data = crl.public_bytes(serialization.Encoding.DER)
    return Crl(
        crl,
        file,
        hashlib.sha256(data).hexdigest(),
        issuer,
        crl.last_update_utc,
        crl.next_update_utc,
        number,
        flaw,
    )


def _number(crl: x509.CertificateRevocationList) -> int | None:
    try:
        return crl.extensions.get_extension_for_class(
            x509.CRLNumber
        ).value.crl_number
    except x509.ExtensionNotFound:
        return None


def _flaw(crl: x509.CertificateRevocationList) -> Flaw | None:
    unusable = codes.Code.CRL_UNUSABLE
    if crl.next_update_utc is None:
        return Flaw(unusable, 'it does not say when it runs out')
    for extension in crl.extensions:
        value = extension.value
        if isinstance(value, x509.DeltaCRLIndicator):
            return Flaw(unusable, 'it is a delta CRL')
        if extension.critical and extension.oid not in _KNOWN:
            return Flaw(
                unusable,
                'it has the unknown critical extension '
                f'{extension.oid.dotted_string}',
            )
        if isinstance(value, x509.IssuingDistributionPoint):
            if value.indirect_crl:
                return Flaw(unusable, 'it is an indirect CRL')
            if value.only_some_reasons or value.only_contains_attribute_certs:
                return Flaw(unusable, 'it covers a part only')
    digest = certificates.digest_of(crl)
    if digest not in algorithms.STRONG:
        return Flaw(
            codes.Code.WEAK_DIGEST, f'it is signed with {digest.upper()}'
        )
    return None
