# SPDX-License-Identifier: Apache-2.0
"""``hepix-vm publish`` is killed at each of its steps, and the next run heals.

A good run that replaces a shared image tells the steps: what it asks of
others. A process of its own is then killed by SIGKILL when it asks for the
n-th: before the request reaches the service, and, where the request changes
something, after the service has done it and before the process knows.
"""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import signal
from typing import Any

import pytest

from tests.cloud import cloud as clouds
from tests.functional import publishing
from tests import misbehaving

VO = 'ops'
TITLE = 'worker node'


class Site:
    """A site with one image, shared with a project, that is replaced.

    :ivar version: the newest that is endorsed
    :ivar before: the bytes that users had before it
    """

    def __init__(self, place: publishing.Place, project: str) -> None:
        self.place = place
        self.project = project
        self.version = 0
        self.pid = place.folder / 'pid'
        self.foreign: dict[str, dict[str, Any]] = {}
        self.replace()
        self.healed('the first run')
        self.before = place.listed[TITLE]
        (ours,) = place.images().values()
        place.foreign(ours['name'], tags=ours['tags'])
        self.foreign = {
            image_id: image
            for image_id, image in place.images().items()
            if image_id != ours['id']
        }

    def replace(self) -> None:
        """Endorse a version that takes the place of the one before."""
        if self.version:
            self.before = self.place.listed[TITLE]
        self.version += 1
        self.place.endorse(TITLE, f'{self.version}.0')
        self.place.sign(vo=VO)
        self.place.well('sync')

    def ours(self) -> list[dict[str, Any]]:
        """All images but those of others, which are as they were."""
        images = self.place.images()
        for image_id, image in self.foreign.items():
            assert images.pop(image_id) == image
        return list(images.values())

    def steps(self) -> list[misbehaving.Call]:
        """What a good run asks of others."""
        self.replace()
        self.place.proxy.forget()
        self.healed('a good run')
        return list(self.place.proxy.calls)

    def killed(self, call: misbehaving.Call, nth: int, after: bool) -> None:
        """Publish, and be killed at the n-th call of that shape."""
        self.replace()
        proxy = self.place.proxy
        proxy.forget()
        # What did not reach the service before does not do so meanwhile.
        rule = misbehaving.Rule(
            misbehaving.Do(self._kill, after, drops=True),
            shape=call.shape,
            nth=nth,
        )
        proxy.rules.append(rule)
        ran = self.place.hepix('publish', pid=str(self.pid))
        # How often it looks whether an import is over differs.
        assert not rule.fired or ran.status is None, ran
        proxy.forget()
        self._look(f'{call.shape} {nth} {after}')

    def _kill(self, _: misbehaving.Call) -> None:
        os.kill(int(self.pid.read_text()), signal.SIGKILL)

    def _look(self, what: str) -> None:
        """Users have an image, and of one version alone."""
        new = publishing.sha512_of(self.place.listed[TITLE])
        old = publishing.sha512_of(self.before)
        seen = [
            image['os_hash_value']
            for image in self.ours()
            if image['status'] == 'active' and not image['os_hidden']
        ]
        assert seen, f'{what}: users have none'
        # Both, between the arrival of one and the leave of the other.
        assert sorted(seen) in (
            [new],
            [old],
            sorted((new, old)),
        ), f'{what}: {self.ours()}'

    def healed(self, what: str) -> None:
        """The next run leaves the newest version, once, and nothing else."""
        ran = self.place.hepix('publish')
        assert ran.status == 0, f'{what}: {ran}'
        listed = self.place.listed[TITLE]
        (image,) = self.ours()
        assert image['os_hash_value'] == publishing.sha512_of(listed), what
        assert image['status'] == 'active', what
        assert not image['os_hidden'], what
        assert image['name'] == TITLE, what
        members = self.place.client.image_members.list(image['id'])
        assert [m['member_id'] for m in members] == [self.project], what
        spool = Path(self.place.sections['fetch']['spool_directory'])
        left = [p for p in spool.iterdir() if p.stat().st_size]
        assert [p for p in left if p.stat().st_size >= publishing.SIZE] == []


@pytest.fixture
def site(cloud: clouds.Cloud, tmp_path: Path) -> Iterator[Site]:
    with publishing.place(cloud, 'kills', tmp_path) as place:
        project = cloud.add_project('demo')
        place.configure(
            {
                f'subscription:{publishing.NAME}': {
                    'vo_projects': f'{VO}:{project}',
                },
                'glance_import': {
                    'publishing_projects': cloud.add_project('admin')
                },
                # The version before goes at once: its end is tested, too.
                'publish': {'keep': 0},
            }
        )
        yield Site(place, project)


#: What a run asks for over and over until an import is done.
_WAITING = frozenset(
    ('glance GET /v2/images/*', 'glance GET /v2/images/*/tasks')
)
#: Whether to be killed whenever something is read, not once a kind of call.
ALL = os.environ.get('HEPIX_VM_FAULTS') == 'all'


@pytest.mark.timeout(1800)
def test_killed_at_each_step_and_healed_by_the_next_run(site: Site) -> None:
    seen: dict[str, int] = {}
    for call in site.steps():
        nth = seen[call.shape] = seen.get(call.shape, 0) + 1
        changes = call.method != 'GET' and call.service != 'keystone'
        if nth > 1 and (call.shape in _WAITING or not (changes or ALL)):
            continue
        for after in (False, True) if changes else (False,):
            site.killed(call, nth, after)
            site.healed(f'{call.shape} {nth} after={after}')
