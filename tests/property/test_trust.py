# SPDX-License-Identifier: Apache-2.0
"""What holds for every message, not for the known ones only."""

from __future__ import annotations

import functools

from hypothesis import example
from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies as st

from hepix_vm import errors
from hepix_vm import trust
from hepix_vm.trust import der
from hepix_vm.trust import names
from hepix_vm.trust import signing_policy
from tests.assets import cases
from tests.assets import encodings
from tests.assets import lists
from tests.assets import pki
from tests.assets import writer
from tests.unit.trust import judging

# Nothing here is about time: the machine may be busy.
calm = functools.partial(
    settings, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@functools.cache
def _anchors() -> trust.TrustAnchors:
    return judging.anchors_of(cases.Case(b''))


@functools.cache
def _message() -> bytes:
    """A short message of an endorser with an elliptic curve key."""
    site = pki.site()
    holder = site.issuing.issue(
        'C=DE/O=Grid/CN=Jo',
        'ec endorser',
        pki.endorser_extensions('ec endorser'),
    )
    return writer.usual(lists.payload(holder), holder)


@functools.cache
def _seeds() -> tuple[bytes, ...]:
    names_ = (
        'lf_on_the_wire_crlf_in_the_digest',
        'opaque_x_pkcs7_mime',
        'indefinite_lengths_detached',
        'inner_base64',
        'header_folded_crlf',
        'rsa_pss',
    )
    return tuple(encodings.ENCODINGS[name]().message for name in names_)


def _payload(message: bytes) -> bytes | None:
    """The accepted payload; anything but Refused is raised."""
    try:
        return trust.verify_message(
            message, _anchors(), trust.Policy(), pki.NOW
        ).payload
    except errors.Refused as refusal:
        assert refusal.code in set(trust.Code)
        assert refusal.detail
        return None


def test_every_changed_byte_is_refused_or_changes_nothing():
    message = _message()
    payload = _payload(message)
    assert payload is not None
    refused = 0
    for place, octet in enumerate(message):
        changed = bytearray(message)
        changed[place] = octet ^ 0x01
        found = _payload(bytes(changed))
        refused += found is None
        assert found in (None, payload), place
    assert refused > len(message) // 2


@calm(max_examples=300)
@given(st.data())
def test_changed_bytes_of_other_encodings(data):
    seed = data.draw(st.sampled_from(_seeds()))
    place = data.draw(st.integers(0, len(seed) - 1))
    octet = data.draw(st.integers(0, 255))
    changed = seed[:place] + bytes([octet]) + seed[place + 1 :]
    assert _payload(changed) in (None, _payload(seed))


@calm(max_examples=300)
@given(st.data())
def test_pieces_taken_out_put_in_and_moved(data):
    seed = data.draw(st.sampled_from(_seeds()))
    start = data.draw(st.integers(0, len(seed)))
    stop = data.draw(st.integers(start, min(len(seed), start + 80)))
    other = data.draw(st.binary(max_size=40) | st.just(seed[start:stop] * 2))
    changed = seed[:start] + other + seed[stop:]
    assert _payload(changed) in (None, _payload(seed))


@calm(max_examples=300)
@given(st.binary(max_size=300))
@example(b'Content-Type:')
@example(b'Content-Type: multipart/signed; boundary=')
def test_any_bytes_get_a_verdict(data):
    assert _payload(data) is None


@calm(max_examples=300)
@given(st.binary(max_size=300))
def test_any_bytes_as_signature_get_a_verdict(data):
    assert _payload(writer.multipart(b'{}', data)) is None
    assert _payload(writer.opaque(data)) is None


_elements = st.recursive(
    st.builds(
        writer.tlv,
        st.sampled_from([0x02, 0x04, 0x05, 0x06, 0x17, 0x80]),
        st.binary(max_size=12),
    ),
    lambda inner: st.builds(
        lambda tag, parts, open_end: (
            writer.indefinite if open_end else writer.tlv
        )(tag, *parts),
        st.sampled_from([0x30, 0x31, 0xA0, 0xA1, 0x24]),
        st.lists(inner, max_size=5),
        st.booleans(),
    ),
    max_leaves=30,
)


@calm(max_examples=200)
@given(_elements)
def test_any_element_in_place_of_a_part_gets_a_verdict(element):
    holder = pki.site().endorser
    for data in (
        element,
        writer.signed_data([element], [holder.der]),
        writer.signed_data(
            [writer.signer_info(b'{}', holder)], [element, holder.der]
        ),
        writer.signed_data(
            [
                writer.signer_info(
                    b'{}',
                    holder,
                    attributes=[*writer.usual_attributes(b'{}'), element],
                )
            ],
            [holder.der],
        ),
    ):
        # Something beside what counts may leave the payload as it is.
        assert _payload(writer.multipart(b'{}', data)) in (None, b'{}')


@calm(max_examples=300)
@given(_elements)
def test_the_reader_reads_what_the_writer_wrote(element):
    reader = der.Reader(element)
    node = reader.root('thing')
    assert reader.raw(node) == element


@calm(max_examples=300)
@given(st.binary(max_size=100))
def test_the_reader_of_elements_says_refused_or_reads(data):
    reader = der.Reader(data)
    try:
        assert reader.raw(reader.root('thing')) == data
    except errors.Refused as refusal:
        assert refusal.code in ('malformed', 'limit')


_values = st.text(
    st.characters(exclude_categories=['Cs']), min_size=1, max_size=20
)
_types = st.sampled_from(
    ['2.5.4.3', '2.5.4.6', '2.5.4.10', '1.2.840.113549.1.9.1', '1.2.3.4']
)
_names = st.lists(
    st.frozensets(st.tuples(_types, _values), min_size=1, max_size=3),
    min_size=1,
    max_size=5,
).map(lambda parts: names.Name(tuple(parts)))


@calm(max_examples=500)
@given(_names)
def test_names_survive_rfc_4514(name):
    text = name.rfc4514()
    assert names.parse(text) == name
    assert text.isprintable()


@calm(max_examples=500)
@given(_names)
def test_slash_form_reads_as_the_same_name_or_never_as_that_one(name):
    """Where it is accepted, writing it again gives the same text."""
    text = name.slash()
    try:
        found = names.parse(text)
    except names.NotAName:
        return
    if found != name:
        # The text is another name's, too; that one is what it means.
        assert found.slash() == text.strip(' ') or '\\x' in text


@calm(max_examples=500)
@given(st.text(max_size=60) | st.from_regex(r'/(CN|C|E)=[ -~]{0,20}'))
def test_any_text_is_a_name_or_none(text):
    try:
        found = names.parse(text)
    except names.NotAName as error:
        assert str(error)
    else:
        assert found.parts


@calm(max_examples=300)
@given(st.text(max_size=200))
def test_any_text_is_a_signing_policy_or_broken(text):
    try:
        signing_policy.parse(text)
    except signing_policy.Broken as error:
        assert 'line' in str(error)
