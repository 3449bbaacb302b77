# SPDX-License-Identifier: Apache-2.0
"""What code inside Glance and Nova has to know, from hepix_vm's own file.

The host service's configuration holds one option of ours, which names that
file. The file is read into a configuration of its own: groups such as
``[database]`` mean something else to the host.
"""

from __future__ import annotations

import dataclasses

from oslo_config import cfg

from hepix_vm.catalogue import reader
from hepix_vm import conf as options
from hepix_vm.conf import catalogue
from hepix_vm.conf import lineage
from hepix_vm.conf import nova
from hepix_vm import errors
from hepix_vm.glance import service
from hepix_vm.nova import placing

GROUP = cfg.OptGroup(
    'hepix_vm',
    title='hepix_vm inside Glance and Nova',
    help="""
Belongs into nova.conf and glance-api.conf, next to the options that switch on
the scheduler filter and the import plugins.
""",
)

OPTS = [
    cfg.StrOpt(
        'config_file',
        default=options.DEFAULT_FILE,
        help="""
Absolute path of hepix_vm's configuration file, readable by this service. It
says where the catalogue of endorsed images is. While the file is missing,
unreadable or wrong every image is refused.
""",
    ),
]


@dataclasses.dataclass(frozen=True, slots=True)
class InsideSettings:
    """What the filter and the import plugins work with.

    :ivar reader: how the catalogue is read; its ``connection`` and
        ``store_timeout`` hold for the records that are written, too
    :ivar allow_conversion: whether bytes may change after the check
    :ivar unchanging_plugins: import plugins that leave the bytes alone
    :ivar publishing_projects: ids of projects that import for others
    :ivar placing: how decisions act inside Nova
    :ivar nova: whom to believe what a snapshot is of
    """

    reader: reader.ReaderSettings
    allow_conversion: bool = False
    unchanging_plugins: frozenset[str] = frozenset()
    publishing_projects: frozenset[str] = frozenset()
    placing: placing.Placing = dataclasses.field(
        default_factory=placing.Placing
    )
    nova: service.Nova = dataclasses.field(default_factory=service.Nova)


def register(host: cfg.ConfigOpts) -> None:
    """Make our option known to the configuration of a host service."""
    # By name: a group object keeps overrides for every configuration.
    host.register_opts(OPTS, group=GROUP.name)


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """The options for the host's file, for oslo-config-generator."""
    return [(GROUP, list(OPTS))]


def settings(host: cfg.ConfigOpts) -> InsideSettings:
    """Read our configuration file as the host service names it.

    :param host: Glance's or Nova's own configuration
    :raises errors.Misconfigured: when the file cannot be used; the text may
        quote a line of it and is meant for the service's log
    """
    try:
        register(host)
        conf = options.load((host.hepix_vm.config_file,), _MODULES)
        return InsideSettings(
            reader=catalogue.reader_settings(conf),
            allow_conversion=conf.glance_import.allow_conversion,
            unchanging_plugins=frozenset(
                conf.glance_import.unchanging_plugins
            ),
            publishing_projects=frozenset(
                conf.glance_import.publishing_projects
            ),
            placing=nova.placing_of(conf),
            nova=lineage.nova(conf),
        )
    except (cfg.Error, ValueError) as exc:
        raise errors.Misconfigured(
            f'the configuration of hepix_vm cannot be used: {exc}'
        ) from exc


_MODULES = ('catalogue', 'glance', 'nova', 'lineage')
