# SPDX-License-Identifier: Apache-2.0
"""Every option of hepix_vm, and the only place that turns them into values.

This package itself imports nothing but oslo.config, so that code inside
Glance and Nova can load the two modules that it needs without the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
import importlib
from pathlib import Path
import stat
from typing import Any

from oslo_config import cfg

from hepix_vm import errors

#: Where the options are, unless the caller says otherwise.
DEFAULT_FILE = '/etc/hepix_vm/hepix_vm.conf'

#: Modules with ``GROUP``, ``OPTS`` and ``register(conf)``.
MODULES = (
    'catalogue',
    'trust',
    'fetch',
    'sync',
    'openstack',
    'publish',
    'conversion',
    'withdraw',
    'quarantine',
    'precache',
    'glance',
    'nova',
    'lineage',
    'guard',
    'context',
    'serving',
    'daemon',
    'status',
    'mail',
    'notify',
)


def load(
    config_files: Sequence[str] = (DEFAULT_FILE,),
    modules: Sequence[str] = MODULES,
) -> cfg.ConfigOpts:
    """The options of these files, in a configuration of their own.

    :raises errors.Misconfigured: for a file that is missing, unreadable,
        writable by everybody, not in the format of oslo.config, or with a
        value that an option does not take
    """
    for name in config_files:
        _check(Path(name))
    conf = cfg.ConfigOpts()
    found = [importlib.import_module(f'hepix_vm.conf.{m}') for m in modules]
    for module in found:
        module.register(conf)
    try:
        conf(
            args=[],
            project='hepix_vm',
            default_config_files=list(config_files),
            default_config_dirs=[],
        )
        # oslo.config looks at a value when somebody asks for it; a mistake
        # is to be told here, once and in our words.
        for module in found:
            for opt in module.OPTS:
                getattr(conf[module.GROUP.name], opt.dest)
    except (cfg.Error, ValueError) as exc:
        raise errors.Misconfigured(
            f'configuration {", ".join(config_files)}: '
            f'{" ".join(str(exc).split())}'
        ) from exc
    return conf


def _check(path: Path) -> None:
    try:
        mode = path.stat().st_mode
        with path.open('rb'):
            pass
    except OSError as exc:
        raise errors.Misconfigured(
            f'configuration file {path}: expected a readable file, found: '
            f'{exc.strerror}; create it or name another one'
        ) from exc
    if mode & stat.S_IWOTH:
        raise errors.Misconfigured(
            f'configuration file {path}: it says whom this site trusts, but '
            f'everybody may write it (mode {stat.S_IMODE(mode):o}); '
            'run "chmod o-w" on it'
        )


def list_opts() -> list[tuple[Any, list[cfg.Opt]]]:
    """All options by group, for oslo-config-generator."""
    result: list[tuple[Any, list[cfg.Opt]]] = []
    # The last one is no module of a single group: it has one of the sample.
    for name in (*MODULES, 'subscription'):
        module = importlib.import_module(f'hepix_vm.conf.{name}')
        opts = getattr(module, 'sample_opts', lambda m=module: m.OPTS)()
        group = getattr(module, 'SAMPLE_GROUP', None) or module.GROUP
        result.append((group, list(opts)))
    return result
