# SPDX-License-Identifier: Apache-2.0
"""What a refusal tells: the sentence, the limit's name and the values."""

from __future__ import annotations

from cryptography import x509
import pytest

from hepix_vm import errors
from hepix_vm import trust
from hepix_vm.trust import algorithms
from hepix_vm.trust import attributes
from hepix_vm.trust import certificates
from hepix_vm.trust import chain
from hepix_vm.trust import codes
from hepix_vm.trust import crls
from hepix_vm.trust import der
from hepix_vm.trust import joining
from hepix_vm.trust import names
from hepix_vm.trust import raw_signature
from hepix_vm.trust import signing
from hepix_vm.trust import unchained
from hepix_vm.trust import verdicts
from tests.assets import attacks_on_content
from tests.assets import attacks_on_path
from tests.assets import cases
from tests.assets import lists
from tests.assets import pki
from tests.assets import writer
from tests.unit.trust import judging

SECOND = pki.DAY / 86_400


def refusal(call, *args, **more):
    with pytest.raises(errors.Refused) as caught:
        call(*args, **more)
    return caught.value


def usual(**changes):
    message = writer.usual(lists.payload(**changes), pki.site().endorser)
    return cases.Case(message, is_list=True)


class TestPss:
    """RSASSA-PSS-params, each part of which can be absent or odd."""

    SHA256 = writer.digest_algorithm('sha256')
    HASH = writer.tlv(0xA0, SHA256)
    MASK = writer.tlv(0xA1, writer.algorithm(writer.MGF1, SHA256))

    @staticmethod
    def scheme(*fields, digest='sha256'):
        data = writer.algorithm(writer.PSS, writer.seq(*fields))
        reader = der.Reader(data)
        return algorithms.signature_scheme(reader, reader.root('x'), digest)

    @pytest.mark.parametrize('length', [0, 1, 32, 1024])
    def test_salt(self, length):
        salt = writer.tlv(0xA2, writer.integer(length))
        found = self.scheme(self.HASH, self.MASK, salt)
        assert found == algorithms.Scheme('pss', 'sha256', length)

    def test_salt_that_is_absent_has_twenty_bytes(self):
        assert self.scheme(self.HASH, self.MASK).salt == 20

    def test_everything_absent_means_sha1(self):
        found = self.scheme(digest='sha1')
        assert found == algorithms.Scheme('pss', 'sha1', 20)

    @pytest.mark.parametrize(
        ('fields', 'why'),
        [
            ([HASH, HASH], 'its parameters are malformed'),
            ([writer.tlv(0xA0, SHA256, SHA256)], 'its parameters are'),
            (
                [HASH, MASK, writer.tlv(0xA4, writer.integer(1))],
                'it has unknown parameters',
            ),
            (
                [
                    HASH,
                    writer.tlv(0xA1, writer.algorithm(writer.PSS, SHA256)),
                ],
                'its mask generation is not MGF1',
            ),
            (
                [HASH, writer.tlv(0xA1, writer.algorithm(writer.MGF1))],
                'its mask generation is not MGF1',
            ),
            ([HASH], 'it uses sha1 and sha256, but the digest algorithm is'),
            (
                [HASH, MASK, writer.tlv(0xA2, writer.integer(1025))],
                'its salt has 1025 bytes',
            ),
            (
                [HASH, MASK, writer.tlv(0xA2, b'\x02\x01\xff')],
                'its salt has -1 bytes',
            ),
            (
                [HASH, MASK, writer.tlv(0xA3, writer.integer(2))],
                'its trailer is unknown',
            ),
        ],
        ids=range(9),
    )
    def test_what_is_odd(self, fields, why):
        found = refusal(self.scheme, *fields)
        assert found.code == 'algorithm'
        assert f'the RSA-PSS signature is refused: {why}' in found.detail


