# SPDX-License-Identifier: Apache-2.0
"""Which requests the API guard lets pass, decided over a real catalogue."""

from collections.abc import Iterator
from collections.abc import Mapping
import pathlib
from typing import Any

import pytest

from hepix_vm.catalogue import boot
from hepix_vm.catalogue import model
from hepix_vm.catalogue import reader
from hepix_vm.nova import permitting
from hepix_vm.nova import placing
from hepix_vm.nova import requested
from hepix_vm.nova.requested import Act
from hepix_vm.nova.requested import Disk
from hepix_vm.nova.requested import Source
from tests import catalogue_rows

GOOD = 'aaaaaaaa-0000-4000-8000-000000000001'
BAD = 'bbbbbbbb-0000-4000-8000-000000000002'
KERNEL = 'dddddddd-0000-4000-8000-000000000004'
VOLUME = 'cccccccc-0000-4000-8000-000000000003'
AWAY = 'eeeeeeee-0000-4000-8000-000000000005'
DATA = b'endorsed bytes'
CREATED = 1_700_000_000
ENDORSED = placing.VolumeBoot.ENDORSED
REFUSE = placing.VolumeBoot.REFUSE


class Known:
    """Answers of Glance and Cinder."""

    def __init__(self) -> None:
        self.images: dict[str, model.ImageFacts] = {}
        self.volumes: dict[str, Mapping[str, Any] | None] = {}
        self.snapshots: dict[str, str] = {}

    def image(self, ident: str) -> model.ImageFacts | None:
        return self.images.get(ident)

    def volume(self, ident: str) -> Mapping[str, Any] | None:
        if ident == AWAY:
            raise OSError('Cinder is away')
        return self.volumes.get(ident)

    def of_snapshot(self, ident: str) -> str:
        return self.snapshots.get(ident, '')


