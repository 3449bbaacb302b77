# SPDX-License-Identifier: Apache-2.0
"""What is signed reads back as it should, or is not written."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess

import pytest

from hepix_vm.endorse import sealing
from hepix_vm import errors
from hepix_vm import imagelist
from hepix_vm import trust
from hepix_vm.trust import signing
from tests.assets import pki
from tests.unit.endorse import people
from tests.unit.endorse import test_draft

IMAGE = test_draft.image()


def anchored(*revoked):
    return sealing.Anchored(people.trust_anchors(*revoked))


def seal(*who, by=None, **more):
    draft = more.pop('draft', None) or people.draft(*who)
    return sealing.seal(
        draft, people.signatory(by or people.holder()), people.now(), **more
    )


def refused(call, *arguments, **more):
    with pytest.raises(errors.Misconfigured) as caught:
        call(*arguments, **more)
    return str(caught.value)


def warned(sealed, text):
    return any(text in warning for warning in sealed.warnings)


def test_sealed_list_is_what_a_subscriber_accepts():
    sealed = seal(anchored=anchored())
    endorsed = trust.verify(
        sealed.message,
        people.trust_anchors(),
        trust.Policy(
            endorser=trust.Endorser(*sealed.signed[0]),
            list_identifier=sealed.image_list.identifier,
        ),
        people.now(),
    )
    assert endorsed.image_list == sealed.image_list
    assert sealed.missing == ()
    assert sealed.warnings == ()


def test_without_anchors_it_says_what_was_not_checked():
    assert warned(seal(), 'chain and revocation')


def test_version_follows_the_list_before():
    first = seal().image_list
    assert seal(previous=first).image_list.version == '2'


def test_dialects():
    draft = people.draft(images=(IMAGE,))
    draft = dataclasses.replace(
        draft, vo='ops', dialect=imagelist.Dialect.APPDB
    )
    assert b'"ad:vo": "ops"' in seal(draft=draft).message
    plain = seal(draft=draft, dialect=imagelist.Dialect.HEPIX)
    assert b'ad:' not in plain.message
    assert b'"hv:size": "3"' in seal(draft=draft).message
    assert b'"hv:size": 3' in plain.message


def test_signer_has_to_stand_in_the_list():
    said = refused(seal, by=people.other())
    assert 'does not name' in said
    assert '--endorser' in said


@pytest.mark.parametrize(
    ('one', 'code'),
    [
        (lambda: people.holder('C=DE/CN=Ex', 'ec ex', days=-1), 'expired'),
        (lambda: people.holder('C=DE/CN=No', 'ec no', start=5), 'not-yet'),
        (
            lambda: people.authority().issue(
                'C=DE/CN=Sub',
                'ec sub',
                pki.ca_extensions(),
                start=people.now() - people.DAY,
                end=people.now() + people.DAY,
            ),
            'ca-signer',
        ),
        (
            lambda: people.authority().issue(
                'C=DE/CN=Enc',
                'ec enc',
                [(pki.usage(key_encipherment=True), True)],
                start=people.now() - people.DAY,
                end=people.now() + people.DAY,
            ),
            'key-usage',
        ),
        (
            lambda: people.holder().issue(
                'C=DE/O=Grid/CN=Jo/CN=proxy',
                'ec proxy',
                start=people.now() - people.DAY,
                end=people.now() + people.DAY,
            ),
            'proxy',
        ),
    ],
)
def test_certificate_that_subscribers_refuse(one, code):
    holder = one()
    who = imagelist.Endorser(
        'x',
        sealing.identity.identity(holder.certificate)[0].rfc4514(),
        sealing.identity.identity(holder.certificate)[1].rfc4514(),
        'a@example.org',
    )
    draft = people.later(people.draft(), endorsers=(who,))
    said = refused(seal, draft=draft, by=holder)
    assert f'({code}' in said


def test_revoked_certificate_is_told_before_it_is_written():
    said = refused(seal, anchored=anchored(people.holder()))
    assert '(revoked)' in said


def test_list_that_subscribers_would_refuse():
    wrong = people.later(people.draft(), uri='file:///etc/passwd')
    assert 'hv:uri' in refused(seal, draft=wrong)


def test_message_of_another_tool_with_an_odd_list():
    one = people.holder()
    payload = sealing.files.render(people.draft(images=(IMAGE,)))
    odd = payload.replace(
        b'"hv:hypervisor"', b'"hv:ram_minimum": 5, "hv:hypervisor"'
    )
    message = signing.sign(odd, one.certificate, one.key)
    said = refused(sealing.inspect, message, people.now())
    assert 'hv:ram_minimum' in said


def test_warnings():
    year = people.later(
        people.draft(), expires=people.now() + 500 * people.DAY
    )
    sealed = seal(draft=year)
    assert warned(sealed, 'protects nobody')
    assert warned(sealed, 'before the list does')
    old = people.draft(
        images=(test_draft.image(expires=people.now() - people.DAY),)
    )
    assert warned(seal(draft=old), 'expired at')
    odd = people.ambiguous()
    assert warned(seal(odd, by=odd), 'one-line form')


class TestSeveral:
    def _first(self):
        return seal(people.holder(), people.other())

    def test_first_signature_is_not_enough(self):
        sealed = self._first()
        assert [str(s) for s, _ in sealed.missing] == ['CN=Al,O=Grid,C=DE']
        assert warned(sealed, 'not yet signed by CN=Al')
        assert warned(sealed, 'consumers other than hepix_vm')

    def test_second_endorser_joins(self):
        first = self._first()
        both = sealing.join(
            first.message,
            people.signatory(people.other()),
            people.now(),
            anchored(),
        )
        assert both.missing == ()
        assert set(both.signed) == {
            sealing.identity.identity(one.certificate)
            for one in (people.holder(), people.other())
        }
        assert both.image_list == first.image_list

    def test_stranger_does_not_join(self):
        stranger = people.holder('C=DE/CN=Eve', 'ec eve')
        said = refused(
            sealing.join,
            self._first().message,
            people.signatory(stranger),
            people.now(),
        )
        assert 'does not name' in said

    def test_nobody_signs_twice(self):
        said = refused(
            sealing.join,
            self._first().message,
            people.signatory(people.holder()),
            people.now(),
        )
        assert 'already' in said


class TestOwnMessages:
    def test_only_what_an_own_key_signed_is_signed_again(self):
        message = seal().message
        sealing.require_signed_by(message, [people.holder().certificate])
        said = refused(
            sealing.require_signed_by, message, [people.other().certificate]
        )
        assert '--previous-certificate' in said

    def test_changed_message(self):
        message = seal().message.replace(b'Worker', b'Broken')
        said = refused(
            sealing.require_signed_by, message, [people.holder().certificate]
        )
        assert 'not what was signed' in said
        assert 'no signed image list' in refused(sealing.read, message)

    def test_expired_list_is_still_read(self):
        old = people.later(people.draft(), expires=people.now() - people.DAY)
        one = people.holder()
        message = signing.sign(
            sealing.files.render(old), one.certificate, one.key
        )
        assert sealing.read(message) == old
        assert '(list-expired)' in refused(
            sealing.inspect, message, people.now()
        )


@pytest.mark.skipif(not shutil.which('openssl'), reason='no openssl command')
@pytest.mark.parametrize('command', ['cms', 'smime'])
@pytest.mark.parametrize('signers', [1, 2])
def test_openssl_accepts_it(tmp_path, command, signers):
    sealed = seal() if signers == 1 else seal(people.holder(), people.other())
    message = sealed.message
    if signers == 2:
        message = sealing.join(
            message, people.signatory(people.other()), people.now()
        ).message
    ca = people.write_anchors(tmp_path / 'anchors') / 'ca.pem'
    (tmp_path / 'message').write_bytes(message)
    done = subprocess.run(
        [
            *('openssl', command, '-verify', '-in', tmp_path / 'message'),
            *('-CAfile', ca, '-crl_check', '-out', tmp_path / 'out'),
        ],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    content = (tmp_path / 'out').read_bytes()
    assert imagelist.parse(content) == sealed.image_list
