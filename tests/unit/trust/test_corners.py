# SPDX-License-Identifier: Apache-2.0
"""What stands just on one side of a rule, and is or is not accepted."""

from __future__ import annotations

import datetime

from cryptography.hazmat.primitives import serialization
from cryptography import x509
import pytest

from hepix_vm import errors
from hepix_vm import trust
from hepix_vm.trust import mime
from tests.assets import attacks_on_content
from tests.assets import attacks_on_path
from tests.assets import cases
from tests.assets import lists
from tests.assets import pki
from tests.assets import writer
from tests.unit.trust import judging

CONTENT = attacks_on_content.CONTENT


def judged(cms, **knobs):
    return judging.judge(cases.Case(writer.multipart(CONTENT, cms)), **knobs)


def structure(**changes):
    endorser = pki.site().endorser
    info = {
        name: changes.pop(name)
        for name in ('version_of_signer', 'identity', 'attributes')
        if name in changes
    }
    if 'version_of_signer' in info:
        info['version'] = info.pop('version_of_signer')
    return writer.signed_data(
        [writer.signer_info(CONTENT, endorser, **info)],
        changes.pop('certificates', [endorser.der]),
        **changes,
    )


def code(verdict):
    return verdict.code if isinstance(verdict, errors.Refused) else 'ok'


class TestStructure:
    """CMS as other tools write it, and as none does."""

    @pytest.mark.parametrize('version', range(7))
    def test_versions_of_the_structure(self, version):
        known = version in (1, 3, 4, 5)
        found = judged(structure(version=version))
        assert code(found) == ('ok' if known else 'malformed')

    @pytest.mark.parametrize('version', range(1, 5))
    def test_versions_of_a_signer(self, version):
        known = version in (1, 3)
        found = judged(structure(version_of_signer=version))
        assert code(found) == ('ok' if known else 'malformed')

    def test_key_identifier_in_pieces(self):
        endorser = pki.site().endorser
        value = endorser.certificate.extensions.get_extension_for_class(
            x509.SubjectKeyIdentifier
        ).value.digest
        pieces = writer.octets(value[:7]) + writer.octets(value[7:])
        for identity, verdict in (
            (writer.tlv(0xA0, pieces), 'ok'),
            (writer.tlv(0x80, value), 'ok'),
            (writer.tlv(0xA1, pieces), 'malformed'),
            (writer.tlv(0x81, value), 'malformed'),
        ):
            assert code(judged(structure(identity=identity))) == verdict

    @pytest.mark.parametrize(
        ('text', 'year', 'verdict'),
        [
            ('491231235959Z', 2049, 'signed-in-future'),
            ('500101000000Z', 1950, 'ok'),
            ('991231235959Z', 1999, 'ok'),
            ('000101000000Z', 2000, 'ok'),
        ],
    )
    def test_years_of_two_digits(self, text, year, verdict):
        time = writer.attribute(
            writer.SIGNING_TIME, writer.tlv(0x17, text.encode())
        )
        attributes = [*writer.usual_attributes(CONTENT)[:2], time]
        found = judged(structure(attributes=attributes))
        assert code(found) == verdict
        if verdict == 'ok':
            assert found.signers[0].signing_time.year == year
        else:
            assert str(year) in found.detail

    @pytest.mark.parametrize('broken', [0, 1, 2])
    def test_certificates_that_cannot_be_read_are_counted(self, broken):
        odd = [writer.seq(writer.integer(n)) for n in range(broken)]
        found = judged(structure(certificates=odd))
        told = "the message does not carry its signer's certificate"
        if broken:
            told += f' ({broken} that it carries cannot be read)'
        assert (found.code, found.detail) == ('no-certificate', told)


class TestEnvelope:
    """MIME as mail software writes it."""

    def test_stray_semicolons(self):
        head = (
            'Content-Type: multipart/signed;; '
            'protocol="application/pkcs7-signature"; ;'
            f' boundary="{writer.BOUNDARY}";\n\n'
        ).encode()
        message = writer.multipart(CONTENT, b'x', head=head)
        assert mime.open_envelope(message, trust.Limits()).signature == b'x'

    @pytest.mark.parametrize('preamble', [b'', b'\n', b'\r\n', b'\n\n'])
    def test_blank_lines_before_the_first_part(self, preamble):
        message = writer.multipart(CONTENT, structure(), preamble=preamble)
        assert code(judging.judge(cases.Case(message))) == 'ok'


