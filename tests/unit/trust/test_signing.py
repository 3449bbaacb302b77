# SPDX-License-Identifier: Apache-2.0
"""What we sign is accepted by us and by OpenSSL, or nothing is written."""

from __future__ import annotations

import json
import subprocess

from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography import x509
import pytest

from hepix_vm import errors
from hepix_vm import trust
from hepix_vm.trust import joining
from hepix_vm.trust import raw_signature
from hepix_vm.trust import signing
from hepix_vm.trust import unchained
from tests.assets import attacks_on_path
from tests.assets import lists
from tests.assets import pki
from tests.assets import writer
from tests.unit.trust import judging
from tests.unit.trust import openssl

# The time of signing is today's, whenever that is.
EVER = trust.Policy(clock_skew=100 * 366 * pki.DAY)


def _endorser(label):
    return pki.site().issuing.issue(
        'C=DE/O=Grid/CN=Jo', label, pki.endorser_extensions(label)
    )


def _anchors():
    case = judging.cases.Case(b'')
    return judging.anchors_of(case)


@pytest.mark.parametrize(
    'label',
    ['rsa endorser', 'ec endorser', 'p384 endorser', 'p521 endorser'],
)
@pytest.mark.parametrize('eol', [b'\n', b'\r\n'])
def test_signed_list_is_accepted(label, eol):
    holder = _endorser(label)
    payload = lists.payload(holder).replace(b'\n', eol)
    message = trust.sign(payload, holder.certificate, holder.key)
    endorsed = trust.verify(message, _anchors(), EVER, pki.NOW)
    assert endorsed.payload == writer.crlf(payload)
    assert endorsed.signers[0].identity.subject.slash() == holder.slash


def test_signed_list_has_the_shape_of_the_wild():
    endorser = pki.site().endorser
    payload = lists.payload()
    message = trust.sign(payload, endorser.certificate, endorser.key)
    assert message.startswith(b'MIME-Version: 1.0\nContent-Type: multipart/')
    assert b'\n\nThis is an S/MIME signed message\n\n------' in message
    assert b'\r' not in message
    assert payload in message
    assert b'filename="smime.p7s"' in message
    assert b'micalg="sha-256"' in message


@openssl.needed
@pytest.mark.parametrize('label', ['rsa endorser', 'p384 endorser'])
@pytest.mark.parametrize('command', ['cms', 'smime'])
def test_openssl_accepts_what_we_sign(tmp_path, label, command):
    holder = _endorser(label)
    payload = lists.payload(holder)
    message = trust.sign(payload, holder.certificate, holder.key)
    case = judging.cases.Case(message)
    verdict = openssl.verify(case, tmp_path, command=command)
    assert verdict.accepted, verdict.text
    assert verdict.content == writer.crlf(payload)


def test_other_certificates_are_embedded():
    site = pki.site()
    message = trust.sign(
        lists.payload(),
        site.endorser.certificate,
        site.endorser.key,
        [site.issuing.certificate],
    )
    case = judging.cases.Case(
        message,
        anchors=(site.root.certificate,),
        policy={'clock_skew': EVER.clock_skew},
    )
    assert judging.code_of(case) == 'ok'


@pytest.mark.parametrize('payload', [b'', b'{}', b'\n{}\n\n', b'\xc3\xa9'])
def test_any_text_can_be_signed(payload):
    endorser = pki.site().endorser
    message = trust.sign(payload, endorser.certificate, endorser.key)
    verified = trust.verify_message(message, _anchors(), EVER, pki.NOW)
    assert verified.payload == writer.crlf(payload)


def test_key_of_another_certificate():
    endorser = pki.site().endorser
    for label in ('rsa thief', 'ec thief'):
        with pytest.raises(errors.Misconfigured, match='does not belong'):
            trust.sign(b'{}', endorser.certificate, pki.key(label))


@pytest.mark.parametrize('label', ['ed endorser', 'x25519'])
def test_kinds_of_keys_that_cannot_sign_in_this_form(label):
    holder = pki.site().issuing.issue('C=DE/CN=Jo', label)
    with pytest.raises(errors.Misconfigured, match='RSA or EC is needed'):
        trust.sign(b'{}', holder.certificate, holder.key)


@pytest.mark.parametrize('label', ['rsa1024 weak', 'k256 odd'])
def test_weak_key_is_refused_before_anything_is_written(label):
    holder = pki.site().issuing.issue('C=DE/CN=Jo', label)
    with pytest.raises(errors.Misconfigured, match='would be refused'):
        trust.sign(b'{}', holder.certificate, holder.key)


