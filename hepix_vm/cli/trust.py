# SPDX-License-Identifier: Apache-2.0
"""``trust show``."""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import Any

from hepix_vm.cli import base
from hepix_vm.conf import trust as conf_trust
from hepix_vm.operations import anchors


class TrustShow(base.Lister):
    """Show the CAs that lists may be believed by, and their CRLs.

    Exit status 0: all is well, 1: a CRL runs out soon or has run out, or a
    file cannot be used.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            'directory',
            metavar='DIR',
            nargs='?',
            type=Path,
            help='default: the directories of all subscriptions',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Show them."""
        conf = self.app.configuration()
        warning = conf_trust.crl_warning(conf)
        now = datetime.datetime.now(datetime.UTC)
        if parsed_args.directory is not None:
            names = [str(parsed_args.directory)]
        else:
            names = list(anchors.directories(self.site()))
        rows = []
        for name in names:
            shown = anchors.show(Path(name), now, warning)
            for problem in shown.problems:
                self.app.LOG.warning('%s: %s', name, problem)
                self.exit_status = base.FAILED
            for authority in shown.authorities:
                if authority.crl in (
                    anchors.CrlState.ENDING,
                    anchors.CrlState.EXPIRED,
                ):
                    self.exit_status = base.FAILED
                rows.append(_row(authority, now))
        return (
            (
                'subject',
                'not_after',
                'signing_policy',
                'crl',
                'crl_number',
                'crl_age_hours',
                'crl_next_update',
                'directory',
                'files',
            ),
            rows,
        )


def _row(
    authority: anchors.Authority, now: datetime.datetime
) -> tuple[Any, ...]:
    age = ''
    if authority.this_update is not None:
        age = f'{(now - authority.this_update).total_seconds() / 3600:.0f}'
    return (
        authority.subject,
        _shown(authority.not_after),
        authority.signing_policy,
        f'{authority.crl.value} {authority.flaw}'.strip(),
        '' if authority.crl_number is None else str(authority.crl_number),
        age,
        _shown(authority.next_update),
        authority.directory,
        ' '.join(authority.files),
    )


def _shown(moment: datetime.datetime | None) -> str:
    return '' if moment is None else moment.strftime('%Y-%m-%dT%H:%M:%SZ')
