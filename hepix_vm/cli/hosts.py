# SPDX-License-Identifier: Apache-2.0
"""``context hosts``: what virtual machines are told of their hosts."""

from __future__ import annotations

import argparse
from typing import Any

from hepix_vm.catalogue import hosts as hosts_
from hepix_vm.cli import base
from hepix_vm.cli import configured
from hepix_vm.conf import context as conf_context
from hepix_vm.context import ratings
from hepix_vm.context import ratings_file
from hepix_vm.operations import hosts

_COLUMNS = (
    'host',
    'total_cpu',
    'hs06',
    'hs23',
    'cpu_model',
    'aggregates',
    'hypervisor_type',
    'seen_at',
)


class ContextHosts(base.Lister):
    """List compute hosts: their processors, and their ratings by the site.

    These are the machine features total_cpu, hs06 and hs23. A sync asks Nova
    and Placement now and then. Exit status 1: with --refresh, not all hosts
    are known.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            '--refresh',
            action='store_true',
            help='ask Nova and Placement for all of them now',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """List them."""
        conf = self.app.configuration()
        site = configured.site(conf)
        file = conf_context.ratings_file(conf)
        table = ratings.EMPTY if file is None else ratings_file.read(file)
        if parsed_args.refresh:
            done = hosts.refresh(site, base.now())
            for problem in done.problems:
                self.app.LOG.error('%s', problem)
            if done.problems:
                self.exit_status = base.FAILED
        return _COLUMNS, [_row(one, table) for one in hosts.known(site)]


def _row(host: hosts_.Host, table: ratings.Table) -> tuple[Any, ...]:
    rating = table.rating(host.host, host.aggregates, host.cpu_model)
    return (
        base.shown(host.host),
        host.total_cpu,
        None if rating is None else str(rating.hs06 or rating.hs23),
        None if rating is None or rating.hs23 is None else str(rating.hs23),
        host.cpu_model and base.shown(host.cpu_model),
        [base.shown(name) for name in host.aggregates],
        host.hypervisor_type and base.shown(host.hypervisor_type),
        base.shown_time(host.seen_at),
    )
