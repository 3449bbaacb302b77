# SPDX-License-Identifier: Apache-2.0
"""Corners of the modules that no whole message reaches by itself."""

from __future__ import annotations

import dataclasses
import datetime

from cryptography.hazmat.primitives import serialization
from cryptography import x509
import pytest
import signxml

from hepix_vm import errors
from hepix_vm import trust
from hepix_vm.trust import certificates
from hepix_vm.trust import codes
from hepix_vm.trust import crls
from hepix_vm.trust import der
from hepix_vm.trust import mime
from hepix_vm.trust import names
from hepix_vm.trust import signing_policy
from hepix_vm.trust import stratuslab
from hepix_vm.trust import verdicts
from tests.assets import attacks_on_path
from tests.assets import pki
from tests.assets import writer

DER = serialization.Encoding.DER


def _crl(**more):
    return crls.of(pki.site().issuing.crl(**more), 'f.r0')


class TestSigningPolicy:
    """The files of real anchors, and what must not be guessed."""

    def test_shapes_of_the_wild(self):
        text = (
            '# comment\r\n'
            "access_id_CA   X509  '/C=DE/O=GermanGrid/CN=GridKa-CA'\r\n"
            'pos_rights\tglobus\tCA:sign\r\n'
            'cond_subjects  globus '
            '\'"/C=DE/O=GermanGrid/*" "/O=GermanGrid/*"\'\n'
            '\n'
            'access_id_CA X509 "/C=DE/O=X/Email=ca@x.de"\n'
            "pos_rights globus 'CA:sign'\n"
            'cond_subjects globus "/C=DE/O=X/E=*"\n'
            'ACCESS_ID_CA x509 /O=Bare\n'
            'pos_rights globus CA:sign\n'
            "cond_subjects globus '/O=Bare/*'\n"
            'cond_subjects globus /O=More/*\n'
        )
        assert signing_policy.parse(text) == {
            '/c=de/o=germangrid/cn=gridka-ca': (
                '/c=de/o=germangrid/*',
                '/o=germangrid/*',
            ),
            '/c=de/o=x/emailaddress=ca@x.de': ('/c=de/o=x/emailaddress=*',),
            '/o=bare': ('/o=bare/*', '/o=more/*'),
        }

    def test_conditions_without_the_right_to_sign_allow_nothing(self):
        text = (
            "access_id_CA X509 '/O=A'\n"
            'pos_rights globus CA:revoke\n'
            'cond_subjects globus \'"*"\'\n'
        )
        assert signing_policy.parse(text) == {'/o=a': ()}

    def test_conditions_count_behind_the_right_to_sign_of_the_same_ca(self):
        text = (
            "access_id_CA X509 '/O=A'\n"
            'pos_rights globus CA:sign\n'
            "cond_subjects globus '/O=A/*'\n"
            "access_id_CA X509 '/O=B'\n"
            "cond_subjects globus '/O=B/*'\n"
        )
        assert signing_policy.parse(text) == {'/o=a': ('/o=a/*',), '/o=b': ()}

    def test_only_a_pair_of_quotes_is_taken_off(self):
        for value, pattern in (
            ('/O=A/', '/o=a/'),
            ("'", "'"),
            ("'/O=A", "'/o=a"),
            ("''", None),
        ):
            text = (
                "access_id_CA X509 '/O=A'\npos_rights globus CA:sign\n"
                f'cond_subjects globus {value}\n'
            )
            expected = () if pattern is None else (pattern,)
            assert signing_policy.parse(text) == {'/o=a': expected}, value

    def test_place_of_what_is_not_understood(self):
        text = "# x\naccess_id_CA X509 '/O=A'\nneg_rights globus CA:sign"
        with pytest.raises(
            signing_policy.Broken, match="line 3: 'neg_rights' is not under"
        ):
            signing_policy.parse(text)

    def test_star_is_any_run_also_of_lines(self):
        name = names.Name((frozenset({('2.5.4.3', 'a\nb')}),))
        assert signing_policy.allows(('/cn=a*',), name)

    @pytest.mark.parametrize(
        'text',
        [
            'pos_rights globus CA:sign',
            "access_id_CA X509 '/O=A'\nneg_rights globus CA:sign",
            "access_id_CA X509 '/O=A'\npos_rights other CA:sign",
            "access_id_ANYBODY X509 '/O=A'",
            'one word',
            'word',
        ],
    )
    def test_what_is_not_understood_is_broken(self, text):
        with pytest.raises(signing_policy.Broken, match='line'):
            signing_policy.parse(text)

    @pytest.mark.parametrize(
        ('pattern', 'subject', 'verdict'),
        [
            ('/O=Grid/*', '/O=Grid/CN=a', True),
            ('/O=Grid/*', '/O=Grid', False),
            ('/O=Grid/*', '/C=DE/O=Grid/CN=a', False),
            ('/O=Grid', '/O=Grid/CN=a', False),
            ('*', '/O=Grid', True),
            ('/O=G?id', '/O=Grid', True),
            ('/O=G?id', '/O=Grrid', False),
            ('/o=GRID/cn=A', '/O=grid/CN=a', True),
            ('/O=G.id', '/O=Grid', False),
            ('/O=Grid/Email=*', '/O=Grid/emailAddress=a@b', True),
            ('/O=Grid/USERID=*', '/O=Grid/UID=a', True),
            ('/O=*****************a', '/O=' + 'x' * 200, False),
        ],
    )
    def test_patterns(self, pattern, subject, verdict):
        patterns = (signing_policy.canonical(pattern),)
        name = names.parse(subject)
        assert signing_policy.allows(patterns, name) is verdict


