# SPDX-License-Identifier: Apache-2.0
"""Many guests that boot at once, and what they had to wait for.

``python -m benchmarks.guests`` is one process of them: it reads a
:class:`Crowd` in JSON and prints what happened. Each guest asks for one thing
after the other, by a connection each, as curl does.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
import dataclasses
import json
import selectors
import socket
import subprocess
import sys
import time

#: Seconds after which what has not come will not come.
LIMIT = 120.0
#: Seconds until the first guest begins: by then all processes have read who.
_AHEAD = 2.0
_PIECE = 2**16


@dataclasses.dataclass(frozen=True, slots=True)
class Crowd:
    """Guests of one process.

    :param guests: for each, when it begins and its requests, as they travel;
        seconds of the monotonic clock
    """

    host: str
    port: int
    guests: list[tuple[float, list[str]]]


@dataclasses.dataclass(frozen=True, slots=True)
class Wave:
    """What happened; seconds.

    :param seconds: of each request, from connecting to the last byte
    :param failures: requests that got anything but 200 and a whole body
    :param trouble: the first of these
    :param began: when the first guest did, on the monotonic clock
    :param ended: when the last answer was there
    :param processor: of the processes that asked
    """

    seconds: list[float]
    failures: int
    trouble: str
    began: float
    ended: float
    processor: float


def wave(
    url: tuple[str, int],
    requests: Sequence[Sequence[str]],
    span: float,
    processes: int,
) -> Wave:
    """Have all guests boot.

    :param requests: of each guest
    :param span: seconds within which they all begin
    :param processes: that ask
    :raises RuntimeError: the guests failed, or no request of theirs ended
    """
    begin = time.monotonic() + _AHEAD
    guests = [
        (begin + span * number / len(requests), list(asked))
        for number, asked in enumerate(requests)
    ]
    running = [
        subprocess.Popen(
            [sys.executable, '-m', 'benchmarks.guests'],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    try:
        for number, process in enumerate(running):
            crowd = Crowd(*url, guests[number::processes])
            if process.stdin is None:
                raise RuntimeError('the guests have no pipe')
            process.stdin.write(json.dumps(dataclasses.asdict(crowd)))
            process.stdin.close()
            process.stdin = None
        said = [process.communicate()[0] for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
    if not all(said):
        raise RuntimeError('guests ended before they had said anything')
    found = _together([Wave(**json.loads(one)) for one in said])
    if not found.seconds:
        raise RuntimeError(f'no request has ended: {found.trouble}')
    return found


def _together(waves: Sequence[Wave]) -> Wave:
    return Wave(
        seconds=[one for wave in waves for one in wave.seconds],
        failures=sum(wave.failures for wave in waves),
        trouble=next((wave.trouble for wave in waves if wave.trouble), ''),
        began=min(wave.began for wave in waves),
        ended=max(wave.ended for wave in waves),
        processor=sum(wave.processor for wave in waves),
    )


class _Guest:
    """One guest; its requests are what is left of them."""

    def __init__(self, requests: Sequence[str]) -> None:
        self.left = collections.deque(one.encode() for one in requests)
        self.began = 0.0
        self.answer = bytearray()


class _Running:
    """All guests of this process, by non-blocking sockets."""

    def __init__(self, crowd: Crowd) -> None:
        self._address = (crowd.host, crowd.port)
        self._coming = collections.deque(sorted(crowd.guests))
        self._selector = selectors.DefaultSelector()
        self._seconds: list[float] = []
        self._failures = 0
        self._trouble = ''

    def __enter__(self) -> _Running:
        return self

    def __exit__(self, *_: object) -> None:
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()

    def run(self) -> Wave:
        """Until all have what they asked for, or will not get it."""
        busy = time.process_time()
        began = self._coming[0][0]
        end = self._coming[-1][0] + LIMIT
        while self._coming or self._selector.get_map():
            now = time.monotonic()
            if now > end:
                self._failed(f'no answer after {LIMIT:.0f} s', self._open())
                break
            while self._coming and self._coming[0][0] <= now:
                self._connect(_Guest(self._coming.popleft()[1]))
            wait = self._coming[0][0] - now if self._coming else 1.0
            for key, events in self._selector.select(max(wait, 0)):
                self._go_on(key, events)
        return Wave(
            self._seconds,
            self._failures,
            self._trouble,
            began,
            time.monotonic(),
            time.process_time() - busy,
        )

    def _open(self) -> int:
        """Requests that were not answered, and those after them."""
        return sum(
            len(key.data.left) for key in self._selector.get_map().values()
        ) + sum(len(requests) for _, requests in self._coming)

    def _connect(self, guest: _Guest) -> None:
        guest.answer.clear()
        guest.began = time.monotonic()
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex(self._address)
        self._selector.register(one, selectors.EVENT_WRITE, guest)

    def _go_on(self, key: selectors.SelectorKey, events: int) -> None:
        one, guest = key.fileobj, key.data
        assert isinstance(one, socket.socket)
        try:
            if events & selectors.EVENT_WRITE:
                # It fits into the buffer of a new connection.
                one.sendall(guest.left[0])
                self._selector.modify(one, selectors.EVENT_READ, guest)
                return
            piece = one.recv(_PIECE)
            guest.answer += piece
            if piece:
                return
            trouble = _trouble(bytes(guest.answer))
        except OSError as error:
            trouble = f'{type(error).__name__}: {error}'
        self._selector.unregister(one)
        one.close()
        self._seconds.append(time.monotonic() - guest.began)
        if trouble:
            self._failed(trouble)
        guest.left.popleft()
        if guest.left:
            self._connect(guest)

    def _failed(self, trouble: str, requests: int = 1) -> None:
        self._failures += requests
        self._trouble = self._trouble or trouble


def _trouble(answer: bytes) -> str:
    """What is wrong with an answer; '' when it is whole and good."""
    head, _, body = answer.partition(b'\r\n\r\n')
    first, *lines = head.decode('latin-1').split('\r\n')
    if ' 200 ' not in f'{first} ':
        return f'{first or "nothing"}: {body[:80]!a}'
    fields = dict(line.lower().split(': ', 1) for line in lines)
    if fields.get('content-length') != str(len(body)):
        return f'{len(body)} bytes of {fields.get("content-length")}'
    return '' if body else 'an empty body'


if __name__ == '__main__':
    with _Running(Crowd(**json.loads(sys.stdin.read()))) as here:
        print(json.dumps(dataclasses.asdict(here.run())))
