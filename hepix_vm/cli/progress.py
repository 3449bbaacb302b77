# SPDX-License-Identifier: Apache-2.0
"""Progress of downloads and imports: a bar on a terminal, else lines."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import time
from typing import TextIO

from hepix_vm.glance import publish

_WIDTH = 30
_MIB = 2**20


class Progress:
    """Shows how far publishing is.

    :param stream: where to; a bar is drawn only when it is a terminal
    :param interval: seconds between two lines where there is no terminal
    """

    def __init__(self, stream: TextIO, interval: float = 10) -> None:
        self._stream = stream
        self._interval = interval
        self._shown = ('', '')
        self._at = 0.0
        self._started = 0.0
        self._open = False

    def __call__(self, progress: publish.Progress) -> None:
        """Show one step."""
        now = time.monotonic()
        step = (progress.title, progress.step)
        fresh = step != self._shown
        if fresh:
            self._started = now
            self._shown = step
        if self._stream.isatty():
            if fresh or now - self._at > 0.1 or progress.done:
                self._bar(progress, now)
                self._at = now
        elif fresh or now - self._at > self._interval:
            self._stream.write(f'{self._line(progress, now)}\n')
            self._stream.flush()
            self._at = now

    def close(self) -> None:
        """End the bar's line."""
        if self._open:
            self._stream.write('\n')
            self._open = False

    def _line(self, progress: publish.Progress, now: float) -> str:
        # Titles come from lists: only what a terminal prints as it is.
        title = ''.join(c for c in progress.title if c.isprintable())[:60]
        text = f'{title}: {progress.step}'
        if progress.done and progress.total:
            elapsed = max(now - self._started, 0.001)
            rate = progress.done / elapsed
            left = (progress.total - progress.done) / max(rate, 1)
            text += (
                f' {100 * progress.done // progress.total}% of '
                f'{progress.total / _MIB:.1f} MiB, {rate / _MIB:.1f} MiB/s, '
                f'{left:.0f} s left'
            )
        if progress.message:
            message = ''.join(c for c in progress.message if c.isprintable())
            text += f' {message[:120]}'
        return text

    def _bar(self, progress: publish.Progress, now: float) -> None:
        done = 0
        if progress.total:
            done = _WIDTH * progress.done // progress.total
        bar = '#' * done + '.' * (_WIDTH - done)
        self._stream.write(f'\r\x1b[K[{bar}] {self._line(progress, now)}')
        self._stream.flush()
        self._open = True


@contextlib.contextmanager
def shown(
    stream: TextIO,
) -> Iterator[Callable[[str, str, int, int], None]]:
    """A function that shows a title, a step, and bytes done and in all."""
    progress = Progress(stream)

    def told(title: str, step: str, done: int, total: int) -> None:
        progress(publish.Progress(title, step, done, total))

    try:
        yield told
    finally:
        progress.close()