class TestValidity:
    """The first and the last second of a validity count."""

    def test_of_a_certificate_that_no_path_leads_to(self):
        value = certificates.of(pki.site().endorser.certificate)
        chain.require_current(value, pki.START)
        chain.require_current(value, pki.END)
        early = refusal(chain.require_current, value, pki.START - SECOND)
        late = refusal(chain.require_current, value, pki.END + SECOND)
        assert (early.code, late.code) == (
            'not-yet-valid',
            'expired-certificate',
        )

    def test_of_what_was_loaded_once_is_judged_at_each_time_anew(self):
        anchors = judging.anchors_of(usual())
        message = usual().message
        for now, code in (
            (pki.NOW, 'ok'),
            (pki.NOW + 31 * pki.DAY, 'crl-expired'),
            (pki.NOW, 'ok'),
        ):
            try:
                trust.verify(message, anchors, trust.Policy(), now)
            except errors.Refused as refused:
                assert refused.code == code
            else:
                assert code == 'ok'

    def test_of_a_list(self):
        skew = trust.Policy().clock_skew
        for created, code in (
            (pki.NOW + skew, 'ok'),
            (pki.NOW + skew + SECOND, 'list-from-future'),
        ):
            stamp = lists.stamp(created)
            verdict = judging.judge(usual(**{'dc:date:created': stamp}))
            assert getattr(verdict, 'code', 'ok') == code
        assert verdict.values['found'] == created.isoformat()
        for expires, code in (
            (pki.NOW + SECOND, 'ok'),
            (pki.NOW, 'list-expired'),
        ):
            stamp = lists.stamp(expires)
            verdict = judging.judge(usual(**{'dc:date:expires': stamp}))
            assert getattr(verdict, 'code', 'ok') == code
        assert verdict.values['found'] == expires.isoformat()


class TestLimits:
    """Each limit is what is still allowed; what is more is named."""

    @staticmethod
    def message():
        site = pki.site()
        return writer.usual(lists.payload(), site.endorser, [site.issuing])

    @staticmethod
    def verdict(message, **limits):
        case = cases.Case(message, is_list=True)
        return judging.judge(case, limits=trust.Limits(**limits))

    def least(self, message, name):
        """The smallest value of a limit with which a message is good."""
        low, high = 0, getattr(trust.Limits(), name)
        while high - low > 1:
            middle = (low + high) // 2
            found = self.verdict(message, **{name: middle})
            if isinstance(found, errors.Refused):
                low = middle
            else:
                high = middle
        return high

    @pytest.mark.parametrize(
        ('name', 'needed'),
        [
            ('message_bytes', len),
            ('header_bytes', lambda m: m.index(b'\n\n') + 2),
            ('embedded_certificates', 2),
            ('embedded_bytes', lambda _: sum(map(len, chain_ders()))),
            ('certificate_bytes', lambda _: max(map(len, chain_ders()))),
            ('certificates', 3),
            ('chain_depth', 3),
            ('signature_checks', 3),
            ('ber_depth', 9),
            ('ber_nodes', 52),
        ],
    )
    def test_of_a_usual_message(self, name, needed):
        message = self.message()
        expected = needed if isinstance(needed, int) else needed(message)
        assert self.least(message, name) == expected
        found = self.verdict(message, **{name: expected - 1})
        assert found.code == 'limit'
        assert found.values['limit'] == name
        assert name in found.detail

    def test_of_signers(self):
        site = pki.site()
        second = attacks_on_path._leaf(
            label='ec second', subject='C=DE/O=Grid/CN=Second'
        )
        content = writer.crlf(lists.payload())
        message = writer.multipart(
            content,
            writer.signed_data(
                [writer.signer_info(content, h) for h in (site.endorser,) * 3],
                [site.endorser.der, second.der],
            ),
        )
        for signers, code in ((2, 'too-many-signers'), (3, 'threshold')):
            found = judging.judge(
                cases.Case(message),
                threshold=2,
                limits=trust.Limits(signers=signers),
            )
            assert found.code == code
            if code == 'threshold':
                assert found.values['expected'] == 2
                assert found.values['found'] == 1
                assert found.detail == '1 endorsers signed, 2 are required'
            else:
                assert found.values == {'expected': 2, 'found': 3}
                assert '3 signatures, at most 2 expected' in found.detail

    def test_of_the_clock(self):
        site = pki.site()
        skew = trust.Policy().clock_skew
        content = writer.crlf(lists.payload())
        for moment, code in (
            (pki.NOW + skew, 'ok'),
            (pki.NOW + skew + SECOND, 'signed-in-future'),
        ):
            attributes = writer.usual_attributes(content)[:2]
            attributes.append(
                writer.attribute(writer.SIGNING_TIME, writer.utc_time(moment))
            )
            message = writer.usual(
                lists.payload(), site.endorser, attributes=attributes
            )
            found = judging.judge(cases.Case(message))
            assert getattr(found, 'code', 'ok') == code
        assert found.values['found'] == moment.isoformat()
        assert f'made at {lists.stamp(moment)}' in found.detail

    def test_of_the_validity_of_certificates_and_crls(self):
        """The last second itself counts for some releases of OpenSSL."""
        site = pki.site()
        leaf = attacks_on_path._leaf(
            start=pki.NOW - 2 * pki.DAY, end=pki.NOW + 2 * pki.DAY
        )
        case = attacks_on_path._case('', leaf)
        for now, code in (
            (pki.NOW + 2 * pki.DAY - SECOND, 'ok'),
            (pki.NOW + 2 * pki.DAY + SECOND, 'expired-certificate'),
            (pki.NOW - pki.DAY, 'ok'),
            (pki.NOW - pki.DAY - SECOND, 'crl-not-yet-valid'),
        ):
            at = cases.Case(
                case.message, now=now, policy={'clock_skew': 9 * pki.DAY}
            )
            assert judging.code_of(at) == code, now
        crl = site.issuing.crl(end=pki.NOW)
        for now, code in (
            (pki.NOW - SECOND, 'ok'),
            (pki.NOW + SECOND, 'crl-expired'),
        ):
            at = cases.Case(case.message, now=now, crls=(site.root_crl, crl))
            assert judging.code_of(at) == code, now


