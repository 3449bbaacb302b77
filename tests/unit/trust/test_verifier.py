# SPDX-License-Identifier: Apache-2.0
"""What the verifier promises beside the single encodings and attacks."""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
import re

from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives import hashes
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
import pytest

from hepix_vm import errors
from hepix_vm import trust
from hepix_vm.trust import anchors
from hepix_vm.trust import codes
from hepix_vm.trust import lists as list_steps
from hepix_vm.trust import mime
from hepix_vm.trust import names
from hepix_vm.trust import verifier
from tests.assets import attacks_on_content
from tests.assets import attacks_on_path
from tests.assets import cases
from tests.assets import encodings
from tests.assets import lists
from tests.assets import pki
from tests.assets import writer
from tests.unit.trust import judging

Case = cases.Case


def _usual(**more):
    message = writer.usual(lists.payload(), pki.site().endorser)
    return Case(message, is_list=True, **more)


def _refused(case, **knobs):
    verdict = judging.judge(case, **knobs)
    assert isinstance(verdict, errors.Refused), 'accepted'
    return verdict


def _endorser(subject, issuer):
    return trust.Endorser(names.parse(subject), names.parse(issuer))


class TestAccepted:
    """What an accepted list tells."""

    def test_signer(self):
        site = pki.site()
        endorsed = judging.judge(_usual())
        (signer,) = endorsed.signers
        assert signer.subject.slash() == site.endorser.slash
        assert signer.issuer.slash() == site.issuing.slash
        fingerprint = site.endorser.certificate.fingerprint(hashes.SHA256())
        assert signer.sha256 == fingerprint.hex() == signer.path[0]
        assert signer.spki_sha256 == attacks_on_path.spki(site.endorser)
        assert signer.not_after == pki.END
        assert signer.signing_time == pki.NOW - pki.DAY
        assert 'CN=Jo Endorser' in str(signer)
        assert endorsed.image_list.identifier == lists.IDENTIFIER
        assert endorsed.warnings == ()

    def test_only_verify_makes_an_endorsed_list(self):
        endorsed = judging.judge(_usual())
        fields = {
            field.name: getattr(endorsed, field.name)
            for field in dataclasses.fields(endorsed)
        }
        with pytest.raises(TypeError, match='comes from trust'):
            trust.EndorsedList(**fields)
        with pytest.raises(TypeError, match='comes from trust'):
            trust.EndorsedList(**fields, seal=object())
        with pytest.raises((TypeError, ValueError)):
            dataclasses.replace(endorsed, payload=b'')
        with pytest.raises(dataclasses.FrozenInstanceError):
            endorsed.payload = b''

    def test_time_in_another_zone(self):
        zone = datetime.timezone(datetime.timedelta(hours=9))
        case = _usual(now=pki.NOW.astimezone(zone))
        assert judging.code_of(case) == 'ok'

    def test_time_without_zone_is_a_mistake_of_the_caller(self):
        naive = pki.NOW.replace(tzinfo=None)
        with pytest.raises(ValueError, match='time zone'):
            judging.judge(_usual(now=naive))

    def test_stored_message_again_when_its_signer_was_revoked(self):
        site = pki.site()
        case = _usual()
        assert judging.code_of(case) == 'ok'
        later = dataclasses.replace(
            case,
            now=pki.NOW + pki.DAY,
            crls=(
                site.root_crl,
                site.issuing.crl([site.endorser], start=pki.NOW, number=2),
            ),
        )
        assert judging.code_of(later) == 'revoked'

    def test_stored_message_again_when_its_list_expired(self):
        later = _usual(now=pki.NOW + 28 * pki.DAY)
        assert judging.code_of(later) == 'list-expired'


