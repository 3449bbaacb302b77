# SPDX-License-Identifier: Apache-2.0
"""CDs and config drives; mounting itself is a stand-in's."""

from __future__ import annotations

import json

import pytest

from hepix_vm.context import forms
from tests.guests import machine
from tests.guests import site

EARLY = ['prolog start']
BOTH = ['prolog start', 'epilog start']


def _signed(bundle: site.Bundle, key: site.Key) -> dict[str, bytes]:
    return {
        **site.SCRIPTS,
        'manifest': bundle.manifest,
        'manifest.sig': bundle.signature(key),
        'init.sh': b'echo never\n',
    }


def _drive(bundle: site.Bundle, signed: bytes, more: dict[str, str]):
    found = {
        'static': {'tgz': ['"}{', 'a', {'deep': {'manifest': 'no'}}], 'n': 1},
        'hepix': {
            'serial': 7,
            'sha256_tar': bundle.sha256,
            'manifest': bundle.manifest.decode(),
            'signature': signed.decode(),
            'tgz_base64': forms.base64(bundle.tgz).decode(),
            **more,
        },
        'later': {'one': 'a \\" tgz_base64": "x'},
    }
    return {
        'openstack/latest/vendor_data2.json': json.dumps(found).encode(),
        'openstack/latest/user_data': b'#!/bin/sh\n',
    }


@pytest.mark.parametrize('kind', ['iso9660', 'vfat'])
def test_the_prolog_of_a_cd_runs_without_network(guest, server, kind):
    bundle = site.made()
    guest.cd({**site.SCRIPTS, 'manifest': bundle.manifest}, kind)
    done = guest.run('prolog')
    assert done.returncode == 0, done.stderr
    assert guest.calls == EARLY
    assert server.asked == []
    # and there is no other context
    assert guest.run('epilog').returncode == 0
    assert guest.calls == BOTH
    assert f'/context/ran/{bundle.sha256}' in server.asked


def test_a_cd_without_scripts_is_somebody_elses(guest):
    guest.cd({'meta-data': b'', 'user-data': b''})
    guest.cd({'context.sh': b'PATH=/nowhere\n', 'init.sh': b'echo never\n'})
    guest.cd(site.SCRIPTS, 'ext4')
    done = guest.run('prolog')
    assert done.returncode == 0
    assert 'no CD with a context' in done.stderr
    assert guest.calls == []


def test_a_cd_of_old_has_no_manifest(guest):
    files = {**site.SCRIPTS, 'context.sh': b'A=1\n', 'sub/file': b'1\n'}
    guest.cd(files)
    done = guest.run('prolog')
    assert done.returncode == 0, done.stderr
    assert guest.calls == EARLY
    assert (guest.state / 'context/sub/file').read_bytes() == b'1\n'


def test_a_cd_of_old_may_hold_files_alone(guest):
    folder = guest.cd(site.SCRIPTS)
    (folder / 'link').symlink_to('/etc')
    done = guest.run('prolog')
    assert done.returncode == 1
    assert 'links, devices, special rights or odd names' in done.stderr
    assert guest.calls == []
    # Not even what an earlier boot had.
    assert (guest.run_directory / 'refused').exists()


def test_a_cd_of_old_may_not_be_large(guest):
    guest.cd({**site.SCRIPTS, 'data': bytes(700), 'more': bytes(700)})
    guest.options['most_unpacked'] = '1000'
    assert 'more than 1000 bytes' in guest.run('prolog').stderr
    guest.options |= {'most_unpacked': '9000', 'most_files': '3'}
    assert 'more than 3 files' in guest.run('prolog').stderr
    assert guest.calls == []


def test_only_what_the_manifest_lists_is_taken(guest, key):
    guest.trusts(key)
    bundle = site.made()
    guest.cd(_signed(bundle, key))
    done = guest.run('prolog')
    assert done.returncode == 0, done.stderr
    assert guest.calls == EARLY
    names = {path.name for path in (guest.state / 'context').iterdir()}
    assert names == {'prolog.sh', 'epilog.sh'}


def test_directories_that_hold_nothing_come_with_it(guest):
    bundle = site.about(
        bytes(10240), site.SCRIPTS, directories=('spool', 'var/empty')
    )
    guest.cd({**site.SCRIPTS, 'manifest': bundle.manifest})
    assert guest.run('prolog').returncode == 0
    assert (guest.state / 'context/spool').is_dir()
    assert (guest.state / 'context/var/empty').is_dir()


