# SPDX-License-Identifier: Apache-2.0
"""The agent against the servers that it may meet."""

from __future__ import annotations

import shutil

import pytest

from hepix_vm.context import forms
from tests.guests import machine
from tests.guests import site

Answer = site.Answer
BOTH = ['prolog start', 'epilog start']


def refused(guest: machine.Machine, because: str) -> None:
    """The epilog fails, says why and leaves nothing."""
    done = guest.run('epilog')
    assert done.returncode == 1, done.stderr
    assert because in done.stderr
    assert guest.calls == []
    assert not (guest.state / 'context').exists()
    assert {path.name for path in guest.state.iterdir()} <= {'last'}
    assert {path.name for path in guest.run_directory.iterdir()} <= {
        'epilog',
        'refused',
    }


def test_a_good_bundle_runs_and_the_site_hears_of_it(guest, server):
    bundle = site.made({**site.SCRIPTS, 'site/squid.conf': b'cache\n'})
    server.say(bundle.answers())
    done = guest.run('epilog')
    assert done.returncode == 0, done.stderr
    assert guest.calls == BOTH
    assert f'context ran: sha256={bundle.sha256}' in done.stderr
    assert server.asked == [
        '/context/manifest',
        '/context/default.tgz.b64',
        f'/context/ran/{bundle.sha256}',
    ]
    context = guest.state / 'context'
    assert (context / 'site/squid.conf').read_bytes() == b'cache\n'
    assert guest.state.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize('form', [forms.gzip, 'pkzip'])
def test_the_old_name_does_when_there_is_no_other(guest, server, key, form):
    """And five requests do for everything."""
    bundle = site.made()
    guest.trusts(key)
    server.say(bundle.answers(key))
    del server.answers['/context/default.tgz.b64']
    body = form(bundle.tar) if callable(form) else forms.pkzip(bundle.tgz)
    server.say({'/context/default.tgz': Answer(body=body)})
    done = guest.run('epilog')
    assert done.returncode == 0, done.stderr
    assert guest.calls == BOTH
    assert len(server.asked) == 5


def test_a_site_of_old_has_no_manifest(guest, server):
    bundle = site.made()
    server.say({'/context/default.tgz': Answer(body=bundle.tgz)})
    done = guest.run('epilog')
    assert done.returncode == 0, done.stderr
    assert guest.calls == BOTH
    assert f'/context/ran/{bundle.sha256}' in server.asked


def test_a_manifest_can_be_asked_for(guest, server):
    server.say({'/context/default.tgz': Answer(body=site.made().tgz)})
    guest.options['manifest'] = 'required'
    refused(guest, 'expected a manifest, found none')


def test_a_site_without_context_is_no_failure(guest, server):
    done = guest.run('epilog')
    assert done.returncode == 0
    assert 'this site has no context' in done.stderr


def test_a_server_that_is_busy_is_asked_again(guest, server):
    bundle = site.made()
    server.say(bundle.answers())
    server.answers['/context/manifest'][:0] = [Answer(503)] * 2
    guest.options['tries'] = '3'
    assert guest.run('epilog').returncode == 0
    assert guest.calls == BOTH
    assert server.asked.count('/context/manifest') == 3


@pytest.mark.parametrize('status', [408, 429])
def test_a_limit_of_rates_is_waited_for(guest, server, status):
    """Neutron may allow ten requests in ten seconds; others ask, too."""
    server.say(site.made().answers())
    server.answers['/context/manifest'].insert(0, Answer(status))
    guest.options['tries'] = '2'
    assert guest.run('epilog').returncode == 0
    assert guest.calls == BOTH


def test_headers_without_end_are_no_answer(guest, server):
    bundle = site.made()
    server.say(bundle.answers())
    server.say({'/context/manifest': Answer(body=bundle.manifest, junk=2**21)})
    refused(guest, 'no whole answer')


