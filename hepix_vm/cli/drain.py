# SPDX-License-Identifier: Apache-2.0
"""``drain``: tell virtual machines when their host or they themselves end."""

from __future__ import annotations

import argparse
import datetime
import re
from typing import Any

from hepix_vm.cli import base
from hepix_vm.operations import draining

_COLUMNS = ('kind', 'name', 'at', 'over', 'forced', 'set_at', 'by')

_AHEAD = re.compile(r'\+([0-9]{1,9})([smhd])', re.ASCII)
_UNITS = {'s': 1, 'm': 60, 'h': 3600, 'd': 86400}


class Drain(base.ShowOne):
    """Order that a compute host or a server ends.

    Virtual machines read it as shutdowntime and shutdowntime_job among their
    machine and job features, and finish their work by then. Nobody is stopped
    by it, and Nova goes on placing servers on the host unless its compute
    service is disabled. An order takes the place of one before.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            'name',
            metavar='HOST|SERVER',
            help='name of a compute host, or the UUID of a server',
        )
        parser.add_argument(
            '--at',
            metavar='TIME',
            required=True,
            type=_time,
            help=(
                'ISO 8601 with its offset (2026-11-25T08:00:00Z), UNIX '
                'seconds, or from now: +90m, +2h, +3d'
            ),
        )
        parser.add_argument(
            '--force',
            action='store_true',
            help=(
                'also sooner than [context] grace_secs, and for a host or a '
                'server that is not known'
            ),
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Order it."""
        now, at = base.now(), parsed_args.at
        made = draining.order(
            self.site(),
            now,
            parsed_args.name,
            now + at.seconds if isinstance(at, _Ahead) else at,
            base.who(),
            parsed_args.force,
        )
        return _COLUMNS, _row(made, now)


class DrainList(base.Lister):
    """List the orders to end, the next one first."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """List them."""
        now = base.now()
        found = draining.drains(self.site())
        return _COLUMNS, [_row(one, now) for one in found]


class DrainClear(base.Lister):
    """Take orders to end back."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument(
            'names',
            metavar='HOST|SERVER',
            nargs='*',
            default=[],
            help='names of compute hosts, UUIDs of servers',
        )
        which.add_argument(
            '--over',
            action='store_true',
            help='all whose time has come',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Take them back."""
        site, now = self.site(), base.now()
        done = (
            draining.clear_over(site, now, base.who())
            if parsed_args.over
            else draining.clear(site, now, parsed_args.names, base.who())
        )
        return _COLUMNS, [_row(one, now) for one in done]


class _Ahead:
    """A time that is counted from when the command acts."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds


def _time(text: str) -> int | _Ahead:
    """A TIME argument: UNIX seconds, or how long from now.

    :raises argparse.ArgumentTypeError: for anything else
    """
    found = _AHEAD.fullmatch(text)
    if found is not None:
        return _Ahead(int(found[1]) * _UNITS[found[2]])
    try:
        moment: datetime.datetime = base.moment(text)
    except argparse.ArgumentTypeError as exc:
        raise argparse.ArgumentTypeError(
            f'{exc}; or from now, such as +2h'
        ) from exc
    return int(moment.timestamp())


def _row(drain: draining.Drain, now: int) -> tuple[Any, ...]:
    return (
        drain.kind.value,
        drain.name,
        base.shown_time(drain.at),
        drain.at <= now,
        drain.forced,
        base.shown_time(drain.set_at),
        base.shown(drain.by),
    )