class TestKnobs:
    """Each knob opens one thing only."""

    def test_subscribed_endorser_in_either_form(self):
        endorser = pki.site().endorser
        for subject in (
            endorser.slash,
            'CN=Jo Endorser,OU=DESY,O=Grid,C=DE',
        ):
            identity = _endorser(subject, endorser.issuer_slash)
            assert judging.code_of(_usual(), endorser=identity) == 'ok'

    def test_co_endorser_counts(self):
        endorser = pki.site().endorser
        other = _endorser('/CN=Other', '/CN=CA')
        own = _endorser(endorser.slash, endorser.issuer_slash)
        assert (
            judging.code_of(_usual(), endorser=other, co_endorsers=(own,))
            == 'ok'
        )

    def test_current_or_next_pin(self):
        pins = frozenset({attacks_on_path.spki(pki.site().endorser), '0' * 64})
        assert judging.code_of(_usual(), pins=pins) == 'ok'

    def test_subscribed_identifier(self):
        assert (
            judging.code_of(_usual(), list_identifier=lists.IDENTIFIER) == 'ok'
        )

    def test_server_certificate_by_knob(self):
        case = attacks_on_path.server_auth_only()
        assert judging.code_of(case, accept_server_auth=True) == 'ok'

    @pytest.mark.parametrize(
        'purpose',
        [
            ExtendedKeyUsageOID.EMAIL_PROTECTION,
            ExtendedKeyUsageOID.CLIENT_AUTH,
            ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
        ],
    )
    def test_purposes_that_are_enough(self, purpose):
        usage = x509.ExtendedKeyUsage(
            [ExtendedKeyUsageOID.SERVER_AUTH, purpose]
        )
        case = attacks_on_path._case(
            'ok', attacks_on_path._leaf((usage, False))
        )
        assert judging.code_of(case) == 'ok'

    @pytest.mark.parametrize(
        'bit', ['digital_signature', 'content_commitment']
    )
    def test_usages_that_are_enough(self, bit):
        leaf = attacks_on_path._leaf((pki.usage(**{bit: True}), True))
        assert judging.code_of(attacks_on_path._case('ok', leaf)) == 'ok'

    def test_crls_off(self):
        case = attacks_on_path.leaf_revoked()
        assert judging.code_of(case, crl='off') == 'ok'
        verdict = judging.judge(_usual(crls=()), crl='off')
        assert verdict.signers[0].crl_next_update is None

    def test_crls_if_present_and_absent(self):
        site = pki.site()
        for crls in ((), (site.root_crl,), (site.issuing_crl,)):
            case = _usual(crls=crls)
            assert judging.code_of(case) == 'crl-missing'
            assert judging.code_of(case, crl='if-present') == 'ok'

    @pytest.mark.parametrize('mode', ['require', 'if-present', 'off'])
    def test_self_signed_signer_with_its_pin(self, mode):
        alone = attacks_on_path._alone()
        case = Case(
            writer.usual(lists.payload(alone), alone),
            anchors=(alone.certificate,),
            crls=(),
            policy=attacks_on_path._pinned(attacks_on_path.spki(alone)),
            is_list=True,
        )
        verdict = judging.judge(case, crl=mode, signing_policy=mode)
        assert isinstance(verdict, trust.EndorsedList), verdict
        assert len(verdict.signers[0].path) == 1

    def test_delta_crl_that_does_not_revoke(self):
        site = pki.site()
        extensions = [(x509.DeltaCRLIndicator(1), True)]
        for delta in (
            site.issuing.crl(extensions=extensions, number=2),
            site.issuing.crl(
                [site.endorser],
                extensions=extensions,
                signing_key=pki.key('ec forger'),
            ),
            site.root.crl([site.endorser], extensions=extensions),
        ):
            assert judging.code_of(_usual(crls=(*site.crls, delta))) == 'ok'

    def test_signing_policies(self):
        texts = (
            attacks_on_path.signing_policy('/C=DE/O=Grid/CN=Root CA', '*'),
            attacks_on_path.signing_policy(
                '/c=de/o=GRID/cn=issuing ca', '/C=FR/*', '/c=de/*/CN=Jo ?*'
            ),
        )
        case = _usual(signing_policies=texts)
        assert judging.code_of(case) == 'ok'
        assert judging.code_of(case, signing_policy='require') == 'ok'
        assert judging.code_of(_usual(), signing_policy='if-present') == 'ok'
        case = attacks_on_path.subject_outside_the_signing_policy()
        assert judging.code_of(case, signing_policy='off') == 'ok'

    def test_root_of_version_1(self):
        modern = pki.self_signed('C=DE/CN=Old Root', 'ec old root')
        tbs = modern.certificate.tbs_certificate_bytes
        tbs = writer.body(tbs)
        tbs = writer.seq(tbs.removeprefix(bytes.fromhex('a003020102')))
        old = attacks_on_path.signed_anew(tbs, modern.key)
        top = pki.Holder(x509.load_der_x509_certificate(old), modern.key)
        assert top.certificate.version is x509.Version.v1
        leaf = attacks_on_path._leaf(ca=top)
        case = attacks_on_path._case(
            'ok', leaf, anchors=(top,), crls=(top.crl(),)
        )
        assert judging.code_of(case) == 'ok'

    def test_certificates_signed_with_rsa_pss(self):
        top = attacks_on_path.rsa_root()
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        leaf = attacks_on_path._leaf(ca=top, rsa_padding=pss)
        case = attacks_on_path._case(
            'ok', leaf, anchors=(top,), crls=(top.crl(),)
        )
        assert judging.code_of(case) == 'ok'

    def test_certificates_signed_with_ed25519(self):
        top = pki.root('C=DE/CN=Ed Root', 'ed root')
        leaf = attacks_on_path._leaf(ca=top)
        case = attacks_on_path._case(
            'ok', leaf, anchors=(top,), crls=(top.crl(),)
        )
        assert judging.code_of(case) == 'ok'

    def test_ca_that_shares_a_purpose(self):
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        ca = attacks_on_path._ca((usage, False))
        case = attacks_on_path._ca_case(
            'ok', ca, attacks_on_path._leaf(attacks_on_path.EMAIL, ca=ca)
        )
        assert judging.code_of(case) == 'ok'

    def test_two_cas_of_one_name_and_the_right_one_is_found(self):
        site = pki.site()
        renewed = site.root.issue(
            'C=DE/O=Grid/CN=Issuing CA',
            'ec issuing 2',
            pki.ca_extensions(0),
        )
        for message in (
            writer.usual(lists.payload(), site.endorser, [renewed]),
            writer.usual(
                lists.payload(), site.endorser, [renewed, site.issuing]
            ),
        ):
            assert judging.code_of(Case(message, is_list=True)) == 'ok'


