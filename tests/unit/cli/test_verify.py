# SPDX-License-Identifier: Apache-2.0
"""``list verify``, ``message verify`` and ``list show``: fixed forms."""

from __future__ import annotations

import hashlib
import json
import os
import stat

import pytest

from hepix_vm import imagelist
from tests import endorser
from tests.unit.catalogue import following

LIST = following.identifier_of('main')
KEYS = ['verdict', 'code', 'detail', 'signer', 'payload_sha256']


@pytest.fixture(scope='module')
def by():
    return endorser.Endorser.create(name='Verified')


@pytest.fixture
def anchors(tmp_path, by):
    by.write_trust_anchors(tmp_path / 'anchors')
    return tmp_path / 'anchors'


@pytest.fixture
def payload(by):
    return imagelist.render(
        by.make_list(LIST, '1', [endorser.make_image(b'an image')])
    )


@pytest.fixture
def file(tmp_path, by, payload):
    path = tmp_path / 'list'
    path.write_bytes(by.sign(payload))
    return path


@pytest.fixture
def verify(hepix_vm, anchors):
    """Run a command on a file and return what its JSON says."""

    def run(what, path, *options, status):
        ran = hepix_vm.bare(
            what,
            'verify',
            path,
            '--trust-anchors',
            anchors,
            *options,
            '-f',
            'json',
        )
        assert ran.status == status, ran.err
        assert list(ran.json) == KEYS
        return ran.json

    return run


BOTH = pytest.mark.parametrize('what', ['list', 'message'])


@BOTH
def test_accepted(verify, file, by, payload, what):
    found = verify(what, file, status=0)
    assert found['verdict'] == 'accepted'
    assert found['code'] == 'ok'
    assert found['payload_sha256'] in {
        hashlib.sha256(payload).hexdigest(),
        hashlib.sha256(payload.replace(b'\n', b'\r\n')).hexdigest(),
    }
    assert set(found['signer']) == {'subject', 'issuer', 'sha256'}
    assert found['signer']['subject'] == by.subject
    assert found['signer']['issuer'] == by.issuer
    assert len(found['signer']['sha256']) == 64


@BOTH
def test_refused_after_the_signature_names_the_signer(verify, file, by, what):
    found = verify(what, file, '--at', '2190-01-01T00:00:00Z', status=1)
    assert found['verdict'] == 'refused'
    assert found['code'] != 'ok'
    assert found['detail']
    assert found['payload_sha256'] is None
    assert found['signer']['subject'] == by.subject


@BOTH
def test_refused_before_the_signature_names_nobody(verify, tmp_path, what):
    path = tmp_path / 'other'
    path.write_bytes(b'no message')
    found = verify(what, path, status=1)
    assert found['verdict'] == 'refused'
    assert found['signer'] is None
    assert found['payload_sha256'] is None


@BOTH
@pytest.mark.parametrize(
    ('options', 'code'),
    [
        (('--at', '2190-01-01T00:00:00+01:00'), 'crl-expired'),
        (('--at', '0'), 'signed-in-future'),
        (('--pin', 'ab' * 32), 'pin'),
    ],
)
def test_options_decide(verify, file, what, options, code):
    found = verify(what, file, *options, status=1)
    assert found['code'] in {code, 'expired-certificate'}


@BOTH
def test_pin_of_the_signer_is_accepted_in_either_form(verify, file, by, what):
    verify(what, file, '--pin', by.pin, status=0)
    pairs = [by.pin[i : i + 2].upper() for i in range(0, 64, 2)]
    verify(what, file, '--pin', ':'.join(pairs), '--pin', 'ab' * 32, status=0)


@BOTH
def test_without_a_revocation_list(verify, file, anchors, what):
    for path in anchors.glob('*.r0'):
        path.unlink()
    found = verify(what, file, status=1)
    assert found['code'] == 'crl-missing'
    verify(what, file, '--crl', 'if-present', status=0)
    verify(what, file, '--crl', 'off', status=0)


@BOTH
def test_without_a_signing_policy(verify, file, anchors, what):
    for path in anchors.glob('*.signing_policy'):
        path.unlink()
    verify(what, file, status=0)
    found = verify(what, file, '--signing-policy', 'require', status=1)
    assert found['code'] == 'signing-policy'
    verify(what, file, '--signing-policy', 'off', status=0)


