# SPDX-License-Identifier: Apache-2.0
"""What a decision costs inside Nova's scheduler."""

from __future__ import annotations

from collections.abc import Iterator
import datetime
import hashlib
import importlib.util
import itertools
import pathlib
import tempfile
import time
import types
import uuid

from oslo_config import cfg

from benchmarks import measuring
from benchmarks import rows
from hepix_vm.catalogue import database
from hepix_vm.catalogue import model
from hepix_vm.catalogue import reader
from hepix_vm.catalogue import schema
from hepix_vm.conf import inside

IMAGES = 100_000
_PROJECT = 'a0d3a5b1d0c24a4f8a5b5d3f3a1e2c4d'
_SIZE = 2 * 2**30
_SUBSCRIPTION = 'example'
_MICROSECONDS = 1e6


def measure(images: int = IMAGES, rounds: int = 200) -> Iterator[rows.Row]:
    """Decisions of the reader, and of the filter where Nova is installed."""
    with tempfile.TemporaryDirectory(prefix='hepix-vm-bench-') as folder:
        connection = f'sqlite:///{folder}/catalogue.sqlite'
        identifiers = _fill(connection, images)
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
        facts = model.ImageFacts(next(asked), _SIZE, _created())
        decision = catalogue.decide_image(facts, _PROJECT)
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
            id=_identifier(0),
            size=_SIZE,
            created_at=datetime.datetime.fromtimestamp(
                _created(), datetime.UTC
            ),
            properties=objects.ImageMetaProps(hw_architecture='x86_64'),
        ),
        instance_uuid=str(uuid.uuid4()),
        project_id=_PROJECT,
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


def _fill(connection: str, images: int) -> list[str]:
    """A catalogue in which all images are approved."""
    store = database.Database(connection)
    engine = store.engine()
    schema.metadata.create_all(engine)
    now = int(time.time())
    with engine.begin() as writing:
        writing.execute(
            schema.catalogue.insert(),
            {'id': 1, 'store': str(uuid.uuid4()), 'number': 1},
        )
        writing.execute(
            schema.subscription.insert(),
            {
                'name': _SUBSCRIPTION,
                'revision': 1,
                'configured': True,
                'list_identifier': str(uuid.uuid4()),
                'list_version': '1',
                'expires': now + 86_400,
                'standing': str(model.Standing.TRUSTED),
                'verified_at': now,
                'max_age': 86_400,
                'projects': f'["{_PROJECT}"]',
            },
        )
        for first in range(0, images, 10_000):
            numbers = range(first, min(first + 10_000, images))
            writing.execute(
                schema.endorsement.insert(), [_endorsement(n) for n in numbers]
            )
            writing.execute(
                schema.glance_record.insert(), [_record(n) for n in numbers]
            )
    store.close()
    return [_identifier(number) for number in range(images)]


def _endorsement(number: int) -> dict[str, object]:
    return {
        'revision': 1,
        'subscription': _SUBSCRIPTION,
        'identifier': _identifier(number),
        'version': '1',
        'sha512': _sha512(number),
        'size': _SIZE,
        'approved': True,
        'withdrawn': False,
        'first_seen': 0,
        'title': f'image {number}',
        'uri': f'https://images.example.org/{number}',
        'entry': '{}',
    }


def _record(number: int) -> dict[str, object]:
    return {
        'image_id': _identifier(number),
        'revision': 1,
        'state': str(model.RecordState.POSITIVE),
        'task_id': _identifier(number),
        'project': _PROJECT,
        'sha512': _sha512(number),
        'size': _SIZE,
        'final_sha512': _sha512(number),
        'final_size': _SIZE,
        'created_at': _created(),
        'recorded_at': _created(),
        'reason': '',
    }


def _identifier(number: int) -> str:
    return str(uuid.UUID(int=number + 1))


def _sha512(number: int) -> str:
    return hashlib.sha512(str(number).encode()).hexdigest()


def _created() -> int:
    return 1_750_000_000
