# SPDX-License-Identifier: Apache-2.0
"""Nova's databases with a server in them, as its own code keeps them."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
import contextlib
import datetime
import pathlib
from typing import Any
import uuid

import nova.conf
from nova import context
from nova.db.api import api
from nova.db.api import models as api_models
from nova.db.main import models as cell_models
from nova import objects
from oslo_db.sqlalchemy import enginefacade
import oslo_messaging
import sqlalchemy as sa


class Servers:
    """What a scheduler finds of servers.

    :param folder: of SQLite files
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self._cell_url = f'sqlite:///{folder / "cell.sqlite"}'
        self.context = context.get_admin_context()
        engine = sa.create_engine(self._cell_url)
        cell_models.BASE.metadata.create_all(engine)
        self._cell_engine = engine
        self._cell: Any = None

    def new(
        self,
        server: str,
        mappings: Iterable[Any] = (),
        kernel: str = '',
        ramdisk: str = '',
    ) -> None:
        """A server that Nova has never placed."""
        instance = objects.Instance(
            uuid=server,
            project_id='project',
            kernel_id=kernel,
            ramdisk_id=ramdisk,
        )
        objects.BuildRequest(
            self.context,
            instance_uuid=server,
            project_id='project',
            instance=instance,
            block_device_mappings=objects.BlockDeviceMappingList(
                objects=list(mappings)
            ),
            tags=objects.TagList(objects=[]),
        ).create()
        objects.InstanceMapping(
            self.context,
            instance_uuid=server,
            project_id='project',
            queued_for_delete=False,
        ).create()

    def cell(self) -> Any:
        """The one cell."""
        if self._cell is None:
            self._cell = objects.CellMapping(
                self.context,
                uuid=str(uuid.uuid4()),
                name='cell',
                transport_url='',
                database_connection=self._cell_url,
            )
            self._cell.create()
        return self._cell

    def hosts(self, count: int) -> None:
        """Empty hosts that are up."""
        self.cell()
        names = [f'host-{number}' for number in range(count)]
        services = [
            {
                'uuid': str(uuid.uuid4()),
                'host': name,
                'binary': 'nova-compute',
                'topic': 'compute',
                'report_count': 1,
                'disabled': False,
                'version': 70,
                'last_seen_up': _now(),
                'created_at': _now(),
                'deleted': 0,
            }
            for name in names
        ]
        nodes = [
            {
                'uuid': str(uuid.uuid4()),
                'host': name,
                'hypervisor_hostname': name,
                'hypervisor_type': 'QEMU',
                'hypervisor_version': 8_000_000,
                'vcpus': 64,
                'memory_mb': 262_144,
                'local_gb': 4096,
                'vcpus_used': 0,
                'memory_mb_used': 512,
                'local_gb_used': 0,
                'free_ram_mb': 261_632,
                'free_disk_gb': 4096,
                'running_vms': 0,
                'cpu_info': '{}',
                'host_ip': '192.0.2.1',
                'supported_instances': '[["x86_64", "kvm", "hvm"]]',
                'metrics': '[]',
                'stats': '{}',
                'ram_allocation_ratio': 1.0,
                'cpu_allocation_ratio': 4.0,
                'disk_allocation_ratio': 1.0,
                'created_at': _now(),
                'updated_at': _now(),
                'deleted': 0,
            }
            for name in names
        ]
        with self._cell_engine.begin() as connection:
            connection.execute(
                sa.insert(cell_models.Service.__table__), services
            )
            connection.execute(
                sa.insert(cell_models.ComputeNode.__table__), nodes
            )

    def existing(self, server: str, kernel: str = '') -> None:
        """A server that lives in a cell."""
        objects.InstanceMapping(
            self.context,
            instance_uuid=server,
            project_id='project',
            cell_mapping=self.cell(),
            queued_for_delete=False,
        ).create()
        with self._cell_engine.begin() as connection:
            connection.execute(
                sa.insert(cell_models.Instance.__table__).values(
                    uuid=server, kernel_id=kernel, deleted=0
                )
            )


def _now() -> datetime.datetime:
    """UTC, as Nova keeps it."""
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None)


def mapping(source: str, destination: str, index: int | None, **more: Any):  # type: ignore[no-untyped-def]
    """A block device mapping."""
    return objects.BlockDeviceMapping(
        source_type=source,
        destination_type=destination,
        boot_index=index,
        **more,
    )


@contextlib.contextmanager
def made(folder: pathlib.Path) -> Iterator[Servers]:
    """Have Nova's code in this process work with databases in a folder."""
    objects.register_all()
    # What a service has done before it reads its cells.
    oslo_messaging.TransportURL.parse(nova.conf.CONF, 'fake:///')
    facade = enginefacade.transaction_context()
    facade.configure(connection=f'sqlite:///{folder / "api.sqlite"}')
    api_models.BASE.metadata.create_all(facade.writer.get_engine())
    back = api.context_manager.patch_factory(facade)
    try:
        yield Servers(folder)
    finally:
        back()