@pytest.mark.parametrize(
    'name, because',
    [
        ('epilog.sh', 'it is none'),
        ('epilog.sh/x', 'epilog.sh/x is a file and a directory'),
        ('../x', 'it is none'),
        ('/x', 'it is none'),
        ('a/../../x', 'it is none'),
    ],
)
def test_a_directory_elsewhere_is_refused(guest, name, because):
    bundle = site.about(bytes(10240), site.SCRIPTS, directories=(name,))
    guest.cd({**site.SCRIPTS, 'manifest': bundle.manifest})
    done = guest.run('prolog')
    assert done.returncode == 1
    assert because in done.stderr
    assert guest.calls == []


@pytest.mark.parametrize('name', ['prolog.sh', 'manifest', 'manifest.sig'])
def test_a_cd_that_was_changed_is_refused(guest, key, name):
    guest.trusts(key)
    files = _signed(site.made(), key)
    if name == 'manifest.sig':
        files[name] = site.made().signature(site.Key())
    else:
        files[name] = files[name].replace(b'7', b'8') + b'\n'
    guest.cd(files)
    done = guest.run('prolog')
    assert done.returncode == 1, done.stderr
    assert 'refused: ' in done.stderr
    assert guest.calls == []


def test_an_unsigned_cd_is_refused_where_the_image_has_a_key(guest, key):
    guest.trusts(key)
    guest.cd(site.SCRIPTS)
    done = guest.run('prolog')
    assert done.returncode == 1
    assert 'expected a manifest, found none' in done.stderr


def test_an_expired_cd_is_refused(guest):
    bundle = site.made(expires=site.CREATED + 1)
    guest.cd({**site.SCRIPTS, 'manifest': bundle.manifest})
    assert 'expired on' in guest.run('prolog').stderr
    assert guest.calls == []


def test_the_network_takes_the_place_of_the_cd(guest, server):
    """Its prolog runs, too, as guests of old do it."""
    old = site.made()
    new = site.made({**site.SCRIPTS, 'new': b''}, serial=8)
    guest.cd({**site.SCRIPTS, 'manifest': old.manifest})
    assert guest.run('prolog').returncode == 0
    server.say(new.answers())
    assert guest.run('epilog').returncode == 0
    assert guest.calls == ['prolog start', 'prolog start', 'epilog start']
    assert server.asked[-1] == f'/context/ran/{new.sha256}'
    assert (guest.state / 'context/new').exists()


def test_the_same_from_both_runs_once(guest, server):
    bundle = site.made()
    guest.cd({**site.SCRIPTS, 'manifest': bundle.manifest})
    assert guest.run('prolog').returncode == 0
    server.say(bundle.answers())
    assert guest.run('epilog').returncode == 0
    assert guest.calls == BOTH
    assert '/context/default.tgz.b64' not in server.asked


def test_a_cd_that_only_says_to_be_the_same_is_not(guest, server):
    """The user's CD has the digest of the site's bundle in its manifest."""
    bundle = site.made()
    fake = {'prolog.sh': b'true\n', 'epilog.sh': b'true\n'}
    text = site.made(fake, serial=999).manifest.decode()
    mine = text.split('sha256-tar: ')[1].split('\n')[0]
    guest.cd({**fake, 'manifest': text.replace(mine, bundle.sha256).encode()})
    assert guest.run('prolog').returncode == 0
    server.say(bundle.answers())
    done = guest.run('epilog')
    # nor does its serial keep the site's away
    assert done.returncode == 0, done.stderr
    assert guest.calls == BOTH


def test_a_bad_bundle_from_the_network_leaves_that_of_the_cd(guest, server):
    bundle = site.made()
    guest.cd({**site.SCRIPTS, 'manifest': bundle.manifest})
    assert guest.run('prolog').returncode == 0
    other = site.made(serial=8, expires=site.CREATED + 1)
    server.say(other.answers())
    done = guest.run('epilog')
    assert done.returncode == 1
    assert guest.calls == BOTH
    assert server.asked[-1] == f'/context/failed/{other.sha256}'


def test_a_good_bundle_from_the_network_mends_a_bad_cd(guest, server):
    bundle = site.made()
    guest.cd({**site.SCRIPTS, 'manifest': b'hepix-context-manifest: 2\n'})
    assert guest.run('prolog').returncode == 1
    server.say(bundle.answers())
    assert guest.run('epilog').returncode == 0
    assert guest.calls == BOTH
    assert server.asked[-1] == f'/context/ran/{bundle.sha256}'


