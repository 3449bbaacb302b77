# SPDX-License-Identifier: Apache-2.0
"""What the commands share: exit statuses, times and who is acting."""

from __future__ import annotations

import argparse
import datetime
import getpass
import os
import re
import time
from typing import Any
from typing import TYPE_CHECKING

from cliff import command
from cliff import lister
from cliff import show

from hepix_vm import errors

if TYPE_CHECKING:
    from hepix_vm.cli import main
    from hepix_vm.operations import site as site_

#: Exit statuses: well; refused or failed; wrong use or configuration.
WELL, FAILED, MISUSED = 0, 1, 2

# Its date-time; other forms of ISO 8601 are read in more than one way.
_RFC_3339 = re.compile(
    r'\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)',
    re.ASCII,
)


class _Ours(command.Command):
    """Turns our errors into a line and an exit status."""

    app: main.HepixVm
    exit_status = WELL

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Run the command."""
        try:
            super().run(parsed_args)
        except errors.Misconfigured as exc:
            self.app.LOG.error('%s', exc)
            return MISUSED
        except errors.HepixError as exc:
            self.app.LOG.error('%s', exc)
            return FAILED
        return self.exit_status

    def get_epilog(self) -> str:
        """What help ends with.

        cliff's own would name the distribution of a command, for which it
        reads about all that is installed: half the time of a command.
        """
        return self._epilog or ''

    def site(self) -> site_.Site:
        """The configured site."""
        return self.app.site()


class Command(_Ours):
    """A command that prints lines, or nothing."""


class Lister(_Ours, lister.Lister):
    """A command that prints a table."""


class ShowOne(_Ours, show.ShowOne):
    """A command that prints the fields of one thing."""


def now() -> int:
    """UNIX seconds."""
    return int(time.time())


def who() -> str:
    """Who acts, for the history: the login behind ``sudo`` too."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    behind = os.environ.get('SUDO_USER', '')
    return f'{behind} as {user}' if behind else user


def shown_time(seconds: int | None) -> str:
    """A time as people and programs read it: RFC 3339, UTC."""
    if seconds is None:
        return ''
    try:
        moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return str(seconds)
    return moment.strftime('%Y-%m-%dT%H:%M:%SZ')


def shown(text: str) -> str:
    """A text that others wrote, without what controls a terminal."""
    return ''.join(
        c if c.isprintable() else c.encode('unicode_escape').decode('ascii')
        for c in text
    )


def moment(text: str) -> datetime.datetime:
    """A TIME argument: RFC 3339 or UNIX seconds.

    :raises argparse.ArgumentTypeError: for anything else
    """
    try:
        if text.isascii() and text.isdigit():
            return datetime.datetime.fromtimestamp(int(text), datetime.UTC)
        if not _RFC_3339.fullmatch(text):
            raise ValueError(text)
        found = datetime.datetime.fromisoformat(text.upper())
        return found.astimezone(datetime.UTC)
    except (ValueError, OverflowError, OSError) as exc:
        raise argparse.ArgumentTypeError(
            'expected RFC 3339 with its offset (2026-11-25T00:00:00Z) or '
            f'UNIX seconds, found {text!r}'
        ) from exc


def rows(columns: tuple[str, ...], values: list[tuple[Any, ...]]) -> Any:
    """What cliff's Lister takes."""
    return columns, values
