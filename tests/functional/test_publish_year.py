# SPDX-License-Identifier: Apache-2.0
"""A year of a site, week by week, against a real Glance with a false clock.

The year ends today. Glance lives in it by a false clock of its Python (see
:mod:`tests.functional.further`), so that its import plugins judge, and its
images are made, on the day that is played. ``hepix-vm`` is told the time as
an argument of its operations. Keystone and Nova live today: their tokens
are good for a Glance of any day before.

What the site has to have is worked out here from the rules alone, without
its catalogue. ``YEAR_SEED`` plays another year, ``YEAR_WEEKS`` says how long
it is.
"""

from __future__ import annotations

from collections.abc import Iterator
import datetime
import io
import json
import os
from pathlib import Path
import random
import time
import uuid

import pytest

from hepix_vm import imagelist
from tests.assets import pki
from tests.assets import writer
from tests import catalogue_rows
from tests.cloud import cloud as clouds
from tests import endorser as endorsers
from tests.functional import further
from tests.functional import images as acts
from tests.functional import publishing

DAY = endorsers.DAY_SECONDS
WEEK = 7 * DAY
WEEKS = int(os.environ.get('YEAR_WEEKS', '13'))
#: One week without its list a source is trusted, two it is not.
MAX_AGE = 10 * DAY
LASTS = datetime.timedelta(days=25)
#: With these, each kind of event comes to pass.
SEED = int(os.environ.get('YEAR_SEED', '2'))


class Source:
    """An endorser and a list, and what a site has to make of them.

    :ivar images: what the endorser would list now, by title
    :ivar away: until when its server is down
    :ivar missing: until when the file of an image's newest version is
    :ivar back: when it has a new certificate after a revocation, or None
    :ivar believed: what the site has last accepted
    """

    def __init__(self, place: publishing.Place, name: str) -> None:
        self.name = name
        self.place = place
        self.now = 0
        self.list_id = str(uuid.uuid4())
        self.list_file = place.web / f'{name}.smime'
        self.held_back = place.folder / f'{name}.smime'
        self.version = 0
        self.images: dict[str, publishing.Listed] = {}
        self.away = 0
        self.missing: dict[str, int] = {}
        self.back: int | None = None
        self.served: tuple[int, dict[str, publishing.Listed]] = (0, {})
        self.believed: dict[str, publishing.Listed] = {}
        self.expires = 0
        self.verified_at = 0
        self.active: dict[str, publishing.Listed] = {}
        self.late: set[str] = set()

    def begin(self, now: int) -> None:
        """Get a certificate, and the site's trust."""
        self.endorser = endorsers.Endorser.create(
            name=f'Endorser of {self.name}', now=endorsers.utc(now)
        )
        self.place.configure(
            {
                f'subscription:{self.name}': {
                    'url': self.list_file.as_uri(),
                    'list_identifier': self.list_id,
                    'endorser_subject': self.endorser.subject,
                    'endorser_issuer': self.endorser.issuer,
                    'trust_anchors': str(self.place.anchors),
                    'approval': 'all',
                    'list_max_age': str(MAX_AGE),
                }
            }
        )

    def at(self, now: int) -> None:
        """A new week: the CA goes on, servers come back."""
        self.now = now
        self.endorser.now = endorsers.utc(now)
        self.endorser.write_trust_anchors(self.place.anchors)
        if self.back is not None and self.back <= now:
            self.back = None
            self.endorser.renew()
            self.renew()
        for title in [t for t, end in self.missing.items() if end <= now]:
            del self.missing[title]
            file = self.place.file(self.images[title])
            file.with_suffix('.away').rename(file)

    # What happens

    def new_version(self, title: str, version: int) -> None:
        """Make an image, or a new version of one."""
        self.images[title] = self.place.endorse(
            f'{self.name} {title}', str(version)
        )

    def file_is_late(self, title: str, until: int) -> None:
        """The list is there before the file is."""
        file = self.place.file(self.images[title])
        file.rename(file.with_suffix('.away'))
        self.missing[title] = until

    def renew(self) -> None:
        """Sign what is listed now, for three weeks and a half."""
        self.version += 1
        signed_list = self.endorser.make_list(
            self.list_id,
            str(self.version),
            [one.entry for one in self.images.values()],
            expires=self.endorser.now + LASTS,
        )
        message = signed(
            imagelist.render(signed_list), self.endorser, self.now
        )
        self.held_back.write_bytes(message)
        assert signed_list.expires is not None
        self.served = (int(signed_list.expires.timestamp()), dict(self.images))

    def serve(self) -> None:
        """The server has the list, or is down."""
        if self.away > self.now:
            self.list_file.unlink(missing_ok=True)
        else:
            self.list_file.write_bytes(self.held_back.read_bytes())

    # What has to be

    def synced(self) -> None:
        """What a site believes after a sync."""
        expires, images = self.served
        if self.away <= self.now < expires and self.back is None:
            self.believed, self.expires = images, expires
            self.verified_at = self.now

    def refused(self) -> bool:
        """Whether its list is no good for now: too old, or expired.

        Its images stay as they are in Glance until that is over; decisions
        refuse them.
        """
        return self.back is None and (
            self.now >= self.expires or self.now - self.verified_at > MAX_AGE
        )

    def approved(self) -> dict[str, publishing.Listed]:
        """What a site approves of this list now."""
        if self.back is not None or self.refused():
            return {}
        return self.believed

    def _missing(self, title: str, listed: publishing.Listed) -> bool:
        """Whether the bytes of a version cannot be fetched."""
        return title in self.missing and listed == self.images.get(title)

    def published(self, blocked: set[str]) -> None:
        """What is active after publishing.

        A version whose successor cannot be fetched stays for the day for
        which it counts, so for this week's look at it, and no longer.
        """
        if self.refused():
            self.active = {
                title: one
                for title, one in self.active.items()
                if one.entry.identifier not in blocked
            }
            return
        before, self.active = self.active, {}
        late, self.late = self.late, set()
        for title, newest in self.approved().items():
            missing = self._missing(title, newest)
            if missing:
                self.late.add(title)
            if newest.entry.identifier in blocked:
                continue
            old = before.get(title)
            if old == newest or not missing:
                self.active[title] = newest
            elif old is not None and title not in late:
                self.active[title] = old


