# SPDX-License-Identifier: Apache-2.0
"""``hepix-vm``: the commands of an operator and of an endorser."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import metadata
import logging
import sys
from typing import Any
from typing import TYPE_CHECKING

from cliff import app
from cliff import commandmanager
from oslo_config import cfg

from hepix_vm.cli import base
from hepix_vm import conf as conf_
import pbr.version

if TYPE_CHECKING:
    from hepix_vm.operations import site as site_


class Commands(commandmanager.CommandManager):
    """Finds commands by their entry points, and imports the one that runs.

    cliff's own way imports all of them first, which takes longer than most
    commands do.
    """

    def load_commands(self, namespace: str) -> None:
        """Note the commands of a namespace."""
        self.group_list.append(namespace)
        for point in metadata.entry_points(group=namespace):
            self.commands[point.name.replace('_', ' ')] = point


class HepixVm(app.App):
    """The application: options that all commands share, and errors."""

    def __init__(self) -> None:
        super().__init__(
            description='Only endorsed virtual machine images boot.',
            version=pbr.version.VersionInfo('hepix_vm').release_string(),
            command_manager=Commands('hepix_vm.cli'),
            deferred_help=True,
        )

    def build_option_parser(
        self, description: str, version: str, argparse_kwargs: Any = None
    ) -> argparse.ArgumentParser:
        """Add the options that all commands share."""
        parser: argparse.ArgumentParser = super().build_option_parser(
            description, version, argparse_kwargs
        )
        parser.add_argument(
            '--config-file',
            action='append',
            metavar='FILE',
            help=(
                'configuration file, may be repeated; default: '
                f'{conf_.DEFAULT_FILE}'
            ),
        )
        return parser

    def configure_logging(self) -> None:
        """Log to standard error; quiet about the libraries' own doings."""
        super().configure_logging()
        if self.options.verbose_level < 3:
            for name in ('alembic', 'stevedore', 'urllib3', 'keystoneauth'):
                logging.getLogger(name).setLevel(logging.WARNING)
            # It logs a traceback of what it raises, which we tell in a line.
            logging.getLogger('oslo_db.sqlalchemy.exc_filters').setLevel(
                logging.CRITICAL
            )

    def configuration(self) -> cfg.ConfigOpts:
        """The site's options.

        :raises errors.Misconfigured: for files that cannot be used
        """
        files = self.options.config_file or [conf_.DEFAULT_FILE]
        return conf_.load(files)

    def site(self) -> site_.Site:
        """The site that commands work on; opens nothing yet.

        :raises errors.Misconfigured: for files that cannot be used
        """
        from hepix_vm.cli import configured

        return configured.site(self.configuration())

    def interact(self) -> None:
        """There is no dialogue: without a command, say which there are."""
        self.run_subcommand(['help'])
        raise SystemExit(base.MISUSED)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``hepix-vm``; returns its exit status.

    0 well, 1 refused or failed, 2 wrong use.
    """
    return int(HepixVm().run(list(sys.argv[1:] if argv is None else argv)))
