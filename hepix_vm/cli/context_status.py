# SPDX-License-Identifier: Apache-2.0
"""``context status``: which servers fetched which context."""

from __future__ import annotations

import argparse
from typing import Any

from hepix_vm.catalogue import context_fetches
from hepix_vm.cli import base
from hepix_vm.conf import context as conf_context
from hepix_vm.operations import context_status

_COLUMNS = (
    'server',
    'name',
    'project',
    'host',
    'state',
    'form',
    'serial',
    'sha256',
    'fetched',
    'told',
    'told_at',
    'detail',
)


class ContextStatus(base.Lister):
    """List servers with the context that they fetched last, the worst first.

    States: never (it is up and fetched no bundle), failed (it says that the
    bundle did not run), expired, superseded (another generation is published
    since), unpublished (the site directory itself is served), current. With
    SERVER, all that is noted of that one. Exit status 1: something could not
    be found out.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument('server', metavar='SERVER', nargs='?')
        parser.add_argument(
            '--older',
            metavar='MINUTES',
            type=_minutes,
            default=30,
            help=(
                'a server that is younger may yet fetch and is not said to '
                'have never done so; default: 30'
            ),
        )
        parser.add_argument(
            '--problems',
            action='store_true',
            help='only never, failed, expired and superseded ones',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Show them."""
        if parsed_args.server is not None:
            return self._one(parsed_args.server)
        found = context_status.look(
            self.site(),
            conf_context.context_source(self.app.configuration()),
            base.now(),
            parsed_args.older * 60,
        )
        for sentence in found.lost:
            self.app.LOG.warning('%s', sentence)
        for problem in found.problems:
            self.exit_status = base.FAILED
            self.app.LOG.error('%s', problem)
        return _COLUMNS, [
            _row(one)
            for one in found.standings
            if one.state in context_status.PROBLEMS or not parsed_args.problems
        ]

    def _one(self, server: str) -> Any:
        notes = context_status.history(self.site(), server)
        if not notes:
            self.exit_status = base.FAILED
            self.app.LOG.error(
                'server %s: nothing is noted of it; expected the id of one '
                'that fetched context',
                base.shown(server),
            )
        return (
            ('what', 'serial', 'sha256', 'first', 'last', 'times'),
            [
                (
                    note.what,
                    note.serial,
                    note.sha256,
                    base.shown_time(note.first_at),
                    base.shown_time(note.last_at),
                    note.times,
                )
                for note in notes
            ],
        )


def _row(one: context_status.Standing) -> tuple[Any, ...]:
    server, fetched, told = one.server, one.fetched, one.told
    project = fetched.project if fetched else ''
    return (
        one.instance,
        base.shown(server.name) if server else '',
        server.project if server else project,
        (server.host if server else '') or '',
        one.state.value,
        fetched.what if fetched else '',
        fetched.serial if fetched else None,
        fetched.sha256 if fetched else '',
        _time(fetched),
        told.what if told else '',
        _time(told),
        one.detail,
    )


def _time(note: context_fetches.Note | None) -> str:
    return '' if note is None else base.shown_time(note.last_at)


def _minutes(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise argparse.ArgumentTypeError(
            f'expected a number of minutes, found {text!r}'
        )
    return int(text)
