# SPDX-License-Identifier: Apache-2.0
"""Messages as they are found in the wild: every one must be accepted."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7

from tests.assets import cases
from tests.assets import lists
from tests.assets import pki
from tests.assets import writer

ENCODINGS = cases.Register()
Case = cases.Case


def _signed(
    content: bytes, *, part: bytes | None = None, **more: Any
) -> bytes:
    """A detached message over exactly ``content``."""
    endorser = pki.site().endorser
    cms = writer.signed_data(
        [writer.signer_info(content, endorser)], [endorser.der]
    )
    return writer.multipart(content if part is None else part, cms, **more)


@ENCODINGS.add
def lf_on_the_wire_crlf_in_the_digest() -> Case:
    payload = lists.payload()
    return Case(
        writer.usual(payload, pki.site().endorser),
        payload=writer.crlf(payload),
        is_list=True,
    )


@ENCODINGS.add
def crlf_on_the_wire_crlf_in_the_digest() -> Case:
    content = writer.crlf(lists.payload())
    return Case(_signed(content, eol=b'\r\n'), payload=content, is_list=True)


@ENCODINGS.add
def lf_envelope_around_crlf_content() -> Case:
    content = writer.crlf(lists.payload())
    return Case(_signed(content), payload=content)


@ENCODINGS.add
def digest_over_lf_as_openssl_binary_does() -> Case:
    payload = lists.payload()
    return Case(_signed(payload), payload=payload)


@ENCODINGS.add
def digest_over_lf_but_crlf_on_the_wire() -> Case:
    payload = lists.payload()
    return Case(
        _signed(payload, part=writer.crlf(payload), eol=b'\r\n'),
        payload=payload,
    )


@ENCODINGS.add
def digest_over_mixed_line_ends_as_they_are() -> Case:
    content = b'{"a":\r\n1,\n"b":2}\r\n'
    return Case(_signed(content), payload=content)


@ENCODINGS.add
def compact_json_that_looks_like_a_header_line() -> Case:
    content = lists.compact()
    return Case(_signed(content), payload=content, is_list=True)


@ENCODINGS.add
def content_without_a_final_line_end() -> Case:
    return Case(_signed(b'{}'), payload=b'{}')


@ENCODINGS.add
def content_that_begins_with_a_blank_line() -> Case:
    content = b'\r\n' + lists.compact()
    return Case(_signed(content), payload=content, is_list=True)


@ENCODINGS.add
def content_that_begins_with_a_bracket() -> Case:
    return Case(_signed(b'[Content-Type: 1]'), payload=b'[Content-Type: 1]')


@ENCODINGS.add
def content_that_is_any_text() -> Case:
    return Case(_signed(b'Hello: world\r\n'), payload=b'Hello: world\r\n')


@ENCODINGS.add
def empty_content() -> Case:
    return Case(_signed(b''), payload=b'')


@ENCODINGS.add
def trailing_blanks_of_python_2_are_signed() -> Case:
    content = writer.crlf(b'{"a": 1, \n    "b": 2}\n')
    return Case(_signed(content), payload=content)


@ENCODINGS.add
def opaque_x_pkcs7_mime() -> Case:
    return _opaque(lists.payload(), kind='application/x-pkcs7-mime')


@ENCODINGS.add
def opaque_pkcs7_mime_without_smime_type() -> Case:
    return _opaque(
        lists.payload(), kind='application/pkcs7-mime', smime_type=None
    )


def _opaque(payload: bytes, **more: Any) -> Case:
    endorser = pki.site().endorser
    cms = writer.signed_data(
        [writer.signer_info(payload, endorser)],
        [endorser.der],
        content=payload,
    )
    return Case(writer.opaque(cms, **more), payload=payload, is_list=True)


def _indefinite(payload: bytes, content_field: bytes) -> bytes:
    """SignedData in indefinite lengths from top to bottom."""
    endorser = pki.site().endorser
    return writer.indefinite(
        0x30,
        writer.oid(writer.SIGNED_DATA),
        writer.indefinite(
            0xA0,
            writer.indefinite(
                0x30,
                writer.integer(1),
                writer.indefinite(0x31, writer.digest_algorithm('sha256')),
                writer.indefinite(
                    0x30, writer.oid(writer.DATA), content_field
                ),
                writer.indefinite(0xA0, endorser.der),
                writer.indefinite(0x31, writer.signer_info(payload, endorser)),
            ),
        ),
    )


@ENCODINGS.add
def indefinite_lengths_and_constructed_octet_string() -> Case:
    payload = lists.payload()
    pieces = [
        writer.octets(payload[i : i + 100])
        for i in range(0, len(payload), 100)
    ]
    field = writer.indefinite(0xA0, writer.indefinite(0x24, *pieces))
    return Case(
        writer.opaque(_indefinite(payload, field)),
        payload=payload,
        is_list=True,
    )


@ENCODINGS.add
def indefinite_lengths_detached() -> Case:
    payload = writer.crlf(lists.payload())
    return Case(
        writer.multipart(payload, _indefinite(payload, b'')), payload=payload
    )


@ENCODINGS.add
def octet_string_in_pieces_of_pieces() -> Case:
    payload = b'{"in": "pieces"}'
    inner = writer.tlv(
        0x24, writer.octets(payload[:5]), writer.octets(payload[5:9])
    )
    field = writer.tlv(
        0xA0, writer.tlv(0x24, inner, writer.octets(payload[9:]))
    )
    endorser = pki.site().endorser
    cms = writer.signed_data(
        [writer.signer_info(payload, endorser)],
        [endorser.der],
        content_field=field,
    )
    return Case(writer.opaque(cms), payload=payload)


@ENCODINGS.add
def plain_protocol_and_plain_part_type() -> Case:
    return _types('application/pkcs7-signature', 'application/pkcs7-signature')


@ENCODINGS.add
def x_protocol_and_plain_part_type() -> Case:
    return _types(
        'application/x-pkcs7-signature', 'application/pkcs7-signature'
    )


@ENCODINGS.add
def plain_protocol_and_x_part_type() -> Case:
    return _types(
        'application/pkcs7-signature', 'application/x-pkcs7-signature'
    )


def _types(protocol: str, kind: str) -> Case:
    content = writer.crlf(lists.payload())
    return Case(
        _signed(content, protocol=protocol, kind=kind), payload=content
    )


@ENCODINGS.add
def micalg_absent() -> Case:
    return _micalg(None)


@ENCODINGS.add
def micalg_odd() -> Case:
    return _micalg('unknown-digest')


@ENCODINGS.add
def micalg_wrong() -> Case:
    return _micalg('sha1')


def _micalg(word: str | None) -> Case:
    content = writer.crlf(lists.payload())
    return Case(_signed(content, micalg=word), payload=content)


def _head(text: str) -> bytes:
    return text.format(boundary='b0undary').encode()


@ENCODINGS.add
def header_parameters_without_quotes() -> Case:
    content = lists.compact()
    head = _head(
        'MIME-Version: 1.0\nContent-Type: multipart/signed; '
        'protocol=application/x-pkcs7-signature; micalg=sha-256; '
        'boundary={boundary}\n\n'
    )
    return Case(
        _signed(content, head=head, boundary='b0undary'), payload=content
    )


@ENCODINGS.add
def header_folded() -> Case:
    content = lists.compact()
    head = _head(
        'MIME-Version: 1.0\nContent-Type: multipart/signed;\n'
        '\tprotocol="application/x-pkcs7-signature";\n'
        ' micalg="sha-256";\n\tboundary="{boundary}"\n\n'
    )
    return Case(
        _signed(content, head=head, boundary='b0undary'), payload=content
    )


@ENCODINGS.add
def header_folded_crlf() -> Case:
    content = lists.compact()
    head = _head(
        'MIME-Version: 1.0\nContent-Type: multipart/signed;\n'
        '\tprotocol="application/x-pkcs7-signature";\n'
        ' boundary="{boundary}"\n\n'
    )
    return Case(
        _signed(content, head=head, boundary='b0undary', eol=b'\r\n'),
        payload=content,
    )


@ENCODINGS.add
def header_in_upper_case() -> Case:
    content = lists.compact()
    head = _head(
        'CONTENT-TYPE: MULTIPART/SIGNED; '
        'PROTOCOL="APPLICATION/X-PKCS7-SIGNATURE"; BOUNDARY="{boundary}"\n\n'
    )
    part_headers = (
        b'CONTENT-TYPE: APPLICATION/X-PKCS7-SIGNATURE\n'
        b'CONTENT-TRANSFER-ENCODING: BASE64\n'
    )
    return Case(
        _signed(
            content,
            head=head,
            boundary='b0undary',
            part_headers=part_headers,
        ),
        payload=content,
    )


@ENCODINGS.add
def header_with_escaped_quote_and_other_fields() -> Case:
    content = lists.compact()
    head = _head(
        'From: "Jo" <jo@example.org>\nReceived: a\nReceived: b\n'
        'Content-Type: multipart/signed; x="a\\"b;c"; ; '
        'protocol="application/x-pkcs7-signature"; boundary="{boundary}";'
        '\n\n'
    )
    return Case(
        _signed(content, head=head, boundary='b0undary'), payload=content
    )


@ENCODINGS.add
def no_preamble() -> Case:
    content = lists.compact()
    return Case(_signed(content, preamble=b''), payload=content)


@ENCODINGS.add
def epilogue_and_blanks_after_the_boundary() -> Case:
    content = lists.compact()
    message = _signed(content, after=b'\n-- \nmailing list footer\n')
    line = b'--' + writer.BOUNDARY.encode()
    return Case(
        message.replace(line + b'\n', line + b' \t\n'), payload=content
    )


@ENCODINGS.add
def nothing_after_the_last_boundary() -> Case:
    content = lists.compact()
    return Case(
        _signed(content, after=b'').removesuffix(b'\n'), payload=content
    )


@ENCODINGS.add
def inner_mime_headers_as_openssl_text_does() -> Case:
    payload = writer.crlf(lists.payload())
    return Case(
        _signed(b'Content-Type: text/plain\r\n\r\n' + payload),
        payload=payload,
        is_list=True,
    )


@ENCODINGS.add
def inner_mime_headers_of_json() -> Case:
    payload = lists.compact()
    inner = (
        b'MIME-Version: 1.0\r\ncontent-type: application/json;\r\n'
        b' charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n'
    )
    return Case(_signed(inner + payload), payload=payload, is_list=True)


@ENCODINGS.add
def inner_base64() -> Case:
    payload = lists.payload()
    inner = (
        b'Content-Type: application/json\r\n'
        b'Content-Transfer-Encoding: base64\r\n\r\n'
        + writer.crlf(writer.armour(payload))
    )
    return Case(_signed(inner), payload=payload, is_list=True)


@ENCODINGS.add
def opaque_with_inner_mime_headers() -> Case:
    payload = lists.payload()
    content = b'Content-Type: text/plain\r\n\r\n' + payload
    endorser = pki.site().endorser
    cms = writer.signed_data(
        [writer.signer_info(content, endorser)],
        [endorser.der],
        content=content,
    )
    return Case(writer.opaque(cms), payload=payload, is_list=True)


def _by(label: str, **info: Any) -> Case:
    """A message of an endorser with another kind of key."""
    site = pki.site()
    holder = site.issuing.issue(
        f'C=DE/O=Grid/OU=DESY/CN=Jo {label}',
        label,
        pki.endorser_extensions(label),
    )
    payload = lists.payload(holder)
    return Case(
        writer.usual(payload, holder, **info),
        payload=writer.crlf(payload),
        is_list=True,
    )


@ENCODINGS.add
def signer_by_issuer_and_serial() -> Case:
    return _by('rsa endorser')


@ENCODINGS.add
def signer_by_subject_key_identifier() -> Case:
    return _by('rsa endorser', by_key=True)


@ENCODINGS.add
def rsa_with_sha384() -> Case:
    return _by('rsa endorser', digest='sha384')


@ENCODINGS.add
def rsa_with_sha512_named_in_the_algorithm() -> Case:
    return _by(
        'rsa endorser',
        digest='sha512',
        algorithm=writer.algorithm('1.2.840.113549.1.1.13', writer.NULL),
    )


@ENCODINGS.add
def rsa_pss() -> Case:
    return _by(
        'rsa endorser',
        salt=32,
        algorithm=writer.algorithm(
            writer.PSS, writer.pss_parameters('sha256', 32)
        ),
    )


@ENCODINGS.add
def rsa_pss_with_a_trailer_and_the_longest_salt() -> Case:
    return _by(
        'rsa endorser',
        salt=222,
        algorithm=writer.algorithm(
            writer.PSS,
            writer.pss_parameters(
                'sha256', 222, trailer=writer.tlv(0xA3, writer.integer(1))
            ),
        ),
    )


@ENCODINGS.add
def ecdsa_p256() -> Case:
    return _by('ec endorser')


@ENCODINGS.add
def ecdsa_p384_with_sha384() -> Case:
    return _by('p384 endorser', digest='sha384')


@ENCODINGS.add
def ecdsa_p521_with_sha512() -> Case:
    return _by('p521 endorser', digest='sha512')


@ENCODINGS.add
def ed25519_with_sha512() -> Case:
    return _by('ed endorser', digest='sha512')


@ENCODINGS.add
def digest_algorithm_without_parameters() -> Case:
    return _by(
        'rsa endorser',
        digest_identifier=writer.algorithm(writer.DIGESTS['sha256']),
    )


@ENCODINGS.add
def signing_time_as_generalized_time() -> Case:
    content = writer.crlf(lists.payload())
    attributes = writer.usual_attributes(content)
    attributes[2] = writer.attribute(
        writer.SIGNING_TIME, writer.general_time(pki.NOW)
    )
    return _attributes(attributes)


def _attributes(attributes: list[bytes]) -> Case:
    payload = lists.payload()
    message = writer.usual(payload, pki.site().endorser, attributes=attributes)
    return Case(message, payload=writer.crlf(payload))


@ENCODINGS.add
def signing_time_absent() -> Case:
    content = writer.crlf(lists.payload())
    return _attributes(writer.usual_attributes(content)[:2])


@ENCODINGS.add
def algorithms_repeated_under_the_signature() -> Case:
    content = writer.crlf(lists.payload())
    protection = writer.attribute(
        writer.PROTECTION,
        writer.seq(
            writer.digest_algorithm('sha256'),
            b'\xa1' + writer.algorithm(writer.RSA, writer.NULL)[1:],
        ),
    )
    return _attributes([*writer.usual_attributes(content), protection])


@ENCODINGS.add
def unsigned_attributes_are_not_looked_at() -> Case:
    unsigned = (
        b'\xa1'
        + writer.set_of(writer.attribute('1.2.3', writer.octets(b'anything')))[
            1:
        ]
    )
    return _by('rsa endorser', unsigned=unsigned)


@ENCODINGS.add
def a_hundred_and_fifty_extra_certificates() -> Case:
    site = pki.site()
    payload = lists.payload()
    extra = [
        site.issuing.issue(f'C=DE/O=Grid/CN=Other {n}', 'ec other')
        for n in range(150)
    ]
    return Case(
        writer.usual(payload, site.endorser, extra),
        payload=writer.crlf(payload),
    )


@ENCODINGS.add
def intermediate_ca_in_the_message_only() -> Case:
    site = pki.site()
    payload = lists.payload()
    return Case(
        writer.usual(payload, site.endorser, [site.issuing, site.root]),
        payload=writer.crlf(payload),
        anchors=(site.root.certificate,),
    )


@ENCODINGS.add
def attribute_certificate_among_the_certificates() -> Case:
    site = pki.site()
    content = writer.crlf(lists.payload())
    cms = writer.signed_data(
        [writer.signer_info(content, site.endorser)],
        [site.endorser.der, writer.tlv(0xA2, writer.integer(1))],
    )
    return Case(writer.multipart(content, cms), payload=content)


@ENCODINGS.add
def unreadable_extra_certificate() -> Case:
    site = pki.site()
    content = writer.crlf(lists.payload())
    cms = writer.signed_data(
        [writer.signer_info(content, site.endorser)],
        [writer.seq(writer.integer(1)), site.endorser.der],
    )
    return Case(writer.multipart(content, cms), payload=content)


@ENCODINGS.add
def expired_crl_embedded_in_the_message_does_not_count() -> Case:
    site = pki.site()
    content = writer.crlf(lists.payload())
    old = site.issuing.crl(
        [site.endorser],
        start=pki.NOW - 60 * pki.DAY,
        end=pki.NOW - 30 * pki.DAY,
    )
    cms = writer.signed_data(
        [writer.signer_info(content, site.endorser)],
        [site.endorser.der],
        crls=[old.public_bytes(serialization.Encoding.DER)],
    )
    return Case(writer.multipart(content, cms), payload=content)


@ENCODINGS.add
def smime_of_pythons_cryptography() -> Case:
    site = pki.site()
    payload = lists.payload()
    builder = pkcs7.PKCS7SignatureBuilder().set_data(payload)
    message = builder.add_signer(
        site.endorser.certificate, site.endorser.key, hashes.SHA256()
    ).sign(
        serialization.Encoding.SMIME, [pkcs7.PKCS7Options.DetachedSignature]
    )
    # cryptography writes today's signing time, whenever today is.
    return Case(
        message,
        payload=writer.crlf(payload),
        policy={'clock_skew': 100 * 366 * pki.DAY},
    )


@ENCODINGS.add
def value_of_payload_digest_is_of_the_form_that_matched() -> Case:
    payload = json.dumps({'digest': hashlib.sha256(b'').hexdigest()})
    content = writer.crlf(payload.encode() + b'\n')
    return Case(
        _signed(content, part=payload.encode() + b'\n'), payload=content
    )


@ENCODINGS.add
def base64_in_one_line() -> Case:
    content = lists.compact()
    endorser = pki.site().endorser
    cms = writer.signed_data(
        [writer.signer_info(content, endorser)], [endorser.der]
    )
    message = writer.multipart(content, cms)
    text = writer.armour(cms)
    return Case(
        message.replace(text, base64.b64encode(cms) + b'\n'), payload=content
    )
