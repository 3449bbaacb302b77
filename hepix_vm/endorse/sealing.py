# SPDX-License-Identifier: Apache-2.0
"""From a draft to a signed message, and what is wrong with a message.

What is written has been read back as a subscriber reads it. Whether the
certificate leads to an anchor and is not revoked is seen only with trust
anchors at hand; without them that is said.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses
import datetime

from cryptography import x509

from hepix_vm.endorse import draft as drafts
from hepix_vm.endorse import files
from hepix_vm.endorse import identity
from hepix_vm.endorse import keys
from hepix_vm import errors
from hepix_vm import imagelist
from hepix_vm import trust
from hepix_vm.trust import certificates
from hepix_vm.trust import codes
from hepix_vm.trust import lists
from hepix_vm.trust import names
from hepix_vm.trust import purpose
from hepix_vm.trust import signers as signer_values
from hepix_vm.trust import signing
from hepix_vm.trust import unchained

Identity = tuple[names.Name, names.Name]


@dataclasses.dataclass(frozen=True, slots=True)
class Anchored:
    """How a subscriber with these anchors would judge.

    :param anchors: the trust anchors
    :param policy: what the subscriber demands; the threshold is that of the
        list
    """

    anchors: trust.TrustAnchors
    policy: trust.Policy = dataclasses.field(default_factory=trust.Policy)


@dataclasses.dataclass(frozen=True, slots=True)
class Sealed:
    """A signed list that reads back as it should.

    :param message: the S/MIME message
    :param image_list: the list in it
    :param signed: subject and issuer of each signer
    :param missing: endorsers of the list that have not signed
    :param warnings: what the endorser should know, in words
    """

    message: bytes
    image_list: imagelist.ImageList
    signed: tuple[Identity, ...]
    missing: tuple[Identity, ...]
    warnings: tuple[str, ...]


def seal(
    draft: imagelist.ImageList,
    signatory: keys.Signatory,
    now: datetime.datetime,
    previous: imagelist.ImageList | None = None,
    dialect: imagelist.Dialect | None = None,
    anchored: Anchored | None = None,
) -> Sealed:
    """Date and sign a list.

    :param previous: the newest list of this identifier that was signed
    :param dialect: to write; the draft's own without it
    :raises hepix_vm.errors.Misconfigured: the signatory does not stand in
        the list, or subscribers would refuse the result
    """
    _require_stated(draft, signatory)
    fresh = drafts.dated(draft, previous, now)
    message = signing.sign(
        files.render(fresh, dialect),
        signatory.certificate,
        signatory.key,
        signatory.others,
    )
    return inspect(message, now, anchored)


def join(
    message: bytes,
    signatory: keys.Signatory,
    now: datetime.datetime,
    anchored: Anchored | None = None,
) -> Sealed:
    """Add a signature to a message; the others stay as they are.

    :raises hepix_vm.errors.Misconfigured: the signatory does not stand in
        the list, has signed it already, or subscribers would refuse it
    """
    _require_stated(inspect(message, now).image_list, signatory)
    joined = signing.add_signature(
        message, signatory.certificate, signatory.key, signatory.others
    )
    return inspect(joined, now, anchored)


def _require_stated(
    image_list: imagelist.ImageList, signatory: keys.Signatory
) -> None:
    own = identity.identity(signatory.certificate)
    if own not in [identity.stated(one) for one in image_list.endorsers]:
        raise errors.Misconfigured(
            f'the list does not name {own[0]} (issued by {own[1]}) as its '
            'endorser; subscribers would refuse the signature. See '
            '"hepix-vm list set --endorser"'
        )


def read(message: bytes) -> imagelist.ImageList:
    """The list that an endorser signed before; its age does not matter.

    Not for anything that came over a network: nobody's word is checked.

    :raises hepix_vm.errors.Misconfigured: it is no signed list
    """
    try:
        return imagelist.parse(unchained.read(message).payload)
    except errors.NotBelieved as exc:
        raise errors.Misconfigured(f'no signed image list: {exc}') from exc


def require_signed_by(
    message: bytes, known: Iterable[x509.Certificate]
) -> None:
    """Refuse a message that none of these certificates' keys has signed.

    Only then may its content be signed again without a look at it.

    :raises hepix_vm.errors.Misconfigured: none of them has
    """
    own = {certificates.of(one).spki_sha256 for one in known}
    try:
        found = unchained.read(message).certificates
    except errors.Refused as exc:
        raise errors.Misconfigured(
            f'the message is not what was signed: {exc}'
        ) from exc
    if not own & {one.spki_sha256 for one in found}:
        raise errors.Misconfigured(
            'the message was signed with another key, by '
            f'{" and ".join(map(str, found))}; where that is the former '
            'certificate give it with --previous-certificate, else sign the '
            'draft'
        )


def inspect(
    message: bytes,
    now: datetime.datetime,
    anchored: Anchored | None = None,
) -> Sealed:
    """Judge an own message as a subscriber would.

    :raises hepix_vm.errors.Misconfigured: a subscriber would refuse it
    """
    try:
        found = unchained.read(message)
        image_list = lists.accept(
            found.payload, found.claimed, trust.Policy(), now
        )
        for holder in found.certificates:
            _require_signer(holder, now)
        if anchored is not None:
            verify(message, anchored, len(found.claimed), now)
    except errors.Refused as exc:
        raise errors.Misconfigured(
            f'subscribers would refuse this message ({exc.code}): {exc}; '
            f'they are told: {codes.TABLE[trust.Code(exc.code)].remedy}'
        ) from exc
    for problem in image_list.problems:
        raise errors.Misconfigured(
            f'subscribers would read this list otherwise: {problem}'
        )
    signed = tuple((one.subject, one.issuer) for one in found.claimed)
    stated = [identity.stated(one) for one in image_list.endorsers]
    missing = tuple(one for one in stated if one not in signed)
    warnings = (
        *_list_warnings(image_list, now),
        *_signer_warnings(found.claimed, image_list, missing),
        *(() if anchored else (_NOT_CHECKED,)),
    )
    return Sealed(message, image_list, signed, missing, warnings)


_NOT_CHECKED = (
    'chain and revocation of the certificate were not checked; give '
    '--trust-anchors to see what subscribers say'
)


def verify(
    message: bytes,
    anchored: Anchored,
    signers: int,
    now: datetime.datetime,
) -> trust.EndorsedList:
    """The verdict of a subscriber that follows this list with all signers.

    :raises hepix_vm.errors.Refused: as :func:`hepix_vm.trust.verify`
    """
    return trust.verify(
        message,
        anchored.anchors,
        dataclasses.replace(anchored.policy, threshold=signers),
        now,
    )


def _require_signer(
    holder: certificates.Certificate, now: datetime.datetime
) -> None:
    """What of the certificate can be judged without its issuer."""
    if certificates.is_proxy(holder):
        raise codes.refused(
            codes.Code.PROXY, f'{holder} is a proxy certificate'
        )
    if certificates.is_ca(holder) and not holder.self_issued:
        raise codes.refused(codes.Code.CA_SIGNER, f'{holder} is a CA')
    if now > holder.x509.not_valid_after_utc:
        raise codes.refused(
            codes.Code.EXPIRED_CERTIFICATE,
            f'the certificate of {holder} expired at '
            f'{holder.x509.not_valid_after_utc.isoformat()}',
        )
    if now < holder.x509.not_valid_before_utc:
        raise codes.refused(
            codes.Code.NOT_YET_VALID,
            f'the certificate of {holder} is valid from '
            f'{holder.x509.not_valid_before_utc.isoformat()}',
        )
    # Host certificates sign some lists; subscribers decide by an option.
    purpose.require_signer(holder, trust.Policy(accept_server_auth=True))


def _list_warnings(
    image_list: imagelist.ImageList, now: datetime.datetime
) -> Iterator[str]:
    if image_list.expires - image_list.created > drafts.LONGEST:
        yield (
            f'the list expires at {image_list.expires.isoformat()}, which '
            'protects nobody from an old copy; see "hepix-vm list set '
            '--lifetime"'
        )
    for image in image_list.images:
        if image.expires is not None and image.expires <= now:
            yield (
                f'image {image.identifier} ({image.title!r}) expired at '
                f'{image.expires.isoformat()}'
            )
    for endorser in image_list.endorsers:
        if not identity.old_consumers_understand(endorser):
            yield (
                f'the name of {endorser.creator} has no unambiguous one-line '
                'form; consumers other than hepix_vm cannot compare it'
            )


def _signer_warnings(
    claimed: tuple[signer_values.Signer, ...],
    image_list: imagelist.ImageList,
    missing: tuple[Identity, ...],
) -> Iterator[str]:
    for signer in claimed:
        if signer.not_after < image_list.expires:
            yield (
                f'the certificate of {signer.subject} ends at '
                f'{signer.not_after.isoformat()}, before the list does'
            )
    if len(image_list.endorsers) > 1:
        yield (
            'the list has several endorsers: subscribers configure them all, '
            'and consumers other than hepix_vm read lists of one only'
        )
    for subject, issuer in missing:
        yield f'not yet signed by {subject} (issued by {issuer})'
