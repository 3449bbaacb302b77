# SPDX-License-Identifier: Apache-2.0
"""What our filter adds to a scheduling pass of Nova, and to a request.

Nova is no requirement of this package: import this where it is installed.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import datetime
import pathlib
from typing import Any
import uuid

import nova.conf
from nova import objects
from nova.objects import build_request
from nova.scheduler.filters import image_props_filter
from nova.scheduler import host_manager
from nova.scheduler import manager
from oslo_config import cfg

from benchmarks import filled
from benchmarks import measuring
from benchmarks import rows
from hepix_vm.nova import asked
from hepix_vm.nova import filter as ours
from hepix_vm.nova import request
from tests import nova_databases

_MILLISECONDS = 1e3


def measure(
    host_conf: cfg.ConfigOpts,
    folder: pathlib.Path,
    hosts: int,
    rounds: int,
    passes: int,
) -> Iterator[rows.Row]:
    """The filter's decision, its look into Nova, and a whole pass.

    :param host_conf: names a filled catalogue
    :param rounds: of the decision
    :param passes: of what is slow
    """
    nova.conf.CONF([], default_config_files=[], default_config_dirs=[])
    # Nothing reports on these hosts.
    nova.conf.CONF.set_override('service_down_time', 86_400)
    with nova_databases.made(folder) as known:
        server = str(uuid.uuid4())
        root = nova_databases.mapping(
            'image', 'local', 0, image_id=filled.identifier(0)
        )
        known.new(server, [root])
        known.hosts(hosts)
        filtering = ours.HepixApprovedImageFilter(host_conf)
        yield from _decided(filtering, _request(server), rounds)
        yield from _looked(filtering, _request(server), known, passes)
        yield from _passed(filtering, _request(server), known, passes)


def _request(server: str) -> Any:
    return objects.RequestSpec(
        image=objects.ImageMeta(
            id=filled.identifier(0),
            size=filled.SIZE,
            min_disk=0,
            created_at=datetime.datetime.fromtimestamp(
                filled.CREATED, datetime.UTC
            ),
            properties=objects.ImageMetaProps(hw_architecture='x86_64'),
        ),
        instance_uuid=server,
        project_id=filled.PROJECT,
        num_instances=1,
        is_bfv=False,
        scheduler_hints={},
        numa_topology=None,
        pci_requests=None,
        instance_group=None,
        availability_zone=None,
        force_hosts=None,
        force_nodes=None,
        ignore_hosts=None,
        requested_destination=None,
        retry=None,
        limits=objects.SchedulerLimits(),
        flavor=objects.Flavor(
            flavorid='1',
            vcpus=1,
            memory_mb=64,
            root_gb=1,
            ephemeral_gb=0,
            swap=0,
            extra_specs={},
        ),
    )


class _Host:
    """What the filters of the first rows look at."""

    supported_instances = [('x86_64', 'kvm', 'hvm')]
    hypervisor_version = 8_000_000
    cpu_info: dict[str, str] = {}


def _decided(filtering: Any, spec: Any, rounds: int) -> Iterator[rows.Row]:
    """Our decision beside Nova's own about image properties, on one host.

    What Nova's database says of the server is here already; see the next.
    """
    there = request.Server(
        devices=(request.Device('image', False, True, filled.identifier(0)),),
        kernel=('', ''),
    )
    theirs = image_props_filter.ImagePropertiesFilter()
    with _instead(asked, 'server', lambda *_: there):
        times, peer = measuring.in_turn(
            lambda: filtering.filter_all([_Host], spec),
            lambda: list(theirs.filter_all([_Host], spec)),
            rounds,
            calls=100,
        )
    yield from rows.median_and_p99(
        'filter a request, 100 000 images',
        times,
        peer,
        "nova's ImagePropertiesFilter, 1 host",
    )


def _looked(
    filtering: Any, spec: Any, known: nova_databases.Servers, rounds: int
) -> Iterator[rows.Row]:
    look = build_request.BuildRequest.get_by_instance_uuid
    times, peer = measuring.in_turn(
        lambda: filtering.filter_all([_Host], spec),
        lambda: look(known.context, spec.instance_uuid),
        rounds,
        calls=3,
    )
    name = "filter a request with its look into nova's database"
    yield from rows.median_and_p99(
        name, times, peer, "nova's own code: the look alone"
    )


def _passed(
    filtering: Any, spec: Any, known: nova_databases.Servers, rounds: int
) -> Iterator[rows.Row]:
    """Hosts from Nova's database, filtered and weighed.

    Placement is left out on both sides, which makes ours the larger part.
    """
    hosts = host_manager.HostManager()
    stock = list(hosts.enabled_filters)
    scheduler = object.__new__(manager.SchedulerManager)
    scheduler.host_manager = hosts

    def with_filters(enabled: list[Any]) -> Callable[[], None]:
        def once() -> None:
            hosts.enabled_filters = enabled
            states = hosts.get_host_states_by_uuids(known.context, None, spec)
            if not scheduler._get_sorted_hosts(spec, states, 0):
                raise RuntimeError('nova finds no host')

        return once

    times, peer = measuring.in_turn(
        with_filters([filtering, *stock]), with_filters(stock), rounds
    )
    names = ', '.join(type(one).__name__ for one in stock)
    for what, cost, beside in (
        ('', times.median, peer.median),
        (', processor', times.processor_median, peer.processor_median),
    ):
        yield rows.Row(
            f'schedule over 1 000 hosts{what}',
            cost * _MILLISECONDS,
            'ms',
            f"nova's default filters: {names}",
            beside * _MILLISECONDS,
        )


@contextlib.contextmanager
def _instead(module: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