class TestSigner:
    """Names that look like something else."""

    def test_mismatch_that_does_not_look_alike_is_not_called_so(self):
        case = attacks_on_path.another_endorser_of_the_same_ca()
        assert 'alike' not in judging.judge(case).detail
        case = attacks_on_path.the_endorsers_name_from_another_ca()
        assert 'alike' not in judging.judge(case).detail

    @pytest.mark.parametrize(
        'subject',
        [
            'C=DE/O=Grid/CN=Issuing CA/CN=Robot',
            'C=DE/O=Grid/CN=Issuing CA/OU=proxy',
            'C=DE/O=Grid/CN=proxy',
        ],
    )
    def test_name_that_is_not_that_of_a_proxy(self, subject):
        leaf = attacks_on_path._leaf(subject=subject)
        case = attacks_on_path._case('ok', leaf)
        assert judging.code_of(case) == 'ok'

    def test_key_for_pss_only_makes_such_signatures(self):
        site = pki.site()
        holder = attacks_on_path.for_pss_only(site.endorser, site.issuing)
        message = writer.usual(
            lists.payload(),
            holder,
            salt=32,
            algorithm=writer.algorithm(
                writer.PSS, writer.pss_parameters('sha256', 32)
            ),
        )
        case = cases.Case(message, is_list=True)
        assert code(judging.judge(case)) == 'ok'


class TestPath:
    """Of several authorities or revocation lists the right one counts."""

    def test_second_anchor_of_one_name_is_tried_too(self):
        name = 'C=DE/CN=CA of two keys'
        right, wrong = pki.root(name, 'ec right'), pki.root(name, 'ec wrong')
        leaf = attacks_on_path._leaf(ca=right)
        for anchors in ((wrong, right), (right, wrong)):
            case = attacks_on_path._case(
                'ok', leaf, anchors=anchors, crls=(right.crl(),)
            )
            assert judging.code_of(case) == 'ok'

    @pytest.mark.parametrize(
        ('root_days', 'issuing_days', 'expected'),
        [(5, (9,), 5), (9, (5,), 5), (9, (3, 7), 7), (4, (3, 7), 4)],
    )
    def test_first_revocation_list_that_runs_out(
        self, root_days, issuing_days, expected
    ):
        """Of one authority the newest list counts."""
        site = pki.site()
        crls = (
            site.root.crl(end=pki.NOW + root_days * pki.DAY),
            *(
                site.issuing.crl(
                    number=days,
                    start=pki.NOW - (20 - days) * pki.DAY,
                    end=pki.NOW + days * pki.DAY,
                )
                for days in issuing_days
            ),
        )
        for mode in ('require', 'if-present'):
            case = attacks_on_path._case('ok', site.endorser, crls=crls)
            (signer,) = judging.judge(case, crl=mode).signers
            found = signer.crl_next_update
            assert found == pki.NOW + expected * pki.DAY, mode

    def test_sha1_that_is_allowed_opens_nothing_else(self):
        site = pki.site()
        delta = site.issuing.crl(
            extensions=[(x509.DeltaCRLIndicator(1), True)], number=2
        )
        case = attacks_on_path._issuing_crl('', delta)
        assert judging.code_of(case, allow_sha1_dangerous=True) == (
            'crl-unusable'
        )
        ca = attacks_on_path._ca(label='rsa special ca')
        data = ca.crl().public_bytes(serialization.Encoding.DER)
        weak = data.replace(
            attacks_on_path._SHA256_RSA, attacks_on_path._MD5_RSA
        )
        assert weak != data
        case = attacks_on_path._case(
            '',
            attacks_on_path._leaf(ca=ca),
            embedded=(ca,),
            crls=(site.root_crl, x509.load_der_x509_crl(weak)),
        )
        assert judging.code_of(case, allow_sha1_dangerous=True) == (
            'weak-digest'
        )


def test_smallest_limits_and_no_skew_are_a_policy():
    for name in ('ber_depth', 'signers', 'json_depth'):
        assert getattr(trust.Limits(**{name: 1}), name) == 1
    policy = trust.Policy(clock_skew=datetime.timedelta(0))
    message = writer.usual(lists.payload(), pki.site().endorser)
    case = cases.Case(message, is_list=True)
    assert code(judging.judge(case, clock_skew=policy.clock_skew)) == 'ok'
