# SPDX-License-Identifier: Apache-2.0
"""Ports are free, and no two clouds get the same."""

import pathlib
import random
import socket
import time

import pytest

from tests.cloud import errors
from tests.cloud import ports


class Always(random.Random):
    """Chance that always takes the same blocks, in order."""

    def __init__(self, blocks: list[int]) -> None:
        super().__init__()
        self.blocks = blocks

    def randrange(self, *arguments: int) -> int:  # type: ignore[override]
        return self.blocks.pop(0)


def test_each_name_gets_a_port_of_its_own(tmp_path: pathlib.Path) -> None:
    block = ports.reserve(['a', 'b', 'c'], tmp_path, random.Random(1))
    assert list(block.ports) == ['a', 'b', 'c']
    assert len(set(block.ports.values())) == 3
    assert all(map(ports.is_free, block.ports.values()))
    assert min(block.ports.values()) >= ports.FIRST
    assert max(block.ports.values()) <= ports.LAST
    block.release()


def test_a_block_that_another_holds_is_not_given(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever else listens on this machine.
    monkeypatch.setattr(ports, 'is_free', lambda port: True)
    first = ports.reserve(['a'], tmp_path, Always([500]))
    second = ports.reserve(['a'], tmp_path, Always([500, 501]))
    assert second.ports['a'] == first.ports['a'] + ports.BLOCK
    first.release()
    third = ports.reserve(['a'], tmp_path, Always([500]))
    assert third.ports == first.ports
    second.release()
    third.release()


def test_a_block_in_which_something_listens_is_not_given(
    tmp_path: pathlib.Path,
) -> None:
    block = ports.reserve(['a', 'b'], tmp_path, random.Random(3))
    number = (block.ports['a'] - ports.FIRST) // ports.BLOCK
    block.release()
    with socket.socket() as listener:
        # Connections that another service ended may still be known.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((ports.ADDRESS, block.ports['b']))
        listener.listen()
        assert ports.answers(block.ports['b'])
        assert not ports.is_free(block.ports['b'])
        with pytest.raises(errors.CloudError, match='no 2 free ports'):
            ports.reserve(['a', 'b'], tmp_path, Always([number] * 50))
    assert not ports.answers(block.ports['b'])


def test_more_names_than_ports_are_a_mistake(tmp_path: pathlib.Path) -> None:
    names = [str(n) for n in range(ports.BLOCK + 1)]
    with pytest.raises(ValueError, match='21 names'):
        ports.reserve(names, tmp_path, random.Random(1))


@pytest.mark.parametrize(
    ('answer', 'ready'),
    [
        (b'HTTP/1.1 200 OK\r\n\r\n', True),
        (b'HTTP/1.0 401 Unauthorized\r\n\r\n', True),
        (b'HTTP/1.1 500 Internal Server Error\r\n\r\n', False),
        (b'', False),
    ],
)
def test_a_service_is_ready_when_it_answers_well(
    answer: bytes, ready: bool
) -> None:
    with socket.create_server((ports.ADDRESS, 0)) as listener:
        probe = ports.HttpAnswer(listener.getsockname()[1])
        assert not probe()
        connection, _ = listener.accept()
        with connection:
            assert not probe(), 'it does not wait for an answer'
            assert connection.recv(100).startswith(b'GET / ')
            if answer:
                connection.sendall(answer)
        end = time.monotonic() + 60
        found = probe()
        while ready and not found and time.monotonic() < end:
            found = probe()
        assert found is ready


def test_a_service_that_does_not_listen_is_not_ready() -> None:
    with socket.create_server((ports.ADDRESS, 0)) as listener:
        port = listener.getsockname()[1]
    assert not ports.HttpAnswer(port)()
