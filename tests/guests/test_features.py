# SPDX-License-Identifier: Apache-2.0
"""Machine and job features as files."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.guests import machine
from tests.guests import site

Answer = site.Answer
MACHINE = {'total_cpu': b'8', 'hs06': b'80.5', 'shutdowntime': b'1800000000'}
JOB = {
    'job_id': b'8d3c9a0e-0000-4000-8000-000000000001',
    'allocated_cpu': b'2',
}


def _say(server, machine=MACHINE, job=JOB) -> None:
    for kind, values in (('machine', machine), ('job', job)):
        top = f'/{kind}features/'
        index = ''.join(f'{key}\n' for key in sorted(values)).encode()
        server.say({top: Answer(body=index)})
        server.say({top + k: Answer(body=v) for k, v in values.items()})


def _seen(guest, kind) -> dict[str, bytes]:
    link = guest.top / 'etc' / f'{kind}features'
    assert link.is_symlink()
    assert link.stat().st_mode & 0o777 == 0o755
    files = list(link.iterdir())
    assert all(file.stat().st_mode & 0o777 == 0o644 for file in files)
    return {file.name: file.read_bytes() for file in files}


def _lines(values: dict[str, bytes]) -> dict[str, bytes]:
    return {key: value + b'\n' for key, value in values.items()}


def test_values_are_mirrored_into_files(guest, server):
    _say(server)
    done = guest.run('features')
    assert done.returncode == 0, done.stderr
    assert _seen(guest, 'machine') == _lines(MACHINE)
    assert _seen(guest, 'job') == _lines(JOB)
    assert guest.run_directory.stat().st_mode & 0o777 == 0o755


_READER = """
import json, os, pathlib
found = {}
for name in ('MACHINEFEATURES', 'JOBFEATURES'):
    folder = pathlib.Path(os.environ[name])
    assert folder.is_absolute() and not os.environ[name].endswith('/')
    for key in ('total_cpu', 'hs06', 'shutdowntime', 'allocated_cpu'):
        if (folder / key).is_file():
            found[key] = float((folder / key).read_text())
    found[name] = sorted(os.listdir(folder))
print(json.dumps(found))
"""


def test_a_program_that_reads_directories_finds_every_value(guest, server):
    """As PanDA's pilot and JAliEn do, from where a login shell says."""
    _say(server)
    assert guest.run('features').returncode == 0
    text = (machine.AGENT.parent / 'profile/hepix-features.sh').read_text()
    text = text.replace('/etc/', f'{guest.top}/etc/')
    done = subprocess.run(
        ('sh', '-c', f'{text}\nexec "$0" -c "$1"', sys.executable, _READER),
        env={'PATH': machine.SYSTEM},
        capture_output=True,
        check=True,
        timeout=120,
    )
    assert json.loads(done.stdout) == {
        'MACHINEFEATURES': sorted(MACHINE),
        'JOBFEATURES': sorted(JOB),
        'total_cpu': 8,
        'hs06': 80.5,
        'shutdowntime': 1800000000,
        'allocated_cpu': 2,
    }


def test_what_changes_is_changed_and_what_goes_goes(guest, server):
    _say(server)
    guest.run('features')
    after = {'total_cpu': b'9', 'hs06': b'80.5'}
    _say(server, machine=after)
    assert guest.run('features').returncode == 0
    assert _seen(guest, 'machine') == _lines(after)


def test_a_server_that_fails_in_between_leaves_the_old_values(guest, server):
    _say(server)
    guest.run('features')
    _say(server, machine=MACHINE | {'hs06': b'1', 'total_cpu': b'1'})
    server.say({'/machinefeatures/total_cpu': Answer(503)})
    assert guest.run('features').returncode == 1
    assert _seen(guest, 'machine') == _lines(MACHINE)


def test_a_site_without_features_has_no_files(guest, server):
    _say(server)
    guest.run('features')
    server.answers = {}
    assert guest.run('features').returncode == 0
    assert not (guest.top / 'etc/machinefeatures').exists()


def test_a_key_that_is_gone_meanwhile_is_left_out(guest, server):
    _say(server)
    del server.answers['/machinefeatures/shutdowntime']
    assert guest.run('features').returncode == 0
    assert 'shutdowntime' not in _seen(guest, 'machine')


def test_what_is_no_value_is_left_out(guest, server):
    bad = {
        'hs06': b'<html>',
        'grace_secs': b'1\n2',
        'shutdowntime': b'',
        'hs23': b'1.2.3',
        'hs23_job': b'5.',
    }
    _say(server, {'total_cpu': b'8\r\n', **bad}, {'job_id': b'a\x1b[1m'})
    assert guest.run('features').returncode == 0
    assert _seen(guest, 'machine') == {'total_cpu': b'8\n'}
    assert _seen(guest, 'job') == {}


def test_what_is_no_key_is_not_asked_for(guest, server):
    _say(server)
    index = b'../../etc/passwd\n$(id)\ntotal_cpu\nA\n' + b'a' * 65 + b'\n'
    server.say({'/machinefeatures/': Answer(body=index)})
    assert guest.run('features').returncode == 0
    assert set(_seen(guest, 'machine')) == {'total_cpu'}
    assert [path for path in server.asked if 'machine' in path] == [
        *('/machinefeatures/', '/machinefeatures/total_cpu')
    ]


def test_an_endorsers_own_directory_stays(guest, server):
    _say(server)
    own = guest.top / 'etc/machinefeatures'
    own.mkdir()
    done = guest.run('features')
    assert done.returncode == 1
    assert 'left as it is' in done.stderr
    assert list(own.iterdir()) == []


def test_features_can_be_left_out(guest, server):
    _say(server)
    guest.options['features'] = 'no'
    assert guest.run('features').returncode == 0
    assert server.asked == []