def test_endorser_is_subject_and_issuer_in_either_form(verify, file, by):
    for subject, issuer in (
        (by.subject, by.issuer),
        (
            '/C=CH/O=Example Grid/CN=Verified',
            '/C=CH/O=Example Grid/CN=Verified CA',
        ),
    ):
        found = verify(
            'list',
            file,
            '--endorser-subject',
            subject,
            '--endorser-issuer',
            issuer,
            status=0,
        )
        assert found['code'] == 'ok'
    found = verify(
        'list',
        file,
        '--endorser-subject',
        'CN=Somebody Else,O=Example Grid,C=CH',
        '--endorser-issuer',
        by.issuer,
        status=1,
    )
    assert found['code'] == 'endorser-mismatch'


def test_message_need_not_be_a_list(verify, tmp_path, by):
    path = tmp_path / 'text'
    path.write_bytes(by.sign(b'any text\n'))
    assert verify('message', path, status=0)['code'] == 'ok'
    assert verify('list', path, status=1)['code'] == 'invalid-list'


# The verified bytes


def test_output_is_exactly_what_was_verified(verify, file, tmp_path):
    target = tmp_path / 'payload'
    found = verify('message', file, '--output', target, status=0)
    written = target.read_bytes()
    assert hashlib.sha256(written).hexdigest() == found['payload_sha256']
    assert json.loads(written)['hv:imagelist']['dc:identifier'] == LIST
    assert [p.name for p in tmp_path.glob('.payload*')] == []


def test_output_is_not_touched_by_a_refusal(verify, file, tmp_path):
    target = tmp_path / 'payload'
    target.write_text('of before')
    verify('message', file, '--at', '0', '--output', target, status=1)
    assert target.read_text() == 'of before'
    absent = tmp_path / 'absent'
    verify('message', file, '--at', '0', '--output', absent, status=1)
    assert not absent.exists()


def test_output_to_a_device_leaves_the_device(verify, file, tmp_path):
    pipe = tmp_path / 'pipe'
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        verify('message', file, '--output', pipe, status=0)
        assert stat.S_ISFIFO(pipe.stat().st_mode)
        assert b'hv:imagelist' in os.read(reading, 1_000_000)
    finally:
        os.close(reading)


def test_output_that_cannot_be_written_is_wrong_use(
    hepix_vm, file, anchors, tmp_path
):
    for target in (tmp_path / 'absent' / 'payload', tmp_path):
        ran = hepix_vm.bare(
            'message',
            'verify',
            file,
            '--trust-anchors',
            anchors,
            '--output',
            target,
            '-f',
            'json',
        )
        assert ran.status == 2
        assert f'{target}: cannot be written' in ran.err


# Wrong use


@BOTH
def test_unreadable_file_or_folder_is_wrong_use(
    hepix_vm, file, anchors, tmp_path, what
):
    absent = tmp_path / 'absent'
    empty = tmp_path / 'empty'
    empty.mkdir()
    for path, folder, said in (
        (absent, anchors, f'{absent}: expected a readable file'),
        (tmp_path, anchors, 'Is a directory'),
        (file, absent, str(absent)),
        (file, file, str(file)),
        (file, empty, 'holds no certificate'),
    ):
        ran = hepix_vm.bare(
            what, 'verify', path, '--trust-anchors', folder, '-f', 'json'
        )
        assert ran.status == 2
        assert ran.out == ''
        assert said in ran.err
        assert len(ran.err.strip().splitlines()) == 1


@BOTH
@pytest.mark.parametrize(
    'options',
    [
        (),
        ('--at', 'yesterday'),
        ('--at', '2026-01-01'),
        ('--at', '2026-01-01T00:00:00'),
        ('--at', '9' * 30),
        ('--at', '-1'),
        ('--pin', 'abc'),
        ('--crl', 'maybe'),
        ('--signing-policy', 'maybe'),
        ('--no-such-option',),
    ],
)
def test_wrong_arguments_are_wrong_use(hepix_vm, file, anchors, what, options):
    given = ('--trust-anchors', anchors, *options) if options else ()
    ran = hepix_vm.bare(what, 'verify', file, *given)
    assert ran.status == 2
    assert 'usage:' in ran.err


@pytest.mark.parametrize(
    'options',
    [
        ('--endorser-subject', 'CN=x'),
        ('--endorser-issuer', 'CN=x'),
        ('--endorser-subject', 'x', '--endorser-issuer', 'CN=x'),
    ],
)
def test_half_an_endorser_is_wrong_use(hepix_vm, file, anchors, options):
    ran = hepix_vm.bare(
        'list', 'verify', file, '--trust-anchors', anchors, *options
    )
    assert ran.status == 2
    assert 'endorser' in ran.err