class TestThreshold:
    """m of n counts distinct endorsers."""

    def _case(self, *holders, stated=None, **knobs):
        document = lists.payload(
            **{
                'hv:endorser': [
                    lists.endorser_entry(h.slash, h.issuer_slash)
                    for h in stated or holders
                ]
            }
        )
        content = writer.crlf(document)
        cms = writer.signed_data(
            [writer.signer_info(content, h) for h in holders],
            [h.der for h in holders],
        )
        return Case(writer.multipart(content, cms), is_list=True, policy=knobs)

    def _second(self):
        return attacks_on_path._leaf(
            label='ec second', subject='C=DE/O=Grid/CN=Second'
        )

    def test_two_of_two(self):
        endorser, second = pki.site().endorser, self._second()
        verdict = judging.judge(self._case(endorser, second, threshold=2))
        assert isinstance(verdict, trust.EndorsedList), verdict
        assert len(verdict.signers) == 2

    def test_both_must_be_subscribed(self):
        endorser, second = pki.site().endorser, self._second()
        one = _endorser(endorser.slash, endorser.issuer_slash)
        two = _endorser(second.slash, second.issuer_slash)
        other = _endorser('/CN=Other', endorser.issuer_slash)
        case = self._case(endorser, second, threshold=2)
        assert judging.code_of(case, endorser=one, co_endorsers=(two,)) == 'ok'
        assert (
            judging.code_of(case, endorser=one, co_endorsers=(other,))
            == 'endorser-mismatch'
        )

    def test_one_of_two(self):
        endorser, second = pki.site().endorser, self._second()
        case = self._case(endorser, stated=(endorser, second), threshold=2)
        assert judging.code_of(case) == 'threshold'
        assert judging.code_of(case, threshold=1) == 'ok'

    def test_every_signer_stands_in_the_list(self):
        endorser, second = pki.site().endorser, self._second()
        case = self._case(endorser, second, stated=(endorser,), threshold=2)
        refusal = _refused(case)
        assert refusal.code == 'endorser-differs'
        assert refusal.values['signer'].subject.slash() == second.slash


