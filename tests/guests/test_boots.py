# SPDX-License-Identifier: Apache-2.0
"""Boots of real machines in which the user's part does not go well."""

from __future__ import annotations

from email.mime import multipart
from email.mime import text

import pytest

from tests.guests import boots
from tests.guests import qemu

pytestmark = pytest.mark.timeout(7200)

_BROKEN = b'#cloud-config\nruncmd: [\n'
#: What a site writes for another deadline: one that has passed.
_DEADLINE = """
directory=/etc/systemd/system/hepix-context-deadline.timer.d
mkdir $directory
printf '[Timer]\\nOnBootSec=\\nOnBootSec=1s\\n' > $directory/site.conf
systemctl daemon-reload
systemctl restart hepix-context-deadline.timer
"""


def _together(*parts: tuple[str, bytes]) -> bytes:
    """User data of several parts."""
    made = multipart.MIMEMultipart()
    for kind, content in parts:
        made.attach(text.MIMEText(content.decode(), kind, 'us-ascii'))
    return made.as_bytes()


def _in_order(guest: qemu.Guest) -> list[list[str]]:
    """What was noted, without interfaces, boot by boot."""
    found: dict[str, list[str]] = {}
    for mark in guest.marks():
        found.setdefault(mark.boot, []).append(mark.text.split(' up:')[0])
    return list(found.values())


def test_the_epilog_is_last_after_a_user_who_fails_and_at_every_boot(bench):
    """A part that is no YAML, and a script with another status than 0."""
    data = _together(
        ('cloud-config', _BROKEN),
        ('x-shellscript', boots.user('note user fails; exit 3')),
    )
    with bench.booting(data) as boot:
        guest = boot.guest
        guest.until_noted('epilog start')
        guest.until('the agent to tell the site', boot.cloud.audit.told)
        for said in ('Runparts: 1 failures', 'Failed loading yaml'):
            found = guest.says(f'grep "{said}" /var/log/cloud-init.log')
            assert said in found
        guest.says('systemctl --no-block reboot')
        guest.until_noted('epilog start', 2)
        guest.until(
            'the site to hear of it', lambda: boot.cloud.audit.told()[1:]
        )
        guest.says('systemctl --no-block poweroff')
        guest.until_off()
        first, second = _in_order(guest)
        assert first == [
            *('prolog start', 'user begins', 'user fails', 'epilog start'),
            *('epilog stop', 'prolog stop'),
        ]
        assert second == [
            *('prolog start', 'epilog start', 'epilog stop', 'prolog stop')
        ]
        assert boot.cloud.audit.told() == [f'ran {boot.sha256}'] * 2


@pytest.mark.parametrize(
    'arguments, data',
    [('cloud-init=disabled', boots.user()), ('', _BROKEN)],
    ids=['disabled', 'broken'],
)
def test_the_epilog_runs_where_no_user_s_part_does(bench, arguments, data):
    with bench.booting(data, arguments=arguments) as boot:
        guest = boot.guest
        guest.until_noted('epilog start')
        guest.until('the agent to tell the site', boot.cloud.audit.told)
        assert guest.says('systemctl is-active multi-user.target') == 'active'
        assert _in_order(guest) == [['prolog start', 'epilog start']]
        assert boot.cloud.audit.told() == [f'ran {boot.sha256}']


def test_the_epilog_waits_for_a_user_who_hangs_no_longer_than_it_may(bench):
    hangs = 'mkfifo /run/release; read -r _ < /run/release'
    with bench.booting(boots.user(hangs)) as boot:
        guest = boot.guest
        guest.until_noted('user begins')
        assert guest.says(_DEADLINE) == ''
        guest.until_noted('epilog start')
        guest.until('the agent to tell the site', boot.cloud.audit.told)
        assert 'user ends' not in guest.texts()
        # When it has let go at last, nothing runs again.
        guest.says('echo > /run/release')
        guest.until_noted('user ends')
        guest.says('cloud-init status --wait')
        guest.until(
            'systemd to have nothing to do',
            lambda: not guest.says('systemctl list-jobs --no-legend'),
        )
        guest.says('systemctl --no-block poweroff')
        guest.until_off()
        assert _in_order(guest) == [
            [
                *('prolog start', 'user begins', 'epilog start', 'user ends'),
                *('epilog stop', 'prolog stop'),
            ]
        ]


def test_the_epilog_runs_at_the_boot_after_the_one_that_a_user_cut_off(bench):
    """The site's part comes by Nova's config drive."""
    data = boots.user('systemctl --no-block reboot; sleep 3600')
    with bench.booting(data, cd='drive') as boot:
        guest = boot.guest
        guest.until_noted('epilog start')
        guest.until('the agent to tell the site', boot.cloud.audit.told)
        assert 'DataSourceConfigDrive' in guest.says(
            'cat /run/cloud-init/result.json'
        )
        first, second = _in_order(guest)
        assert first == ['prolog start', 'user begins', 'prolog stop']
        assert second == ['prolog start', 'epilog start']
        assert guest.texts()[0] == 'prolog start up:'
        assert boot.cloud.audit.told() == [f'ran {boot.sha256}']