def test_an_answer_of_another_generation_that_goes_is_no_failure(
    guest, server, key
):
    """The second answer is the bundle of the CD."""
    guest.trusts(key)
    here = site.made()
    after = site.made({**site.SCRIPTS, 'new': b''}, serial=8)
    guest.cd(
        {
            **site.SCRIPTS,
            'manifest': here.manifest,
            'manifest.sig': here.signature(key),
        }
    )
    assert guest.run('prolog').returncode == 0
    server.say(here.answers(key))
    server.answers['/context/manifest'].insert(
        0, site.Answer(body=after.manifest)
    )
    done = guest.run('epilog')
    assert done.returncode == 0, done.stderr
    assert guest.calls == BOTH
    assert server.asked[-1] == f'/context/ran/{here.sha256}'


def test_an_older_cd_does_not_keep_away_what_an_earlier_boot_had(
    guest, server
):
    """A config drive stays that of the first boot; the site went on."""
    new = site.made({**site.SCRIPTS, 'new': b''}, serial=8)
    guest.cd({**site.SCRIPTS, 'manifest': site.made().manifest})
    server.say(new.answers())
    assert guest.run('epilog').returncode == 0
    guest.boots()
    assert 'is older than 8' in guest.run('prolog').stderr
    server.say({'/context/manifest': site.Answer(503)})
    done = guest.run('epilog')
    assert done.returncode == 0, done.stderr
    assert 'the site does not answer' in done.stderr
    assert guest.calls == BOTH * 2
    # What the network brings and is refused does.
    guest.boots()
    bad = site.made(serial=9, expires=site.CREATED + 1)
    server.say(bad.answers())
    assert guest.run('prolog').returncode == 1
    assert guest.run('epilog').returncode == 1
    assert guest.calls == BOTH * 2
    assert server.asked[-1] == f'/context/failed/{bad.sha256}'


def test_a_cd_that_comes_late_is_found_at_the_end(guest):
    guest.run('prolog')
    guest.cd(site.SCRIPTS)
    guest.options['http'] = 'no'
    assert guest.run('epilog').returncode == 0
    assert guest.calls == BOTH


def test_the_second_device_is_looked_at(guest):
    guest.cd({'readme': b''})
    guest.cd(site.SCRIPTS)
    assert guest.run('prolog').returncode == 0
    assert guest.calls == EARLY


def test_a_config_drive_brings_the_bundle(guest, key):
    guest.trusts(key)
    bundle = site.made({**site.SCRIPTS, 'large': bytes(range(256)) * 400})
    guest.cd(_drive(bundle, bundle.signature(key), {}))
    done = guest.run('prolog')
    assert done.returncode == 0, done.stderr
    assert guest.calls == EARLY
    assert 'signed=yes' in done.stderr


@pytest.mark.parametrize('guest', machine.SYSTEMS, indirect=True)
@pytest.mark.parametrize(
    'more, because',
    [
        ({'manifest': 'serial: 7\n'}, 'it is none'),
        ({'tgz_base64': 'AAAA'}, 'expected gzip, PKZIP or tar'),
        ({'tgz_base64': '$(id)'}, 'of base64'),
        ({'tgz_base64': 'a\\"b\\n'}, 'of base64'),
        ({'signature': ''}, 'a signature of the manifest, found none'),
        ({'manifest': ''}, 'expected a manifest, found none'),
    ],
)
def test_a_config_drive_is_checked(guest, key, more, because):
    guest.trusts(key)
    bundle = site.made()
    guest.cd(_drive(bundle, bundle.signature(key), more))
    done = guest.run('prolog')
    assert done.returncode == 1
    assert because in done.stderr
    assert guest.calls == []


@pytest.mark.parametrize('guest', machine.SYSTEMS, indirect=True)
@pytest.mark.parametrize(
    'text',
    [
        b'{}',
        b'{"static": {}, "hepix": {}}',
        b'"',
        b'{"hepix": {"tgz_base64": "AAAA',
        b'{"tgz_base64": "AAAA"}',
        b'{"hepix": ["tgz_base64", "AAAA"]}',
        b'{"hepix": {"x": {"tgz_base64": "AAAA"}}}',
        b'{"hepix": {"x": "\\", \\"tgz_base64\\": \\"AAAA"}}',
    ],
)
def test_a_config_drive_without_a_bundle_is_none(guest, text):
    guest.cd({'openstack/latest/vendor_data2.json': text})
    done = guest.run('prolog')
    assert done.returncode == 0
    assert 'no CD with a context' in done.stderr


def test_cds_can_be_left_alone(guest):
    guest.cd(site.SCRIPTS)
    guest.options['cd'] = 'no'
    assert guest.run('prolog').returncode == 0
    assert guest.calls == []