def test_carriage_return_inside_a_line():
    endorser = pki.site().endorser
    with pytest.raises(errors.Misconfigured, match='carriage return'):
        trust.sign(b'a\rb', endorser.certificate, endorser.key)


def test_payload_that_would_be_read_as_headers():
    endorser = pki.site().endorser
    payload = b'Content-Type: text/plain\n\n{}'
    with pytest.raises(errors.Misconfigured, match='reads as MIME headers'):
        trust.sign(payload, endorser.certificate, endorser.key)
    with pytest.raises(errors.Misconfigured, match='would be refused'):
        trust.sign(
            b'Content-Type: text/plain',
            endorser.certificate,
            endorser.key,
        )


def test_nameless_certificate():
    holder = pki.site().issuing.issue(x509.Name([]), 'ec nameless')
    with pytest.raises(errors.Misconfigured, match='empty name'):
        trust.sign(b'{}', holder.certificate, holder.key)


def test_incomplete_output_is_not_returned(monkeypatch):
    """As if the library dropped the certificates that were asked for."""
    site = pki.site()
    builder = signing.pkcs7.PKCS7SignatureBuilder
    monkeypatch.setattr(
        builder, 'add_certificate', lambda self, _certificate: self
    )
    with pytest.raises(errors.Misconfigured, match='is not complete'):
        trust.sign(
            b'{}',
            site.endorser.certificate,
            site.endorser.key,
            [site.issuing.certificate],
        )


class TestJoining:
    """A further signer of a message that is signed already."""

    def _second(self, label='p384 second'):
        return pki.site().issuing.issue(
            'C=DE/O=Grid/CN=Al', label, pki.endorser_extensions(label)
        )

    def _first(self, payload=None):
        endorser = pki.site().endorser
        if payload is None:
            payload = self._payload()
        return trust.sign(payload, endorser.certificate, endorser.key)

    def _payload(self):
        endorsers = [
            lists.endorser_entry(one.slash, one.issuer_slash)
            for one in (pki.site().endorser, self._second())
        ]
        document = lists.document(**{'hv_endorser': endorsers})
        return json.dumps(document, indent=2).encode() + b'\n'

    def _verify(self, message):
        policy = trust.Policy(threshold=2, clock_skew=EVER.clock_skew)
        return trust.verify(message, _anchors(), policy, pki.NOW)

    def _join(self, message, label='p384 second'):
        second = self._second(label)
        return signing.add_signature(message, second.certificate, second.key)

    def test_both_signatures_verify_and_the_first_is_untouched(self):
        message = self._first()
        joined = self._join(message)
        endorsed = self._verify(joined)
        assert {s.subject.slash() for s in endorsed.signers} == {
            pki.site().endorser.slash,
            self._second().slash,
        }
        before = unchained.read(message)
        after = unchained.read(joined)
        assert before.content == after.content
        (info,) = _signer_infos(before.envelope.signature)
        assert info in _signer_infos(after.envelope.signature)
        assert b'micalg="sha-256,sha-384"' in joined

    @openssl.needed
    @pytest.mark.parametrize('command', ['cms', 'smime'])
    def test_openssl_accepts_two_signers(self, tmp_path, command):
        joined = self._join(self._first())
        verdict = openssl.verify(
            judging.cases.Case(joined), tmp_path, command=command
        )
        assert verdict.accepted, verdict.text

    @openssl.needed
    @pytest.mark.parametrize(
        'options', [[], ['-nodetach'], ['-binary'], ['-keyid'], ['-text']]
    )
    def test_message_of_openssl_is_joined(self, tmp_path, options):
        endorser = pki.site().endorser
        message = _openssl_sign(self._payload(), endorser, tmp_path, options)
        assert len(self._verify(self._join(message)).signers) == 2

    def test_nobody_signs_twice(self):
        endorser = pki.site().endorser
        with pytest.raises(errors.Misconfigured, match='already'):
            signing.add_signature(
                self._first(), endorser.certificate, endorser.key
            )

    def test_changed_message_is_not_joined(self):
        message = self._first().replace(b'Worker nodes', b'Other nodes')
        with pytest.raises(errors.Refused) as caught:
            self._join(message)
        assert caught.value.code == 'digest'

    def test_message_of_another_key_is_not_joined(self):
        endorser = pki.site().endorser
        thief = pki.site().issuing.issue('C=DE/CN=Thief', 'ec thief')
        content = writer.crlf(self._payload())
        info = writer.signer_info(content, endorser, key=thief.key)
        message = writer.multipart(
            self._payload(), writer.signed_data([info], [endorser.der])
        )
        assert _read_code(message) == 'signature'

    def test_what_nobody_foresaw_is_malformed(self, monkeypatch):
        message = self._first()
        monkeypatch.setattr(unchained.cms, 'parse', lambda *_args: 1 / 0)
        assert _read_code(message) == 'malformed'

    def test_too_large(self):
        assert _read_code(b'x' * (16 * 2**20 + 1)) == 'limit'

    def test_content_twice_or_never(self):
        endorser = pki.site().endorser
        info = writer.signer_info(b'{}', endorser)
        twice = writer.signed_data([info], [endorser.der], content=b'{}')
        assert _read_code(writer.multipart(b'{}', twice)) == 'malformed'

    def test_certificate_that_nobody_can_read(self):
        endorser = pki.site().endorser
        info = writer.signer_info(b'{}', endorser)
        data = writer.signed_data([info], [writer.seq(b'\x05\x00')])
        assert _read_code(writer.multipart(b'{}', data)) == 'no-certificate'


