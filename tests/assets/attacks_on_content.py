# SPDX-License-Identifier: Apache-2.0
"""Messages whose envelope, structure or payload must be refused."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tests.assets import cases
from tests.assets import lists
from tests.assets import pki
from tests.assets import writer

ATTACKS = cases.Register()
Case = cases.Case
MALFORMED = 'malformed'
CONTENT = b'{"hv:imagelist": {"hv:version": "1"}}\r\n'
EVIL = CONTENT.replace(b'1', b'2')


def _endorser() -> pki.Holder:
    return pki.site().endorser


def _cms(content: bytes = CONTENT, **info: Any) -> bytes:
    """A structure with one signer, as knobs of the SignerInfo say."""
    return writer.signed_data(
        [writer.signer_info(content, _endorser(), **info)],
        [_endorser().der],
        digests=(info.get('digest', 'sha256'),),
    )


def _info(code: str = MALFORMED, **info: Any) -> Case:
    return Case(writer.multipart(CONTENT, _cms(**info)), code)


def _message(code: str = MALFORMED, **envelope: Any) -> Case:
    return Case(writer.multipart(CONTENT, _cms(), **envelope), code)


def _structure(code: str = MALFORMED, **data: Any) -> Case:
    signers = data.pop('signers', None)
    if signers is None:
        signers = [writer.signer_info(CONTENT, _endorser())]
    held = data.pop('certificates', [_endorser().der])
    return Case(
        writer.multipart(CONTENT, writer.signed_data(signers, held, **data)),
        code,
    )


def _attributes(*attributes: bytes, code: str = MALFORMED) -> Case:
    return _info(code, attributes=list(attributes))


def _kind(kind: str = writer.DATA) -> bytes:
    return writer.attribute(writer.CONTENT_TYPE, writer.oid(kind))


def _digest(content: bytes = CONTENT) -> bytes:
    return writer.attribute(
        writer.MESSAGE_DIGEST,
        writer.octets(hashlib.sha256(content).digest()),
    )


# The content


@ATTACKS.add
def content_changed_detached() -> Case:
    return Case(writer.multipart(EVIL, _cms()), 'digest')


@ATTACKS.add
def content_changed_opaque() -> Case:
    cms = writer.signed_data(
        [writer.signer_info(CONTENT, _endorser())],
        [_endorser().der],
        content=EVIL,
    )
    return Case(writer.opaque(cms), 'digest')


@ATTACKS.add
def trailing_blanks_added() -> Case:
    changed = CONTENT.replace(b'\r\n', b' \r\n')
    return Case(writer.multipart(changed, _cms()), 'digest')


@ATTACKS.add
def trailing_blanks_stripped() -> Case:
    content = b'{"a": 1, \r\n"b": 2}\r\n'
    stripped = content.replace(b', ', b',')
    return Case(writer.multipart(stripped, _cms(content)), 'digest')


@ATTACKS.add
def final_newline_added() -> Case:
    return Case(writer.multipart(CONTENT + b'\r\n', _cms()), 'digest')


@ATTACKS.add
def digest_mismatch_in_the_attribute() -> Case:
    return _attributes(_kind(), _digest(EVIL), code='digest')


@ATTACKS.add
def digest_of_another_length() -> Case:
    value = writer.octets(hashlib.sha256(CONTENT).digest()[:16])
    return _attributes(
        _kind(), writer.attribute(writer.MESSAGE_DIGEST, value), code='digest'
    )


@ATTACKS.add
def der_of_the_signed_attributes_shown_as_content() -> Case:
    """A signature without attributes covers the content directly."""
    stolen = writer.set_of(*writer.usual_attributes(CONTENT))
    info = writer.signer_info(stolen, _endorser(), signed=stolen)
    bare = writer.signer_info(
        stolen, _endorser(), signed=stolen, wire_attributes=b''
    )
    assert info != bare
    cms = writer.signed_data([bare], [_endorser().der], content=stolen)
    return Case(writer.opaque(cms), MALFORMED)


@ATTACKS.add
def no_signed_attributes_although_the_signature_is_right() -> Case:
    return _info(signed=CONTENT, wire_attributes=b'')


@ATTACKS.add
def no_signed_attributes_but_unsigned_ones() -> Case:
    unsigned = b'\xa1' + writer.set_of(_kind())[1:]
    return _info(signed=CONTENT, wire_attributes=b'', unsigned=unsigned)


@ATTACKS.add
def multipart_that_also_encapsulates_other_content() -> Case:
    cms = writer.signed_data(
        [writer.signer_info(CONTENT, _endorser())],
        [_endorser().der],
        content=CONTENT,
    )
    return Case(writer.multipart(EVIL, cms), MALFORMED)


@ATTACKS.add
def multipart_that_also_encapsulates_the_same_content() -> Case:
    cms = writer.signed_data(
        [writer.signer_info(CONTENT, _endorser())],
        [_endorser().der],
        content=CONTENT,
    )
    return Case(writer.multipart(CONTENT, cms), MALFORMED)


@ATTACKS.add
def opaque_without_content() -> Case:
    return Case(writer.opaque(_cms()), MALFORMED)


# The signature


@ATTACKS.add
def bad_signature() -> Case:
    return _info('signature', signed=b'something else')


@ATTACKS.add
def signature_of_another_key() -> Case:
    return _info('signature', key=pki.key('rsa thief'))


@ATTACKS.add
def signature_by_a_key_of_another_kind() -> Case:
    return _info(
        'signature',
        key=pki.key('ec thief'),
    )


@ATTACKS.add
def signature_by_ed25519_for_an_rsa_certificate() -> Case:
    digest = 'sha512'
    content = CONTENT
    cms = writer.signed_data(
        [
            writer.signer_info(
                content, _endorser(), digest, key=pki.key('ed thief')
            )
        ],
        [_endorser().der],
        digests=(digest,),
    )
    return Case(writer.multipart(content, cms), 'signature')


@ATTACKS.add
def rsa_signature_for_an_elliptic_curve_certificate() -> Case:
    return _by_other_key('ec endorser', 'rsa thief')


@ATTACKS.add
def rsa_signature_for_an_ed25519_certificate() -> Case:
    return _by_other_key('ed endorser', 'rsa thief')


def _by_other_key(label: str, thief: str) -> Case:
    holder = pki.site().issuing.issue('C=DE/O=Grid/CN=Jo', label)
    info = writer.signer_info(CONTENT, holder, key=pki.key(thief))
    cms = writer.signed_data([info], [holder.der])
    return Case(writer.multipart(CONTENT, cms), 'signature')


@ATTACKS.add
def empty_signature() -> Case:
    return _info('signature', signature=b'')


@ATTACKS.add
def content_type_attribute_different() -> Case:
    return _attributes(_kind(writer.SIGNED_DATA), _digest())


@ATTACKS.add
def content_type_attribute_missing() -> Case:
    return _attributes(_digest())


@ATTACKS.add
def content_type_attribute_twice() -> Case:
    return _attributes(_kind(), _kind(), _digest())


@ATTACKS.add
def message_digest_attribute_missing() -> Case:
    return _attributes(_kind())


@ATTACKS.add
def message_digest_attribute_twice() -> Case:
    return _attributes(_kind(), _digest(), _digest(EVIL))


@ATTACKS.add
def message_digest_with_two_values() -> Case:
    values = [
        writer.octets(hashlib.sha256(c).digest()) for c in (CONTENT, EVIL)
    ]
    return _attributes(
        _kind(), writer.attribute(writer.MESSAGE_DIGEST, *values)
    )


@ATTACKS.add
def message_digest_without_a_value() -> Case:
    return _attributes(_kind(), writer.attribute(writer.MESSAGE_DIGEST))


@ATTACKS.add
def message_digest_of_another_type() -> Case:
    return _attributes(
        _kind(), writer.attribute(writer.MESSAGE_DIGEST, writer.integer(1))
    )


@ATTACKS.add
def attribute_that_is_no_pair() -> Case:
    return _attributes(_kind(), _digest(), writer.seq(writer.oid('1.2.3')))


@ATTACKS.add
def attribute_values_in_a_sequence() -> Case:
    odd = writer.seq(writer.oid('1.2.3'), writer.seq(writer.integer(1)))
    return _attributes(_kind(), _digest(), odd)


@ATTACKS.add
def attributes_in_indefinite_length() -> Case:
    attributes = writer.usual_attributes(CONTENT)
    return _info(wire_attributes=writer.indefinite(0xA0, *sorted(attributes)))


@ATTACKS.add
def attributes_with_a_padded_length() -> Case:
    body = writer.set_of(*writer.usual_attributes(CONTENT))
    length = body[1] if body[1] < 0x80 else body[2]
    content = body[2:] if body[1] < 0x80 else body[3:]
    wire = b'\xa0\x82\x00' + bytes([length]) + content
    return _info(wire_attributes=wire, signed=b'\x31' + wire[1:])


@ATTACKS.add
def signing_time_in_the_future() -> Case:
    return _time(writer.utc_time(pki.NOW + pki.DAY), 'signed-in-future')


@ATTACKS.add
def signing_time_that_is_no_time() -> Case:
    return _time(writer.tlv(0x17, b'269999999999Z'))


@ATTACKS.add
def signing_time_with_a_zone() -> Case:
    return _time(writer.tlv(0x17, b'260101000000+0100'))


@ATTACKS.add
def signing_time_of_another_type() -> Case:
    return _time(writer.octets(b'260101000000Z'))


def _time(value: bytes, code: str = MALFORMED) -> Case:
    attribute = writer.attribute(writer.SIGNING_TIME, value)
    return _attributes(_kind(), _digest(), attribute, code=code)


# The algorithms


@ATTACKS.add
def sha1_digest() -> Case:
    return _info('weak-digest', digest='sha1')


@ATTACKS.add
def md5_digest() -> Case:
    return _info('weak-digest', digest='md5')


@ATTACKS.add
def md5_digest_where_sha1_is_allowed() -> Case:
    case = _info('weak-digest', digest='md5')
    return Case(case.message, case.code, policy={'allow_sha1_dangerous': True})


@ATTACKS.add
def unknown_digest() -> Case:
    return _info('algorithm', digest='sha224')


@ATTACKS.add
def digest_that_the_message_does_not_declare() -> Case:
    return _structure('algorithm', digests=('sha512',))


@ATTACKS.add
def digest_algorithm_with_odd_parameters() -> Case:
    odd = writer.algorithm(writer.DIGESTS['sha256'], writer.integer(1))
    return _info('algorithm', digest_identifier=odd)


@ATTACKS.add
def digest_algorithm_with_three_fields() -> Case:
    odd = writer.algorithm(writer.DIGESTS['sha256'], writer.NULL + writer.NULL)
    return _info(digest_identifier=odd)


@ATTACKS.add
def signature_algorithm_that_contradicts_the_digest() -> Case:
    return _info(
        'algorithm',
        algorithm=writer.algorithm('1.2.840.113549.1.1.13', writer.NULL),
    )


@ATTACKS.add
def signature_algorithm_sha1_with_rsa_beside_sha256() -> Case:
    return _info(
        'algorithm',
        algorithm=writer.algorithm('1.2.840.113549.1.1.5', writer.NULL),
    )


@ATTACKS.add
def ed25519_with_sha256() -> Case:
    return _info('algorithm', key=pki.key('ed endorser'))


@ATTACKS.add
def signature_of_an_rsa_key_that_is_called_ecdsa() -> Case:
    named = writer.algorithm(writer.ECDSA['sha256'])
    return _info('signature', algorithm=named)


@ATTACKS.add
def signature_algorithm_with_empty_parameters_of_another_type() -> Case:
    odd = writer.algorithm(writer.RSA, writer.octets(b''))
    return _info('algorithm', algorithm=odd)


@ATTACKS.add
def signature_algorithm_unknown() -> Case:
    return _info('algorithm', algorithm=writer.algorithm('1.2.3.4'))


@ATTACKS.add
def signature_algorithm_dsa() -> Case:
    dsa = writer.algorithm('2.16.840.1.101.3.4.3.2')
    return _info('algorithm', algorithm=dsa)


@ATTACKS.add
def protected_algorithms_differ() -> Case:
    value = writer.seq(
        writer.digest_algorithm('sha512'),
        b'\xa1' + writer.algorithm(writer.RSA, writer.NULL)[1:],
    )
    return _attributes(
        _kind(),
        _digest(),
        writer.attribute(writer.PROTECTION, value),
        code='algorithm',
    )


@ATTACKS.add
def protected_algorithm_of_a_mac() -> Case:
    value = writer.seq(
        writer.digest_algorithm('sha256'),
        b'\xa2' + writer.algorithm(writer.RSA, writer.NULL)[1:],
    )
    return _attributes(
        _kind(),
        _digest(),
        writer.attribute(writer.PROTECTION, value),
        code='algorithm',
    )


def _pss(parameters: bytes, code: str = 'algorithm') -> Case:
    return _info(
        code, salt=32, algorithm=writer.algorithm(writer.PSS, parameters)
    )


@ATTACKS.add
def pss_with_another_digest_inside() -> Case:
    return _pss(writer.pss_parameters('sha512', 32))


@ATTACKS.add
def pss_with_sha1_in_the_mask() -> Case:
    return _pss(writer.pss_parameters('sha256', 32, mask='sha1'))


@ATTACKS.add
def pss_with_default_parameters_means_sha1() -> Case:
    return _pss(b'')


@ATTACKS.add
def pss_with_a_huge_salt() -> Case:
    return _pss(writer.pss_parameters('sha256', 100_000))


@ATTACKS.add
def pss_with_a_negative_salt() -> Case:
    parameters = writer.seq(
        writer.tlv(0xA0, writer.digest_algorithm('sha256')),
        writer.tlv(
            0xA1,
            writer.algorithm(writer.MGF1, writer.digest_algorithm('sha256')),
        ),
        writer.tlv(0xA2, b'\x02\x01\xff'),
    )
    return _pss(parameters)


@ATTACKS.add
def pss_with_another_salt_than_was_used() -> Case:
    return _pss(writer.pss_parameters('sha256', 20), 'signature')


@ATTACKS.add
def pss_with_another_trailer() -> Case:
    trailer = writer.tlv(0xA3, writer.integer(2))
    return _pss(writer.pss_parameters('sha256', 32, trailer=trailer))


@ATTACKS.add
def pss_with_a_field_twice() -> Case:
    trailer = writer.tlv(0xA2, writer.integer(32))
    return _pss(writer.pss_parameters('sha256', 32, trailer=trailer))


@ATTACKS.add
def pss_with_an_unknown_field() -> Case:
    trailer = writer.tlv(0xA9, writer.integer(1))
    return _pss(writer.pss_parameters('sha256', 32, trailer=trailer))


@ATTACKS.add
def pss_with_an_unknown_mask() -> Case:
    parameters = writer.seq(
        writer.tlv(0xA0, writer.digest_algorithm('sha256')),
        writer.tlv(0xA1, writer.algorithm('1.2.3')),
    )
    return _pss(parameters)


# The structure


@ATTACKS.add
def certificates_only() -> Case:
    cms = writer.signed_data([], [_endorser().der], digests=())
    return Case(writer.opaque(cms, smime_type='certs-only'), 'no-signer')


@ATTACKS.add
def zero_signers() -> Case:
    return _structure('no-signer', signers=[])


@ATTACKS.add
def three_hundred_signers() -> Case:
    info = writer.signer_info(CONTENT, _endorser())
    return _structure('too-many-signers', signers=[info] * 300)


@ATTACKS.add
def three_hundred_signers_where_a_threshold_allows_some() -> Case:
    case = three_hundred_signers()
    return Case(case.message, case.code, policy={'threshold': 2})


@ATTACKS.add
def good_signer_and_evil_signer() -> Case:
    return _structure('too-many-signers', **_two('evil'))


@ATTACKS.add
def evil_signer_and_good_signer() -> Case:
    return _structure('too-many-signers', **_two('evil', first=True))


def _two(kind: str, *, first: bool = False) -> dict[str, Any]:
    evil = pki.self_signed('C=XX/O=Evil/CN=Mallory', 'ec evil')
    bad = (
        writer.signer_info(CONTENT, evil)
        if kind == 'evil'
        else writer.signer_info(CONTENT, _second(), signed=b'other')
    )
    good = writer.signer_info(CONTENT, _endorser())
    return {
        'signers': [bad, good] if first else [good, bad],
        'certificates': [_endorser().der, evil.der, _second().der],
    }


def _second() -> pki.Holder:
    return pki.site().issuing.issue(
        'C=DE/O=Grid/CN=Second', 'ec second', pki.endorser_extensions('ec 2')
    )


@ATTACKS.add
def good_signer_and_evil_signer_where_two_are_expected() -> Case:
    case = _structure('self-signed', **_two('evil'))
    return Case(case.message, case.code, policy={'threshold': 2})


@ATTACKS.add
def evil_signer_and_good_signer_where_two_are_expected() -> Case:
    case = _structure('self-signed', **_two('evil', first=True))
    return Case(case.message, case.code, policy={'threshold': 2})


@ATTACKS.add
def good_signer_and_broken_signer_where_two_are_expected() -> Case:
    second = _second()
    infos = [
        writer.signer_info(CONTENT, _endorser()),
        writer.signer_info(CONTENT, second, signed=b'other'),
    ]
    case = _structure(
        'signature',
        signers=infos,
        certificates=[_endorser().der, second.der],
    )
    return Case(case.message, case.code, policy={'threshold': 2})


@ATTACKS.add
def broken_signer_and_good_signer_where_two_are_expected() -> Case:
    second = _second()
    infos = [
        writer.signer_info(CONTENT, second, signed=b'other'),
        writer.signer_info(CONTENT, _endorser()),
    ]
    case = _structure(
        'signature',
        signers=infos,
        certificates=[_endorser().der, second.der],
    )
    return Case(case.message, case.code, policy={'threshold': 2})


@ATTACKS.add
def one_endorser_signing_twice_does_not_make_two() -> Case:
    infos = [
        writer.signer_info(CONTENT, _endorser()),
        writer.signer_info(CONTENT, _endorser(), by_key=True),
    ]
    case = _structure('threshold', signers=infos)
    return Case(case.message, case.code, policy={'threshold': 2})


@ATTACKS.add
def two_certificates_of_one_endorser_do_not_make_two() -> Case:
    site = pki.site()
    renewed = site.issuing.issue(
        site.endorser.certificate.subject,
        'ec renewed',
        pki.endorser_extensions('ec renewed'),
    )
    infos = [
        writer.signer_info(CONTENT, site.endorser),
        writer.signer_info(CONTENT, renewed),
    ]
    case = _structure(
        'threshold',
        signers=infos,
        certificates=[site.endorser.der, renewed.der],
    )
    return Case(case.message, case.code, policy={'threshold': 2})


@ATTACKS.add
def two_signers_of_different_forms_of_the_content() -> Case:
    content = b'{}\r\n'
    second = _second()
    infos = [
        writer.signer_info(content, _endorser()),
        writer.signer_info(b'{}\n', second),
    ]
    cms = writer.signed_data(infos, [_endorser().der, second.der])
    return Case(
        writer.multipart(content, cms), 'digest', policy={'threshold': 2}
    )


@ATTACKS.add
def certificate_of_the_signer_missing() -> Case:
    return _structure('no-certificate', certificates=[pki.site().root.der])


@ATTACKS.add
def no_certificates_at_all() -> Case:
    return _structure('no-certificate', certificates=[])


@ATTACKS.add
def certificate_of_the_signer_unreadable() -> Case:
    broken = writer.seq(writer.integer(1))
    return _structure('no-certificate', certificates=[broken])


@ATTACKS.add
def certificate_without_the_named_key_identifier() -> Case:
    holder = pki.site().issuing.issue('C=DE/O=Grid/CN=Jo', 'ec endorser')
    identity = writer.tlv(0x80, b'\1' * 20)
    info = writer.signer_info(CONTENT, holder, identity=identity)
    return _structure(
        'no-certificate', signers=[info], certificates=[holder.der]
    )


@ATTACKS.add
def signer_named_in_an_odd_way() -> Case:
    identity = writer.seq(writer.integer(1))
    return _info(identity=identity)


@ATTACKS.add
def content_type_of_the_structure_is_not_signed_data() -> Case:
    return _structure('not-signed', kind='1.2.840.113549.1.7.3')


@ATTACKS.add
def encapsulated_type_is_not_data() -> Case:
    return _structure(content_kind='1.2.840.113549.1.9.16.1.4')


@ATTACKS.add
def field_behind_the_encapsulated_content() -> Case:
    cms = writer.signed_data(
        [writer.signer_info(CONTENT, _endorser())],
        [_endorser().der],
        content_field=writer.tlv(0xA0, writer.octets(CONTENT))
        + writer.octets(EVIL),
    )
    return Case(writer.opaque(cms), MALFORMED)


@ATTACKS.add
def unknown_version() -> Case:
    return _structure(version=9)


@ATTACKS.add
def unknown_version_of_a_signer() -> Case:
    return _info(version=9)


@ATTACKS.add
def field_behind_the_signers() -> Case:
    return _structure(extra=writer.set_of())


@ATTACKS.add
def many_fields_behind_the_signers() -> Case:
    return _structure(extra=writer.set_of() * 4)


@ATTACKS.add
def signer_with_a_field_behind_the_signature() -> Case:
    return _info(unsigned=writer.integer(1))


@ATTACKS.add
def signer_with_two_fields_behind_the_signature() -> Case:
    attributes = writer.tlv(
        0xA1, writer.attribute('1.2.3.4', writer.integer(1))
    )
    return _info(unsigned=attributes + writer.integer(1))


@ATTACKS.add
def signer_with_many_fields_behind_the_signature() -> Case:
    return _info(unsigned=writer.integer(1) * 3)


@ATTACKS.add
def signer_with_attributes_but_without_signature() -> Case:
    attributes = writer.set_of(*writer.usual_attributes(CONTENT))
    info = writer.seq(
        writer.integer(1),
        writer.seq(writer.seq(), writer.integer(1)),
        writer.digest_algorithm('sha256'),
        b'\xa0' + attributes[1:],
        writer.algorithm(writer.RSA, writer.NULL),
    )
    return _structure(signers=[info])


@ATTACKS.add
def signer_that_is_a_number() -> Case:
    return _structure(signers=[writer.integer(1)])


@ATTACKS.add
def structure_that_is_a_set() -> Case:
    return _raw(b'\x31' + _cms()[1:])


@ATTACKS.add
def structure_with_three_fields() -> Case:
    return _raw(
        writer.seq(writer.oid(writer.SIGNED_DATA), writer.seq(), writer.NULL)
    )


@ATTACKS.add
def structure_with_two_bodies() -> Case:
    return _raw(
        writer.seq(
            writer.oid(writer.SIGNED_DATA),
            writer.tlv(0xA0, writer.seq(), writer.seq()),
        )
    )


@ATTACKS.add
def structure_with_too_few_fields() -> Case:
    return _raw(
        writer.seq(
            writer.oid(writer.SIGNED_DATA), writer.tlv(0xA0, writer.seq())
        )
    )


@ATTACKS.add
def bytes_behind_the_structure() -> Case:
    return _raw(_cms() + b'\0')


@ATTACKS.add
def structure_cut_short() -> Case:
    return _raw(_cms()[:-1])


@ATTACKS.add
def structure_empty() -> Case:
    return _raw(b'')


def _raw(cms: bytes, code: str = MALFORMED) -> Case:
    return Case(writer.multipart(CONTENT, cms), code)


@ATTACKS.add
def oid_empty() -> Case:
    return _raw(writer.seq(b'\x06\x00', writer.seq()))


@ATTACKS.add
def oid_that_does_not_end() -> Case:
    return _raw(writer.seq(b'\x06\x02\x2a\x86', writer.seq()))


@ATTACKS.add
def oid_padded() -> Case:
    return _raw(writer.seq(b'\x06\x03\x2a\x80\x01', writer.seq()))


@ATTACKS.add
def long_tag() -> Case:
    return _raw(b'\x3f\x81\x01\x00')


@ATTACKS.add
def primitive_of_indefinite_length() -> Case:
    return _raw(b'\x04\x80\x00\x00')


@ATTACKS.add
def integer_without_content() -> Case:
    return _raw(_cms().replace(writer.integer(1), b'\x02\x00\x05', 1))


@ATTACKS.add
def version_of_no_bytes() -> Case:
    inner = writer.seq(
        b'\x02\x00',
        writer.set_of(),
        writer.seq(writer.oid(writer.DATA)),
        writer.tlv(0x31, writer.seq()),
    )
    return _raw(
        writer.seq(writer.oid(writer.SIGNED_DATA), writer.tlv(0xA0, inner))
    )


@ATTACKS.add
def set_of_digests_that_is_primitive() -> Case:
    inner = writer.seq(
        writer.integer(1),
        b'\x11\x00',
        writer.seq(writer.oid(writer.DATA)),
        writer.tlv(0x31, writer.seq()),
    )
    return _raw(
        writer.seq(writer.oid(writer.SIGNED_DATA), writer.tlv(0xA0, inner))
    )


@ATTACKS.add
def sequence_that_is_primitive() -> Case:
    return _raw(writer.seq(writer.oid(writer.SIGNED_DATA), b'\x80\x00'))


@ATTACKS.add
def signature_that_is_no_octet_string() -> Case:
    cms = _cms()
    field = writer.octets(
        writer.raw_signature(
            _endorser().key,
            writer.set_of(*writer.usual_attributes(CONTENT)),
            'sha256',
        )
    )
    assert cms.endswith(field)
    return _raw(cms.removesuffix(field) + b'\x03' + field[1:])


# Cost


@ATTACKS.add
def four_thousand_nested_sequences() -> Case:
    data = b''
    for _ in range(4000):
        data = writer.seq(data)
    return _raw(data)


@ATTACKS.add
def twenty_thousand_open_indefinite_lengths() -> Case:
    return _raw(b'\x30\x80' * 20_000, 'limit')


@ATTACKS.add
def four_thousand_nested_octet_strings() -> Case:
    data = writer.octets(CONTENT)
    for _ in range(4000):
        data = writer.tlv(0x24, data)
    cms = writer.signed_data(
        [writer.signer_info(CONTENT, _endorser())],
        [_endorser().der],
        content_field=writer.tlv(0xA0, data),
    )
    return Case(writer.opaque(cms), 'limit')


@ATTACKS.add
def four_gigabyte_length() -> Case:
    return _raw(b'\x30\x84\xff\xff\xff\xff' + _cms())


@ATTACKS.add
def length_of_a_hundred_bytes() -> Case:
    return _raw(b'\x30\xe4' + b'\xff' * 100)


@ATTACKS.add
def hundred_thousand_elements() -> Case:
    return _raw(writer.indefinite(0x30, writer.NULL * 100_000), 'limit')


@ATTACKS.add
def certificate_of_forty_kilobytes() -> Case:
    big = writer.seq(writer.octets(bytes(40_000)))
    return _structure('limit', certificates=[big])


@ATTACKS.add
def two_megabytes_of_certificates() -> Case:
    many = [
        writer.seq(writer.integer(n), writer.octets(bytes(20_000)))
        for n in range(100)
    ]
    return _structure('limit', certificates=many)


@ATTACKS.add
def three_hundred_certificates() -> Case:
    many = [writer.seq(writer.integer(n)) for n in range(300)]
    return _structure('limit', certificates=many)


@ATTACKS.add
def message_too_large() -> Case:
    return Case(bytes(16 * 1024 * 1024 + 1), 'limit')


@ATTACKS.add
def headers_too_large() -> Case:
    head = b'Content-Type: ' + b'x' * 70_000
    return Case(head + b'\n\n', 'limit')


@ATTACKS.add
def inner_headers_too_large() -> Case:
    content = b'Content-Type: ' + b'x' * 70_000
    return Case(writer.multipart(content, _cms(content)), 'limit')


@ATTACKS.add
def megabyte_of_semicolons_and_quotes_in_headers() -> Case:
    head = b'Content-Type: multipart/signed' + b'; "' * 20_000
    return Case(head + b'\n\n', MALFORMED)


@ATTACKS.add
def million_boundaries() -> Case:
    line = b'--' + writer.BOUNDARY.encode() + b'\n'
    return Case(writer.multipart(line * 200_000, _cms()), MALFORMED)


# The envelope


@ATTACKS.add
def bare_json() -> Case:
    return Case(lists.payload(), 'not-signed')


@ATTACKS.add
def nothing() -> Case:
    return Case(b'', 'not-signed')


@ATTACKS.add
def binary_noise() -> Case:
    return Case(bytes(range(256)) * 10, 'not-signed')


@ATTACKS.add
def plain_mail() -> Case:
    return Case(b'Subject: x\n\n' + CONTENT, 'not-signed')


@ATTACKS.add
def pgp_signed() -> Case:
    return _message('not-signed', protocol='application/pgp-signature')


@ATTACKS.add
def protocol_missing() -> Case:
    head = (
        b'Content-Type: multipart/signed; boundary="'
        + writer.BOUNDARY.encode()
        + b'"\n\n'
    )
    return _message('not-signed', head=head)


@ATTACKS.add
def enveloped_data() -> Case:
    return Case(
        writer.opaque(_cms(), smime_type='enveloped-data'), 'not-signed'
    )


@ATTACKS.add
def multipart_mixed_around_it() -> Case:
    inner = writer.multipart(CONTENT, _cms())
    return Case(
        b'Content-Type: multipart/mixed; boundary=mixed\n\n--mixed\n'
        b'Content-Type: text/plain\n\nevil\n--mixed\n'
        + inner
        + b'\n--mixed--\n',
        'not-signed',
    )


def _head(text: str) -> bytes:
    return text.replace('BOUNDARY', writer.BOUNDARY).encode()


USUAL = (
    'Content-Type: multipart/signed; '
    'protocol="application/x-pkcs7-signature"; boundary="BOUNDARY"\n'
)


@ATTACKS.add
def duplicate_content_type() -> Case:
    return _message(head=_head(USUAL + 'Content-Type: text/plain\n\n'))


@ATTACKS.add
def duplicate_content_type_in_the_signature_part() -> Case:
    return _message(
        part_headers=b'Content-Type: application/pkcs7-signature\n' * 2
        + b'Content-Transfer-Encoding: base64\n'
    )


@ATTACKS.add
def duplicate_boundary_parameter() -> Case:
    return _message(head=_head(USUAL.replace('\n', '; boundary="other"\n\n')))


@ATTACKS.add
def content_type_malformed() -> Case:
    return _message(head=_head(USUAL.replace('\n', '; a="b\n\n')))


@ATTACKS.add
def header_line_malformed() -> Case:
    return _message(head=_head(USUAL + 'no colon\n\n'))


@ATTACKS.add
def header_without_end() -> Case:
    return Case(b'Content-Type: multipart/signed', MALFORMED)


@ATTACKS.add
def boundary_missing() -> Case:
    return _message(
        head=b'Content-Type: multipart/signed; '
        b'protocol="application/x-pkcs7-signature"\n\n'
    )


@ATTACKS.add
def boundary_with_a_blank_at_its_end() -> Case:
    return _message(head=_head(USUAL.replace('BOUNDARY', 'a ') + '\n'))


@ATTACKS.add
def boundary_not_ascii() -> Case:
    return _message(head=_head(USUAL.replace('BOUNDARY', '\xe9') + '\n'))


@ATTACKS.add
def boundary_inside_the_content() -> Case:
    content = (
        b'{"a": 1}\r\n--' + writer.BOUNDARY.encode() + b'\r\n{"a": 2}\r\n'
    )
    return Case(writer.multipart(content, _cms(content)), MALFORMED)


@ATTACKS.add
def closing_boundary_inside_the_content() -> Case:
    content = b'{}\r\n--' + writer.BOUNDARY.encode() + b'--\r\n'
    return Case(writer.multipart(content, _cms(content)), MALFORMED)


@ATTACKS.add
def line_of_the_content_that_begins_with_the_boundary() -> Case:
    content = b'{}\r\n--' + writer.BOUNDARY.encode() + b'0\r\n'
    return Case(writer.multipart(content, _cms(content)), MALFORMED)


@ATTACKS.add
def three_parts() -> Case:
    line = b'\n--' + writer.BOUNDARY.encode() + b'\n'
    return Case(writer.multipart(EVIL + line + CONTENT, _cms()), MALFORMED)


@ATTACKS.add
def part_behind_the_signature() -> Case:
    line = b'\n--' + writer.BOUNDARY.encode() + b'\n'
    return _message(after=line + EVIL)


@ATTACKS.add
def one_part_only() -> Case:
    line = b'--' + writer.BOUNDARY.encode()
    return Case(
        _head(USUAL + '\n') + line + b'\n' + CONTENT + line + b'--\n',
        MALFORMED,
    )


@ATTACKS.add
def closing_boundary_missing() -> Case:
    message = writer.multipart(CONTENT, _cms())
    line = b'--' + writer.BOUNDARY.encode() + b'--'
    return Case(message.replace(line, b''), MALFORMED)


@ATTACKS.add
def content_part_without_a_line() -> Case:
    message = writer.multipart(b'', _cms())
    line = b'--' + writer.BOUNDARY.encode() + b'\n'
    return Case(message.replace(line + b'\n', line), MALFORMED)


@ATTACKS.add
def signature_part_without_a_line() -> Case:
    line = b'--' + writer.BOUNDARY.encode()
    return Case(
        _head(USUAL + '\n') + line + b'\n{}\n' + line + b'\n' + line + b'--',
        MALFORMED,
    )


@ATTACKS.add
def signature_part_labelled_8bit() -> Case:
    return _message(encoding='8bit')


@ATTACKS.add
def signature_part_without_transfer_encoding() -> Case:
    return _message(encoding=None)


@ATTACKS.add
def signature_part_of_another_type() -> Case:
    return _message(kind='application/octet-stream')


@ATTACKS.add
def signature_part_not_base64() -> Case:
    message = writer.multipart(CONTENT, _cms())
    armour = writer.armour(_cms())
    return Case(message.replace(armour[:64], b'*' * 64), MALFORMED)


@ATTACKS.add
def opaque_labelled_8bit() -> Case:
    cms = writer.signed_data(
        [writer.signer_info(CONTENT, _endorser())],
        [_endorser().der],
        content=CONTENT,
    )
    return Case(writer.opaque(cms, encoding='8bit'), MALFORMED)


def _inner(headers: bytes, body: bytes = b'{}') -> Case:
    content = headers.replace(b'\n', b'\r\n') + body
    return Case(writer.multipart(content, _cms(content)), MALFORMED)


@ATTACKS.add
def inner_duplicate_content_type() -> Case:
    return _inner(b'Content-Type: a/b\nContent-Type: c/d\n\n')


@ATTACKS.add
def inner_multipart() -> Case:
    return _inner(b'Content-Type: multipart/mixed; boundary=a\n\n')


@ATTACKS.add
def inner_message() -> Case:
    return _inner(b'Content-Type: message/rfc822\n\n')


@ATTACKS.add
def inner_quoted_printable() -> Case:
    return _inner(b'Content-Transfer-Encoding: quoted-printable\n\n')


@ATTACKS.add
def inner_base64_broken() -> Case:
    return _inner(b'Content-Transfer-Encoding: base64\n\n', b'!')


@ATTACKS.add
def inner_headers_without_end() -> Case:
    return _inner(b'Content-Type: text/plain\n')


# The payload


def _list(code: str, payload: bytes | None = None, **changes: Any) -> Case:
    return Case(
        writer.usual(
            lists.payload(**changes) if payload is None else payload,
            _endorser(),
        ),
        code,
        is_list=True,
    )


@ATTACKS.add
def payload_latin_1() -> Case:
    text = json.dumps(lists.document(dc_title='caf\xe9'), ensure_ascii=False)
    return _list('invalid-list', text.encode('latin-1'))


@ATTACKS.add
def payload_with_byte_order_mark() -> Case:
    return _list('invalid-list', b'\xef\xbb\xbf' + lists.compact())


@ATTACKS.add
def payload_with_nul() -> Case:
    return _list(
        'invalid-list', lists.compact().replace(b'Worker', b'Work\0r')
    )


@ATTACKS.add
def payload_with_duplicate_keys() -> Case:
    text = lists.compact().replace(
        b'"hv:version":"2"', b'"hv:version":"2","hv:version":"3"'
    )
    return _list('invalid-list', text)


@ATTACKS.add
def payload_with_nan() -> Case:
    return _list('invalid-list', lists.compact().replace(b':4,', b':NaN,'))


@ATTACKS.add
def payload_with_infinity() -> Case:
    return _list(
        'invalid-list', lists.compact().replace(b':4,', b':-Infinity,')
    )


@ATTACKS.add
def payload_with_an_integer_of_200_000_digits() -> Case:
    return _list(
        'invalid-list',
        lists.compact().replace(b':4,', b':' + b'9' * 200_000 + b','),
    )


@ATTACKS.add
def payload_100_000_deep() -> Case:
    return _list('invalid-list', b'[' * 100_000 + b']' * 100_000)


@ATTACKS.add
def payload_100_000_deep_in_objects() -> Case:
    return _list('invalid-list', b'{"a":' * 100_000)


@ATTACKS.add
def payload_that_is_no_json() -> Case:
    return _list('invalid-list', b'"hv:imagelist": {}')


@ATTACKS.add
def payload_that_is_empty() -> Case:
    return _list('invalid-list', b'')


@ATTACKS.add
def list_of_another_identifier() -> Case:
    case = _list('wrong-identifier')
    return Case(
        case.message,
        case.code,
        policy={'list_identifier': '5b7f0c1e-6a0c-4f5e-9d55-0c52b6f6ffff'},
        is_list=True,
    )


@ATTACKS.add
def list_that_names_another_endorser() -> Case:
    other = lists.endorser_entry(
        '/C=DE/O=Grid/CN=Victim', _endorser().issuer_slash
    )
    return _list('endorser-differs', hv_endorser=other)


@ATTACKS.add
def list_that_names_another_ca() -> Case:
    other = lists.endorser_entry(_endorser().slash, '/C=DE/CN=Other CA')
    return _list('endorser-differs', hv_endorser=other)


@ATTACKS.add
def list_whose_endorser_is_no_name() -> Case:
    other = lists.endorser_entry('Jo Endorser', _endorser().issuer_slash)
    return _list('endorser-differs', hv_endorser=other)


@ATTACKS.add
def list_whose_endorser_is_ambiguous() -> Case:
    other = lists.endorser_entry(
        '/C=DE/O=Grid/CN=Jo/what=ever', _endorser().issuer_slash
    )
    return _list('ambiguous-name', hv_endorser=other)


@ATTACKS.add
def list_from_the_future() -> Case:
    return _list(
        'list-from-future',
        **{'dc:date:created': lists.stamp(pki.NOW + pki.DAY)},
    )


@ATTACKS.add
def list_expired() -> Case:
    return _list(
        'list-expired',
        **{'dc:date:expires': lists.stamp(pki.NOW - pki.DAY / 24)},
    )


@ATTACKS.add
def list_that_expires_this_second() -> Case:
    return _list('list-expired', **{'dc:date:expires': lists.stamp(pki.NOW)})