class TestCrl:
    """CRLs that do not count, and which of two does."""

    def test_without_next_update(self):
        issuing = pki.site().issuing
        tbs = pki.site().issuing_crl.tbs_certlist_bytes
        tbs = writer.body(tbs)
        field = writer.utc_time(pki.NOW + 30 * pki.DAY)
        assert tbs.count(field) == 1
        encoded = attacks_on_path.signed_anew(
            writer.seq(tbs.replace(field, b'')), issuing.key
        )
        crl = x509.load_der_x509_crl(encoded)
        flaw = crls.of(crl, '').flaw
        assert flaw.code == codes.Code.CRL_UNUSABLE
        assert 'does not say when it runs out' in flaw.text

    def test_without_number(self):
        assert _crl(number=None).number is None

    def test_unreadable_extension(self):
        odd = x509.UnrecognizedExtension(x509.CRLNumber.oid, b'\x04\x01\x00')
        crl = pki.site().issuing.crl(number=None, extensions=[(odd, False)])
        with pytest.raises(certificates.Unreadable):
            crls.of(crl, '')

    def test_delta_that_takes_a_revocation_back(self):
        site = pki.site()
        serial = site.endorser.certificate.serial_number
        for reason, verdict in (
            (x509.ReasonFlags.remove_from_crl, False),
            (x509.ReasonFlags.key_compromise, True),
        ):
            entry = x509.RevokedCertificateBuilder(
                serial,
                datetime.datetime(2026, 1, 1),  # noqa: DTZ001
            )
            entry = entry.add_extension(
                x509.InvalidityDate(
                    datetime.datetime(2026, 1, 1)  # noqa: DTZ001
                ),
                False,
            ).add_extension(x509.CRLReason(reason), False)
            crl = x509.CertificateRevocationListBuilder(
                site.issuing.certificate.subject,
                datetime.datetime(2026, 1, 1),  # noqa: DTZ001
                datetime.datetime(2027, 1, 1),  # noqa: DTZ001
                revoked_certificates=[entry.build()],
            )
            value = crls.of(
                crl.sign(site.issuing.key, pki.hashes.SHA256()), ''
            )
            assert value.revokes(serial) is verdict
            assert value.revokes(serial + 1) is False

    def test_signature_of_a_key_of_another_kind(self):
        rsa_root = certificates.of(
            pki.root('C=DE/CN=R', 'rsa root').certificate
        )
        assert not _crl().signed_by(rsa_root)
        issuing = certificates.of(pki.site().issuing.certificate)
        assert _crl().signed_by(issuing)

    def test_signature_of_an_algorithm_that_is_not_known(self):
        top = pki.root('C=DE/CN=R', 'rsa root')
        known = bytes.fromhex('06092a864886f70d01010b')
        odd = bytes.fromhex('06092a864886f70d010163')
        data = top.crl().public_bytes(DER).replace(known, odd)
        crl = crls.of(x509.load_der_x509_crl(data), '')
        assert crl.flaw.code == codes.Code.WEAK_DIGEST
        assert not crl.signed_by(certificates.of(top.certificate))

    def test_superseded_in_the_same_second(self):
        first, second = _crl(number=1), _crl(number=2)
        assert crls.without_superseded([first, second]) == [second]
        older = _crl(number=1, start=pki.NOW - 3 * pki.DAY)
        assert crls.without_superseded([older, second]) == [older, second]
        unnumbered = _crl(number=None)
        assert crls.without_superseded([unnumbered, second]) == [
            unnumbered,
            second,
        ]


