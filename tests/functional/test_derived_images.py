# SPDX-License-Identifier: Apache-2.0
"""Images that the site makes of endorsed ones, in a real Glance and Nova.

They enter as what they were made of, boot, and end with that.
"""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
from pathlib import Path
import time
from typing import Any
import uuid

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import derived
from hepix_vm.catalogue import schema
from hepix_vm.glance import conversion
from hepix_vm.glance import formats
from tests import catalogue_rows
from tests.cloud import cloud as clouds
from tests import disk_files
from tests import endorser as endorsers
from tests.functional import images as acts
from tests.functional import publishing

pytestmark = pytest.mark.timeout(1800)

SETTINGS = conversion.Settings(steps=frozenset(formats.STEPS))


def own_disk(folder: Path) -> Path:
    """A raw disk that no other test has."""
    path = disk_files.raw(folder / 'disk.raw', start=disk_files.partitioned())
    return disk_files.changed(path, 4096, uuid.uuid4().bytes)


# --- the import, and Nova


@dataclasses.dataclass(frozen=True, slots=True)
class Made:
    """Endorsed bytes, and what the site has made of them."""

    endorsed: bytes
    bytes: bytes
    step: str
    disk_format: str

    def remembered(self, rows: catalogue_rows.Rows) -> None:
        """Say so in the catalogue, as publishing does."""
        with rows.store.writing() as transaction:
            derived.remember(
                transaction,
                int(time.time()),
                catalogue_rows.sha512(self.bytes),
                len(self.bytes),
                catalogue_rows.sha512(self.endorsed),
                len(self.endorsed),
                self.step,
            )


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """A VDI in gzip, and the qcow2 that comes of it."""
    disk = disk_files.converted(own_disk(tmp_path), 'vdi')
    packed = disk_files.compressed(disk)
    judged = formats.judge(packed, 'vdi.gz', formats.STEPS)
    assert isinstance(judged, formats.Convertible)
    with conversion.converted(
        packed, judged, SETTINGS, tmp_path / 'spool'
    ) as found:
        return Made(
            packed.read_bytes(),
            found.path.read_bytes(),
            found.step,
            found.disk_format,
        )


@pytest.fixture
def user(cloud: clouds.Cloud) -> Iterator[acts.Servers]:
    """Somebody who boots; the servers are deleted afterwards."""
    one = acts.Servers(cloud)
    yield one
    one.delete(*(server.id for server in one.client.servers.list()))


def imported(cloud: clouds.Cloud, made: Made) -> acts.Outcome:
    """What becomes of an import of the bytes that were made."""
    images = acts.Images(cloud)
    return images.imported(made.bytes, disk_format=made.disk_format)


def test_what_was_made_enters_as_what_it_was_made_of_and_boots(
    cloud: clouds.Cloud,
    rows: catalogue_rows.Rows,
    user: acts.Servers,
    made: Made,
) -> None:
    rows.endorse(made.endorsed)
    # Whoever does the same on his own has not had it checked by the site.
    alone = imported(cloud, made)
    assert alone.status == 'failure'
    assert '(not-endorsed)' in alone.message
    made.remembered(rows)
    outcome = imported(cloud, made)
    assert outcome.status == 'success', outcome.message
    image_id = outcome.image['id']
    assert outcome.image['status'] == 'active'
    record = rows.recorded(image_id)
    assert record is not None
    assert record.state == 'positive'
    assert record.sha512 == catalogue_rows.sha512(made.endorsed)
    assert record.size == len(made.endorsed)
    assert record.final_sha512 == outcome.image['os_hash_value']
    assert record.final_sha512 == catalogue_rows.sha512(made.bytes)
    assert record.final_size == outcome.image['size'] == len(made.bytes)
    assert record.step == made.step == 'gunzip+vdi-to-qcow2'
    assert user.boot(image_id).status == 'ACTIVE'
    rows.withdraw(made.endorsed)
    assert 'is refused (withdrawn)' in user.soon_refused(image_id)
    again = imported(cloud, made)
    assert again.status == 'failure'
    assert '(withdrawn)' in again.message


def test_a_block_of_what_was_made_holds_where_the_origin_has_none(
    cloud: clouds.Cloud,
    rows: catalogue_rows.Rows,
    user: acts.Servers,
    made: Made,
) -> None:
    rows.endorse(made.endorsed)
    made.remembered(rows)
    outcome = imported(cloud, made)
    assert outcome.status == 'success', outcome.message
    rows.block(catalogue_rows.sha512(made.bytes))
    said = user.soon_refused(outcome.image['id'])
    assert 'is refused (blocked)' in said
    refused = imported(cloud, made)
    assert refused.status == 'failure'
    assert '(blocked)' in refused.message


def test_what_was_made_is_not_believed_beyond_its_own_bytes(
    cloud: clouds.Cloud, rows: catalogue_rows.Rows, made: Made
) -> None:
    rows.endorse(made.endorsed)
    made.remembered(rows)
    changed = dataclasses.replace(made, bytes=made.bytes + bytes(512))
    outcome = imported(cloud, changed)
    assert outcome.status == 'failure'
    assert '(not-endorsed)' in outcome.message


# --- publishing