def chain_ders():
    site = pki.site()
    return site.endorser.der, site.issuing.der


class TestNoWay:
    """Which of several obstacles on the way to an anchor is told."""

    @staticmethod
    def code_with(*anchors, leaf):
        case = attacks_on_path._case('', leaf, anchors=anchors, crls=())
        return judging.code_of(case)

    def test_weak_key_comes_before_a_wrong_signature(self):
        name = 'C=DE/CN=CA of two keys'
        other = pki.root(name, 'ec other ca')
        weak = pki.root(name, 'rsa1024 weak ca')
        usage = pki.root(name, 'ec no ca', [(pki.usage(crl_sign=True), True)])
        leaf = attacks_on_path._leaf(ca=weak)
        for anchors, code in (
            ((other,), 'issuer-signature'),
            ((other, usage), 'not-a-ca'),
            ((usage, other), 'not-a-ca'),
            ((other, usage, weak), 'weak-key'),
            ((weak, usage, other), 'weak-key'),
        ):
            assert self.code_with(*anchors, leaf=leaf) == code

    def test_authority_that_is_missing_is_named(self):
        site = pki.site()
        for anchors, missing in (
            ((site.issuing,), site.root),
            ((), site.issuing),
        ):
            other = pki.root('C=XX/CN=Other', 'ec other')
            case = attacks_on_path._case(
                '', site.endorser, anchors=(*anchors, other), crls=()
            )
            found = judging.judge(case)
            name = str(names.from_x509(missing.certificate.subject))
            assert found.code == 'no-anchor'
            assert found.values['missing'] == name
            assert f'{name} is not known' in found.detail


def test_openssl_verdict_names_the_certificate_and_the_number():
    value = certificates.of(pki.site().endorser.certificate)
    found = verdicts.refusal(23, 'revoked', value, [])
    assert found.values == {'certificate': str(value), 'openssl': 23}


def test_revoked_intermediate_is_named():
    found = judging.judge(attacks_on_path.intermediate_revoked())
    assert found.values['certificate'] == 'CN=Issuing CA,O=Grid,C=DE'


