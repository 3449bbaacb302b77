# SPDX-License-Identifier: Apache-2.0
"""What a guest says on its console, and whether the expected line is there.

All of it is hostile: bounded in size, searched in linear time, and shown
with nothing in it that controls a terminal.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Any
from typing import Protocol

from hepix_vm import errors

#: Characters of a console that are looked at: the last ones. Nova itself keeps
#: 100 KiB of a libvirt guest.
MOST = 262_144

#: Bytes of a console that are shown.
SHOWN = 2048


class Expected(Protocol):
    """A line that is waited for."""

    def is_in(self, line: str) -> bool:
        """Whether this is the line."""


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """A line that contains some text."""

    text: str

    def is_in(self, line: str) -> bool:
        """Whether the line contains it."""
        return self.text in line

    def __str__(self) -> str:
        return f'a line with {self.text!r}'


@dataclasses.dataclass(frozen=True, slots=True)
class Expression:
    """A line in which an expression in RE2's syntax is found.

    RE2 takes time in proportion to the line, whatever the expression:
    https://github.com/google/re2/wiki/Syntax.
    """

    expression: str

    def is_in(self, line: str) -> bool:
        """Whether the expression is found in the line.

        :raises errors.Misconfigured: see :func:`checked`
        """
        return _compiled(self.expression).search(line) is not None

    def __str__(self) -> str:
        return f'a line that fits {self.expression!r}'


def checked(expression: str) -> Expression:
    """An expression that is one.

    :raises errors.Misconfigured: when it is not, or the library that
        understands it is not installed
    """
    _compiled(expression)
    return Expression(expression)


@functools.lru_cache(maxsize=16)
def _compiled(expression: str) -> Any:
    try:
        import re2
    except ImportError as exc:
        raise errors.Misconfigured(
            'option [quarantine] console_expression: expected the Python '
            f'package google-re2, found: {exc}; install it, or use '
            'console_line'
        ) from exc
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(expression, options)
    except re2.error as exc:
        cause = exc.args[0] if exc.args else exc
        if isinstance(cause, bytes):
            cause = cause.decode('utf-8', 'replace')
        raise errors.Misconfigured(
            'option [quarantine] console_expression: expected an expression '
            f'in the syntax of RE2, found {expression!r}: {cause}'
        ) from exc


def has(console: str, expected: Expected) -> bool:
    """Whether one of a console's lines is the expected one."""
    return any(expected.is_in(line) for line in _lines(console))


def tail(console: str) -> str:
    """The last lines as people may see them, in at most 2 KiB of UTF-8.

    What does not print is shown as an escape; lines are joined by " | ", so
    that it stays one line of a log.
    """
    lines = [_shown(line).strip() for line in _lines(console[-2 * SHOWN :])]
    text = ' | '.join(line for line in lines if line).encode()
    return text[-SHOWN:].decode('utf-8', 'ignore').strip()


def _lines(console: str) -> list[str]:
    # Half of a pair of surrogates is none of UTF-8's characters.
    text = console[-MOST:].encode('utf-8', 'replace').decode()
    return re.split(r'[\r\n]+', text)


def _shown(line: str) -> str:
    return ''.join(
        c if c.isprintable() else c.encode('unicode_escape').decode('ascii')
        for c in line
    )