class TestDer:
    """What the reader says of encodings that are none."""

    @pytest.mark.parametrize(
        'data',
        [
            b'',
            b'\x30',
            b'\x30\x01',
            b'\x30\x81',
            b'\x30\x85\0\0\0\0\0',
            b'\x30\x80',
            b'\x30\x80\0',
        ],
    )
    def test_cut_short(self, data):
        with pytest.raises(errors.Refused) as caught:
            der.Reader(data).root('thing')
        assert caught.value.code == 'malformed'

    def test_content_of_a_constructed_element(self):
        reader = der.Reader(b'\x30\x00')
        with pytest.raises(errors.Refused, match='is constructed'):
            reader.content(reader.root('thing'))

    def test_children_of_a_primitive_element(self):
        reader = der.Reader(b'\x04\x00')
        with pytest.raises(errors.Refused, match='is primitive'):
            reader.children(reader.root('thing'))

    def test_indefinite_length_of_a_primitive_element(self):
        with pytest.raises(errors.Refused, match='of a primitive at byte 0'):
            der.Reader(b'\x04\x80\x00\x00').root('thing')

    def test_levels_of_indefinite_length_count_one_by_one(self):
        data = b'\x30\x80' * 4 + b'\x00\x00' * 4
        assert der.Reader(data, depth=4).root('thing')
        with pytest.raises(errors.Refused) as caught:
            der.Reader(data, depth=3).root('thing')
        assert caught.value.values['limit'] == 'ber_depth'

    def test_levels_of_definite_length_count_one_by_one(self):
        data = b'\x30\x04\x30\x02\x30\x00'
        for depth in (2, 3):
            reader = der.Reader(data, depth=depth)
            (child,) = reader.children(reader.root('thing'))
            if depth == 3:
                assert reader.children(child)
                continue
            why = r'deeper than 2 levels \(limit ber_depth\)'
            with pytest.raises(errors.Refused, match=why):
                reader.children(child)

    def test_elements_count_one_by_one(self):
        data = b'\x30\x80' + b'\x05\x00' * 3 + b'\x00\x00'
        assert der.Reader(data, nodes=4).root('thing')
        why = r'more than 3 elements \(limit ber_nodes\)'
        with pytest.raises(errors.Refused, match=why) as caught:
            der.Reader(data, nodes=3).root('thing')
        assert caught.value.values['limit'] == 'ber_nodes'

    def test_place_of_an_element_of_indefinite_length(self):
        data = b'\x30\x06\x30\x80\x05\x00\x00\x00'
        reader = der.Reader(data)
        (node,) = reader.children(reader.root('thing'))
        assert (node.start, node.body, node.stop, node.end) == (2, 4, 6, 8)
        assert (node.depth, node.minimal) == (2, False)
        assert [child.tag for child in node.inner] == [der.NULL]
        assert node.inner[0].depth == 3
        assert reader.raw(node) == data[2:]

    @pytest.mark.parametrize(
        ('data', 'why'),
        [
            ('050000ffff', '^3 bytes follow the thing$'),
            ('1f1f00', '^long tag at byte 0$'),
            ('30033f1f00', '^long tag at byte 2$'),
            ('300105', 'element at byte 2 of the signature is longer'),
            ('3003050200', 'element at byte 2 of the signature is longer'),
            ('3003048200', 'element at byte 3 of the signature is longer'),
        ],
    )
    def test_broken_element_is_told_with_its_place(self, data, why):
        reader = der.Reader(bytes.fromhex(data))
        with pytest.raises(errors.Refused, match=why) as caught:
            reader.children(reader.root('thing'))
        assert caught.value.code == 'malformed'

    def test_length_in_four_octets(self):
        reader = der.Reader(bytes.fromhex('0484000000012a'))
        assert reader.content(reader.root('thing')) == b'*'

    def test_unexpected_element_says_both_tags_and_the_place(self):
        reader = der.Reader(b'\x30\x02\x05\x00')
        (node,) = reader.children(reader.root('thing'))
        with pytest.raises(errors.Refused) as caught:
            reader.expect(node, der.INTEGER)
        assert caught.value.code == 'malformed'
        assert 'expected INTEGER at byte 2' in caught.value.detail
        assert 'found NULL' in caught.value.detail
        assert caught.value.values == {'expected': 'INTEGER', 'found': 'NULL'}

    @pytest.mark.parametrize(
        ('data', 'minimal'),
        [
            ('047f' + '00' * 127, True),
            ('04817f' + '00' * 127, False),
            ('048180' + '00' * 128, True),
            ('04820080' + '00' * 128, False),
            ('04820100' + '00' * 256, True),
        ],
    )
    def test_shortest_length_is_der(self, data, minimal):
        reader = der.Reader(bytes.fromhex(data))
        node = reader.root('thing')
        assert node.minimal is minimal
        assert set(reader.content(node)) == {0}

    def test_padding_anywhere_inside_is_not_der(self):
        reader = der.Reader(bytes.fromhex('30053003048100'))
        with pytest.raises(errors.Refused, match='byte 4 is not DER'):
            reader.require_der(reader.root('thing'))

    def test_integers(self):
        for data, value in (
            (b'\x02\x01\x80', -128),
            (b'\x02\x02\x00\x80', 128),
        ):
            reader = der.Reader(data)
            assert reader.integer(reader.root('thing')) == value
        reader = der.Reader(b'\x02\x40' + b'\x00' * 63 + b'\x07')
        assert reader.integer(reader.root('thing')) == 7
        reader = der.Reader(b'\x02\x41' + b'\x01' * 65)
        with pytest.raises(errors.Refused, match='of 65 bytes'):
            reader.integer(reader.root('thing'))

    @pytest.mark.parametrize(
        ('body', 'text'),
        [
            ('2a864886f70d010701', '1.2.840.113549.1.7.1'),
            ('883703', '2.999.3'),
            ('00', '0.0'),
            ('27', '0.39'),
            ('28', '1.0'),
        ],
    )
    def test_object_identifiers(self, body, text):
        assert der.dotted(bytes.fromhex(body)) == text

    @pytest.mark.parametrize(
        'body', [b'', b'\x2a' * 65, b'\x2a\x80', b'\x2a\x80\x01']
    )
    def test_what_is_no_object_identifier(self, body):
        with pytest.raises(errors.Refused) as caught:
            der.dotted(body)
        assert caught.value.code == 'malformed'

    def test_longest_object_identifier(self):
        assert der.dotted(b'\x2a' * 64).startswith('1.2.42.')

    def test_something_else_than_an_octet_string_is_told(self):
        reader = der.Reader(b'\x05\x00')
        with pytest.raises(errors.Refused) as caught:
            reader.octets(reader.root('thing'))
        assert caught.value.values == {
            'expected': 'OCTET STRING',
            'found': 'NULL',
        }

    def test_names_of_tags(self):
        assert der.tag_name(0xA1) == '[1]'
        assert der.tag_name(0x30) == 'SEQUENCE'
        assert der.tag_name(0x0C) == 'tag 0x0c'


