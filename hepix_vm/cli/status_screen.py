# SPDX-License-Identifier: Apache-2.0
"""``hepix-vm status``: one screen, and a check for monitoring systems."""

from __future__ import annotations

import argparse
from typing import Any

from cliff import show

from hepix_vm.catalogue import condition
from hepix_vm.catalogue import measures
from hepix_vm.cli import base
from hepix_vm.cli import configured
from hepix_vm.cli import status_outward as outward
from hepix_vm.cli import status_parts as parts
from hepix_vm.conf import status as conf_status
from hepix_vm import errors
from hepix_vm.operations import overview


class Status(base.ShowOne):
    """Show how the site fares: what an operator asks first.

    Exit status as of monitoring plug-ins: 0 OK, 1 WARNING, 2 CRITICAL,
    3 UNKNOWN when the configuration or the catalogue cannot be read. Group
    [status] of the configuration has the limits.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            '--servers',
            action='store_true',
            help='ask Nova for servers that run from withdrawn images, too',
        )
        parser.add_argument(
            '--nagios',
            action='store_true',
            help='print a line with performance data, as plug-ins do',
        )
        for name in ('warning', 'critical'):
            parser.add_argument(
                f'--{name}',
                metavar='MEASURE=LIMIT',
                action='append',
                default=[],
                type=_pair,
                help=f'limit from which on it is {name}, or "off"; repeatable',
            )
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Run the command, with the exit statuses of a plug-in."""
        try:
            if parsed_args.nagios:
                self._nagios(parsed_args)
            else:
                show.ShowOne.run(self, parsed_args)
        except errors.HepixError as exc:
            self.exit_status = int(measures.Grade.UNKNOWN)
            if parsed_args.nagios:
                self.app.stdout.write(
                    f'HEPIX_VM UNKNOWN - {parts.plain(exc)}\n'
                )
            else:
                self.app.LOG.error('%s', exc)
        return self.exit_status

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Show it."""
        glance, verdict, _ = self._look(parsed_args)
        fields = _fields(glance, verdict)
        return tuple(fields), tuple(fields.values())

    def _look(
        self, parsed_args: argparse.Namespace
    ) -> tuple[overview.Glance, overview.Verdict, measures.Limits]:
        conf = self.app.configuration()
        limits = conf_status.limits(
            conf, dict(parsed_args.warning), dict(parsed_args.critical)
        )
        glance = overview.look(
            configured.site(conf), base.now(), parsed_args.servers
        )
        verdict = overview.judge(glance, limits)
        self.exit_status = int(verdict.grade)
        return glance, verdict, limits

    def _nagios(self, parsed_args: argparse.Namespace) -> None:
        """One line with performance data, then a line for each problem."""
        glance, verdict, limits = self._look(parsed_args)
        worst = [
            parts.plain(problem.sentence)
            for problem in verdict.problems
            if problem.grade is verdict.grade
        ]
        fresh = len(glance.states[condition.State.FRESH])
        said = '; '.join(worst) or (
            f'{fresh} subscriptions fresh, {glance.stored.approved} images '
            'approved'
        )
        numbers = measures.performance(verdict.values, limits)
        self.app.stdout.write(
            f'HEPIX_VM {verdict.grade.name} - {said} | {numbers}\n'
        )
        for problem in verdict.problems:
            self.app.stdout.write(
                f'{problem.grade.name}: {parts.plain(problem.sentence)}\n'
            )


def _pair(text: str) -> tuple[str, str]:
    name, equals, limit = text.partition('=')
    if not equals:
        raise argparse.ArgumentTypeError(
            f'expected MEASURE=LIMIT, found {text!r}'
        )
    return name.strip(), limit


def _fields(
    glance: overview.Glance, verdict: overview.Verdict
) -> dict[str, Any]:
    """Stable names; their order is that of an operator's questions."""
    stored = glance.stored
    return {
        'status': verdict.grade.name,
        'problems': parts.Part(
            [
                {'grade': problem.grade.name, 'detail': problem.sentence}
                for problem in verdict.problems
            ],
            *(
                f'{problem.grade.name}: {parts.plain(problem.sentence)}'
                for problem in verdict.problems
            ),
        ),
        'subscriptions': _subscriptions(glance),
        'next_expiry': _next_expiry(glance),
        'last_sync': parts.Part(
            {
                'at': parts.time(stored.last_attempt),
                'codes': stored.last_codes,
            },
            base.shown_time(stored.last_attempt),
            ', '.join(f'{n} {code}' for code, n in stored.last_codes.items()),
        ),
        'next_attempt': parts.time(stored.next_attempt),
        'failing': _failing(glance),
        'daemon': _daemon(glance),
        'images': parts.Part(
            {'endorsed': stored.images, 'approved': stored.approved},
            f'{stored.images} endorsed, {stored.approved} approved',
        ),
        'waiting': _waiting(glance),
        'run_anyway': _anyway(glance),
        'crls': _crls(glance),
        'withdrawn_servers': glance.withdrawn_servers,
        'withdrawn_running': outward.running(glance),
        'publishing': outward.publishing(glance),
        'quarantine': outward.quarantine(glance),
        'runs': outward.runs(glance),
        'notices': outward.notices(glance),
        'context': outward.context(glance),
        'history': parts.Part(
            {'length': stored.history.length, 'head': stored.history.sha256},
            f'{stored.history.length} lines, head {stored.history.sha256}',
        ),
        'revision': stored.revision,
        'measures': parts.Part(
            dict(verdict.values), 'see --nagios or -f json'
        ),
    }


