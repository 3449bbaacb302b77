# SPDX-License-Identifier: Apache-2.0
"""``hepix-vm-sync``: syncs by itself.

Exit status 0 after SIGTERM or SIGINT, 2 for a configuration that cannot be
used. Nothing else ends it; a database that is away does not.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Sequence
import logging
import os
import signal
import sys
from typing import Any

from oslo_config import cfg
from oslo_log import log

from hepix_vm.catalogue import sync
from hepix_vm.cli import base
from hepix_vm.cli import configured
from hepix_vm import conf as conf_
from hepix_vm.conf import daemon as conf_daemon
from hepix_vm.daemon import loop
from hepix_vm.daemon import notify
from hepix_vm.daemon import work
from hepix_vm import errors
from hepix_vm.operations import catalogue
from hepix_vm.operations import noticing
from hepix_vm.operations import running
from hepix_vm.operations import site as site_
import pbr.version

LOG = log.getLogger(__name__)

# What oslo.log does with an option that it cannot use. The last one comes from
# oslo.config, for an option that could be one of the command line too.
_WRONG = (cfg.Error, ValueError, OSError, log.LogConfigError, SystemExit)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='hepix-vm-sync',
        description='Sync subscriptions whenever they are due.',
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
    parser.add_argument(
        '--version',
        action='version',
        version=pbr.version.VersionInfo('hepix_vm').release_string(),
    )
    return parser.parse_args(argv)


def _logging(files: Sequence[str]) -> cfg.ConfigOpts:
    """Log as the options of oslo.log say; returns these.

    :raises errors.Misconfigured: when they say nonsense
    """
    conf = cfg.ConfigOpts()
    log.register_options(conf)
    log.set_defaults(
        default_log_levels=[
            *log.get_default_log_levels(),
            'alembic=WARNING',
            'tooz=WARNING',
        ]
    )
    try:
        conf(
            args=[],
            project='hepix_vm',
            default_config_files=list(files),
            default_config_dirs=[],
        )
        log.setup(conf, 'hepix-vm-sync')
    except _WRONG as exc:
        raise _wrong_logging(files, exc) from exc
    return conf


def _wrong_logging(
    files: Sequence[str], exc: BaseException
) -> errors.Misconfigured:
    told = ' '.join(str(exc).split())
    if isinstance(exc, SystemExit):
        told = 'a value that its option does not take, see the line above'
    return errors.Misconfigured(
        f'configuration {", ".join(files)}: options of oslo.log in '
        f'[DEFAULT]: {told}'
    )


def _load(files: Sequence[str]) -> loop.Configured:
    """The site and what the daemon is told.

    :raises errors.Misconfigured: for what cannot be used
    """
    conf = conf_.load(files)
    made = loop.Configured(
        site=configured.site(conf), settings=conf_daemon.settings(conf)
    )
    # A driver that is missing is told now; this connects to nothing.
    made.site.catalogue.engine()
    return made


def _tell_broken(made: loop.Configured) -> None:
    """A subscription that is wrong ends none of the others."""
    for broken in made.site.subscriptions.values():
        if isinstance(broken, errors.Misconfigured):
            LOG.error('%s', broken)


def _reload(
    files: Sequence[str], logging_: cfg.ConfigOpts
) -> Callable[[], loop.Configured]:
    def load() -> loop.Configured:
        made = _load(files)
        try:
            logging_.mutate_config_files()
        except _WRONG as exc:
            raise _wrong_logging(files, exc) from exc
        _tell_broken(made)
        return made

    return load


def _synchronise(
    site: site_.Site, now: int, told: Callable[[sync.Report], None]
) -> catalogue.Synced:
    return running.synchronised(
        site,
        now,
        lambda: catalogue.synchronise(site, now, told=told, due=True),
        base.now,
    )


def _deliver(
    site: site_.Site, now: int, stop: Callable[[], bool]
) -> tuple[noticing.Told, ...]:
    return noticing.deliver(site, now, stop=stop)


def _handle(daemon: loop.Daemon) -> None:
    """Have signals wake the daemon."""
    for number, message in (
        (signal.SIGHUP, loop.Message.RELOAD),
        (signal.SIGTERM, loop.Message.STOP),
        (signal.SIGINT, loop.Message.STOP),
    ):

        def woken(
            _number: int, _frame: Any, message: loop.Message = message
        ) -> None:
            daemon.tell(message)

        signal.signal(number, woken)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``hepix-vm-sync``; returns its exit status."""
    files = _arguments(argv).config_file or [conf_.DEFAULT_FILE]
    try:
        made = _load(files)
        logging_ = _logging(files)
        _tell_broken(made)
        daemon = loop.Daemon(
            made,
            _reload(files, logging_),
            work.Work(_synchronise, catalogue.next_due, _deliver),
            notify.Notify(),
        )
        _handle(daemon)
        daemon.run()
    except errors.Misconfigured as exc:
        sys.stderr.write(f'hepix-vm-sync: {exc}\n')
        return base.MISUSED
    if daemon.abandoned:
        # What hangs would keep the interpreter from ending.
        logging.shutdown()
        os._exit(base.WELL)
    return base.WELL


if __name__ == '__main__':
    sys.exit(main())
