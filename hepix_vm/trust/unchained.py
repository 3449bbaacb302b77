# SPDX-License-Identifier: Apache-2.0
"""A message's signatures alone: whose certificate stands beside them is
read, not believed.

An endorser reads own messages with this: to see that what was just signed
is complete, to join or to renew it. Nothing here says who somebody is: no
chain, no revocation, no purpose. For that there is
:func:`hepix_vm.trust.verify` alone.
"""

from __future__ import annotations

import dataclasses

from hepix_vm import errors
from hepix_vm.trust import certificates
from hepix_vm.trust import cms
from hepix_vm.trust import codes
from hepix_vm.trust import mime
from hepix_vm.trust import policy as policies
from hepix_vm.trust import signers as signer_values


@dataclasses.dataclass(frozen=True, slots=True)
class Unchained:
    """A message whose signatures fit the certificates that it carries.

    :param envelope: the message, taken apart
    :param content: exactly the bytes that every signature covers
    :param payload: the content without MIME headers inside
    :param claimed: who is said to have signed, in the message's order
    :param certificates: of those signers, in the same order
    """

    envelope: mime.Envelope
    content: bytes
    payload: bytes
    claimed: tuple[signer_values.Signer, ...]
    certificates: tuple[certificates.Certificate, ...]


def several_signers() -> policies.Policy:
    """A policy that reads as many signatures as any site may accept."""
    return policies.Policy(threshold=policies.Limits().signers)


def read(message: bytes) -> Unchained:
    """Check digests and signatures against the embedded certificates.

    :param message: S/MIME with one or more signatures
    :raises hepix_vm.errors.Refused: a code of steps 1 to 5 of
        :mod:`hepix_vm.trust.verifier`, or ``malformed``
    """
    policy = several_signers()
    try:
        return _read(message, policy)
    except errors.Refused:
        raise
    except Exception as error:
        raise codes.unforeseen(error) from error


def _read(message: bytes, policy: policies.Policy) -> Unchained:
    if len(message) > policy.limits.message_bytes:
        raise codes.refused(
            codes.Code.LIMIT,
            f'the message has {len(message)} bytes, at most '
            f'{policy.limits.message_bytes} allowed (limit message_bytes)',
            limit='message_bytes',
        )
    envelope = mime.open_envelope(message, policy.limits)
    signed = cms.parse(envelope.signature, policy)
    content = _content(envelope, signed)
    holders = tuple(_holder(info, signed) for info in signed.signers)
    return Unchained(
        envelope,
        content,
        mime.inner_payload(content, policy.limits),
        tuple(
            _claim(holder, info)
            for holder, info in zip(holders, signed.signers, strict=True)
        ),
        holders,
    )


def _content(envelope: mime.Envelope, signed: cms.SignedData) -> bytes:
    """The one form of the content that all signatures cover."""
    if (envelope.part is None) == (signed.content is None):
        raise codes.refused(
            codes.Code.MALFORMED, 'the message holds no content, or two'
        )
    candidates = (
        tuple(envelope.candidates())
        if signed.content is None
        else (signed.content,)
    )
    for content in candidates:
        if all(
            info.matches((content,)) is not None for info in signed.signers
        ):
            return content
    raise codes.refused(
        codes.Code.DIGEST, 'the content has another digest than was signed'
    )


def _holder(
    info: cms.SignerInfo, signed: cms.SignedData
) -> certificates.Certificate:
    """The embedded certificate whose key made a signature."""
    named = 0
    unreadable = ''
    for encoded in signed.certificates:
        try:
            value = certificates.read(encoded)
        except certificates.Unreadable as error:
            unreadable = f' ({error})'
            continue
        if not _is_named(info, value):
            continue
        named += 1
        if info.verified_by(value.public_key(), value.key_algorithm):
            return value
    if named:
        raise codes.refused(
            codes.Code.SIGNATURE,
            'a signature was made with another key than that of its '
            'certificate',
        )
    raise codes.refused(
        codes.Code.NO_CERTIFICATE,
        f"the message does not carry a signer's certificate{unreadable}",
    )


def _is_named(info: cms.SignerInfo, value: certificates.Certificate) -> bool:
    if info.key_identifier is not None:
        return value.key_identifier == info.key_identifier
    found = (value.x509.serial_number, value.issuer_der)
    return found == (info.serial, info.issuer)


def _claim(
    holder: certificates.Certificate, info: cms.SignerInfo
) -> signer_values.Signer:
    return signer_values.Signer(
        holder.subject,
        holder.issuer,
        holder.sha256,
        holder.spki_sha256,
        holder.x509.not_valid_after_utc,
        info.signing_time,
    )