def test_a_server_that_stays_busy_is_left(guest, server):
    server.say({'/context/manifest': Answer(503)})
    guest.options['tries'] = '3'
    refused(guest, 'no whole answer in 3 tries; the last status was 503')
    assert server.asked == ['/context/manifest'] * 3


def test_a_server_that_hangs_is_left(guest, server):
    server.say({'/context/manifest': Answer(hangs=True)})
    guest.options['timeout'] = '1'
    refused(guest, 'the last status was 000')


def test_a_redirect_is_not_followed(guest, server):
    bundle = site.made()
    server.say(bundle.answers())
    server.answers['/elsewhere'] = server.answers['/context/manifest']
    server.say({'/context/manifest': Answer(302, location='/elsewhere')})
    refused(guest, 'expected the answer 200, found 302')


@pytest.mark.parametrize('name', ['manifest', 'default.tgz.b64'])
def test_an_answer_that_is_cut_off_is_none(guest, server, name):
    server.say(site.made().answers())
    whole = server.answers[f'/context/{name}'][0].body
    server.say({f'/context/{name}': Answer(body=whole[:-40], short=40)})
    refused(guest, 'no whole answer')


def test_a_bundle_that_is_cut_off_where_nobody_says_so(guest, server):
    bundle = site.made()
    server.say(bundle.answers())
    part = forms.base64(bundle.tgz[:-30])
    server.say(
        {'/context/default.tgz.b64': Answer(body=part, announced=False)}
    )
    refused(guest, 'refused: ')


def test_an_answer_without_end_is_too_large(guest, server):
    server.say(site.made().answers())
    server.say({'/context/default.tgz.b64': Answer(body=b'A' * 9000)})
    guest.options['most_fetched'] = '8000'
    refused(guest, 'expected at most 8000 bytes, found more')


def test_another_digest_is_refused_and_told(guest, server):
    bundle = site.made()
    other = site.made({'prolog.sh': b'exit 1\n'})
    server.say(bundle.answers())
    server.say(
        {'/context/default.tgz.b64': Answer(body=forms.base64(other.tgz))}
    )
    refused(guest, f'expected sha256 {bundle.sha256}, found {other.sha256}')
    assert f'/context/failed/{bundle.sha256}' in server.asked


def test_what_is_no_base64_is_refused(guest, server):
    server.say(site.made().answers())
    server.say({'/context/default.tgz.b64': Answer(body=b'<html>\n')})
    refused(guest, 'not base64')


def test_what_is_no_archive_is_refused(guest, server):
    server.say(site.made().answers())
    body = forms.base64(b'a page of a proxy ' * 100)
    server.say({'/context/default.tgz.b64': Answer(body=body)})
    refused(guest, 'expected gzip, PKZIP or tar')


@pytest.mark.parametrize('guest', machine.SYSTEMS, indirect=True)
@pytest.mark.parametrize(
    'old, new',
    [
        (b'serial: 7', b'serial:  7'),
        (b' epilog.sh', b' epilog.sh '),
        (b' epilog.sh', b' prolog.sh'),
        (b'size-tar: ', b'size-tar: 1\nsize-tar: '),
        (b'size-tar: 10240', b'size-tar: 10'),
        (b'manifest: 1', b'manifest: 2'),
        (b'serial: 7', b'serial: 07'),
        (b'serial: 7', b'serial:\t7'),
        (b'serial: 7', b'serial: 7 $(id)'),
        (b'size-tar', b'size'),
        (b' epilog.sh', b' ../epilog.sh'),
        (b' epilog.sh', b' epi\xc3\xa9log.sh'),
        (b'sha256-tar: ', b'sha256-tar: 0'),
    ],
)
def test_what_is_no_manifest_is_refused(guest, server, old, new):
    bundle = site.made()
    server.say(bundle.answers())
    body = bundle.manifest.replace(old, new)
    server.say({'/context/manifest': Answer(body=body)})
    refused(guest, 'it is none, or one of another version')


def test_an_expired_bundle_is_refused(guest, server):
    server.say(site.made(expires=site.CREATED + 1).answers())
    refused(
        guest,
        'refused: serial 7 expired on 2026-01-01T00:00:01Z; by the clock here'
        ' it is 20',
    )