class TestCertificates:
    """Certificates that cannot be used say why."""

    @pytest.mark.parametrize('data', [b'', b'\x30\x00', b'x' * 100])
    def test_broken(self, data):
        with pytest.raises(certificates.Unreadable):
            certificates.read(data)

    def test_without_a_name(self):
        nameless = pki.site().root.issue(x509.Name([]), 'ec nameless')
        with pytest.raises(certificates.Unreadable, match='empty name'):
            certificates.read(nameless.der)

    def test_digest_that_is_not_known(self):
        top = pki.root('C=DE/CN=R', 'rsa root')
        data = top.der
        known = bytes.fromhex('06092a864886f70d01010b')
        odd = bytes.fromhex('06092a864886f70d010163')
        loaded = x509.load_der_x509_certificate(data.replace(known, odd))
        assert certificates.digest_of(loaded) == '1.2.840.113549.1.1.99'
        value = certificates.of(top.certificate)
        assert not certificates.signed_by(loaded, value)

    def test_key_that_cannot_be_loaded(self):
        endorser = pki.site().endorser
        rsa = bytes.fromhex('06092a864886f70d010101')
        odd = bytes.fromhex('06092a864886f70d010163')
        data = endorser.der.replace(rsa, odd)
        with pytest.raises(errors.Refused) as caught:
            certificates.read(data).public_key()
        assert caught.value.code == 'weak-key'
        assert '1.2.840.113549.1.1.99' in caught.value.detail