class TestSeveralCertificatesOfOneKey:
    """A key identifier may name more than one certificate."""

    def _case(self, *others):
        endorser = pki.site().endorser
        content = writer.crlf(lists.payload())
        cms = writer.signed_data(
            [writer.signer_info(content, endorser, by_key=True)],
            [*(o.der for o in others), endorser.der],
        )
        return Case(writer.multipart(content, cms), is_list=True)

    def _twin(self, ca=None, **more):
        return attacks_on_path._leaf(
            *pki.endorser_extensions('rsa endorser'),
            ca=ca,
            label='rsa endorser',
            **more,
        )

    def test_an_expired_one_does_not_hide_the_current_one(self):
        expired = self._twin(end=pki.NOW - pki.DAY)
        assert judging.code_of(self._case(expired)) == 'ok'

    def test_a_foreign_one_does_not_change_the_identity(self):
        evil = pki.root('C=XX/CN=Evil', 'ec evil')
        foreign = self._twin(ca=evil, subject='C=XX/CN=Mallory')
        verdict = judging.judge(self._case(foreign))
        assert verdict.signers[0].subject.slash() == pki.site().endorser.slash

    def test_if_none_is_accepted_the_first_says_why(self):
        expired = self._twin(end=pki.NOW - pki.DAY)
        case = dataclasses.replace(self._case(expired), crls=())
        assert judging.code_of(case) == 'crl-missing'
        assert judging.code_of(case, crl='off') == 'ok'

    def test_a_certificate_of_another_key_is_passed_over(self):
        identifier = x509.SubjectKeyIdentifier.from_public_key(
            pki.key('rsa endorser').public_key()
        )
        thief = attacks_on_path._leaf((identifier, False), label='ec thief')
        assert judging.code_of(self._case(thief)) == 'ok'

    def test_one_with_broken_extensions_is_passed_over(self):
        _, broken = attacks_on_path.twice()
        endorser = pki.site().endorser
        content = writer.crlf(lists.payload())
        structure = writer.signed_data(
            [writer.signer_info(content, endorser, by_key=True)],
            [broken, endorser.der],
        )
        case = Case(writer.multipart(content, structure), is_list=True)
        assert judging.code_of(case) == 'ok'


class TestSigner:
    """A refusal names the signer once the signature has verified."""

    @pytest.mark.parametrize(
        'name',
        [
            'leaf_revoked',
            'server_auth_only',
            'self_signed',
            'unknown_issuer',
            'pin_of_another_key',
            'subject_outside_the_signing_policy',
        ],
    )
    def test_named_after_step_5(self, name):
        signer = _refused(attacks_on_path.ATTACKS[name]()).values['signer']
        assert isinstance(signer, trust.Signer)

    @pytest.mark.parametrize(
        'name',
        [
            'inner_multipart',
            'payload_with_nan',
            'list_that_names_another_endorser',
            'list_expired',
            'one_endorser_signing_twice_does_not_make_two',
            'signing_time_in_the_future',
        ],
    )
    def test_named_when_the_content_is_refused(self, name):
        refusal = _refused(attacks_on_content.ATTACKS[name]())
        assert (
            refusal.values['signer'].subject.slash()
            == pki.site().endorser.slash
        )

    @pytest.mark.parametrize(
        'name',
        [
            'bad_signature',
            'content_changed_detached',
            'bare_json',
            'sha1_digest',
            'certificate_of_the_signer_missing',
        ],
    )
    def test_not_named_before(self, name):
        refusal = _refused(attacks_on_content.ATTACKS[name]())
        assert 'signer' not in refusal.values