def test_a_serial_never_goes_back(guest, server):
    server.say(site.made(serial=8).answers())
    assert guest.run('epilog').returncode == 0
    server.say(site.made(serial=7).answers())
    guest.boots()
    done = guest.run('epilog')
    assert done.returncode == 1
    assert 'serial 7 is older than 8' in done.stderr
    assert guest.calls == BOTH
    # nor can its place be taken by one without any
    server.answers = {
        '/context/default.tgz': [Answer(body=site.made().tgz)],
    }
    guest.boots()
    done = guest.run('epilog')
    assert 'this machine had serial 8; expected a manifest' in done.stderr
    assert guest.calls == BOTH


def test_a_snapshot_takes_no_serial_along(guest, server):
    server.say(site.made(serial=8).answers())
    assert guest.run('epilog').returncode == 0
    server.say(site.made(serial=1).answers())
    guest.boots()
    guest.identity('another')
    assert guest.run('epilog').returncode == 0
    assert guest.calls == BOTH * 2


def test_the_sites_signature_is_checked(guest, server, key):
    guest.trusts(key)
    server.say(site.made().answers(key))
    done = guest.run('epilog')
    assert done.returncode == 0, done.stderr
    assert 'signed=yes' in done.stderr


@pytest.mark.parametrize('signature', ['auto', 'optional'])
def test_another_signature_is_refused(guest, server, key, signature):
    guest.trusts(key)
    guest.options['signature'] = signature
    server.say(site.made().answers(site.Key()))
    refused(guest, 'the manifest is not signed by the key in')


def test_a_missing_signature_is_refused(guest, server, key):
    guest.trusts(key)
    server.say(site.made().answers())
    refused(guest, 'expected a signature of the manifest, found none')


def test_a_missing_signature_is_said_where_that_is_enough(guest, server, key):
    guest.trusts(key)
    guest.options['signature'] = 'optional'
    server.say(site.made().answers())
    done = guest.run('epilog')
    assert done.returncode == 0
    assert 'expected a signature of the manifest, found none' in done.stderr


def test_a_missing_manifest_is_no_way_around_a_key(guest, server, key):
    guest.trusts(key)
    server.say({'/context/default.tgz': Answer(body=site.made().tgz)})
    refused(guest, 'expected a manifest, found none')


def test_a_key_can_be_asked_for(guest, server):
    guest.options['signature'] = 'required'
    server.say(site.made().answers())
    refused(guest, "expected the site's key in")


def test_without_openssl_nothing_is_checked_and_nothing_run(
    guest, server, key, tmp_path
):
    guest.trusts(key)
    guest.path = machine.without(tmp_path / 'few', guest.path, ['openssl'])
    server.say(site.made().answers(key))
    refused(guest, 'expected openssl, which checks signatures, found none')


def test_what_an_earlier_boot_had_runs_when_the_site_is_silent(guest, server):
    server.say(site.made().answers())
    assert guest.run('epilog').returncode == 0
    server.say({'/context/manifest': Answer(503)})
    guest.boots()
    done = guest.run('epilog')
    assert done.returncode == 0
    assert 'the site does not answer' in done.stderr
    assert guest.calls == BOTH * 2
    for another in ('another', ''):
        guest.boots()
        guest.identity(another)
        assert guest.run('epilog').returncode == 1
        assert guest.calls == BOTH * 2


def test_what_nobody_knows_whose_it_is_does_not_run_again(guest, server):
    """Without firmware that says so, it may be another's snapshot."""
    guest.identity('')
    server.say(site.made().answers())
    assert guest.run('epilog').returncode == 0
    server.say({'/context/manifest': Answer(503)})
    guest.boots()
    done = guest.run('epilog')
    assert done.returncode == 1
    assert 'what is here is of another machine' in done.stderr
    assert guest.calls == BOTH


