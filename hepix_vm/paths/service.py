# SPDX-License-Identifier: Apache-2.0
"""A service's own configuration, read beside the service."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path

from oslo_config import cfg

from hepix_vm import errors


def read(
    service: str,
    options: Mapping[str, Sequence[cfg.Opt]],
    files: Sequence[Path],
    folders: Sequence[Path] | None = None,
) -> cfg.ConfigOpts:
    """The options of a service that matter here.

    :param options: by group; each as the service declares it
    :param files: that the service reads, in its order
    :param folders: the same; None: those that belong to the service by name
    :raises errors.Misconfigured: when they cannot be read, or a value is
        none that an option takes
    """
    conf = cfg.ConfigOpts()
    for group, opts in options.items():
        conf.register_opts(opts, group=group)
    try:
        conf(
            args=[],
            project=service,
            default_config_files=[str(file) for file in files],
            default_config_dirs=(
                None if folders is None else [str(one) for one in folders]
            ),
        )
        for group, opts in options.items():
            for opt in opts:
                getattr(conf[group], opt.dest)
    except (cfg.Error, ValueError, OSError) as exc:
        raise errors.Misconfigured(
            f'configuration of {service}: {" ".join(str(exc).split())}'
        ) from exc
    return conf
