# SPDX-License-Identifier: Apache-2.0
"""Cuts what takes too long: one thread looks at all fetches of a process."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import itertools
import os
import threading
import time

from hepix_vm.catalogue import cuttable


class Watched:
    """One fetch that is watched until :meth:`end`."""

    def __init__(self, watch: _Watch, number: int) -> None:
        self._watch = watch
        self._number = number

    def end(self) -> None:
        """It is done; nothing is cut after this."""
        self._watch.end(self._number)


class _Watch:
    """The thread, and what it cuts when."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._ends: dict[int, tuple[float, cuttable.Adapter]] = {}
        # When the thread wakes by itself.
        self._wakes = 0.0
        threading.Thread(
            target=self._run, name='hepix-vm-watch', daemon=True
        ).start()

    def begin(self, seconds: float, adapter: cuttable.Adapter) -> Watched:
        end = time.monotonic() + seconds
        with self._changed:
            number = next(self._numbers)
            self._ends[number] = (end, adapter)
            if end < self._wakes or self._wakes <= time.monotonic():
                self._changed.notify()
        return Watched(self, number)

    def end(self, number: int) -> None:
        with self._changed:
            self._ends.pop(number, None)

    def _run(self) -> None:
        with self._changed:
            while True:
                # Under the lock: who is done cannot use the connection for
                # another fetch while it is cut for this one.
                now = time.monotonic()
                for number, (end, adapter) in list(self._ends.items()):
                    if end <= now:
                        del self._ends[number]
                        adapter.cut()
                first = min((e for e, _ in self._ends.values()), default=0.0)
                self._wakes = first
                self._changed.wait(first - now if first else None)


_watch: _Watch | None = None
_watch_lock = threading.Lock()


def _running() -> _Watch:
    global _watch
    with _watch_lock:
        if _watch is None:
            _watch = _Watch()
        return _watch


def _after_fork() -> None:
    # Threads do not follow into a child.
    global _watch, _watch_lock
    _watch, _watch_lock = None, threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


@contextlib.contextmanager
def cut_after(seconds: float, adapter: cuttable.Adapter) -> Iterator[Watched]:
    """End an adapter's connections when the block takes longer.

    :param seconds: for everything that happens inside
    """
    watched = _running().begin(seconds, adapter)
    try:
        yield watched
    finally:
        watched.end()
