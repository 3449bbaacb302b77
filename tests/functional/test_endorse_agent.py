# SPDX-License-Identifier: Apache-2.0
"""Lists signed with keys that a real SSH agent holds."""

from __future__ import annotations

import re
import socket
import subprocess

import pytest

from hepix_vm.endorse import keys
from hepix_vm.endorse import sealing
from hepix_vm import errors
from tests.cloud import waits
from tests.unit.endorse import people

LIMIT = 120


@pytest.fixture
def agent(tmp_path):
    """The address of an agent in the foreground, ended by its id."""
    address = tmp_path / 'agent'
    with subprocess.Popen(
        ['ssh-agent', '-D', '-a', address], stdout=subprocess.DEVNULL
    ) as process:
        try:
            waits.until(
                'ssh-agent to listen',
                lambda: _answers(address),
                LIMIT,
                alive=lambda: process.poll() is None,
            )
            yield str(address)
        finally:
            process.terminate()


def _answers(address):
    """Whether somebody listens; the file is there a moment before."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(address)) == 0


def _ssh_add(agent, *arguments):
    return subprocess.run(
        ['ssh-add', *map(str, arguments)],
        env={'SSH_AUTH_SOCK': agent, 'PATH': '/usr/bin:/bin'},
        capture_output=True,
        check=True,
        timeout=LIMIT,
    ).stderr.decode()


@pytest.mark.parametrize(
    'label', ['rsa agent', 'ec agent', 'p384 agent', 'p521 agent']
)
def test_agent_signs(agent, tmp_path, label):
    one = people.holder('C=DE/O=Grid/CN=Agent', label)
    certificate, key = people.write(tmp_path, one)
    assert re.search('Identity added', _ssh_add(agent, key))
    key.unlink()
    source = keys.Source(certificate, keys.AGENT, agent=agent)
    with keys.signatory(source) as signatory:
        sealed = sealing.seal(
            people.draft(one),
            signatory,
            people.now(),
            anchored=sealing.Anchored(people.trust_anchors()),
        )
    assert sealed.missing == ()


def test_locked_agent_and_agent_without_the_key(agent, tmp_path):
    certificate, key = people.write(tmp_path, people.holder())
    source = keys.Source(certificate, keys.AGENT, agent=agent)
    with (
        pytest.raises(errors.Misconfigured, match='ssh-add'),
        keys.signatory(source),
    ):
        pass
    _ssh_add(agent, key)
    with keys.signatory(source) as signatory:
        _ssh_add(agent, '-D')
        with pytest.raises(errors.Misconfigured, match='refuses to sign'):
            sealing.seal(people.draft(), signatory, people.now())
