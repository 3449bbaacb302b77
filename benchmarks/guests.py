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
import re
import select
import socket
import subprocess
import sys
import time

#: Seconds after which what has not come will not come.
LIMIT = 120.0
#: Seconds until the first guest begins: by then all processes have read who.
_AHEAD = 2.0
_PIECE = 2**16
_LENGTH = re.compile(rb'(?im)^content-length: (\d+)\r?$')


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

    __slots__ = ('answer', 'began', 'error', 'left', 'sent', 'socket')

    def __init__(self, requests: Sequence[str]) -> None:
        self.left = collections.deque(one.encode() for one in requests)
        self.began = 0.0
        self.answer = b''
        self.sent = False
        self.error: OSError | None = None
        self.socket: socket.socket


class _Running:
    """All guests of this process, by non-blocking sockets.

    What it costs is time that the service does not get, so it asks the
    kernel as little as it can.
    """

    def __init__(self, crowd: Crowd) -> None:
        self._address = (crowd.host, crowd.port)
        self._coming = collections.deque(sorted(crowd.guests))
        self._poll = select.epoll()
        self._waiting: dict[int, _Guest] = {}
        self._seconds: list[float] = []
        self._failures = 0
        self._trouble = ''

    def __enter__(self) -> _Running:
        return self

    def __exit__(self, *_: object) -> None:
        for guest in self._waiting.values():
            guest.socket.close()
        self._poll.close()

    def run(self) -> Wave:
        """Until all have what they asked for, or will not get it."""
        busy = time.process_time()
        began = self._coming[0][0]
        end = self._coming[-1][0] + LIMIT
        while self._coming or self._waiting:
            now = time.monotonic()
            if now > end:
                self._failed(f'no answer after {LIMIT:.0f} s', self._open())
                break
            while self._coming and self._coming[0][0] <= now:
                self._connect(_Guest(self._coming.popleft()[1]))
            wait = self._coming[0][0] - now if self._coming else 1.0
            for number, _events in self._poll.poll(max(wait, 0)):
                self._go_on(number, self._waiting[number])
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
        return sum(len(guest.left) for guest in self._waiting.values()) + sum(
            len(requests) for _, requests in self._coming
        )

    def _connect(self, guest: _Guest) -> None:
        guest.answer = b''
        guest.began = time.monotonic()
        guest.socket = socket.socket()
        guest.socket.setblocking(False)
        guest.socket.connect_ex(self._address)
        guest.sent = False
        try:
            # It fits into the buffer of a new connection.
            guest.socket.sendall(guest.left[0])
            guest.sent = True
        except BlockingIOError:
            # Not connected yet: it is sent as soon as it is.
            guest.sent = False
        except OSError as error:
            guest.error = error
        number = guest.socket.fileno()
        self._waiting[number] = guest
        awaited = select.EPOLLIN if guest.sent else select.EPOLLOUT
        self._poll.register(number, awaited)

    def _go_on(self, number: int, guest: _Guest) -> None:
        try:
            if guest.error:
                raise guest.error
            if not guest.sent:
                guest.socket.sendall(guest.left[0])
                guest.sent = True
                self._poll.modify(number, select.EPOLLIN)
                return
            while piece := guest.socket.recv(_PIECE):
                guest.answer += piece
            trouble = _trouble(guest.answer)
        except BlockingIOError:
            return
        except OSError as error:
            trouble = f'{type(error).__name__}: {error}'
        # A closed socket leaves the poll by itself.
        del self._waiting[number]
        guest.socket.close()
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
    first, _, lines = head.partition(b'\r\n')
    if b' 200 ' not in first + b' ':
        return f'{first.decode("latin-1") or "nothing"}: {body[:80]!a}'
    length = _LENGTH.search(lines)
    if not length or int(length[1]) != len(body):
        return f'{len(body)} bytes of {int(length[1]) if length else None}'
    return '' if body else 'an empty body'


if __name__ == '__main__':
    with _Running(Crowd(**json.loads(sys.stdin.read()))) as here:
        print(json.dumps(dataclasses.asdict(here.run())))