def _read_code(message):
    with pytest.raises(errors.Refused) as caught:
        unchained.read(message)
    return caught.value.code


def _openssl_sign(payload, holder, directory, options):
    form = (
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (directory / 'key').write_bytes(holder.key.private_bytes(*form))
    (directory / 'pem').write_bytes(holder.pem)
    return subprocess.run(
        [
            *('openssl', 'cms', '-sign', '-md', 'sha256', *options),
            *('-signer', directory / 'pem', '-inkey', directory / 'key'),
        ],
        input=payload,
        capture_output=True,
        timeout=120,
        check=True,
    ).stdout


def _signer_infos(signature):
    reader = joining.der.Reader(signature)
    outer = reader.children(reader.root('signature'))
    fields = reader.children(reader.children(outer[1])[0])
    return [reader.raw(info) for info in reader.children(fields[-1])]


class TestRawSignature:
    """A detached raw signature of a file."""

    DATA = b'an image'

    def _digest(self, name='sha256'):
        return signing.hashlib.new(name, self.DATA).digest()

    def _code(self, signature, holder=None, digest=None, **more):
        algorithm = more.pop('algorithm', 'sha256')
        try:
            return raw_signature.verify(
                self._digest(algorithm) if digest is None else digest,
                algorithm,
                signature,
                (holder or pki.site().endorser).certificate,
                _anchors(),
                trust.Policy(**more),
                pki.NOW,
            )
        except errors.Refused as refusal:
            return refusal.code

    @pytest.mark.parametrize('label', ['rsa endorser', 'ec endorser'])
    def test_right_signature(self, label):
        holder = _endorser(label)
        signature = writer.raw_signature(holder.key, self.DATA, 'sha256')
        signer = self._code(signature, holder)
        assert signer.subject.slash() == holder.slash
        assert len(signer.path) == 3

    @pytest.mark.parametrize('label', ['rsa endorser', 'ec endorser'])
    def test_other_file(self, label):
        holder = _endorser(label)
        signature = writer.raw_signature(holder.key, b'other', 'sha256')
        assert self._code(signature, holder) == 'signature'

    def test_sha1_is_off_by_default(self):
        signature = pki.site().endorser.key.sign(
            self.DATA,
            padding.PKCS1v15(),
            hashes.SHA1(),  # noqa: S303
        )
        assert self._code(signature, algorithm='sha1') == 'weak-digest'
        signer = self._code(
            signature, algorithm='sha1', allow_sha1_dangerous=True
        )
        assert signer.subject.slash() == pki.site().endorser.slash

    def test_digest_of_another_length(self):
        assert self._code(b'', digest=b'short') == 'digest'

    def test_key_that_signs_no_digest(self):
        assert self._code(b'x' * 64, _endorser('ed endorser')) == 'signature'

    def test_signer_goes_through_the_same_checks(self):
        fake = pki.root('C=XX/CN=Evil', 'ec evil')
        holder = fake.issue('C=XX/CN=Mallory', 'rsa mallory')
        signature = writer.raw_signature(holder.key, self.DATA, 'sha256')
        assert self._code(signature, holder) == 'no-anchor'
        pin = attacks_on_path.spki(holder)
        assert (
            self._code(signature, holder, pins=frozenset({pin})) == 'no-anchor'
        )

    def test_what_nobody_foresaw_is_malformed(self):
        nameless = pki.site().issuing.issue(x509.Name([]), 'ec nameless')
        assert self._code(b'', nameless) == 'malformed'
