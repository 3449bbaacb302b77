# SPDX-License-Identifier: Apache-2.0
"""``hepix-vm-status upgrade check``: is the deployment closed?

Exit status as of every OpenStack status command: 0 all well, 1 warnings,
2 failures, 255 an unexpected fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
import sys

from oslo_config import cfg
from oslo_upgradecheck import upgradecheck

from hepix_vm.cli import base
from hepix_vm.cli import configured
from hepix_vm import conf as conf_
from hepix_vm.conf import context as conf_context
from hepix_vm.conf import guard as conf_guard
from hepix_vm.conf import nova as conf_nova
from hepix_vm import errors
from hepix_vm.operations import context_checks
from hepix_vm.operations import enforcement
from hepix_vm.operations import status

_CLI_OPTS = [
    cfg.StrOpt(
        'glance-config-dir',
        default='/etc/glance',
        help='Directory of glance-api.conf and glance-image-import.conf.',
    ),
    cfg.StrOpt(
        'nova-config',
        default='/etc/nova/nova.conf',
        help="Configuration file of Nova's scheduler and API.",
    ),
    cfg.StrOpt(
        'nova-paste',
        help="Paste file of Nova's API (default: api-paste.ini beside it).",
    ),
    cfg.StrOpt(
        'neutron-config-dir',
        default='/etc/neutron',
        help="Directory of metadata_agent.ini and of the OVN agent's file.",
    ),
    cfg.StrOpt(
        'cinder-config',
        default='/etc/cinder/cinder.conf',
        help="Configuration file of Cinder's API and volume service.",
    ),
]


_AGENTS = ('metadata_agent.ini', 'neutron_ovn_metadata_agent.ini')


class Checks(upgradecheck.UpgradeCommands):
    """The checks, in the order of the way of an image."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._conf = conf

    def check(self) -> upgradecheck.Code:
        """Run all checks, and print what they found."""
        # How many there are depends on the services of this machine.
        self._upgrade_checks = tuple(
            (name, (_found, {'finding': finding}))
            for name, finding in self._findings()
        )
        return super().check()

    def _findings(self) -> Iterator[enforcement.Named]:
        """Every check, and what it found."""
        context = None
        try:
            conf = conf_.load(self._conf.config_file or [conf_.DEFAULT_FILE])
            site = configured.site(conf)
            wanted, context = _wanted(conf), _context(conf)
            yield 'Catalogue', status.catalogue(site)
            yield 'Subscriptions', status.subscriptions(site)
        except errors.HepixError as exc:
            wrong = status.Finding(status.Grade.FAILURE, str(exc))
            wanted = enforcement.Wanted()
            yield 'Catalogue', wrong
            yield 'Subscriptions', wrong
        yield from enforcement.glance(
            Path(self._conf.glance_config_dir), wanted
        )
        nova = Path(self._conf.nova_config)
        paste = self._conf.nova_paste or nova.with_name('api-paste.ini')
        yield from enforcement.nova(nova, Path(paste), wanted)
        yield from enforcement.cinder(Path(self._conf.cinder_config), wanted)
        if context is not None:
            yield from context_checks.look(
                context,
                nova,
                Path(paste),
                [Path(self._conf.neutron_config_dir) / one for one in _AGENTS],
                base.now(),
            )


def _wanted(conf: cfg.ConfigOpts) -> enforcement.Wanted:
    group = conf.glance_import
    return enforcement.Wanted(
        accepted=conf_guard.accepted(conf),
        placing=conf_nova.placing_of(conf),
        allow_conversion=group.allow_conversion,
        unchanging_plugins=frozenset(group.unchanging_plugins),
    )


def _context(conf: cfg.ConfigOpts) -> context_checks.Context:
    return context_checks.Context(
        source=conf_context.context_source(conf),
        signing_key=lambda: conf_context.signing_key(conf),
        neutron=conf.context.behind == 'neutron',
        secret=conf.context.metadata_proxy_shared_secret or '',
    )


def _found(_checks: Checks, finding: status.Finding) -> upgradecheck.Result:
    return upgradecheck.Result(
        upgradecheck.Code(int(finding.grade)), finding.detail
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``hepix-vm-status``; returns its exit status."""
    conf = cfg.ConfigOpts()
    conf.register_cli_opts(_CLI_OPTS)
    return int(
        upgradecheck.main(
            conf,
            'hepix_vm',
            Checks(conf),
            list(sys.argv[1:] if argv is None else argv),
            default_config_files=[],
        )
    )