@pytest.mark.parametrize('form', ['table', 'value', 'yaml', 'json', 'shell'])
def test_every_form_of_output(hepix_vm, file, anchors, form):
    ran = hepix_vm.bare(
        'list', 'verify', file, '--trust-anchors', anchors, '-f', form
    )
    assert ran.status == 0
    assert 'accepted' in ran.out


def test_unix_seconds_and_rfc_3339_are_the_same_moment(verify, file):
    for moment in (
        '7258118400',
        '2200-01-01T00:00:00Z',
        '2199-12-31T23:00:00-01:00',
    ):
        found = verify('list', file, '--at', moment, '--crl', 'off', status=1)
        assert found['code'] == 'expired-certificate'


# Showing


def test_list_of_a_file_is_shown_and_said_to_be_unverified(hepix_vm, file):
    ran = hepix_vm.bare('list', 'show', file, '-f', 'json')
    assert ran.status == 0
    (image,) = ran.json
    assert image['title'] == 'a test image'
    assert image['size'] == len(b'an image')
    assert 'not verified' in ran.err


def test_unsigned_list_is_shown(hepix_vm, tmp_path, payload):
    path = tmp_path / 'payload'
    path.write_bytes(payload)
    ran = hepix_vm.bare('list', 'show', path, '-f', 'json')
    assert ran.status == 0
    assert len(ran.json) == 1


@pytest.mark.parametrize(
    'content', [b'', b'{', b'\xff\xfe', b'{"hv:imagelist": {}}', b'x' * 10000]
)
def test_file_without_a_list_is_refused_in_one_line(
    hepix_vm, tmp_path, content
):
    path = tmp_path / 'other'
    path.write_bytes(content)
    ran = hepix_vm.bare('list', 'show', path)
    assert ran.status == 1
    assert ran.out == ''
    assert len(ran.err.strip().splitlines()) == 1


def test_list_show_needs_one_of_file_and_subscription(hepix_vm, file):
    assert hepix_vm.bare('list', 'show').status == 2
    ran = hepix_vm.bare('list', 'show', file, '--subscription', 'main')
    assert ran.status == 2


# As a subscription judges


@pytest.fixture
def as_subscribed(hepix_vm):
    """Verify a file as the subscription ``main`` does."""

    def run(path, *options, status, name='main'):
        ran = hepix_vm(
            'list',
            'verify',
            path,
            '--subscription',
            name,
            *options,
            '-f',
            'json',
        )
        assert ran.status == status, ran.err
        return ran.json if status < 2 else ran.err

    return run


def test_subscription_says_whose_list_is_accepted(
    as_subscribed, site, file, tmp_path
):
    path = tmp_path / 'own'
    path.write_bytes(site.publish('main', '1'))
    assert as_subscribed(path, status=0)['code'] == 'ok'
    site.change('main', endorser_subject='CN=Somebody Else')
    assert as_subscribed(path, status=1)['code'] == 'endorser-mismatch'
    site.follow('main', list_identifier=following.identifier_of('other'))
    assert as_subscribed(path, status=1)['code'] == 'wrong-identifier'
    assert as_subscribed(file, status=1)['code'] == 'no-anchor'
    found = as_subscribed(path, '--at', '0', status=1)
    assert found['code'] == 'signed-in-future'


def test_subscription_says_in_which_form_lists_are_signed(
    as_subscribed, site, tmp_path
):
    path = tmp_path / 'entry'
    path.write_bytes(b'<html/>')
    assert as_subscribed(path, status=1)['detail'].startswith('the file does')
    site.change('main', url='stratuslab+https://mp.example.org/metadata/x')
    found = as_subscribed(path, status=1)
    assert found['code'] == 'not-signed'
    assert found['detail'] == 'the entry has no XML signature'


def test_subscription_that_is_not_there_or_broken_is_wrong_use(
    as_subscribed, site, file
):
    assert 'expected one of main' in as_subscribed(file, status=2, name='x')
    site.change('main', url='')
    assert 'url' in as_subscribed(file, status=2)


@pytest.mark.parametrize(
    'options',
    [
        ('--pin', 'ab' * 32),
        ('--crl', 'off'),
        ('--signing-policy', 'off'),
        ('--endorser-subject', 'CN=x', '--endorser-issuer', 'CN=x'),
    ],
)
def test_subscription_and_other_options_are_wrong_use(
    as_subscribed, file, options
):
    said = as_subscribed(file, *options, status=2)
    assert f'leave out {options[0]}' in said
