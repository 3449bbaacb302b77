# SPDX-License-Identifier: Apache-2.0
"""What a decision costs inside Nova's scheduler."""

from __future__ import annotations

from collections.abc import Iterator
import datetime
import importlib.util
import itertools
import pathlib
import tempfile
import types
import uuid

from oslo_config import cfg

from benchmarks import filled
from benchmarks import measuring
from benchmarks import rows
from hepix_vm.catalogue import model
from hepix_vm.catalogue import reader
from hepix_vm.conf import inside

IMAGES = 100_000
_MICROSECONDS = 1e6


def measure(images: int = IMAGES, rounds: int = 200) -> Iterator[rows.Row]:
    """Decisions of the reader, and of the filter where Nova is installed."""
    with tempfile.TemporaryDirectory(prefix='hepix-vm-bench-') as folder:
        connection = f'sqlite:///{folder}/catalogue.sqlite'
        identifiers = filled.fill(connection, images)
        host_conf = _configured(pathlib.Path(folder), connection)
        catalogue = reader.shared(inside.settings(host_conf).reader)
        try:
            yield from _decide(catalogue, identifiers, rounds)
            if importlib.util.find_spec('nova') is not None:
                yield from _filter(host_conf, rounds)
        finally:
            catalogue.close()


def _configured(folder: pathlib.Path, connection: str) -> cfg.ConfigOpts:
    """What a service's configuration is to our code inside it.

    The first decision waits for the whole catalogue, so it may be long.
    """
    path = folder / 'hepix_vm.conf'
    path.write_text(
        f'[catalogue]\nconnection = {connection}\nstore_timeout = 60\n',
        encoding='utf-8',
    )
    host_conf = cfg.ConfigOpts()
    host_conf([], default_config_files=[], default_config_dirs=[])
    inside.register(host_conf)
    host_conf.set_override('config_file', str(path), group='hepix_vm')
    return host_conf


def _decide(
    catalogue: reader.Reader, identifiers: list[str], rounds: int
) -> Iterator[rows.Row]:
    asked = itertools.cycle(identifiers[:: max(1, len(identifiers) // 997)])
    plain = dict.fromkeys(identifiers, True)

    def decide() -> None:
        facts = model.ImageFacts(next(asked), filled.SIZE, filled.CREATED)
        decision = catalogue.decide_image(facts, filled.PROJECT)
        if not decision.approved:
            raise RuntimeError(decision.sentence)

    times, peer = measuring.in_turn(
        decide, lambda: plain.get(next(asked)), rounds, calls=100
    )
    name = 'decide on an image among 100 000'
    yield from _pair(name, times, peer, 'one look-up in a dict')


def _pair(
    name: str, times: measuring.Times, peer: measuring.Times, label: str
) -> Iterator[rows.Row]:
    for suffix, cost, beside in (
        ('', times.median, peer.median),
        (', p99', times.p99, peer.p99),
    ):
        yield rows.Row(
            name + suffix,
            cost * _MICROSECONDS,
            'us',
            label,
            beside * _MICROSECONDS,
        )


def _filter(host_conf: cfg.ConfigOpts, rounds: int) -> Iterator[rows.Row]:
    """Our filter beside Nova's own for image properties, on one host."""
    # Nova is no requirement of this package.
    from nova import objects
    from nova.scheduler.filters import image_props_filter

    from hepix_vm.nova import filter as ours

    objects.register_all()
    request = objects.RequestSpec(
        image=objects.ImageMeta(
            id=filled.identifier(0),
            size=filled.SIZE,
            created_at=datetime.datetime.fromtimestamp(
                filled.CREATED, datetime.UTC
            ),
            properties=objects.ImageMetaProps(hw_architecture='x86_64'),
        ),
        instance_uuid=str(uuid.uuid4()),
        project_id=filled.PROJECT,
        is_bfv=False,
        scheduler_hints={},
    )
    host = types.SimpleNamespace(
        supported_instances=[('x86_64', 'kvm', 'hvm')],
        hypervisor_version=8_000_000,
        cpu_info={},
    )
    theirs = image_props_filter.ImagePropertiesFilter()
    filtering = ours.HepixApprovedImageFilter(host_conf)
    times, peer = measuring.in_turn(
        lambda: filtering.filter_all([host], request),
        lambda: list(theirs.filter_all([host], request)),
        rounds,
        calls=100,
    )
    name = 'filter a request, 100 000 images'
    yield from _pair(name, times, peer, "nova's ImagePropertiesFilter, 1 host")
