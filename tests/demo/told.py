# SPDX-License-Identifier: Apache-2.0
"""How the story is told: steps, what was asked, what came back."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import sys
import textwrap
import time
import traceback
from typing import TextIO

WIDTH = 78


class NotAsExpectedError(Exception):
    """An answer that the story does not expect."""


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """How one step ended.

    :ivar problem: '' when all was as expected
    """

    number: int
    title: str
    seconds: float
    problem: str


@dataclasses.dataclass
class Teller:
    """Prints the story; remembers how each step ended."""

    stream: TextIO = sys.stdout
    results: list[Result] = dataclasses.field(default_factory=list)

    def step(self, number: int, title: str, act: Callable[[], None]) -> bool:
        """Tell one step; returns whether all was as expected."""
        self._line()
        self._line('=' * WIDTH)
        self._line(f'Step {number}. {title}')
        self._line('=' * WIDTH)
        began = time.monotonic()
        problem = ''
        try:
            act()
        except NotAsExpectedError as exc:
            problem = str(exc)
        except Exception as exc:  # noqa: BLE001 - one step, not the end
            problem = f'{type(exc).__name__}: {exc}'
            traceback.print_exc(file=self.stream)
        seconds = time.monotonic() - began
        self.results.append(Result(number, title, seconds, problem))
        if problem:
            self._line(f'  FAILED: {problem}')
        return not problem

    def not_reached(self, number: int, title: str) -> None:
        """A step that an earlier failure left untold; it has failed too."""
        self.results.append(
            Result(number, title, 0, 'not reached: an earlier step failed')
        )

    def say(self, text: str) -> None:
        """What a newcomer should know."""
        self._line()
        self._line(textwrap.fill(text, WIDTH))

    def asked(self, text: str) -> None:
        """What was asked of a real service or command."""
        self._line(f'  > {text}')

    def answered(self, text: str) -> None:
        """What came back, as it came."""
        for line in text.rstrip().splitlines() or ['(nothing)']:
            for part in textwrap.wrap(line, WIDTH + 40) or ['']:
                self._line(f'    | {part}')

    def expect(self, holds: bool, what: str, found: object) -> None:
        """Say what was to be seen, and end the step when it was not.

        :raises NotAsExpectedError: when it does not hold
        """
        if not holds:
            raise NotAsExpectedError(f'expected {what}, found {found}')
        self._line(f'  ok: {what}')

    def summary(self) -> bool:
        """Name every step with ok or failed; returns whether all are ok."""
        self._line()
        self._line('=' * WIDTH)
        self._line('Summary')
        for result in self.results:
            verdict = 'FAILED' if result.problem else 'ok'
            self._line(
                f'  {verdict:6} {result.number}. {result.title} '
                f'({result.seconds:.0f} s)'
            )
            if result.problem:
                self._line(f'         {result.problem}')
        return bool(self.results) and not any(
            result.problem for result in self.results
        )

    def _line(self, text: str = '') -> None:
        print(text, file=self.stream, flush=True)