class TestList:
    """A list that is refused says what it should have been."""

    def test_endorsers(self):
        named = lists.endorser_entry('/CN=A', '/CN=CA')
        other = lists.endorser_entry('/CN=B', '/CN=CA')
        found = judging.judge(usual(**{'hv:endorser': [named, other]}))
        signer = 'CN=Jo Endorser,OU=DESY,O=Grid,C=DE (issued by CN=Issuing '
        stated = ['CN=A (issued by CN=CA)', 'CN=B (issued by CN=CA)']
        assert found.code == 'endorser-differs'
        assert found.values['expected'] == signer + 'CA,O=Grid,C=DE)'
        assert found.values['found'] == stated
        assert found.detail.endswith(f'names {" and ".join(stated)}')

    def test_identifier(self):
        other = '5b7f0c1e-6a0c-4f5e-9d55-0c52b6f6ffff'
        found = judging.judge(usual(), list_identifier=other)
        assert found.code == 'wrong-identifier'
        assert found.values['expected'] == other
        assert found.values['found'] == lists.IDENTIFIER

    @pytest.mark.parametrize(
        ('name', 'size', 'expected'),
        [
            ('json_depth', 4, 'at most 4 levels of nesting'),
            ('json_number', 1, 'numbers of at most 1 characters'),
            ('json_values', 20, 'at most 20 values'),
            ('images', 1, 'at most 1 images'),
        ],
    )
    def test_limits(self, name, size, expected):
        images = [
            {'hv:image': lists.image() | {'hv:size': 44}},
            {'hv:image': lists.image()},
        ]
        case = usual(hv_images=images)
        assert not isinstance(judging.judge(case), errors.Refused)
        limits = trust.Limits(**{name: size})
        found = judging.judge(case, limits=limits)
        assert found.code == 'invalid-list'
        assert found.values['expected'] == expected

    def test_size_is_that_of_the_message(self):
        large = trust.Limits(message_bytes=2**25)
        case = usual(x='y' * 2**24)
        assert judging.judge(case).code == 'limit'
        assert not isinstance(
            judging.judge(case, limits=large), errors.Refused
        )

    def test_value(self):
        found = judging.judge(usual(dc_title=1))
        place = '$.hv:imagelist.dc:title'
        assert found.code == 'invalid-list'
        assert found.values['path'] == place
        assert found.values['expected'] == 'a string'
        assert found.values['found'] == '1'
        assert found.detail == f'at {place}: expected a string, found 1'


def test_unknown_type_of_a_name_says_what_to_write():
    with pytest.raises(names.NotAName) as caught:
        names.parse('CN=a,what=b')
    assert str(caught.value) == (
        "'CN=a,what=b': attribute type 'what' is not known; write its dotted "
        'number'
    )
    with pytest.raises(names.NotAName) as caught:
        names.parse('CN=a\udfff')
    assert 'control character' in str(caught.value)


def test_refusal_of_a_structure_says_where_it_breaks():
    found = judging.judge(attacks_on_content.message_digest_with_two_values())
    assert found.detail.endswith('has 2 values'), found.detail
    found = judging.judge(
        attacks_on_content.no_signed_attributes_although_the_signature_is_right()
    )
    assert found.detail == 'the signature has no signed attributes'


def test_long_text_is_shortened_in_a_message():
    assert attributes.shown('x' * 200) == repr('x' * 200)
    assert attributes.shown('y' + 'x' * 200) == repr('y' + 'x' * 199 + '...')


def test_warning_of_sha1_stands_on_an_endorsed_list():
    for allow, warned in ((False, 0), (True, 1)):
        endorsed = judging.judge(usual(), allow_sha1_dangerous=allow)
        assert len(endorsed.warnings) == warned


class TestUnchained:
    """Reading own messages is as strict as verifying, but for the path."""

    STEPS = frozenset(
        [
            'limit',
            'not-signed',
            'malformed',
            'no-signer',
            'algorithm',
            'weak-digest',
            'digest',
            'no-certificate',
            'weak-key',
            'signature',
        ]
    )

    def test_attacks_on_content_are_refused_with_the_same_codes(self):
        attacks = {
            name: case
            for name, maker in attacks_on_content.ATTACKS.items()
            if (case := maker()).code in self.STEPS and not case.policy
        }
        assert len(attacks) > 100
        found = {
            name: refusal(unchained.read, case.message).code
            for name, case in attacks.items()
        }
        assert found == {name: case.code for name, case in attacks.items()}

    def test_claim_says_all_that_the_certificate_does(self):
        verified = judging.judge(usual()).signers[0]
        read = unchained.read(usual().message)
        (claim,) = read.claimed
        for field in (
            'subject',
            'issuer',
            'sha256',
            'spki_sha256',
            'not_after',
            'signing_time',
        ):
            assert getattr(claim, field) == getattr(verified, field), field
        assert claim.path == ()
        assert read.certificates[0].der == pki.site().endorser.der

    def test_size_of_a_message_is_limited(self, monkeypatch):
        message = usual().message
        small = trust.Policy(
            limits=trust.Limits(message_bytes=len(message)), threshold=8
        )
        monkeypatch.setattr(unchained, 'several_signers', lambda: small)
        assert unchained.read(message)
        found = refusal(unchained.read, message + b'\n')
        assert (found.code, found.values) == (
            'limit',
            {'limit': 'message_bytes'},
        )
        assert f'{len(message) + 1} bytes, at most' in found.detail

    def test_key_for_pss_only_that_signed_with_pkcs1(self):
        case = attacks_on_path.pkcs1_signature_of_a_key_for_pss_only()
        assert refusal(unchained.read, case.message).code == 'signature'

    def test_message_without_certificates(self):
        found = refusal(
            unchained.read, attacks_on_content.no_certificates_at_all().message
        )
        assert found.detail == (
            "the message does not carry a signer's certificate"
        )

    def test_certificate_that_cannot_be_read_is_passed_over(self):
        endorser = pki.site().endorser
        content = writer.crlf(lists.payload())
        info = writer.signer_info(content, endorser)
        odd = writer.seq(writer.integer(1))
        for held, code in (
            ([odd, endorser.der], None),
            ([odd], 'no-certificate'),
        ):
            message = writer.multipart(
                content, writer.signed_data([info], held)
            )
            if code is None:
                assert unchained.read(message).claimed
                continue
            found = refusal(unchained.read, message)
            assert found.code == code
            assert "does not carry a signer's certificate (" in found.detail