def test_verdict_of_openssl_that_has_no_code_of_its_own():
    culprit = certificates.of(pki.site().endorser.certificate)
    refusal = verdicts.refusal(1, 'unspecified', culprit, [])
    assert refusal.code == 'chain'
    assert 'unspecified' in refusal.detail


def test_missing_crl_although_another_ca_has_a_flawed_one():
    site = pki.site()
    delta = crls.of(
        site.root.crl(extensions=[(x509.DeltaCRLIndicator(1), True)]), ''
    )
    culprit = certificates.of(site.endorser.certificate)
    assert verdicts.refusal(3, 'no', culprit, [delta]).code == 'crl-missing'
    culprit = certificates.of(site.issuing.certificate)
    assert verdicts.refusal(3, 'no', culprit, [delta]).code == 'crl-unusable'


def test_envelope_without_a_part_has_no_candidates():
    assert list(mime.Envelope(None, b'').candidates()) == []


def test_signature_part_without_headers():
    message = writer.multipart(b'{}', b'', part_headers=b'')
    with pytest.raises(errors.Refused, match='not a signature'):
        mime.open_envelope(message, trust.Limits())


def test_anchor_whose_policy_file_is_another_ones(tmp_path):
    root = pki.site().root
    tmp_path.joinpath('root.pem').write_bytes(root.pem)
    tmp_path.joinpath('0123abcd.signing_policy').write_text(
        "access_id_CA X509 '/O=Other'\n"
    )
    (anchor,) = trust.load(tmp_path).anchors
    assert anchor.patterns is None


def test_certificate_with_a_name_of_many_parts():
    attribute = x509.NameAttribute(x509.NameOID.COMMON_NAME, 'x')
    for count, verdict in ((64, True), (65, False)):
        holder = pki.site().root.issue(
            x509.Name([attribute] * count), 'ec many'
        )
        try:
            read = bool(certificates.read(holder.der))
        except certificates.Unreadable as error:
            assert 'one has 65 parts' in str(error)
            read = False
        assert read is verdict


class TestReleasesOfSignxml:
    """Some verify the certificate's dates themselves, and ask when."""

    @staticmethod
    def knobs_with(monkeypatch, *fields):
        kind = dataclasses.make_dataclass('Configuration', fields)
        monkeypatch.setattr(signxml, 'SignatureConfiguration', kind)
        return stratuslab._at_its_time(pki.site().endorser.certificate)

    def test_one_that_asks_is_told_a_time_of_the_certificate(
        self, monkeypatch
    ):
        assert self.knobs_with(monkeypatch, 'verification_time') == {
            'verification_time': pki.START
        }

    def test_one_that_does_not_ask_is_told_nothing(self, monkeypatch):
        assert self.knobs_with(monkeypatch, 'ca_pem_file') == {}