@pytest.fixture(scope='module')
def catalogue(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[reader.Reader]:
    path: pathlib.Path = tmp_path_factory.mktemp('catalogue') / 'c.sqlite'
    rows = catalogue_rows.Rows(f'sqlite:///{path}')
    rows.subscription('trusted')
    rows.endorse(DATA)
    rows.record(GOOD, DATA, created_at=CREATED, boot='')
    rows.record(
        KERNEL,
        DATA,
        created_at=CREATED,
        boot=boot.stored([('kernel_id', BAD)]),
    )
    yield (
        one := reader.Reader(
            reader.ReaderSettings(rows.connection, store_timeout=30)
        )
    )
    one.close()
    rows.close()


@pytest.fixture
def world() -> Known:
    return Known()


class Asking:
    """One way to ask, over a catalogue and a world."""

    def __init__(self, catalogue: reader.Reader, world: Known) -> None:
        self._catalogue = catalogue
        self._world = world

    def codes(
        self,
        asked: requested.Requested,
        default: str = '',
        volume_boot: placing.VolumeBoot = REFUSE,
    ) -> list[str]:
        return [
            str(one.code) for one in self.decided(asked, default, volume_boot)
        ]

    def decided(
        self,
        asked: requested.Requested,
        default: str = '',
        volume_boot: placing.VolumeBoot = REFUSE,
    ) -> list[model.Decision]:
        judging = permitting.Judging(
            self._catalogue, self._world, 'a-project', volume_boot
        )
        start = permitting.start_of(asked, default)
        return permitting.decisions(start, judging)


@pytest.fixture
def asking(catalogue: reader.Reader, world: Known) -> Asking:
    return Asking(catalogue, world)


def boots(*disks: Disk, **values: Any) -> requested.Requested:
    return requested.Requested(Act.BOOT, disks=disks, **values)


def shown(**values: Any) -> model.ImageFacts:
    fields = {
        'image_id': GOOD,
        'size': len(DATA),
        'created_at': CREATED,
        'boot': boot.of_glance(0, {}),
    } | values
    return model.ImageFacts(**fields)


def test_an_image_is_judged_by_its_id(asking: Asking) -> None:
    assert asking.codes(boots(image=GOOD)) == ['approved']
    assert asking.codes(boots(image=BAD)) == ['no-record']


@pytest.mark.parametrize(
    'ident', ['', 'x' * 300, f'{GOOD}\n', f' {GOOD}', '../x', 'é', 'a\0b']
)
def test_an_odd_id_is_refused_and_shown_harmless(
    asking: Asking, ident: str
) -> None:
    (decision,) = asking.decided(boots(image=ident or '\n'))
    assert decision.code == 'no-record'
    assert decision.subject.isprintable()
    assert len(decision.subject) < 80


def test_the_id_of_an_approved_image_in_another_spelling_is_not_approved(
    asking: Asking,
) -> None:
    for ident in (GOOD.upper(), GOOD.replace('-', ''), f'{{{GOOD}}}'):
        assert asking.codes(boots(image=ident)) == ['no-record']


def test_every_image_of_a_request_is_judged(asking: Asking) -> None:
    disk = Disk(Source.IMAGE, BAD, boots=False)
    assert asking.codes(boots(disk, image=GOOD)) == ['approved', 'no-record']


def test_booting_from_volumes_is_refused_by_default(asking: Asking) -> None:
    for disk in (
        Disk(Source.VOLUME, VOLUME, boots=True),
        Disk(Source.SNAPSHOT, VOLUME, boots=True),
        Disk(Source.BLANK, '', boots=True),
    ):
        assert asking.codes(boots(disk)) == ['volume-boot']
    disk = Disk(Source.IMAGE, GOOD, boots=True)
    assert asking.codes(boots(disk)) == ['approved', 'volume-boot']
    disk = Disk(Source.IMAGE, GOOD, boots=True, volume=False)
    assert asking.codes(boots(disk)) == ['approved']


def test_data_disks_may_hold_anything(asking: Asking) -> None:
    disk = Disk(Source.VOLUME, VOLUME, boots=False)
    for mode in (REFUSE, ENDORSED):
        assert asking.codes(boots(disk, image=GOOD), volume_boot=mode) == [
            'approved'
        ]


def made_from(image: str, **values: Any) -> dict[str, Any]:
    return {
        'image_id': image,
        'size': str(len(DATA)),
        'min_disk': '0',
        'checksum': 'd41d8cd98f00b204e9800998ecf8427e',
    } | values


@pytest.mark.parametrize(
    ('says', 'code'),
    [
        (made_from(GOOD), 'approved'),
        (made_from(BAD), 'no-record'),
        (made_from(GOOD, size='7'), 'image-changed'),
        (made_from(GOOD, size=''), 'image-changed'),
        (made_from(GOOD, size='much'), 'image-changed'),
        (made_from(GOOD, kernel_id=BAD), 'image-changed'),
        (made_from(''), 'volume-unknown'),
        (made_from('../x'), 'volume-unknown'),
        ({'size': '1'}, 'volume-unknown'),
        (None, 'volume-unknown'),
    ],
    ids=[
        'approved image',
        'unknown image',
        'another size',
        'no size',
        'odd size',
        'a kernel',
        'empty id',
        'odd id',
        'no id',
        'nothing',
    ],
)
def test_a_volume_is_as_good_as_its_image(
    asking: Asking, world: Known, says: dict[str, Any] | None, code: str
) -> None:
    world.volumes[VOLUME] = says
    world.snapshots['snapshot'] = VOLUME
    for disk in (
        Disk(Source.VOLUME, VOLUME, boots=True),
        Disk(Source.SNAPSHOT, 'snapshot', boots=True),
    ):
        (decision,) = asking.decided(boots(disk), volume_boot=ENDORSED)
        assert decision.code == code
        assert disk.ident in decision.subject


def test_a_volume_that_cinder_does_not_show_is_unknown(
    asking: Asking,
) -> None:
    for disk in (
        Disk(Source.VOLUME, VOLUME, boots=True),
        Disk(Source.SNAPSHOT, 'snapshot', boots=True),
        Disk(Source.VOLUME, 'a/b', boots=True),
        Disk(Source.VOLUME, AWAY, boots=True),
        Disk(Source.BLANK, '', boots=True),
    ):
        codes = asking.codes(boots(disk), volume_boot=ENDORSED)
        assert codes == ['volume-unknown']


def test_a_new_volume_is_as_good_as_its_image(asking: Asking) -> None:
    for image, code in ((GOOD, 'approved'), (BAD, 'no-record')):
        disk = Disk(Source.IMAGE, image, boots=True)
        codes = asking.codes(boots(disk), volume_boot=ENDORSED)
        assert set(codes) == {code}


UNFILTERED = [
    boots(image=GOOD, forced=True),
    requested.Requested(Act.REBUILD, image=GOOD),
    requested.Requested(Act.RESCUE, image=GOOD),
    requested.Requested(Act.UNSHELVE),
]


@pytest.mark.parametrize('asked', UNFILTERED, ids=lambda one: str(one.act))
def test_properties_are_looked_at_where_no_filter_does(
    asking: Asking, world: Known, asked: requested.Requested
) -> None:
    world.images[GOOD] = shown()
    assert asking.codes(asked, GOOD) == ['approved']
    for changed in (
        {'size': 1},
        {'created_at': CREATED + 1},
        {'boot': boot.of_glance(0, {'os_command_line': 'single'})},
        {'boot': boot.of_glance(0, {'block_device_mapping': '[{}]'})},
    ):
        world.images[GOOD] = shown(**changed)
        assert asking.codes(asked, GOOD) == ['image-changed']
    # Nova sees no such image either.
    del world.images[GOOD]
    assert asking.codes(asked, GOOD) == ['approved']


def test_on_a_new_boot_the_filter_looks_at_properties(
    asking: Asking, world: Known
) -> None:
    world.images[GOOD] = shown(size=1)
    assert asking.codes(boots(image=GOOD)) == ['approved']


def test_a_recorded_kernel_has_to_be_approved_itself(
    asking: Asking, world: Known
) -> None:
    world.images[KERNEL] = shown(
        image_id=KERNEL, boot=boot.of_glance(0, {'kernel_id': BAD})
    )
    asked = requested.Requested(Act.RESCUE, image=KERNEL)
    (decision,) = asking.decided(asked)
    assert decision.code == 'no-record'
    assert BAD in decision.subject


def test_a_rescue_without_an_image_of_any_kind_is_refused(
    asking: Asking,
) -> None:
    assert asking.codes(requested.Requested(Act.RESCUE)) == ['no-image']
    assert asking.codes(requested.Requested(Act.UNSHELVE)) == []


@pytest.mark.parametrize(
    ('name', 'codes'),
    [
        ('base_image_ref', ['snapshot-metadata']),
        (' BASE_image_ref ', ['snapshot-metadata']),
        ('instance_uuid', ['snapshot-metadata']),
        ('kernel_id', ['snapshot-metadata']),
        ('block_device_mapping', ['snapshot-metadata']),
        ('img_block_device_mapping', ['snapshot-metadata']),
        ('image_type', []),
        ('os_distro', []),
    ],
)
def test_metadata_that_are_novas_own(name: str, codes: list[str]) -> None:
    asked = requested.Requested(Act.SNAPSHOT, names=frozenset({name, 'x'}))
    assert [str(one.code) for one in permitting.metadata(asked)] == codes


def test_where_something_would_start() -> None:
    host_of = permitting.host_of
    assert host_of(boots(image=GOOD), '') is None
    assert host_of(boots(image=GOOD, forced=True, host='h'), '') == 'h'
    assert host_of(boots(image=GOOD, forced=True), '') == ''
    assert host_of(requested.Requested(Act.RESCUE), 'h') == 'h'
    assert host_of(requested.Requested(Act.REBUILD, image=GOOD), '') == ''
    assert host_of(requested.Requested(Act.UNSHELVE), 'h') is None
    assert host_of(requested.Requested(Act.UNSHELVE, host='g'), 'h') == 'g'
    assert host_of(requested.Requested(Act.MOVE, host='g'), 'h') == 'g'


@pytest.mark.parametrize(
    ('values', 'boot_effect', 'snapshot_effect'),
    [
        ({}, 'refused', 'refused'),
        ({'dry_run': True}, 'would-refuse', 'would-refuse'),
        ({'exempt_projects': frozenset({'p'})}, 'exempt', 'refused'),
        ({'enforced_projects': frozenset({'q'})}, 'exempt', 'refused'),
        ({'enforced_projects': frozenset({'p'})}, 'refused', 'refused'),
        ({'where': placing.Where.AGGREGATES}, 'refused', 'refused'),
    ],
)
def test_what_a_refusal_does(
    values: dict[str, Any], boot_effect: str, snapshot_effect: str
) -> None:
    site = placing.Placing(**values)
    assert permitting.effect(Act.BOOT, 'p', site) == boot_effect
    assert permitting.effect(Act.SNAPSHOT, 'p', site) == snapshot_effect


def test_a_project_that_is_not_known_is_not_exempt() -> None:
    site = placing.Placing(enforced_projects=frozenset({'q'}))
    assert permitting.effect(Act.BOOT, '', site) == 'refused'


def test_the_sentence_names_everything_involved(asking: Asking) -> None:
    asked = boots(Disk(Source.VOLUME, VOLUME, boots=True), image=BAD)
    found = asking.decided(asked)
    text = permitting.sentence(found, permitting.start_of(asked).things)
    assert text == (
        f'image {BAD} is refused (no-record): '
        f'{model.SENTENCES[model.Reason.NO_RECORD]}. '
        f'volume {VOLUME} is refused (volume-boot): '
        f'{model.SENTENCES[model.Reason.VOLUME_BOOT]}. '
        f'The request involves image {BAD}, volume {VOLUME}'
    )


def test_a_sentence_has_an_end(asking: Asking) -> None:
    asked = boots(
        *(Disk(Source.IMAGE, f'{n:064d}', boots=True) for n in range(400))
    )
    found = asking.decided(asked)
    text = permitting.sentence(found, permitting.start_of(asked).things)
    assert text.endswith(' and 392 more')
    assert len(text) < 4000
