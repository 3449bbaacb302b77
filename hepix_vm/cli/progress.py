# SPDX-License-Identifier: Apache-2.0
"""Progress of downloads and imports: a bar on a terminal, else lines."""

from __future__ import annotations

import collections
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import math
import threading
import time
from typing import TextIO

from hepix_vm.glance import publish

_WIDTH = 30
_MIB = 2**20
#: Seconds whose mean is the rate: what was here already, and how it went an
#: hour ago, say nothing of the time that is left.
_WINDOW = 30.0
#: Seconds between two of its samples.
_SAMPLE = 0.25
#: Seconds after which a thread that is silent no longer counts.
_SILENT = 60.0


class Progress:
    """Shows how far publishing is; called from several threads.

    A thread works on one image at a time.

    :param stream: where to; a bar is drawn only when it is a terminal
    :param interval: seconds between two lines of an image where there is no
        terminal
    :param clock: seconds that never go back
    """

    def __init__(
        self,
        stream: TextIO,
        interval: float = 10,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._interval = interval
        self._clock = clock
        self._lock = threading.Lock()
        self._steps: dict[int, _Step] = {}
        self._at = -math.inf
        self._open = False

    def __call__(self, progress: publish.Progress) -> None:
        """Show one step."""
        now = self._clock()
        thread = threading.get_ident()
        with self._lock:
            step = self._steps.get(thread)
            fresh = step is None or not step.is_of(progress)
            if step is None or fresh:
                step = self._steps[thread] = _Step(progress, now)
            step.add(progress, now)
            if self._stream.isatty():
                if fresh or now - self._at > 0.1 or step.is_done:
                    self._bar(step, now)
                    self._at = now
            elif fresh or now - step.shown > self._interval:
                self._stream.write(f'{step.line()}\n')
                self._stream.flush()
                step.shown = now

    def close(self) -> None:
        """End the bar's line."""
        with self._lock:
            if self._open:
                self._stream.write('\n')
                self._open = False

    def _bar(self, step: _Step, now: float) -> None:
        moving = [
            other
            for other in self._steps.values()
            if other.is_moving and now - other.at < _SILENT
        ]
        if len(moving) > 1:
            done = sum(other.done for other in moving)
            total = sum(other.total for other in moving)
            line = f'{len(moving)} images: {_figures(moving)}'
        else:
            done, total, line = step.done, step.total, step.line()
        drawn = _WIDTH * min(done, total) // total if total else 0
        bar = '#' * drawn + '.' * (_WIDTH - drawn)
        self._stream.write(f'\r\x1b[K[{bar}] {line}')
        self._stream.flush()
        self._open = True


class _Step:
    """What one thread does.

    :ivar at: when it was last heard of
    :ivar shown: when it was last shown
    """

    def __init__(self, progress: publish.Progress, now: float) -> None:
        self._title, self._name = progress.title, progress.step
        self._message = ''
        self.done = self.total = 0
        self.at = self.shown = now
        self._samples: collections.deque[tuple[float, int]] = (
            collections.deque()
        )

    @property
    def is_done(self) -> bool:
        """Whether all bytes are there."""
        return 0 < self.total <= self.done

    @property
    def is_moving(self) -> bool:
        """Whether bytes are on their way."""
        return 0 < self.done < self.total

    @property
    def rate(self) -> float:
        """Bytes a second; 0 where that is not known."""
        if not self._samples:
            return 0.0
        began, before = self._samples[0]
        elapsed = self.at - began
        return (self.done - before) / elapsed if elapsed > 0 else 0.0

    def is_of(self, progress: publish.Progress) -> bool:
        """Whether it is still the same one."""
        return (self._title, self._name) == (progress.title, progress.step)

    def add(self, progress: publish.Progress, now: float) -> None:
        """It got that far."""
        if progress.done < self.done:
            # It began again.
            self._samples.clear()
        self.done, self.total = progress.done, progress.total
        self._message = progress.message
        self.at = now
        samples = self._samples
        # Before the first byte time passes in which nothing could come.
        if self.done and (not samples or now - samples[-1][0] >= _SAMPLE):
            samples.append((now, self.done))
        while len(samples) > 2 and now - samples[0][0] > _WINDOW:
            samples.popleft()

    def line(self) -> str:
        """In words."""
        # Titles come from lists: only what a terminal prints as it is.
        text = f'{_printable(self._title)[:60]}: {self._name}'
        if self.done and self.total:
            text += f' {_figures([self])}'
        if self._message:
            text += f' {_printable(self._message)[:120]}'
        return text


def _figures(steps: Sequence[_Step]) -> str:
    done = sum(step.done for step in steps)
    total = sum(step.total for step in steps)
    rate = sum(step.rate for step in steps)
    text = f'{100 * done // total}% of {total / _MIB:.1f} MiB'
    if rate > 0:
        text += f', {rate / _MIB:.1f} MiB/s, {_left((total - done) / rate)}'
    return text


def _left(seconds: float) -> str:
    if seconds < 120:
        return f'{seconds:.0f} s left'
    minutes = round(seconds / 60)
    if minutes < 120:
        return f'{minutes} min left'
    return f'{minutes // 60} h {minutes % 60} min left'


def _printable(text: str) -> str:
    return ''.join(c for c in text if c.isprintable())


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
