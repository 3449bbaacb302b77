# SPDX-License-Identifier: Apache-2.0
"""A wait for a server that says nothing ends."""

from __future__ import annotations

import os
import socket

import pytest

from hepix_vm.catalogue import silence


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_connection_of_a_silent_server_is_shut_down(pair):
    ours, _ = pair
    with silence.bounded(ours, 0.1):
        # Without the watch this would wait for ever.
        assert ours.recv(1) == b''


def test_connection_stays_when_the_answer_came_in_time(pair):
    ours, theirs = pair
    for _ in range(3):
        with silence.bounded(ours, 60):
            theirs.send(b'x')
            assert ours.recv(1) == b'x'


def test_each_wait_has_its_own_time(pair):
    ours, theirs = pair
    other, its = socket.socketpair()
    with other, its, silence.bounded(other, 600):
        with silence.bounded(ours, 0.1):
            assert ours.recv(1) == b''
        its.send(b'y')
        assert other.recv(1) == b'y'
        del theirs


def test_child_has_a_watch_of_its_own(pair):
    ours, _ = pair
    with silence.bounded(ours, 600):
        pass
    child = os.fork()
    if not child:
        status = 1
        try:
            with silence.bounded(ours, 0.1):
                status = 0 if ours.recv(1) == b'' else 2
        finally:
            os._exit(status)
    _, waited = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(waited) == 0
