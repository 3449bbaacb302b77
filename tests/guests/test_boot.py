# SPDX-License-Identifier: Apache-2.0
"""A machine with real systemd and cloud-init: what runs, and in which order.

One boot of each release, of which Debian 12 is part of "make test"; the other
boots are in :mod:`tests.guests.test_boots`.
"""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses

import pytest

from tests.guests import boots
from tests.guests import cloud
from tests.guests import qemu

pytestmark = pytest.mark.timeout(3600)

_PROLOG = 'hepix-context-prolog.service'
_EPILOG = 'hepix-context-epilog.service'


@dataclasses.dataclass(frozen=True)
class Life:
    """What was seen of a machine from its start to its end."""

    marks: list[qemu.Mark]
    told: list[str]
    sha256: str
    asked: list[str]
    said: dict[str, str]
    console: str


_QUESTIONS = {
    'features': 'cd /etc && grep -r . machinefeatures/ jobfeatures/',
    'login': 'sh -l -c "env | grep FEATURES="',
    'vendordata': f'cat {cloud.VENDOR_FILE}',
    'cloud-init': 'cat /run/cloud-init/result.json',
    'journal': 'journalctl -b -o cat _PID=1',
    'failed': 'systemctl list-units --failed --plain --no-legend',
    'waiting': 'systemctl list-jobs --plain --no-legend',
    'deadline': 'systemctl is-active hepix-context-deadline.timer',
    'context': 'cd /var/lib/hepix/context && find . | sort',
    **{
        f'{unit} {name}': f'systemctl show --value -p {name} {unit}'
        for unit, name in (
            (_PROLOG, 'ExecMainExitTimestampMonotonic'),
            ('systemd-networkd.service', 'ExecMainStartTimestampMonotonic'),
            ('network-pre.target', 'ActiveEnterTimestampMonotonic'),
            ('cloud-init-local.service', 'ExecMainStartTimestampMonotonic'),
            ('multi-user.target', 'ActiveEnterTimestampMonotonic'),
            ('cloud-final.service', 'ExecMainExitTimestampMonotonic'),
            (_EPILOG, 'ExecMainStartTimestampMonotonic'),
        )
    },
}


@pytest.fixture(scope='module')
def life(bench: boots.Bench) -> Iterator[Life]:
    """Of a machine in which all goes well."""
    with bench.booting(boots.user()) as boot:
        guest = boot.guest
        guest.until_noted('epilog start')
        guest.until('the agent to tell the site', boot.cloud.audit.told)
        guest.says('systemctl start hepix-context-features.service')
        # What has told the site is over a moment later.
        waiting = _QUESTIONS['waiting']
        guest.until('all jobs to be done', lambda: not guest.says(waiting))
        said = {
            name: guest.says(question) for name, question in _QUESTIONS.items()
        }
        guest.says('systemctl --no-block poweroff')
        guest.until_off()
        yield Life(
            guest.marks(),
            boot.cloud.audit.told(),
            boot.sha256,
            boot.cloud.asked,
            said,
            guest.console.read_text(errors='replace'),
        )


def _time(life: Life, unit: str, name: str) -> int:
    found = int(life.said[f'{unit} {name}TimestampMonotonic'])
    assert found > 0, unit
    return found


def test_scripts_run_in_their_order_and_once(life):
    assert [mark.text.partition(' up:')[0] for mark in life.marks] == [
        *('prolog start', 'user begins', 'user ends', 'epilog start'),
        *('epilog stop', 'prolog stop'),
    ]
    assert len({mark.boot for mark in life.marks}) == 1
    times = [mark.uptime for mark in life.marks]
    assert times == sorted(times)


def test_the_prolog_is_before_the_network(life):
    assert life.marks[0].text == 'prolog start up:'
    assert life.marks[-1].text == 'prolog stop up: eth0'
    end = _time(life, _PROLOG, 'ExecMainExit')
    for unit, name in (
        ('network-pre.target', 'ActiveEnter'),
        ('systemd-networkd.service', 'ExecMainStart'),
        ('cloud-init-local.service', 'ExecMainStart'),
    ):
        assert end < _time(life, unit, name), unit


def test_the_epilog_is_after_everything_else(life):
    begin = _time(life, _EPILOG, 'ExecMainStart')
    assert begin > _time(life, 'multi-user.target', 'ActiveEnter')
    assert begin > _time(life, 'cloud-final.service', 'ExecMainExit')
    assert life.said['waiting'] == ''


def test_no_unit_failed_or_was_dropped(life):
    assert life.said['failed'] == ''
    assert 'ordering cycle' not in life.said['journal']
    assert life.said['deadline'] == 'active'


def test_the_site_is_told(life):
    assert life.told == [f'ran {life.sha256}']
    assert f'sha256={life.sha256}' in life.console


def test_cloud_init_reads_our_vendordata(life):
    assert life.said['vendordata'] == life.sha256
    assert '"errors": []' in life.said['cloud-init']
    assert 'DataSourceOpenStack' in life.said['cloud-init']


def test_features_are_files_and_variables(life):
    found = life.said['features'].splitlines()
    assert 'machinefeatures/total_cpu:8' in found
    assert 'jobfeatures/allocated_cpu:1' in found
    assert set(life.said['login'].splitlines()) == {
        'MACHINEFEATURES=/etc/machinefeatures',
        'JOBFEATURES=/etc/jobfeatures',
    }


def test_the_cd_brings_the_whole_bundle(life):
    assert life.said['context'].split() == [
        *('.', './empty', './epilog.sh', './prolog.sh')
    ]
    assert '/context/default.tgz.b64' not in life.asked
