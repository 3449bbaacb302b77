# SPDX-License-Identifier: Apache-2.0
"""What systemd hears, on a real socket."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import os
import socket
import uuid

import pytest

from hepix_vm.daemon import notify


@contextlib.contextmanager
def listening(address: str | bytes) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(address)
        made.settimeout(60)
        yield made


def test_it_is_told_at_the_socket_of_the_environment(tmp_path):
    path = str(tmp_path / 'notify')
    with listening(path) as heard:
        notify.Notify({'NOTIFY_SOCKET': path}).tell('READY=1', 'STATUS=well')
        assert heard.recv(4096) == b'READY=1\nSTATUS=well'


def test_abstract_name():
    name = f'hepix-vm-{uuid.uuid4()}'
    with listening(f'\0{name}') as heard:
        notify.Notify({'NOTIFY_SOCKET': f'@{name}'}).tell('READY=1')
        assert heard.recv(4096) == b'READY=1'


def test_status_cannot_bring_in_a_line_of_its_own(tmp_path):
    path = str(tmp_path / 'notify')
    with listening(path) as heard:
        notify.Notify({'NOTIFY_SOCKET': path}).tell('STATUS=a\nMAINPID=1')
        assert heard.recv(4096) == b'STATUS=a MAINPID=1'


def test_reloading_says_since_when(tmp_path):
    path = str(tmp_path / 'notify')
    with listening(path) as heard:
        notify.Notify({'NOTIFY_SOCKET': path}, clock=lambda: 12.5).reloading()
        assert heard.recv(4096) == b'RELOADING=1\nMONOTONIC_USEC=12500000'


def test_more_time_is_asked_for_in_microseconds(tmp_path):
    path = str(tmp_path / 'notify')
    with listening(path) as heard:
        notify.Notify({'NOTIFY_SOCKET': path}).extend(60)
        assert heard.recv(4096) == b'EXTEND_TIMEOUT_USEC=60000000'


@pytest.mark.parametrize('name', ['', '/nowhere/at/all', '@', 'x' * 500])
def test_nobody_who_listens_is_no_fault(name):
    notify.Notify({'NOTIFY_SOCKET': name}).tell('READY=1')


def test_manager_that_does_not_read_is_not_waited_for(tmp_path):
    path = str(tmp_path / 'notify')
    with listening(path):
        made = notify.Notify({'NOTIFY_SOCKET': path})
        for _ in range(10000):
            made.tell('WATCHDOG=1')


@pytest.mark.parametrize(
    ('environment', 'seconds'),
    [
        pytest.param({}, None, id='none'),
        pytest.param({'WATCHDOG_USEC': '30000000'}, 30, id='set'),
        pytest.param(
            {'WATCHDOG_USEC': '500000', 'WATCHDOG_PID': str(os.getpid())},
            0.5,
            id='ours',
        ),
        pytest.param(
            {'WATCHDOG_USEC': '500000', 'WATCHDOG_PID': '1'}, None, id='other'
        ),
        pytest.param({'WATCHDOG_USEC': '0'}, None, id='zero'),
        pytest.param({'WATCHDOG_USEC': '-5'}, None, id='negative'),
        pytest.param({'WATCHDOG_USEC': 'often'}, None, id='word'),
        pytest.param(
            {'WATCHDOG_USEC': '5', 'WATCHDOG_PID': 'me'}, None, id='no-pid'
        ),
    ],
)
def test_watchdog(environment, seconds):
    assert notify.Notify(environment).watchdog == seconds
