# SPDX-License-Identifier: Apache-2.0
"""Publishing meets every fault in every call, and heals.

A good run through the proxy tells which calls there are, so that a call that
publishing learns to make is covered without a change here. Each fault then
meets each kind of call, of an image of its own where the call is about an
image: one run has dozens of images in as many kinds of trouble. Meanwhile
nothing is deleted or active that should not be, and one run without faults
puts all right. Images of others are there all the time, one of them with our
name, our properties and our tags.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses
import os
import subprocess
from typing import Any

import pytest

from tests.cloud import cloud as clouds
from tests import faulty
from tests.functional import publishing
from tests import misbehaving

VO = 'ops'
#: Seconds; a client that waits less than the service hangs.
PATIENCE = 8
HANGS = misbehaving.Hang(60)
FAULTS: dict[str, misbehaving.Fault] = {
    '401': misbehaving.Answer(401),
    '403': misbehaving.Answer(403),
    '409': misbehaving.Answer(409),
    '413': misbehaving.Answer(413),
    '500': misbehaving.Answer(500),
    '503': misbehaving.Answer(503),
    'dropped before': misbehaving.Drop(),
    'dropped after': misbehaving.Drop(after=True),
    'silence': HANGS,
}
#: Faults that calls of one run may meet: clients wait for long where the
#: service is not silent.
KINDS = {
    'prompt': [name for name in FAULTS if name != 'silence'],
    'silence': ['silence'],
}
#: In turn 0 each call meets one fault of a kind and each fault some call; in
#: all turns together each call meets each fault.
ALL = os.environ.get('HEPIX_VM_FAULTS') == 'all'
TURNS = [
    pytest.param(kind, turn, id=f'{kind} {turn}')
    for kind, names in KINDS.items()
    for turn in range(len(names) if ALL else 1)
]
#: Bytes that the project may store, which is more than enough.
QUOTA = 48 * 2**20
#: Runs with faults in which every fault has to come to pass.
RUNS = 4


@dataclasses.dataclass
class Ground:
    """What the tests of this module share.

    :ivar foreign: images of others, as they are
    :ivar project: id of the project that the images are shared with
    :ivar known: what may be active, by SHA-512
    :ivar given: titles of what users have
    """

    place: publishing.Place
    foreign: dict[str, dict[str, Any]]
    project: str
    known: dict[str, publishing.Listed] = dataclasses.field(
        default_factory=dict
    )
    given: set[str] = dataclasses.field(default_factory=set)
    owners: dict[str, str] = dataclasses.field(default_factory=dict)

    def endorse(self, title: str, version: str) -> publishing.Listed:
        """Endorse a version; the one before counts until it is there."""
        made = self.place.endorse(title, version)
        self.known[publishing.sha512_of(made)] = made
        return made

    def title(self, call: misbehaving.Call) -> str:
        """The image that a call is about, or ''."""
        listed = self.place.listed
        if call.service == 'web':
            return next(
                (
                    title
                    for title, one in listed.items()
                    if one.entry.uri.endswith(call.path)
                ),
                '',
            )
        if not call.subject:
            return ''
        if call.subject not in self.owners:
            self.owners |= {
                row.image_id: row.identifier
                for row in self.place.publications()
            }
        identifier = self.owners.get(call.subject)
        return next(
            (
                title
                for title, one in listed.items()
                if one.entry.identifier == identifier
            ),
            '',
        )

    def images_of(self, title: str) -> list[dict[str, Any]]:
        """The images of ours of a title."""
        return [
            image
            for image_id, image in self.place.images().items()
            if image_id not in self.foreign and image['name'] == title
        ]


@pytest.fixture(scope='module')
def ground(
    cloud: clouds.Cloud, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp('faults')
    quota = {'user_storage_quota': f'{QUOTA}B'}
    with publishing.place(cloud, 'faults', folder, None, quota) as place:
        project = cloud.add_project('demo')
        place.configure(
            {
                f'subscription:{publishing.NAME}': {
                    'vo_projects': f'{VO}:{project}',
                },
                'glance_import': {
                    'publishing_projects': cloud.add_project('admin')
                },
                'publish': {'keep': 0},
            }
        )
        place.endorse('an example', '1.0')
        follow(place)
        published(place)
        (ours,) = place.images().values()
        place.foreign('somebody')
        place.foreign('somebody hidden', os_hidden=True)
        place.foreign(
            ours['name'],
            visibility=ours['visibility'],
            tags=ours['tags'],
            **{
                key: value
                for key, value in ours.items()
                if key not in _BASIC and not key.startswith('os_glance')
            },
        )
        foreign = {
            image_id: image
            for image_id, image in place.images().items()
            if image_id != ours['id']
        }
        assert len(foreign) == 3
        made = Ground(place, foreign, project)
        made.known = {
            publishing.sha512_of(one): one for one in place.listed.values()
        }
        made.given = set(place.listed)
        yield made


#: What Glance itself says of each image.
_BASIC = frozenset(
    (
        *('checksum', 'container_format', 'created_at', 'disk_format'),
        *('file', 'id', 'locations', 'direct_url', 'name', 'os_hash_algo'),
        *('os_hash_value', 'owner', 'schema', 'self', 'size', 'status'),
        *('stores', 'tags', 'updated_at', 'virtual_size', 'visibility'),
    )
)


def follow(place: publishing.Place) -> None:
    """Sign for the VO, and sync."""
    place.sign(vo=VO)
    place.well('sync')


def patience(place: publishing.Place, fault: misbehaving.Fault | None) -> None:
    """Wait for others for a short time only where they are silent."""
    seconds = PATIENCE if fault is HANGS else 120
    place.configure(
        {'openstack': {'timeout': seconds}, 'fetch': {'timeout': seconds}}
    )


def published(place: publishing.Place) -> None:
    """Publish well; then nothing is left to do."""
    ran = place.hepix('publish')
    assert ran.status == 0, ran


def healed(ground: Ground) -> None:
    """One run without faults puts all right."""
    ground.place.proxy.forget()
    patience(ground.place, None)
    published(ground.place)
    look(ground)
    wanted = {
        publishing.sha512_of(one): one for one in ground.place.listed.values()
    }
    ours = [
        image
        for image_id, image in ground.place.images().items()
        if image_id not in ground.foreign
    ]
    images = [image for image in ours if image['os_hash_value'] in wanted]
    # What was withdrawn may stay, out of use; older versions may not.
    for image in ours:
        if image not in images:
            assert image['status'] == 'deactivated', image
            assert image['name'] not in ground.place.listed, image
    ground.known, ground.given = wanted, set(ground.place.listed)
    there = publishing.contents(images)
    assert there == dict.fromkeys(wanted, 1), shown(images)
    looks = []
    for image in images:
        listed = wanted[image['os_hash_value']]
        looks.append(publishing.compared(image, listed))
        assert image['status'] == 'active', image
        assert not image['os_hidden'], image
        assert image['name'] == listed.title
        members = ground.place.client.image_members.list(image['id'])
        assert [m['member_id'] for m in members] == [ground.project]
    different = [one for one in looks if one != looks[0]]
    assert different == [], (looks[0], different)


def look(ground: Ground) -> None:
    """Nothing is active or deleted that should not be."""
    images = ground.place.images()
    for image_id, image in ground.foreign.items():
        assert images.pop(image_id) == image
    active = [one for one in images.values() if one['status'] == 'active']
    seen = [one for one in active if not one['os_hidden']]
    for image in active:
        assert image['os_hash_value'] in ground.known, image
    copies = publishing.contents(seen)
    assert set(copies.values()) <= {1}, shown(images.values())
    # What users had, they have, in that version or a newer one.
    titles = {ground.known[sha512].title for sha512 in copies}
    assert titles >= ground.given, (
        ground.given - titles,
        shown(images.values()),
    )


def shown(images: Iterable[dict[str, Any]]) -> str:
    """Images as lines."""
    return '\n'.join(
        f'{one["id"]} {one["name"]} {one["status"]} {one["visibility"]} '
        f'hidden={one["os_hidden"]} {str(one["os_hash_value"])[:8]}'
        for one in images
    )


def in_trouble(
    ground: Ground, rules: list[misbehaving.Rule], *words: str
) -> None:
    """Run a command until every fault has come to pass."""
    place = ground.place
    place.proxy.forget()
    place.proxy.rules.extend(rules)
    for _ in range(RUNS):
        ran = place.hepix(*words)
        assert ran.status in (0, 1, 2), ran
        look(ground)
        if all(rule.fired for rule in rules):
            break
    left = [rule.shape for rule in rules if not rule.fired]
    assert left == [], f'never asked: {left}; {ran}'


def shapes(calls: Iterable[misbehaving.Call]) -> list[str]:
    """Which calls there are, each once, in their order."""
    return list(dict.fromkeys(call.shape for call in calls))


def numbered(kind: str, count: int) -> list[str]:
    """Titles of images."""
    return [f'{kind} {number:02}' for number in range(count)]


@pytest.fixture(scope='module')
def arriving(ground: Ground) -> list[str]:
    """Calls about an image that is new."""
    ground.endorse('a good one', '1.0')
    follow(ground.place)
    ground.place.proxy.forget()
    published(ground.place)
    found = [
        call
        for call in ground.place.proxy.calls
        if ground.title(call) == 'a good one'
    ]
    healed(ground)
    return shapes(found)


def met(kind: str, turn: int, number: int) -> str:
    """The fault that a call meets: its number says which."""
    names = KINDS[kind]
    return names[(number + turn) % len(names)]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(('kind', 'turn'), TURNS)
def test_a_new_image_meets_a_fault_in_each_call(
    ground: Ground, arriving: list[str], kind: str, turn: int
) -> None:
    rules = []
    titles = numbered(f'new, {kind} {turn},', len(arriving))
    for number, (shape, title) in enumerate(
        zip(arriving, titles, strict=True)
    ):
        ground.endorse(title, '1.0')
        rules.append(
            misbehaving.Rule(
                FAULTS[met(kind, turn, number)],
                shape=shape,
                when=lambda call, title=title: ground.title(call) == title,
            )
        )
    follow(ground.place)
    patience(ground.place, FAULTS[met(kind, turn, 0)])
    in_trouble(ground, rules, 'publish')
    healed(ground)
    # They have served, and would slow the other tests down.
    for title in titles:
        del ground.place.listed[title]
        ground.given.discard(title)
    withdrawn(ground)


def withdrawn(ground: Ground) -> None:
    """What is no longer endorsed is deactivated; here, it is deleted."""
    follow(ground.place)
    ground.known = {
        publishing.sha512_of(one): one for one in ground.place.listed.values()
    }
    look(ground)
    client = ground.place.client
    for image_id, image in ground.place.images().items():
        if image['status'] != 'active':
            client.images.delete(image_id)
    published(ground.place)


@dataclasses.dataclass
class Replacing:
    """Images that are replaced again and again.

    :ivar shapes: calls about the version before
    :ivar version: the newest
    """

    shapes: list[str]
    titles: list[str]
    version: int = 2

    def renew(self, ground: Ground) -> dict[str, str]:
        """Endorse the next version; ids of the ones before, by title."""
        before = {
            title: ground.images_of(title)[0]['id'] for title in self.titles
        }
        self.version += 1
        for title in self.titles:
            ground.endorse(title, f'{self.version}.0')
        follow(ground.place)
        return before


@pytest.fixture(scope='module')
def replacing(ground: Ground) -> Replacing:
    """Calls about an image whose place a newer one takes."""
    (before,) = ground.images_of('an example')
    ground.endorse('an example', '2.0')
    follow(ground.place)
    ground.place.proxy.forget()
    published(ground.place)
    found = shapes(
        call
        for call in ground.place.proxy.calls
        if call.subject == before['id']
    )
    titles = numbered('replaced', len(found))
    for title in titles:
        ground.endorse(title, '2.0')
    follow(ground.place)
    healed(ground)
    return Replacing(found, titles)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(('kind', 'turn'), TURNS)
def test_a_replaced_image_meets_a_fault_in_each_call(
    ground: Ground, replacing: Replacing, kind: str, turn: int
) -> None:
    before = replacing.renew(ground)
    rules = [
        misbehaving.Rule(
            FAULTS[met(kind, turn, number)],
            shape=shape,
            when=lambda call, old=before[title]: call.subject == old,
        )
        for number, (shape, title) in enumerate(
            zip(replacing.shapes, replacing.titles, strict=True)
        )
    ]
    patience(ground.place, FAULTS[met(kind, turn, 0)])
    in_trouble(ground, rules, 'publish')
    healed(ground)


@pytest.fixture(scope='module')
def common(ground: Ground, replacing: Replacing) -> list[str]:
    """Calls that are about no image, of runs with something to do."""
    replacing.renew(ground)
    ground.place.proxy.forget()
    published(ground.place)
    found = [
        call
        for call in ground.place.proxy.calls
        if not call.subject and not ground.title(call)
    ]
    return shapes(found)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(('kind', 'turn'), TURNS)
def test_a_run_meets_a_fault_in_each_call_about_no_image(
    ground: Ground,
    replacing: Replacing,
    common: list[str],
    kind: str,
    turn: int,
) -> None:
    replacing.renew(ground)
    patience(ground.place, FAULTS[met(kind, turn, 0)])
    for number, shape in enumerate(common):
        rule = misbehaving.Rule(FAULTS[met(kind, turn, number)], shape=shape)
        ground.place.proxy.forget()
        ground.place.proxy.rules.append(rule)
        ran = ground.place.hepix('publish')
        assert ran.status in (0, 1, 2), ran
        look(ground)
        if not rule.fired:
            # It is asked when an image has to go, and all are there by now.
            replacing.renew(ground)
            in_trouble(ground, [rule], 'publish')
    healed(ground)


@dataclasses.dataclass
class Withdrawing:
    """Images that leave the list, and come back; one for each fault.

    :ivar titles: by the name of the fault
    """

    titles: dict[str, str]
    away: dict[str, publishing.Listed]

    def leave(self, ground: Ground) -> None:
        """They are no longer endorsed; the site does not know yet."""
        listed = ground.place.listed
        for title in listed.keys() & set(self.titles.values()):
            self.away[title] = listed.pop(title)
            ground.given.discard(title)
        ground.place.sign(vo=VO)

    def back(self, ground: Ground) -> None:
        """They are endorsed again."""
        ground.place.listed |= self.away
        ground.place.sign(vo=VO)

    def images(self, ground: Ground) -> dict[str, dict[str, Any]]:
        """The images, by title."""
        return {
            image['name']: image
            for image_id, image in ground.place.images().items()
            if image_id not in ground.foreign
            and image['name'] in self.titles.values()
        }

    def expect(self, ground: Ground, status: str) -> None:
        """All of them are there, and as they should be."""
        found = self.images(ground)
        assert found.keys() == set(self.titles.values())
        assert {image['status'] for image in found.values()} == {status}


@pytest.fixture(scope='module')
def withdrawing(ground: Ground) -> Withdrawing:
    titles = {name: f'withdrawn, {name}' for name in FAULTS}
    for title in titles.values():
        ground.endorse(title, '1.0')
    follow(ground.place)
    healed(ground)
    return Withdrawing(titles, {})


@pytest.mark.timeout(900)
def test_a_withdrawal_meets_every_fault_in_each_call(
    ground: Ground, withdrawing: Withdrawing
) -> None:
    place = ground.place

    def begin() -> dict[str, str]:
        """Have them all, then no more endorsed; ids by title."""
        withdrawing.back(ground)
        place.well('sync')
        healed(ground)
        found = withdrawing.images(ground)
        withdrawing.leave(ground)
        return {title: image['id'] for title, image in found.items()}

    # A good run tells the calls.
    ids = begin()
    place.proxy.forget()
    place.well('sync')
    withdrawing.expect(ground, 'deactivated')
    calls = list(place.proxy.calls)
    own = shapes(call for call in calls if call.subject in ids.values())
    assert own
    for turn in range(len(own) if ALL else 1):
        ids = begin()
        patience(place, HANGS)
        rules = [
            misbehaving.Rule(
                FAULTS[name],
                shape=own[(number + turn) % len(own)],
                when=lambda call, mine=ids[title]: call.subject == mine,
            )
            for number, (name, title) in enumerate(withdrawing.titles.items())
        ]
        place.proxy.forget()
        place.proxy.rules.extend(rules)
        for _ in range(RUNS):
            ran = place.hepix('sync')
            assert ran.status in (0, 1, 2), ran
            unharmed(ground)
            if all(rule.fired for rule in rules):
                break
        assert all(rule.fired for rule in rules), ran
        in_the_end(ground, withdrawing)
    begin()
    for number, shape in enumerate(
        shapes(call for call in calls if not call.subject)
    ):
        for name in (
            FAULTS if ALL else {met(kind, 0, number) for kind in KINDS}
        ):
            fault = FAULTS[name]
            patience(place, fault)
            place.proxy.forget()
            place.proxy.rules.append(misbehaving.Rule(fault, shape=shape))
            assert place.hepix('sync').status in (0, 1, 2), name
            unharmed(ground)
    in_the_end(ground, withdrawing)
    # What comes back to the list comes by a new import.
    withdrawing.back(ground)
    place.well('sync')
    healed(ground)


def in_the_end(ground: Ground, withdrawing: Withdrawing) -> None:
    """One sync without faults puts all right."""
    ground.place.proxy.forget()
    patience(ground.place, None)
    ground.place.well('sync')
    withdrawing.expect(ground, 'deactivated')


def status_of(ground: Ground, titles: Iterable[str]) -> set[str]:
    """What Glance says of the images of these titles."""
    return {
        image['status']
        for title in titles
        for image in ground.images_of(title)
    }


def unharmed(ground: Ground) -> None:
    """Images of others, and those that stay endorsed, are as they were."""
    images = ground.place.images()
    for image_id, image in ground.foreign.items():
        assert images[image_id] == image
    active = {
        image['os_hash_value']
        for image in images.values()
        if image['status'] == 'active'
    }
    stay = {
        publishing.sha512_of(ground.place.listed[title])
        for title in ground.given & ground.place.listed.keys()
    }
    assert stay <= active


def test_an_image_deleted_by_hand_comes_back(ground: Ground) -> None:
    (image,) = ground.images_of('an example')
    ground.place.client.images.delete(image['id'])
    healed(ground)


def test_an_image_changed_by_hand_is_put_right(ground: Ground) -> None:
    (image,) = ground.images_of('an example')
    client = ground.place.client
    client.images.update(
        image['id'],
        remove_props=['os_version'],
        name='mine now',
        os_hidden=True,
        architecture='sparc',
        tags=['other'],
    )
    for member in client.image_members.list(image['id']):
        client.image_members.delete(image['id'], member['member_id'])
    # Members alone are looked at once a day.
    ground.place.configure({'publish': {'members_interval': 0}})
    healed(ground)


def test_an_image_deactivated_by_hand_stays_so(ground: Ground) -> None:
    (image,) = ground.images_of('an example')
    ground.place.client.images.deactivate(image['id'])
    ran = ground.place.hepix('publish')
    assert 'somebody deactivated it' in ran.out
    (left,) = ground.images_of('an example')
    assert (left['id'], left['status']) == (image['id'], 'deactivated')
    ground.place.client.images.reactivate(image['id'])
    healed(ground)


def test_a_source_that_changes_under_the_download(ground: Ground) -> None:
    place = ground.place
    listed = ground.endorse('a changing one', '1.0')
    file = place.file(listed)
    right = file.read_bytes()
    follow(place)

    def change(_: misbehaving.Call) -> None:
        file.write_bytes(b'other' * 20000)

    place.proxy.forget()
    # Half of the right bytes, then the rest of others.
    place.proxy.rules += [
        misbehaving.Rule(misbehaving.Cut(20000), shape='web GET'),
        misbehaving.Rule(misbehaving.Do(change), shape='web GET', nth=0),
    ]
    for _ in range(2):
        ran = place.hepix('publish')
        assert ran.status == 1, ran
        look(ground)
        assert ground.images_of('a changing one') == []
    file.write_bytes(right)
    healed(ground)


def test_a_list_that_changes_within_a_run(ground: Ground) -> None:
    place = ground.place
    ground.endorse('a short one', '1.0')
    follow(place)
    withdrawn_meanwhile: list[int | None] = []

    def withdraw(_: misbehaving.Call) -> None:
        del place.listed['a short one']
        place.sign(vo=VO)
        # The run itself is busy with a process: this is another one.
        with faulty.runner() as run:
            ran = run(['--config-file', place.glance.config_file, 'sync'])
        withdrawn_meanwhile.append(ran.status)

    place.proxy.forget()
    place.proxy.rules.append(
        misbehaving.Rule(
            misbehaving.Do(withdraw),
            shape='glance POST /v2/images/*/import',
        )
    )
    ran = place.hepix('publish')
    assert withdrawn_meanwhile == [0]
    assert ran.status == 1, ran
    assert status_of(ground, ['a short one']) <= {'queued'}
    healed(ground)
    assert ground.images_of('a short one') == []


def test_nova_away_while_withdrawing(ground: Ground) -> None:
    place = ground.place
    gone = place.listed.pop('an example')
    ground.given.discard('an example')
    place.sign(vo=VO)
    place.proxy.forget()
    rule = misbehaving.Rule(
        misbehaving.Drop(), when=lambda call: call.service == 'nova', nth=0
    )
    place.proxy.rules.append(rule)
    ran = place.hepix('sync')
    assert rule.fired
    # Withdrawing did not wait for Nova; that it is away is said.
    assert status_of(ground, ['an example']) == {'deactivated'}
    assert ran.status == 1, ran
    assert 'Nova' in ran.err + ran.out
    place.proxy.forget()
    place.well('sync')
    place.listed['an example'] = gone
    follow(place)
    healed(ground)


def test_nova_away_while_an_old_version_leaves(
    ground: Ground, replacing: Replacing
) -> None:
    before = replacing.renew(ground)
    proxy = ground.place.proxy
    proxy.forget()
    rule = misbehaving.Rule(
        misbehaving.Answer(503),
        when=lambda call: call.service == 'nova',
        nth=0,
    )
    proxy.rules.append(rule)
    ground.place.hepix('publish')
    assert rule.fired
    look(ground)
    # What is not known to be unused is used.
    assert before.items() and set(before.values()) <= set(
        ground.place.images()
    )
    healed(ground)


def test_a_full_store(ground: Ground) -> None:
    place = ground.place
    ground.endorse('a large one', '1.0')
    follow(place)
    store = place.glance.store
    # Room for less than an image.
    subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', 'size=32k', 'tmpfs', store], check=True
    )
    try:
        ran = place.hepix('publish')
    finally:
        subprocess.run(['umount', store], check=True)
    assert ran.status == 1, ran
    look(ground)
    healed(ground)


def test_a_quota_that_is_exceeded(ground: Ground) -> None:
    place = ground.place
    ground.endorse('one too many', '1.0')
    follow(place)
    used = sum(
        image['size'] for image in place.images().values() if image['size']
    )
    filling = place.foreign('a filling', QUOTA - used - 1000)
    try:
        ran = place.hepix('publish')
    finally:
        place.client.images.delete(filling)
    assert ran.status == 1, ran
    look(ground)
    healed(ground)