class TestJoining:
    """The set around certificates is DER whatever its size."""

    @staticmethod
    def structure(certificate, *, crls=b'', signer=b'\x30\x00'):
        return writer.signed_data(
            [signer], [certificate], crls=[crls] if crls else []
        )

    @pytest.mark.parametrize('size', [126, 127, 128, 129, 200, 255, 256, 300])
    def test_length(self, size):
        body = size - (2 if size < 130 else 3 if size < 259 else 4)
        member = writer.octets(b'x' * body)
        assert len(member) == size
        whole = self.structure(member)
        assert joining.join(whole, whole) == whole

    def test_revocation_lists_of_a_message_are_left_out(self):
        with_list = self.structure(b'\x30\x00', crls=b'\x30\x01\x05')
        plain = self.structure(b'\x30\x00')
        assert joining.join(with_list, plain) == plain
        assert joining.join(plain, with_list) == plain


def test_raw_signature_says_why_it_does_not_count():
    endorser = pki.site().endorser
    anchors = judging.anchors_of(usual())
    for digest, algorithm, why in (
        (b'x' * 16, 'sha256', '16 bytes are no sha256 digest'),
        (b'x' * 16, 'md5', 'the signature of the file uses MD5'),
        (b'x' * 32, 'sha256', 'was not signed with the key of CN=Jo'),
        (b'x' * 32, 'sha256', 'RuntimeError: broken'),
    ):
        found = refusal(
            raw_signature.verify,
            digest,
            algorithm,
            b'',
            endorser.certificate if 'broken' not in why else Broken(),
            anchors,
            trust.Policy(),
            pki.NOW,
        )
        assert why in found.detail


class Broken:
    """A certificate that nobody can read."""

    def public_bytes(self, _encoding):
        raise RuntimeError('broken')


def test_unforeseen_error_is_told_shortly():
    found = codes.unforeseen(KeyError('x' * 300))
    assert found.code == 'malformed'
    assert len(found.detail) == 200


def test_message_has_lines_that_mail_carries():
    endorser = pki.site().endorser
    message = trust.sign(
        lists.payload(), endorser.certificate, endorser.key
    ).decode()
    armoured = message.split('filename="smime.p7s"\n\n')[1].splitlines()
    assert {len(line) for line in armoured[:10]} == {64}
    boundary = message.partition('boundary="')[2].partition('"')[0]
    assert len(boundary) == 36
    assert boundary == boundary.upper()


def test_key_that_cannot_sign_is_named():
    holder = pki.site().issuing.issue('C=DE/CN=Jo', 'ed endorser')
    with pytest.raises(
        errors.Misconfigured, match='kind Ed25519PrivateKey cannot sign'
    ):
        signing.require_key(holder.certificate, holder.key)


def test_crl_of_the_same_number_and_time_is_not_older():
    first = crls.of(pki.site().issuing.crl(number=1), '')
    again = crls.of(pki.site().issuing.crl(number=1), '')
    assert not first.older_than(again)


def test_extension_that_cannot_be_read_is_told():
    odd = x509.UnrecognizedExtension(x509.KeyUsage.oid, b'\x05\x00')
    holder = attacks_on_path._leaf((odd, True))
    value = certificates.of(holder.certificate)
    found = refusal(value.extension, x509.KeyUsage)
    assert 'CN=Jo Endorser' in found.detail
    assert 'Error: ' in found.detail
