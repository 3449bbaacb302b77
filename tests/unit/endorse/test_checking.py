# SPDX-License-Identifier: Apache-2.0
"""What an endorser hears is what subscribers will say."""

from __future__ import annotations

import pytest

from hepix_vm.endorse import checking
from hepix_vm.endorse import files
from hepix_vm.endorse import sealing
from hepix_vm import errors
from hepix_vm import trust
from hepix_vm.trust import signing
from tests.unit.endorse import people
from tests.unit.endorse import test_draft

NOW = people.now()


def seal(*who, images=(), **more):
    return sealing.seal(
        people.draft(*who, images=images, **more),
        people.signatory(people.holder()),
        NOW,
    )


def judged(message, now=None):
    # Signatures carry the real time, which a long run takes far past NOW.
    return checking.envelope(
        message, sealing.Anchored(people.trust_anchors()), now or people.now()
    )


def of_list(sealed, url='https://lists.example.org/worker.signed', now=None):
    _, endorsed = judged(sealed.message, now)
    return {
        (f.check, f.level.value)
        for f in checking.of_list(endorsed, url, now or people.now())
    }


def test_good_list():
    finding, endorsed = judged(seal().message)
    assert (finding.level, finding.check) == ('ok', 'signature')
    assert 'CN=Jo,O=Grid,C=DE' in finding.detail
    assert endorsed.image_list.version == '1'
    assert of_list(seal(images=(test_draft.image(),))) == {
        ('expiry', 'ok'),
        ('certificate', 'ok'),
        ('crl', 'ok'),
    }


@pytest.mark.parametrize(
    ('change', 'code'),
    [
        (lambda m: m.replace(b'Worker', b'Broken'), 'digest'),
        (lambda _: b'{}', 'not-signed'),
    ],
)
def test_refused_list_has_the_code_of_subscribers(change, code):
    finding, endorsed = judged(change(seal().message))
    assert (finding.level, finding.check) == ('problem', code)
    assert endorsed is None


def test_expired_list():
    finding, _ = judged(seal().message, NOW + 29 * people.DAY)
    assert finding.check == 'list-expired'
    assert 'renew' in finding.detail


def test_what_ends_soon():
    assert ('expiry', 'warning') in of_list(seal(), now=NOW + 25 * people.DAY)


def test_address_that_differs():
    assert ('address', 'warning') in of_list(seal(), 'https://x.example.org')


def test_empty_list_withdraws():
    assert ('content', 'ok') in of_list(seal())


def test_several_signers():
    first = seal(people.holder(), people.other())
    both = sealing.join(
        first.message, people.signatory(people.other()), people.now()
    )
    assert ('signers', 'warning') in of_list(both, now=people.now())


IMAGE = test_draft.image()


@pytest.mark.parametrize(
    ('received', 'level', 'check'),
    [
        (checking.Received(3, IMAGE.sha512), 'ok', 'digest'),
        (checking.Received(3, None), 'ok', 'size'),
        (checking.Received(4, IMAGE.sha512), 'problem', 'size'),
        (checking.Received(3, '00'), 'problem', 'digest'),
        (errors.TryAgain('away'), 'problem', 'fetch'),
    ],
)
def test_image(received, level, check):
    found = checking.of_image(IMAGE, received, NOW)
    assert (found.level, found.check) == (level, check)
    assert found.subject == IMAGE.identifier


def test_expired_image():
    image = test_draft.image(expires=NOW)
    found = checking.of_image(image, errors.TryAgain('away'), NOW)
    assert (found.level, found.check) == ('warning', 'expiry')


def test_odd_content_and_tolerated_weakness_are_told():
    """As a list of another tool may have them."""
    one = people.holder()
    payload = files.render(people.draft(images=(IMAGE,)))
    odd = payload.replace(
        b'"hv:hypervisor"', b'"hv:ram_minimum": 5, "hv:hypervisor"'
    )
    message = signing.sign(odd, one.certificate, one.key)
    lenient = trust.Policy(allow_sha1_dangerous=True, crl='off')
    _, endorsed = checking.envelope(
        message,
        sealing.Anchored(people.trust_anchors(), lenient),
        people.now(),
    )
    found = list(checking.of_list(endorsed, endorsed.image_list.uri, NOW))
    told = {f.check: f for f in found if f.level == 'warning'}
    assert 'hv:ram_minimum' in told['content'].detail
    assert 'SHA-1' in told['signature'].detail


def test_certificate_that_ended_is_a_problem():
    found = checking._end('certificate', 'it', NOW, NOW)
    assert (found.level, 'ended' in found.detail) == ('problem', True)