@pytest.fixture(scope='module')
def place(
    cloud: clouds.Cloud, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[publishing.Place]:
    """A site that takes whatever its endorser endorses."""
    folder = tmp_path_factory.mktemp('derived')
    with publishing.place(cloud, 'derived', folder) as one:
        yield one


@pytest.fixture
def own_list(place: publishing.Place) -> Iterator[None]:
    """No test is concerned with what another one has endorsed."""
    place.listed.clear()
    yield
    place.listed.clear()


@pytest.fixture
def steps(place: publishing.Place) -> Iterator[None]:
    """The site allows every step for the time of a test."""
    place.configure({'conversion': {'steps': ','.join(formats.STEPS)}})
    yield
    place.configure({'conversion': {'steps': ''}})


def endorse(
    place: publishing.Place, title: str, path: Path, format_: str
) -> str:
    """Have a file endorsed and believed; its SHA-512."""
    data = path.read_bytes()
    name = f'{title.replace(" ", "-")}.{format_}'
    (place.web / name).write_bytes(data)
    entry = endorsers.make_image(
        data,
        uri=f'{place.proxy.urls["web"]}/{name}',
        identifier=str(uuid.uuid5(uuid.UUID(place.list_id), title)),
        title=title,
        format=format_,
    )
    place.listed[title] = publishing.Listed(title, '1.0', entry)
    return str(entry.sha512)


def published(place: publishing.Place) -> dict[str, dict[str, Any]]:
    """What publishing says of each image, by title."""
    return {one['title']: dict(one) for one in place.well('publish')}


def record(place: publishing.Place, image_id: str) -> Any:
    """The catalogue's record of an image."""
    table = schema.glance_record
    with place.database.reading() as connection:
        return connection.execute(
            sa.select(table).where(table.c.image_id == image_id)
        ).one()


def forms(plain: Path) -> dict[str, Path]:
    """One disk in every form that is not booted as it is."""
    vmdk = disk_files.converted(plain, 'vmdk', 'subformat=streamOptimized')
    vdi = disk_files.converted(plain, 'vdi')
    vhd = disk_files.converted(plain, 'vhd', 'subformat=fixed,force_size')
    return {
        'raw.gz': disk_files.compressed(plain),
        'vdi': vdi,
        'vdi.gz': disk_files.compressed(vdi),
        'vhd': vhd,
        'vhd.gz': disk_files.compressed(vhd),
        'ova': disk_files.ova(plain.with_name('vm.ova'), vmdk),
    }


STEPS = {
    'raw.gz': 'gunzip',
    'vdi': 'vdi-to-qcow2',
    'vdi.gz': 'gunzip+vdi-to-qcow2',
    'vhd': 'vhd-to-qcow2',
    'vhd.gz': 'gunzip+vhd-to-qcow2',
    'ova': 'ova+vmdk-to-qcow2',
}


@pytest.mark.usefixtures('own_list', 'steps')
def test_each_form_is_published_as_the_disk_that_it_holds(
    place: publishing.Place, tmp_path: Path
) -> None:
    plain, endorsed = {}, {}
    for form in STEPS:
        folder = tmp_path / form
        folder.mkdir()
        plain[form] = own_disk(folder)
        file = forms(plain[form])[form]
        endorsed[form] = endorse(place, f'a {form}', file, form)
    place.follow()
    done = published(place)
    images = place.images()
    for form, step in STEPS.items():
        result = done[f'a {form}']
        assert result['outcome'] == 'published', result
        image = images[result['image_id']]
        assert image['status'] == 'active'
        kind = 'raw' if form == 'raw.gz' else 'qcow2'
        assert image['disk_format'] == kind
        stored = tmp_path / form / 'stored'
        pieces = place.client.images.data(image['id'])
        stored.write_bytes(b''.join(pieces))
        disk = disk_files.content(stored, kind)
        assert disk == plain[form].read_bytes()
        row = record(place, image['id'])
        assert (row.state, row.sha512) == ('positive', endorsed[form])
        assert row.final_sha512 == image['os_hash_value'] != endorsed[form]
        assert row.final_size == image['size']
        assert row.step == step
    # Once more there is nothing to do, and nothing is left on the disk.
    again = published(place)
    assert {again[f'a {form}']['outcome'] for form in STEPS} == {'present'}
    spool = Path(place.sections['fetch']['spool_directory'])
    left = [path for path in spool.rglob('*') if path.is_file()]
    assert [path for path in left if path.suffix != '.lock'] == []
    # What ends the originals ends the images.
    place.listed.clear()
    place.follow()
    images = place.images()
    for form in STEPS:
        image_id = done[f'a {form}']['image_id']
        assert images[image_id]['status'] == 'deactivated'
        assert record(place, image_id).state == 'withdrawn'


@pytest.mark.usefixtures('own_list')
def test_what_the_site_does_not_allow_is_told_and_left_out(
    place: publishing.Place, tmp_path: Path
) -> None:
    disk = disk_files.converted(own_disk(tmp_path), 'vdi')
    endorse(place, 'not allowed', disk, 'vdi')
    place.follow()
    before = place.images()
    ran = place.hepix('publish', '-f', 'json')
    assert '[conversion] steps does not list vdi' in ran.out + ran.err
    assert place.images() == before


@pytest.mark.usefixtures('own_list', 'steps')
def test_what_is_not_what_the_list_says_does_not_get_in(
    place: publishing.Place, tmp_path: Path
) -> None:
    hostile = disk_files.overlay(tmp_path / 'disk', Path('/etc/passwd'))
    endorse(place, 'hostile', disk_files.compressed(hostile), 'qcow2.gz')
    place.follow()
    before = place.images()
    ran = place.hepix('publish', '-f', 'json')
    assert 'its header names a backing file' in ran.out + ran.err
    assert place.images() == before
