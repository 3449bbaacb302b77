# SPDX-License-Identifier: Apache-2.0
"""What publishing costs, into a real Glance of a real cloud."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import dataclasses
import hashlib
import pathlib
import subprocess
import sys
import time
from typing import Any
import uuid

import sqlalchemy as sa

from benchmarks import rows
from hepix_vm.catalogue import schema
from tests.cloud import cloud as clouds
from tests.cloud import hepix
from tests.cloud import launch
from tests.cloud import options as opts
from tests import faulty
from tests.functional import further
from tests.functional import publishing

_PARTS = frozenset({'mariadb', 'keystone', 'glance'})
_RUN = (
    'import sys; from hepix_vm.cli import main; '
    'sys.exit(main.main(sys.argv[1:]))'
)
_LISTING = 'glance GET /v2/images'
#: Of Glance, in the order in which rows may be entered.
_TABLES = ('images', 'image_properties', 'image_tags', 'image_locations')
_CATALOGUE = (schema.endorsement, schema.glance_record, schema.publication)
#: Rows that are entered at once.
_BATCH = 1000


def measure(images: int = 10_000, small: int = 100) -> Iterator[rows.Row]:
    """All rows.

    :param images: that are there already
    :param small: that are published, by turns and several at a time
    """
    with (
        launch.work_directory() as work,
        launch.running(_options(work), work) as cloud,
        faulty.runner() as run,
    ):
        for name, measured, count in (
            ('small', _small, small),
            ('there', _nothing_to_do, images),
        ):
            folder = work / name
            with _place(cloud, folder, run) as place:
                yield from measured(place, count)


def _options(work: pathlib.Path) -> opts.CloudOptions:
    return dataclasses.replace(hepix.hepix_cloud_options(work), parts=_PARTS)


@contextlib.contextmanager
def _place(
    cloud: clouds.Cloud, folder: pathlib.Path, run: faulty.Runner
) -> Iterator[publishing.Place]:
    """A site that publishes into the cloud's own Glance."""
    glance = further.Glance(
        name='glance',
        url=cloud.site.url('glance'),
        database=cloud.site.database('glance'),
        config_file=hepix.config_file(cloud.layout.work),
        log=cloud.log('glance'),
        store=cloud.layout.data / 'glance' / 'local',
    )
    with publishing.fronts(cloud, glance, folder / 'web') as proxy:
        place = publishing.Place(cloud, glance, folder, run, proxy)
        try:
            yield place
        finally:
            place.database.close()


def _direct(place: publishing.Place) -> None:
    """Nothing stands between the site and its services."""
    place.configure(
        {'openstack': {'auth_url': place.cloud.site.url('keystone') + '/v3'}}
    )


def _published(place: publishing.Place) -> float:
    """Seconds of ``hepix-vm publish``, the start of Python included."""
    began = time.monotonic()
    done = subprocess.run(
        [
            *(sys.executable, '-c', _RUN),
            *('--config-file', str(place.glance.config_file)),
            *('publish', '-f', 'json'),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    taken = time.monotonic() - began
    if done.returncode:
        raise RuntimeError(f'publish: {done.stderr.strip()[-2000:]}')
    return taken


def _small(place: publishing.Place, count: int) -> Iterator[rows.Row]:
    """As many images one after the other, then several at a time."""
    _direct(place)
    taken = {}
    for name, parallel in (('in turn', 1), ('at a time', None)):
        for number in range(count):
            place.endorse(f'{name} {number}', '1')
        if parallel is not None:
            place.configure({'publish': {'parallel': parallel}})
        else:
            place.sections['publish'].pop('parallel')
            place.configure()
        place.follow()
        taken[name] = _published(place)
        there = publishing.contents(
            image
            for image in place.images().values()
            if image['status'] == 'active'
        )
        missing = [
            one.title
            for one in place.listed.values()
            if publishing.sha512_of(one) not in there
        ]
        if missing:
            raise RuntimeError(f'not published: {missing}')
    yield rows.Row(
        'publish 100 small images',
        taken['at a time'],
        's',
        'one after the other',
        taken['in turn'],
    )


def _nothing_to_do(place: publishing.Place, count: int) -> Iterator[rows.Row]:
    """A run over images that are all there: one is copied, as rows."""
    first = place.endorse('image 0', '1')
    place.follow()
    place.well('publish')
    (publication,) = place.publications()
    mark = (publication.image_id, first.entry.identifier, first.entry.sha512)
    _fill_glance(place, mark, count)
    _fill_catalogue(place, mark, count)
    place.proxy.forget()
    # The first run may write down what it has seen.
    place.well('publish')
    place.proxy.forget()
    place.well('publish')
    calls = [
        call for call in place.proxy.calls if call.shape.startswith('glance')
    ]
    # Glance lists shown and hidden images by a listing each.
    pages = collections.Counter(
        call.query for call in calls if call.shape == _LISTING
    )
    others = [
        call.shape
        for call in calls
        if call.shape != _LISTING and 'schemas' not in call.shape
    ]
    if others:
        raise RuntimeError(f'something was done: {sorted(set(others))}')
    _direct(place)
    name = 'publish with nothing to do, 10 000 images'
    yield rows.Row(name, _published(place), 's', 'none')
    yield rows.Row(
        f'{name}, listings', max(pages.values()), 'listings', 'none'
    )
    yield rows.Row(f'{name}, requests', len(calls), 'requests', 'none')


Mark = tuple[str, str, str]


def _copy(
    values: Mapping[str, Any], mark: Mark, number: int
) -> dict[str, Any]:
    """A row of another image: all that names it names the other one."""
    own = (
        str(uuid.UUID(int=2**100 + number)),
        str(uuid.UUID(int=2**101 + number)),
        hashlib.sha512(str(number).encode()).hexdigest(),
    )
    made = {}
    for key, value in values.items():
        if isinstance(value, str):
            for known, other in zip(mark, own, strict=True):
                value = value.replace(known, other)
            value = value.replace('image 0', f'image {number}')
        made[key] = value
    return made


def _fill(
    engine: sa.Engine, tables: list[sa.Table], mark: Mark, count: int
) -> None:
    """Enter what the tables say of an image once more for each other one."""
    with engine.begin() as connection:
        for table in tables:
            key = next(
                column
                for name in ('image_id', 'identifier', 'id')
                if (column := table.c.get(name)) is not None
            )
            known = connection.execute(
                sa.select(table).where(key.in_(mark))
            ).mappings()
            templates = [
                {
                    name: value
                    for name, value in row.items()
                    # Counted by the database itself.
                    if name != 'id' or isinstance(value, str)
                }
                for row in known
            ]
            for begin in range(1, count, _BATCH):
                numbers = range(begin, min(begin + _BATCH, count))
                copies = [
                    _copy(row, mark, number)
                    for number in numbers
                    for row in templates
                ]
                if copies:
                    connection.execute(table.insert(), copies)


def _fill_glance(place: publishing.Place, mark: Mark, count: int) -> None:
    engine = sa.create_engine(place.glance.database)
    try:
        metadata = sa.MetaData()
        metadata.reflect(engine, only=_TABLES)
        tables = [metadata.tables[name] for name in _TABLES]
        _fill(engine, tables, mark, count)
    finally:
        engine.dispose()


def _fill_catalogue(place: publishing.Place, mark: Mark, count: int) -> None:
    engine = sa.create_engine(place.connection)
    try:
        _fill(engine, list(_CATALOGUE), mark, count)
    finally:
        engine.dispose()