def test_what_an_earlier_boot_had_is_not_run_against_policy(
    guest, server, key
):
    """Expired meanwhile, or unsigned where a signature is needed by now."""
    server.say(site.made().answers())
    assert guest.run('epilog').returncode == 0
    server.say({'/context/manifest': Answer(503)})
    guest.trusts(key)
    guest.boots()
    assert guest.run('epilog').returncode == 1
    guest.options['signature'] = 'optional'
    installed = guest.state / 'installed'
    text = installed.read_text()
    assert '2100-01-01T00:00:00Z' in text
    installed.write_text(text.replace('2100-01', '2026-01'))
    guest.boots()
    done = guest.run('epilog')
    assert done.returncode == 1
    assert 'expired on 2026-01-01T00:00:00Z' in done.stderr
    assert guest.calls == BOTH


CLIENTS = {
    'curl': ('curl',),
    'wget': ('wget',),
    'bash': ('bash',),
    'python3': ('python3',),
    'perl': ('perl',),
}


@pytest.mark.parametrize('client', [c for c in CLIENTS if shutil.which(c)])
def test_any_of_the_clients_does(client, tmp_path, server, paths):
    """Each refuses the same as the others."""
    path = machine.without(
        tmp_path / 'few', paths['dash'], CLIENTS.keys() - {client}
    )
    (tmp_path / 'guest').mkdir()
    guest = machine.Machine(tmp_path / 'guest', path, server)
    bundle = site.made({**site.SCRIPTS, 'large': b'\0\xff\r\n' * 50_000})
    server.say(bundle.answers())
    assert f'client={client} ' in guest.run('check').stderr
    server.say({'/context/manifest': Answer(302, location='/context/m')})
    refused(guest, 'found 302')
    assert '/context/m' not in server.asked
    server.say({'/context/manifest': Answer(body=bundle.manifest, short=9)})
    guest.boots()
    refused(guest, 'no whole answer')
    server.say(bundle.answers())
    del server.answers['/context/default.tgz.b64']
    server.say({'/context/default.tgz': Answer(body=bundle.tgz)})
    guest.boots()
    done = guest.run('epilog')
    assert done.returncode == 0, done.stderr
    assert guest.calls == BOTH


def test_without_a_client_that_is_said(tmp_path, server, paths):
    path = machine.without(tmp_path / 'few', paths['dash'], CLIENTS)
    (tmp_path / 'guest').mkdir()
    guest = machine.Machine(tmp_path / 'guest', path, server)
    done = guest.run('epilog')
    assert done.returncode == 1
    assert 'found none: install one in the image' in done.stderr


@pytest.mark.parametrize('name', ['manifest', 'manifest.sig', 'bundle'])
def test_answers_of_two_generations_are_asked_for_again(
    guest, server, key, name
):
    old = site.made({**site.SCRIPTS, 'a': b'old\n'}, serial=6)
    new = site.made({**site.SCRIPTS, 'a': b'new\n'}, serial=7)
    guest.trusts(key)
    server.say(new.answers(key))
    path = site.CONTEXT + {'bundle': 'default.tgz.b64'}.get(name, name)
    server.answers[path].insert(0, old.answers(key)[path])
    done = guest.run('epilog')
    assert done.returncode == 0, done.stderr
    assert guest.calls == BOTH
    assert 'http: starting over' in done.stderr
    assert server.asked.count('/context/manifest') == 2
    assert (guest.state / 'context/a').read_bytes() == b'new\n'


@pytest.mark.parametrize('name', ['manifest.sig', 'bundle'])
def test_answers_that_never_agree_are_refused(guest, server, key, name):
    old = site.made({**site.SCRIPTS, 'a': b'old\n'}, serial=6)
    guest.trusts(key)
    server.say(site.made().answers(key))
    path = site.CONTEXT + {'bundle': 'default.tgz.b64'}.get(name, name)
    server.say({path: old.answers(key)[path]})
    refused(guest, 'refused: ')
    assert server.asked.count('/context/manifest') == 3
