# SPDX-License-Identifier: Apache-2.0
"""``hepix-vm-status upgrade check``: is the deployment closed?

Exit status as of every OpenStack status command: 0 all well, 1 warnings,
2 failures, 255 an unexpected fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
import sys

from oslo_config import cfg
from oslo_upgradecheck import upgradecheck

from hepix_vm.cli import configured
from hepix_vm import conf as conf_
from hepix_vm import errors
from hepix_vm.operations import site as site_
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
        help="Configuration file of Nova's scheduler.",
    ),
]


class Checks(upgradecheck.UpgradeCommands):
    """The checks, in the order of the way of an image."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._conf = conf

    def _site(self) -> site_.Site:
        conf = conf_.load(self._conf.config_file or [conf_.DEFAULT_FILE])
        return configured.site(conf)

    def _catalogue(self) -> upgradecheck.Result:
        try:
            return _result(status.catalogue(self._site()))
        except errors.HepixError as exc:
            return _result(status.Finding(status.Grade.FAILURE, str(exc)))

    def _subscriptions(self) -> upgradecheck.Result:
        try:
            return _result(status.subscriptions(self._site()))
        except errors.HepixError as exc:
            return _result(status.Finding(status.Grade.FAILURE, str(exc)))

    def _glance(self) -> upgradecheck.Result:
        return _result(
            status.glance_plugins(Path(self._conf.glance_config_dir))
        )

    def _nova(self) -> upgradecheck.Result:
        return _result(status.nova_filter(Path(self._conf.nova_config)))

    _upgrade_checks = (
        ('Catalogue', _catalogue),
        ('Subscriptions', _subscriptions),
        ('Glance import plugins', _glance),
        ('Nova scheduler filter', _nova),
    )


def _result(finding: status.Finding) -> upgradecheck.Result:
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
