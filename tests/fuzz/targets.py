# SPDX-License-Identifier: Apache-2.0
"""What reads foreign bytes, known input for it, and what has to hold."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import functools
import json

from hepix_vm import errors
from hepix_vm import imagelist
from hepix_vm import trust
from hepix_vm.trust import cms
from hepix_vm.trust import mime
from hepix_vm.trust import names
from hepix_vm.trust import stratuslab
from tests.assets import attacks_on_content
from tests.assets import attacks_on_path
from tests.assets import cases
from tests.assets import encodings
from tests.assets import lists as assets_lists
from tests.assets import marketplace
from tests.assets import pki
from tests.fuzz import changing
from tests.unit.imagelist import lists
from tests.unit.trust import judging

#: Longer messages are about cost, not about structure.
_LONGEST = 40_000


@dataclasses.dataclass(frozen=True)
class Seed:
    """Known input.

    :param name: tells it from others
    :param data: the input
    :param check: raises AssertionError, or whatever escapes, if it does
        not get what it has to when it is changed; returns the verdict
    """

    name: str
    data: bytes
    check: Callable[[bytes], str]


def _refused(refusal: errors.Refused) -> str:
    """The code of a refusal that some step expected."""
    # An error that no step expects is a refusal, too: the one that a
    # fuzzer looks for.
    cause = refusal.__cause__
    assert cause is None or 'could not be read:' not in refusal.detail, (
        f'{type(cause).__name__} escaped a step: {cause}'
    )
    assert refusal.code in set(trust.Code)
    assert refusal.detail
    return refusal.code


def _message(case: cases.Case, known: trust.TrustAnchors, data: bytes) -> str:
    """A changed message is refused, or its payload is what was signed."""
    policy = trust.Policy(**case.policy)
    try:
        verified = trust.verify_message(data, known, policy, case.now)
    except errors.Refused as refusal:
        return _refused(refusal)
    if case.payload is not None:
        assert verified.payload == case.payload
    try:
        endorsed = trust.verify(data, known, policy, case.now)
    except errors.Refused as refusal:
        return _refused(refusal)
    assert endorsed.payload == verified.payload
    assert endorsed.image_list == imagelist.parse(verified.payload)
    return 'ok'


def messages() -> list[Seed]:
    """Every encoding and every attack, verified as its case says."""
    makers = {
        **encodings.ENCODINGS,
        **attacks_on_content.ATTACKS,
        **attacks_on_path.ATTACKS,
    }
    found = []
    for name, maker in makers.items():
        case = maker()
        if len(case.message) > _LONGEST:
            continue
        if case.code == 'ok' and case.payload is None:
            # What was signed; the case itself is judged elsewhere.
            verdict = judging.judge(case)
            assert not isinstance(verdict, errors.Refused), name
            case = dataclasses.replace(case, payload=verdict.payload)
        check = functools.partial(_message, case, judging.anchors_of(case))
        found.append(Seed(name, case.message, check))
    return found


def _marketplace(
    policy: trust.Policy,
    known: trust.TrustAnchors,
    right: trust.EndorsedList,
    data: bytes,
) -> str:
    try:
        endorsed = trust.verify_enveloped(
            data, stratuslab.open_envelope, known, policy, pki.NOW
        )
    except errors.Refused as refusal:
        return _refused(refusal)
    assert endorsed.payload == right.payload
    assert endorsed.image_list == right.image_list
    return 'ok'


def entries() -> list[Seed]:
    """Signed entries of a marketplace."""
    site = pki.site()
    certificate = site.endorser.certificate
    known = judging.anchors_of(cases.Case(b''))
    policy = trust.Policy(
        endorser=trust.Endorser(
            names.from_x509(certificate.subject),
            names.from_x509(certificate.issuer),
        )
    )
    found = []
    for name, changes in (
        ('plain', {}),
        ('tagged', {'tag': 'worker'}),
        ('deprecated', {'deprecated': 'old'}),
        ('compressed', {'compression': 'gz'}),
    ):
        content = marketplace.entry(certificate, pki.NOW - pki.DAY, **changes)
        data = marketplace.sign(content, certificate, site.endorser.key)
        right = trust.verify_enveloped(
            data, stratuslab.open_envelope, known, policy, pki.NOW
        )
        check = functools.partial(_marketplace, policy, known, right)
        found.append(Seed(name, data, check))
    return found


def _list(data: bytes) -> str:
    """Any bytes are a list or none; what is a list survives writing."""
    try:
        found = imagelist.parse(data)
    except errors.InvalidList as error:
        assert error.path.startswith('$')
        return 'no list'
    imagelist.version_key(found.version)
    for image in found.images:
        imagelist.version_key(image.version)
        assert image.size >= 0
    again = imagelist.parse(imagelist.render(found))
    assert again.identifier == found.identifier
    assert again.images == found.images
    return 'a list'


def payloads() -> list[Seed]:
    """Lists in both dialects."""
    several = lists.hepix(
        **{
            'hv:images': [
                {'hv:image': lists.hepix_image()},
                {'hv:image': lists.appdb_image()},
            ]
        }
    )
    found = {
        'hepix': lists.payload(lists.hepix()),
        'appdb': lists.payload(lists.appdb()),
        'several': lists.payload(several),
        'empty': lists.payload(lists.hepix(**{'hv:images': []})),
        'usual': assets_lists.payload(),
        'compact': assets_lists.compact(),
        'no outer key': json.dumps(lists.hepix()).encode(),
    }
    return [Seed(name, data, _list) for name, data in found.items()]


def _name(data: bytes) -> str:
    """Any text is a name or none; a name survives writing."""
    try:
        found = names.parse(data.decode(errors='replace'))
    except names.NotAName as error:
        assert str(error)
        return 'no name'
    assert names.parse(found.rfc4514()) == found
    assert found.rfc4514().isprintable()
    return 'a name'


def written_names() -> list[Seed]:
    """Names in both forms."""
    found = (
        '/C=DE/O=Grid/OU=DESY/CN=Jo Endorser',
        '/C=DE/O=Grid/CN=host/www.example.org',
        '/DC=org/DC=example/CN=Jo \\xC3\\xA9/emailAddress=jo@example.org',
        '/C=DE/O=Grid/CN=Robot: lists/UID=1+1',
        'CN=Jo Endorser,OU=DESY,O=Grid,C=DE',
        'CN=Jo\\, the first+UID=jo,O=Grid\\2B,C=DE',
        'CN=#0C024A6F,1.2.3.4=#130141,O=\\20a\\ ,C=DE',
        'emailAddress=jo@example.org, CN=J\\C3\\B6, DC=example, DC=org',
    )
    return [Seed(text, text.encode(), _name) for text in found]


def _mime(data: bytes) -> str:
    try:
        envelope = mime.open_envelope(data, trust.Limits())
    except errors.Refused as refusal:
        return _refused(refusal)
    for content in envelope.candidates():
        try:
            mime.inner_payload(content, trust.Limits())
        except errors.Refused as refusal:
            _refused(refusal)
    return 'an envelope'


def _cms(data: bytes) -> str:
    try:
        signed = cms.parse(data, trust.Policy())
    except errors.Refused as refusal:
        return _refused(refusal)
    assert signed.signers
    return 'a signature'


def _opened() -> list[tuple[str, cases.Case, mime.Envelope]]:
    found = []
    for name, maker in encodings.ENCODINGS.items():
        case = maker()
        if len(case.message) <= _LONGEST:
            envelope = mime.open_envelope(case.message, trust.Limits())
            found.append((name, case, envelope))
    return found


def envelopes() -> list[Seed]:
    """Envelopes of S/MIME, read alone."""
    return [Seed(name, case.message, _mime) for name, case, _ in _opened()]


def signatures() -> list[Seed]:
    """Signature structures, read alone."""
    return [
        Seed(name, envelope.signature, _cms) for name, _, envelope in _opened()
    ]


#: Known input, and the words that mean something to its reader.
TARGETS: dict[str, tuple[Callable[[], Sequence[Seed]], Sequence[bytes]]] = {
    'verify': (messages, changing.MESSAGES),
    'marketplace': (entries, changing.XML),
    'imagelist': (payloads, changing.JSON),
    'names': (written_names, changing.NAMES),
    'mime': (envelopes, changing.MESSAGES),
    'cms': (signatures, changing.MESSAGES),
}
