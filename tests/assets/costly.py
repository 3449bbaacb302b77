# SPDX-License-Identifier: Apache-2.0
"""Messages that are made to cost time or memory; verdicts do not matter."""

from __future__ import annotations

import json

from cryptography import x509

from tests.assets import cases
from tests.assets import lists
from tests.assets import pki
from tests.assets import writer

COSTLY = cases.Register()
Case = cases.Case
_SIZE = 11 * 1024 * 1024


def _signed(content: bytes, *, is_list: bool = False) -> Case:
    endorser = pki.site().endorser
    cms = writer.signed_data(
        [writer.signer_info(content, endorser)], [endorser.der]
    )
    return Case(writer.multipart(content, cms), is_list=is_list)


@COSTLY.add
def line_ends_only() -> Case:
    return _signed(b'\n' * _SIZE)


@COSTLY.add
def carriage_returns_only() -> Case:
    return _signed(b'\r' * _SIZE)


@COSTLY.add
def almost_boundaries_only() -> Case:
    line = b'\n--' + writer.BOUNDARY.encode()[:-1]
    return _signed(line * (_SIZE // len(line)))


@COSTLY.add
def boundaries_with_blanks() -> Case:
    line = b'\n--' + writer.BOUNDARY.encode() + b' ' * 1000 + b'x'
    return _signed(line * (_SIZE // len(line)))


@COSTLY.add
def shortest_boundary() -> Case:
    return Case(
        b'Content-Type: multipart/signed; boundary=-; '
        b'protocol="application/pkcs7-signature"\n\n' + b'\n---' * (_SIZE // 4)
    )


@COSTLY.add
def opaque_of_many_megabytes() -> Case:
    content = b'x' * _SIZE
    endorser = pki.site().endorser
    cms = writer.signed_data(
        [writer.signer_info(content, endorser)],
        [endorser.der],
        content=content,
    )
    return Case(writer.opaque(cms))


@COSTLY.add
def opaque_in_nineteen_thousand_pieces() -> Case:
    content = b'x' * 19_000
    pieces = [writer.octets(b'x')] * len(content)
    endorser = pki.site().endorser
    cms = writer.signed_data(
        [writer.signer_info(content, endorser)],
        [endorser.der],
        content_field=writer.tlv(0xA0, writer.indefinite(0x24, *pieces)),
    )
    return Case(writer.opaque(cms))


@COSTLY.add
def blanks_in_base64() -> Case:
    return Case(
        b'Content-Type: application/pkcs7-mime\n'
        b'Content-Transfer-Encoding: base64\n\n' + b' ' * _SIZE
    )


@COSTLY.add
def json_of_many_brackets() -> Case:
    return _signed(b'[' * _SIZE, is_list=True)


@COSTLY.add
def json_of_many_numbers() -> Case:
    return _signed(b'[' + b'1,' * (_SIZE // 2) + b'1]', is_list=True)


@COSTLY.add
def json_of_one_long_number() -> Case:
    return _signed(b'9' * _SIZE, is_list=True)


@COSTLY.add
def json_of_one_long_text() -> Case:
    text = lists.payload(dc_description='\\' * (_SIZE // 2))
    return _signed(text, is_list=True)


@COSTLY.add
def list_of_many_equal_images() -> Case:
    image = {'hv:image': lists.image()}
    size = len(json.dumps(image))
    return _signed(
        lists.payload(hv_images=[image] * (_SIZE // 2 // size)), is_list=True
    )


def _crowd(extensions: tuple[pki.Extension, ...], subject: x509.Name) -> Case:
    """A signer by key identifier among many large certificates."""
    site = pki.site()
    content = lists.compact()
    # Chosen: a random number may be shorter, and is then found nowhere.
    serial = b'serial numbers of 20'
    big = site.issuing.issue(
        subject,
        'ec other',
        extensions,
        serial=int.from_bytes(serial, 'big'),
    ).der
    assert big.count(serial) == 1
    # Different serial numbers, so that none of them is a copy.
    many = [
        big.replace(serial, serial[:18] + n.to_bytes(2, 'big'))
        for n in range(min(255, 1_000_000 // len(big)))
    ]
    info = writer.signer_info(content, site.endorser, by_key=True)
    cms = writer.signed_data([info], [*many, site.endorser.der])
    return Case(writer.multipart(content, cms))


@COSTLY.add
def certificates_with_long_names() -> Case:
    attribute = x509.NameAttribute(x509.NameOID.COMMON_NAME, 'x')
    return _crowd((), x509.Name([attribute] * 2300))


@COSTLY.add
def certificates_with_many_alternative_names() -> Case:
    names = [x509.DNSName(f'n{n}') for n in range(4000)]
    return _crowd(
        ((x509.SubjectAlternativeName(names), False),),
        pki.name('C=DE/CN=Crowd'),
    )


@COSTLY.add
def certificates_with_many_extensions() -> Case:
    extensions = tuple(
        (
            x509.UnrecognizedExtension(
                x509.ObjectIdentifier(f'1.2.3.{n}'), b'\5\0'
            ),
            False,
        )
        for n in range(1800)
    )
    return _crowd(extensions, pki.name('C=DE/CN=Crowd'))