class TestSha1:
    """SHA-1 by a dangerous knob, with a warning."""

    def test_message(self):
        case = attacks_on_content.sha1_digest()
        verdict = judging.judge(case, allow_sha1_dangerous=True)
        assert verdict.warnings == (
            'SHA-1 was allowed to protect this message',
        )

    def test_crl(self):
        case = attacks_on_path.crl_signed_with_sha1()
        # The bytes name SHA-1 but were signed with SHA-256.
        verdict = _refused(case, allow_sha1_dangerous=True)
        assert verdict.code == 'crl-untrusted'

    def test_certificate(self):
        case = attacks_on_path.leaf_signed_with_sha1()
        verdict = _refused(case, allow_sha1_dangerous=True)
        assert verdict.code == 'issuer-signature'


class TestBoundary:
    """What nobody foresaw is a refusal, too."""

    def test_in_the_message(self, monkeypatch):
        def burst(*_args):
            raise RecursionError('deep')

        monkeypatch.setattr(mime, 'open_envelope', burst)
        refusal = _refused(_usual())
        assert refusal.code == 'malformed'
        assert 'RecursionError: deep' in refusal.detail

    def test_in_the_list(self, monkeypatch):
        def burst(*_args):
            raise MemoryError

        monkeypatch.setattr(list_steps.imagelist, 'parse', burst)
        assert _refused(_usual()).code == 'malformed'


def test_look_alike_in_slash_form_is_said_so():
    case = attacks_on_path.slash_in_a_name_does_not_make_the_victims_name()
    assert 'alike in slash form only' in _refused(case).detail


def test_step_numbers_of_docstring_and_code_agree():
    """The steps are stated once and repeated where they are taken."""
    stated = set(
        re.findall(r'^ ?(\d+)\. ', verifier.__doc__, flags=re.MULTILINE)
    )
    assert stated == {str(n) for n in range(1, 18)}
    taken = set()
    folder = pathlib.Path(verifier.__file__).parent
    for module in ('verifier', 'signers', 'lists'):
        text = folder.joinpath(f'{module}.py').read_text(encoding='utf-8')
        for first, last in re.findall(r'# (\d+)\.(?: to (\d+)\.)?', text):
            taken |= {
                str(n) for n in range(int(first), int(last or first) + 1)
            }
    assert taken == stated


def test_every_code_of_the_steps_is_in_the_table_and_back():
    stated = set(re.findall('``([a-z0-9-]+)``', verifier.__doc__))
    of_replay = {'rollback', 'equivocation', 'ok'}
    assert stated | of_replay == {code.value for code in codes.Code}


def test_every_code_is_reached_by_a_test():
    reached = {
        maker().code
        for register in (
            encodings.ENCODINGS,
            attacks_on_content.ATTACKS,
            attacks_on_path.ATTACKS,
        )
        for maker in register.values()
    }
    # ``chain`` is what OpenSSL says and we do not know by number.
    elsewhere = {'rollback', 'equivocation', 'chain'}
    assert reached | elsewhere == {code.value for code in codes.Code}


def test_anchors_are_found_by_name_and_by_certificate():
    site = pki.site()
    loaded = anchors.from_certificates([site.root.certificate])
    value = loaded.anchors[0].certificate
    assert loaded.holds(value) is loaded.anchors[0]
    assert loaded.named(value.chaining_subject) == loaded.anchors
    assert loaded.crls_of(value.chaining_subject) == ()
