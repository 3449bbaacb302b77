# SPDX-License-Identifier: Apache-2.0
"""What our plugins add to an import, in a real Glance of a real cloud."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import dataclasses
import hashlib
import pathlib
import statistics
import time

from benchmarks import rows
from tests import catalogue_rows
from tests.cloud import cloud as clouds
from tests.cloud import hepix
from tests.cloud import launch
from tests.cloud import options as opts
from tests.functional import images as acts

_PARTS = frozenset({'mariadb', 'keystone', 'glance'})
_GIB = 2**30
_CHUNK = 2**20


def measure(size: int = _GIB, rounds: int = 3) -> Iterator[rows.Row]:
    """The same data with and without our plugins.

    :param size: bytes of the image
    :param rounds: imports of each kind
    """
    with (
        launch.work_directory() as work,
        launch.running(_options(work), work) as cloud,
    ):
        path = work / 'image'
        with path.open('wb') as image:
            for number in range(size // _CHUNK):
                image.write(number.to_bytes(8, 'big') * (_CHUNK // 8))
        _endorse(cloud, path)
        _imported(cloud, path)
        ours = [_imported(cloud, path) for _ in range(rounds)]
        digests = [_digest(path)[1] for _ in range(rounds)]
        with _stock(cloud):
            _imported(cloud, path)
            stock = [_imported(cloud, path) for _ in range(rounds)]
    with_, without, once = map(statistics.median, (ours, stock, digests))
    yield rows.Row(
        'import 1 GiB through Glance',
        with_,
        's',
        'Glance without our plugins',
        without,
    )
    yield rows.Row(
        'import 1 GiB through Glance, added',
        with_ - without,
        's',
        'one SHA-512 of the file',
        once,
    )


def _options(work: pathlib.Path) -> opts.CloudOptions:
    return dataclasses.replace(hepix.hepix_cloud_options(work), parts=_PARTS)


@contextlib.contextmanager
def _stock(cloud: clouds.Cloud) -> Iterator[None]:
    before = cloud.site
    options = dataclasses.replace(
        before.options, import_plugins=(), glance_guard=None
    )
    cloud.site = dataclasses.replace(before, options=options)
    cloud.write_configuration()
    cloud.restart('glance')
    try:
        yield
    finally:
        cloud.site = before


def _digest(path: pathlib.Path) -> tuple[str, float]:
    """SHA-512, and the seconds that it took."""
    began = time.monotonic()
    with path.open('rb') as image:
        found = hashlib.file_digest(image, 'sha512')
    return found.hexdigest(), time.monotonic() - began


def _endorse(cloud: clouds.Cloud, path: pathlib.Path) -> None:
    url = cloud.site.database(hepix.DATABASE)
    with contextlib.closing(catalogue_rows.Rows(url)) as known:
        known.subscription('benchmark')
        known.endorse_digest(
            _digest(path)[0], 'benchmark', size=path.stat().st_size
        )


def _imported(cloud: clouds.Cloud, path: pathlib.Path) -> float:
    """Seconds from the wish to import until Glance has finished."""
    images = acts.Images(cloud)
    image_id = images.create()
    with path.open('rb') as data:
        images.client.images.stage(image_id, data)
    began = time.monotonic()
    images.start(image_id)
    outcome = images.finished(image_id)
    taken = time.monotonic() - began
    if outcome.status != 'success':
        raise RuntimeError(outcome.message)
    images.client.images.delete(image_id)
    return taken