def _subscriptions(glance: overview.Glance) -> parts.Part:
    counts = {
        state.value.replace(' ', '_'): len(names)
        for state, names in glance.states.items()
    }
    shown = [
        f'{len(names)} {state}'
        for state, names in glance.states.items()
        if names or state is condition.State.FRESH
    ]
    return parts.Part(counts, ', '.join(shown))


def _next_expiry(glance: overview.Glance) -> parts.Part:
    found = glance.stored.next_expiry
    if found is None:
        return parts.Part(None)
    name, end = found
    return parts.Part(
        {'subscription': name, 'at': parts.time(end)},
        f'{base.shown_time(end)} ({name})',
    )


def _failing(glance: overview.Glance) -> parts.Part:
    stored = glance.stored
    more = stored.failing_count - len(stored.failing)
    return parts.Part(
        {
            'count': stored.failing_count,
            'worst': [
                {
                    'subscription': item.name,
                    'failures': item.failures,
                    'code': item.code,
                    'next_attempt': parts.time(item.next_attempt),
                }
                for item in stored.failing
            ],
        },
        *(
            f'{item.name}: {item.failures} times in a row, {item.code}, '
            f'again {base.shown_time(item.next_attempt) or "at once"}'
            for item in stored.failing
        ),
        f'and {more} more' if more else '',
    )


def _daemon(glance: overview.Glance) -> parts.Part:
    holder = glance.stored.daemon
    if holder is None:
        return parts.Part(
            None, 'none leads; "hepix-vm sync" runs by hand or cron'
        )
    return parts.Part(
        {
            'holder': holder.holder,
            'since': parts.time(holder.at),
            'fence': holder.fence,
            'beat': holder.beat,
        },
        f'{parts.plain(holder.holder)} leads since '
        f'{base.shown_time(holder.at)}',
    )


def _waiting(glance: overview.Glance) -> parts.Part:
    return parts.Part(
        [
            {
                'subscription': item.subscription,
                'images': item.images,
                'since': parts.time(item.since),
            }
            for item in glance.stored.waiting
        ],
        *(
            f'{item.subscription}: {item.images} images since '
            f'{base.shown_time(item.since)}'
            for item in glance.stored.waiting
        ),
    )


def _anyway(glance: overview.Glance) -> parts.Part:
    stored = glance.stored
    more = stored.anyway_count - len(stored.anyway)
    return parts.Part(
        {
            'count': stored.anyway_count,
            'first': [
                {
                    'sha512': item.sha512,
                    'until': parts.time(item.until),
                    'reason': item.reason,
                }
                for item in stored.anyway
            ],
        },
        *(
            f'sha512:{item.sha512[:16]}... until '
            f'{base.shown_time(item.until)}: {parts.plain(item.reason)}'
            for item in stored.anyway
        ),
        f'and {more} more' if more else '',
    )


def _crls(glance: overview.Glance) -> parts.Part:
    rows = [
        {
            'directory': item.directory,
            'authority': item.subject,
            'state': item.crl.value,
            'next_update': (
                f'{item.next_update:%Y-%m-%dT%H:%M:%SZ}'
                if item.next_update
                else None
            ),
        }
        for item in glance.crls
    ]
    return parts.Part(
        rows,
        *(
            f'{row["authority"]}: {row["state"]}, {row["next_update"]}'
            for row in rows
        ),
    )