def signed(payload: bytes, endorser: endorsers.Endorser, now: int) -> bytes:
    """S/MIME that was signed on that day."""
    content = writer.crlf(payload)
    usual = writer.usual_attributes(content)[:-1]
    moment = writer.utc_time(endorsers.utc(now))
    return writer.usual(
        payload,
        pki.Holder(endorser.certificate, endorser.key),
        attributes=[*usual, writer.attribute(writer.SIGNING_TIME, moment)],
    )


class Year:
    """The site's weeks, and what happens in them.

    :ivar blocked: identifiers that the site refuses for now
    :ivar running: servers by the image that they run from
    """

    def __init__(
        self,
        place: publishing.Place,
        clock: further.Clock,
        rows: catalogue_rows.Rows,
    ) -> None:
        self.place = place
        self.clock = clock
        self.rows = rows
        self.chance = random.Random(SEED)
        self.week = 0
        self.start = int(time.time()) - WEEKS * WEEK
        self.sources = [
            Source(place, name) for name in ('alpha', 'beta', 'gamma')
        ]
        self.blocked: set[str] = set()
        self.running: dict[str, str] = {}
        self.versions = 0
        self.told: list[str] = []
        self.servers = acts.Servers(place.cloud, 'admin')

    @property
    def now(self) -> int:
        """UNIX seconds of this week's look."""
        return self.start + self.week * WEEK

    def say(self, what: str) -> None:
        """Note what happens, for people who read a failure."""
        self.told.append(f'week {self.week}: {what}')

    def begin(self) -> None:
        """Three endorsers with two images each."""
        del self.place.sections[f'subscription:{publishing.NAME}']
        for source in self.sources:
            source.begin(self.now)
            source.now = self.now
            for title in ('one', 'two'):
                self.new_version(source, title)
            source.renew()

    def new_version(self, source: Source, title: str) -> None:
        """An image nobody has seen."""
        self.versions += 1
        source.new_version(title, self.versions)

    def play(self) -> None:
        """One week: what happens, what the site does, what it has then."""
        self.clock.set(self.now - int(time.time()))
        for source in self.sources:
            source.at(self.now)
            if self.week:
                self.happen(source)
            source.serve()
        self.decide()
        synced = self.place.hepix('sync', now=self.now)
        for source in self.sources:
            source.synced()
        published = self.place.hepix('publish', now=self.now)
        for source in self.sources:
            source.published(self.blocked)
        self.look(f'{synced}\n{published}')
        self.boot_and_end()
        self.week += 1

    def happen(self, source: Source) -> None:
        """What an endorser does, and what befalls it."""
        chance = self.chance.random
        if source.back is not None:
            return
        changed = chance() < 0.5
        titles = [t for t in sorted(source.images) if t not in source.missing]
        if titles and chance() < 0.4:
            title = self.chance.choice(titles)
            self.new_version(source, title)
            self.say(f'{source.name} replaces {title}')
            changed = True
            if chance() < 0.2:
                weeks = self.chance.choice((1, 2))
                source.file_is_late(title, self.now + weeks * WEEK)
                self.say(f'its file is late by {weeks}')
        elif len(titles) > 1 and chance() < 0.15:
            title = self.chance.choice(titles)
            del source.images[title]
            self.say(f'{source.name} drops {title}')
            changed = True
        elif len(source.images) < 4 and chance() < 0.2:
            title = f'more {self.versions}'
            self.new_version(source, title)
            self.say(f'{source.name} adds {title}')
            changed = True
        if changed:
            source.renew()
            self.say(f'{source.name} signs {source.version}')
        if source.away <= self.now and chance() < 0.08:
            weeks = self.chance.choice((1, 2, 3))
            source.away = self.now + weeks * WEEK
            self.say(f'{source.name} is away for {weeks}')
        if chance() < 0.04:
            source.endorser.revoke()
            weeks = self.chance.choice((1, 2, 4))
            source.back = self.now + weeks * WEEK
            self.say(f'{source.name} is revoked for {weeks}')

    def decide(self) -> None:
        """The site blocks an image, or lifts a block."""
        if self.blocked and self.chance.random() < 0.3:
            target = self.chance.choice(sorted(self.blocked))
            self.blocked.remove(target)
            self.command('unblock', target)
        elif self.week and self.chance.random() < 0.06:
            known = sorted(
                one.entry.identifier
                for source in self.sources
                for one in source.believed.values()
            )
            if known:
                self.blocked.add(target := self.chance.choice(known))
                self.command('block', target)

    def command(self, word: str, target: str) -> None:
        """Block or unblock an image."""
        self.say(f'the site does {word} {target}')
        ran = self.place.hepix(
            'image', word, target, '--reason', 'the year', now=self.now
        )
        assert ran.status == 0, f'{self.story()}{ran}'

    def boot_and_end(self) -> None:
        """Servers of the cloud come, live for long, and go."""
        if self.week in {WEEKS * part // 13 for part in (1, 3, 6)}:
            newest = [
                listed
                for source in self.sources
                if not source.refused()
                for listed in source.active.values()
            ]
            listed = self.chance.choice(newest)
            wanted = publishing.sha512_of(listed)
            image_id = next(
                image['id']
                for image in self.place.images().values()
                if image['os_hash_value'] == wanted
                and image['status'] == 'active'
            )
            self.say(f'a server boots from {image_id}, {listed.title}')
            self.running[image_id] = self.boot(image_id, listed)
        elif self.week in {WEEKS * part // 13 for part in (5, 10)}:
            image_id = min(self.running)
            self.servers.delete(self.running.pop(image_id))
            self.say(f'the server of {image_id} is deleted')

    def boot(self, image_id: str, listed: publishing.Listed) -> str:
        """A server; Nova finds the image in the cloud's own Glance."""
        data = self.place.file(listed).read_bytes()
        glance = self.place.cloud.glance()
        glance.images.create(
            id=image_id,
            name=listed.title,
            disk_format='raw',
            container_format='bare',
        )
        glance.images.upload(image_id, io.BytesIO(data))
        self.rows.endorse(data)
        created_at = acts.created_at(glance.images.get(image_id))
        self.rows.record(image_id, data, created_at=created_at)
        server = self.servers.boot(image_id)
        assert server.status == 'ACTIVE', acts.fault(server)
        return str(server.id)

    def look(self, did: str) -> None:
        """What is active is exactly what is approved.

        But for a list that is too old or has expired: what it approved stays
        in Glance, and is refused.
        """
        images = self.place.images()
        active = publishing.contents(
            image for image in images.values() if image['status'] == 'active'
        )
        wanted = {
            publishing.sha512_of(listed): listed
            for source in self.sources
            for listed in source.active.values()
        }
        self.look_at_refused(active)
        kept = {
            publishing.sha512_of(listed)
            for source in self.sources
            if source.refused()
            for listed in source.active.values()
        }
        shown = '\n'.join(
            f'{image["id"]} {image["name"]} {image["status"]} '
            f'{image["os_hidden"]} {str(image["os_hash_value"])[:8]}'
            for image in images.values()
        )
        story = f'{self.story()}{did}\n{shown}'
        missing = [
            one.title
            for sha512, one in wanted.items()
            if sha512 not in active and sha512 not in kept
        ]
        assert not missing, f'not active: {missing}\n{story}'
        wrong = [sha512[:8] for sha512 in active if sha512 not in wanted]
        assert not wrong, f'wrongly active: {wrong}\n{story}'
        assert set(active.values()) <= {1}, f'two copies\n{story}'
        unfinished = {image['status'] for image in images.values()} - {
            'active',
            'deactivated',
        }
        assert not unfinished, f'{unfinished}\n{story}'
        gone = self.running.keys() - images.keys()
        assert not gone, f'servers run from {gone}\n{story}'

    def look_at_refused(self, active: dict[str, int]) -> None:
        """What is left in Glance of a list that is no good boots nowhere."""
        sources = [source for source in self.sources if source.refused()]
        if not sources:
            return
        names = {source.name for source in sources}
        ran = self.place.hepix('image', 'list', '-f', 'json', now=self.now)
        approved = [
            one
            for one in json.loads(ran.out)
            if one['subscription'] in names and one['verdict'] == 'approved'
        ]
        assert approved == [], f'{self.story()}{approved}'
        for source in sources:
            source.active = {
                title: one
                for title, one in source.active.items()
                if publishing.sha512_of(one) in active
            }

    def story(self) -> str:
        """What has happened so far."""
        return '\n'.join([f'YEAR_SEED={SEED}', *self.told, ''])


@pytest.fixture
def year(
    cloud: clouds.Cloud, rows: catalogue_rows.Rows, tmp_path: Path
) -> Iterator[Year]:
    clock = further.Clock(tmp_path / 'clock')
    with publishing.place(
        cloud, 'year', tmp_path, clock.environment(cloud.layout.site)
    ) as place:
        made = Year(place, clock, rows)
        try:
            yield made
        finally:
            made.servers.delete(*made.running.values())


@pytest.mark.timeout(1800)
def test_a_year_in_which_what_is_active_is_what_is_approved(
    year: Year,
) -> None:
    year.begin()
    while year.week < WEEKS:
        year.play()
    made = [acts.created_at(image) for image in year.place.images().values()]
    assert min(made) < time.time() - WEEKS // 2 * WEEK, 'a true clock'
