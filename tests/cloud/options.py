# SPDX-License-Identifier: Apache-2.0
"""What a cloud shall be like; the defaults make a stock cloud."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import pathlib

import typing

from tests.cloud import releases

if typing.TYPE_CHECKING:
    from tests.cloud import cloud

Value = str | int | bool | Sequence[str] | None
"""An option's value: a sequence is an option given several times, None takes
the option away."""
Sections = Mapping[str, Mapping[str, Value]]
"""The content of a configuration file: section, option, value."""

FOUNDATION = frozenset({'mariadb', 'rabbitmq'})
IDENTITY = FOUNDATION | {'keystone'}
ALL = IDENTITY | {'glance', 'placement', 'nova'}
OPTIONAL = frozenset({'cinder', 'libvirt', 'neutron'})
"""Parts that a cloud has only when they are asked for."""


@dataclasses.dataclass(frozen=True, slots=True)
class CloudOptions:
    """How to start a cloud."""

    release: str = releases.DEFAULT
    """Name of a release in :data:`tests.cloud.releases.RELEASES`."""
    parts: frozenset[str] = ALL
    """Which of the names in :data:`ALL` and :data:`OPTIONAL`."""
    checkout: pathlib.Path | None = None
    """Source of a package that the services shall find, installed without its
    dependencies for this cloud alone."""
    import_plugins: tuple[str, ...] = ()
    """Glance's image import plugins, in their order."""
    scheduler_filters: tuple[str, ...] = ()
    """Dotted classes of scheduler filters, put before nova's own."""
    context_app: str | None = None
    """``module:callable``, a paste application factory that nova's metadata
    service serves under ``/context``, ``/machinefeatures`` and
    ``/jobfeatures``."""
    vendordata: str | None = None
    """Path under which the process ``context`` tells nova what is on config
    drives, as ``hepix``; it is started by who wants it."""
    virt_type: str = 'qemu'
    """What libvirt's machines run on: ``qemu`` or ``kvm``."""
    glance_guard: str | None = None
    """``module:callable``, a paste filter factory, put behind ``context`` in
    the pipelines of glance that ask keystone."""
    nova_guard: str | None = None
    """``module:callable``, a paste filter factory, put behind
    ``keystonecontext`` in the pipelines of nova's API."""
    glance_policy: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Content of glance's ``policy.yaml``."""
    cinder_policy: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Content of cinder's ``policy.yaml``."""
    extra: Mapping[str, Sections] = dataclasses.field(default_factory=dict)
    """More configuration, by the name of the file without ``.conf``:
    ``keystone``, ``glance-api``, ``glance-image-import``, ``placement``,
    ``nova``, ``cinder``, ``neutron``."""
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """More environment variables of all services and console scripts."""
    prepare: Callable[[cloud.Cloud], None] | None = None
    """Called once MariaDB accepts and the checkout's package is installed,
    before any service that could load it starts: the place to write files
    into the work directory, to make databases and to migrate them."""
