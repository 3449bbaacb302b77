# SPDX-License-Identifier: Apache-2.0
"""Time of two calls, taken in turn."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import math
import resource
import shutil
import statistics
import subprocess
import time

Call = Callable[[], object]


@dataclasses.dataclass(frozen=True, slots=True)
class Times:
    """Seconds of each call, at least one.

    :param seconds: by the clock on the wall
    :param processor: of processors, by this process and its programs
    """

    seconds: list[float]
    processor: list[float]

    def add(self, call: Call) -> None:
        """Call once and keep what it took."""
        busy = _processor()
        begin = time.perf_counter()
        call()
        self.seconds.append(time.perf_counter() - begin)
        self.processor.append(_processor() - busy)

    @property
    def median(self) -> float:
        """The middle."""
        return statistics.median(self.seconds)

    @property
    def processor_median(self) -> float:
        """The middle of the processor's; a busy machine changes it less."""
        return statistics.median(self.processor)

    @property
    def p99(self) -> float:
        """What 99 of 100 calls do not exceed."""
        ranked = sorted(self.seconds)
        return ranked[math.ceil(len(ranked) * 0.99) - 1]


def alone(call: Call, rounds: int, calls: int = 1) -> Times:
    """Times of one call that has no peer."""
    return _rounds((call,), rounds, calls)[0]


def in_turn(
    call: Call, peer: Call, rounds: int, calls: int = 1
) -> tuple[Times, Times]:
    """Times of a call and of its peer's.

    :param rounds: how often the two take turns
    :param calls: how often one is called at its turn
    """
    times, peer_times = _rounds((call, peer), rounds, calls)
    return times, peer_times


def _rounds(
    contenders: Sequence[Call], rounds: int, calls: int
) -> list[Times]:
    taken = [Times([], []) for _ in contenders]
    for call in contenders:
        call()  # caches are warm for all
    for _ in range(rounds):
        for call, times in zip(contenders, taken, strict=True):
            for _ in range(calls):
                times.add(call)
    return taken


def _processor() -> float:
    usages = map(
        resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def program(*arguments: str) -> Call | None:
    """A call that runs a program; None where it is not installed.

    The program has to succeed: a peer that refuses is quick for nothing.
    """
    path = shutil.which(arguments[0])
    if path is None:
        return None

    def call() -> None:
        done = subprocess.run(
            [path, *arguments[1:]], capture_output=True, check=False
        )
        if done.returncode:
            said = done.stderr.decode(errors='replace').strip()
            raise RuntimeError(f'{" ".join(arguments)}: {said}')

    return call
