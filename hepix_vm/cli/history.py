# SPDX-License-Identifier: Apache-2.0
"""``history show|verify|export``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
import contextlib
import os
from pathlib import Path
import re
import tempfile
from typing import Any
from typing import TextIO

from hepix_vm.cli import base
from hepix_vm import errors
from hepix_vm.operations import history

_MOST = 10_000


def _count(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= _MOST:
        return int(text)
    raise argparse.ArgumentTypeError(
        f'expected a number from 1 to {_MOST}, found {text!r}; "history '
        'export" writes everything'
    )


def _digest(text: str) -> str:
    if re.fullmatch('[0-9a-f]{64}', text.lower()):
        return text.lower()
    raise argparse.ArgumentTypeError(
        f'expected a head, 64 hexadecimal digits, found {text!r}'
    )


class HistoryShow(base.Lister):
    """Show the newest of what was accepted, refused and decided.

    With a subject, an event or a time: the newest by the time that they
    carry.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            'subject',
            metavar='SUBJECT',
            nargs='?',
            help=(
                'subscription, image identifier, SHA-512, Glance image id or '
                'SHA-256 of a signed message; default: all'
            ),
        )
        parser.add_argument('--event', metavar='EVENT')
        for name in ('--since', '--until'):
            parser.add_argument(
                name,
                metavar='TIME',
                type=base.moment,
                help='RFC 3339 or UNIX seconds',
            )
        parser.add_argument(
            '--limit', metavar='N', type=_count, default=100, help='100'
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Show them."""
        since, until = parsed_args.since, parsed_args.until
        found = history.show(
            self.site(),
            parsed_args.subject,
            parsed_args.event,
            None if since is None else int(since.timestamp()),
            None if until is None else int(until.timestamp()),
            parsed_args.limit,
        )
        return (
            ('row', 'at', 'who', 'event', 'subject', 'detail'),
            [
                (
                    line.row,
                    base.shown_time(line.at),
                    *map(
                        base.shown,
                        (line.who, line.event, line.subject, line.detail),
                    ),
                )
                for line in found
            ],
        )


class HistoryVerify(base.ShowOne):
    """Hold the history and every kept message against the chain of digests.

    Note the head that this shows somewhere else: with --head, a history that
    somebody has written anew since then shows.

    Exit status 0: all fits, 1: something was changed or is missing.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            '--head',
            metavar='SHA256',
            type=_digest,
            help='a head that was noted earlier',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Verify it."""
        found = history.verify(self.site(), parsed_args.head)
        if found.misfits:
            self.exit_status = base.FAILED
        return (
            ('verdict', 'rows', 'head', 'messages', 'not_kept', 'misfits'),
            (
                'does not fit' if found.misfits else 'fits',
                found.head.length,
                found.head.sha256,
                found.messages,
                found.not_kept,
                [base.shown(str(misfit)) for misfit in found.misfits],
            ),
        )


class HistoryExport(base.Command):
    """Write the whole history as JSON lines, oldest first."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            'file', metavar='FILE', help='"-" for standard output'
        )
        parser.add_argument(
            '--messages',
            metavar='DIR',
            type=Path,
            help='write the signed messages there, named by their SHA-256',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Write it."""
        site = self.site()
        try:
            with _target(parsed_args.file, self.app.stdout) as target:
                found = history.export(
                    site, target.write, parsed_args.messages
                )
        except OSError as exc:
            raise errors.LocalFault(
                f'{parsed_args.file}: expected to write there, found: '
                f'{exc.strerror or exc}'
            ) from exc
        self.app.LOG.info(
            '%s rows, %s messages; head %s',
            found.head.length,
            found.messages,
            found.head.sha256,
        )
        for problem in found.problems:
            self.app.LOG.error('%s', problem)
        if found.problems:
            self.exit_status = base.FAILED


@contextlib.contextmanager
def _target(file: str, stdout: TextIO) -> Iterator[TextIO]:
    """Where lines go; a file is there as a whole or not at all."""
    if file == '-':
        yield stdout
        return
    path = Path(file)
    if path.exists() and not path.is_file():
        with path.open('w', encoding='ascii') as target:
            yield target
        return
    handle, name = tempfile.mkstemp(prefix='.', dir=path.parent)
    try:
        with os.fdopen(handle, 'w', encoding='ascii') as target:
            yield target
            target.flush()
            os.fsync(target.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
