# SPDX-License-Identifier: Apache-2.0
"""What publishing is about to do in one cloud, as values.

Pure: what the site wants, what Glance shows, what is ours and what the import
plugins recorded goes in; actions come out. Each can be done again. Those of
one image follow each other and end with the first that fails, so that an old
version leaves only when the new one is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses

from hepix_vm.catalogue import model
from hepix_vm.glance.actions import Action as Action
from hepix_vm.glance.actions import changes as changes
from hepix_vm.glance.actions import Correct as Correct
from hepix_vm.glance.actions import Create as Create
from hepix_vm.glance.actions import Delete as Delete
from hepix_vm.glance.actions import Discard as Discard
from hepix_vm.glance.actions import Finish as Finish
from hepix_vm.glance.actions import Forget as Forget
from hepix_vm.glance.actions import Group as Group
from hepix_vm.glance.actions import Hold as Hold
from hepix_vm.glance.actions import Leave as Leave
from hepix_vm.glance.actions import Retire as Retire
from hepix_vm.glance.actions import Revive as Revive
from hepix_vm.glance.actions import Share as Share
from hepix_vm.glance.actions import Skip as Skip
from hepix_vm.glance.diff import lines_of as lines_of
from hepix_vm.glance.diff import text as text
from hepix_vm.glance import looks
from hepix_vm.glance import picture
from hepix_vm.glance import publications
from hepix_vm.glance.publications import Publication
from hepix_vm.glance.publications import State
from hepix_vm.glance.publications import Trial
from hepix_vm.glance import wanted as wanted_

#: Images whose data is there.
_WHOLE = ('active', 'deactivated')


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """How publishing goes about it.

    :ivar keep: older versions of an image that stay in Glance, hidden
    :ivar parallel: images that are published at the same time
    :ivar members_age: seconds after which members are compared although the
        mapping is the same
    :ivar patience: seconds to wait for another publishing to end
    """

    keep: int = 1
    parallel: int = 3
    members_age: int = 86400
    patience: float = 60


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """What there is in a cloud.

    :ivar present: by image id, all that Glance lists
    :ivar publications: our rows of this cloud
    :ivar records: of the import plugins, by image id
    :ivar project: id of the project that publishes; None: not known
    :ivar deactivated: image ids that the sync has deactivated itself
    :ivar trials: subscriptions whose images need a quarantine
    """

    present: Mapping[str, picture.GlanceImage]
    publications: tuple[Publication, ...]
    records: Mapping[str, model.GlanceRecord]
    project: str | None = None
    deactivated: frozenset[str] = frozenset()
    trials: frozenset[str] = frozenset()


def plan(
    wanted: Iterable[wanted_.Wanted | wanted_.Unsuited],
    seen: Seen,
    settings: Settings,
    now: int,
    retry: bool = False,
) -> tuple[Group, ...]:
    """All that is to be done, by image.

    :param now: UNIX seconds
    :param retry: whether images that failed in quarantine are tried again
    """
    ours: dict[publications.Key, list[Publication]] = {}
    for row in seen.publications:
        ours.setdefault(row.key, []).append(row)
    groups = []
    for one in wanted:
        key = (one.image.subscription, one.image.identifier)
        planning = _Planning(seen, settings, now, retry, ours.pop(key, []))
        groups.append(Group(key, tuple(planning.actions(one))))
    for key, rows in sorted(ours.items()):
        left = tuple(
            Discard(row, 'it is not approved')
            for row in rows
            if row.state in (State.CREATING, State.QUARANTINE)
        )
        if left:
            groups.append(Group(key, left))
    return tuple(group for group in groups if group.actions)


class _Planning:
    """The plan of one image.

    :param rows: of ours, of all its versions
    """

    def __init__(
        self,
        seen: Seen,
        settings: Settings,
        now: int,
        retry: bool,
        rows: list[Publication],
    ) -> None:
        self._seen = seen
        self._settings = settings
        self._now = now
        self._retry = retry
        self._lost = {row.image_id: self._missing(row) for row in rows}
        self._rows = [row for row in rows if not self._lost[row.image_id]]
        self._gone = [row for row in rows if self._lost[row.image_id]]

    def actions(
        self, one: wanted_.Wanted | wanted_.Unsuited
    ) -> Iterator[Action]:
        for row in self._gone:
            yield Forget(row, self._lost[row.image_id])
        if isinstance(one, wanted_.Unsuited):
            yield Skip(one.image, one.reason)
            yield from self._unsuited(one.reason)
            return
        current = self._current(one)
        for row in self._rows:
            if row is not current and row.state in (
                State.CREATING,
                State.QUARANTINE,
            ):
                yield Discard(row, 'a newer version takes its place')
        arriving = list(self._arriving(one, current))
        yield from arriving
        if any(isinstance(a, Hold) or _unsure(a) for a in arriving):
            return
        yield from self._leaving(one, current)

    def _missing(self, row: Publication) -> str:
        """Why there is no image of ours for a row; '' when there is."""
        image = self._seen.present.get(row.image_id)
        if image is None:
            if row.state is State.CREATING:
                # Whether Glance made it is not known; it is asked again.
                return ''
            return 'it is gone from Glance; somebody deleted it'
        record = self._seen.records.get(row.image_id)
        if record is None:
            mine = self._seen.project
            if (
                row.state is State.CREATING
                and mine is not None
                and image.owner != mine
            ):
                return 'somebody else has an image of its id'
            return ''
        if image.created_at not in (None, record.created_at):
            return 'somebody has made another image of its id'
        return ''

    def _usable(self, row: Publication) -> bool:
        """Whether an image could serve users, by all that is known."""
        image = self._seen.present.get(row.image_id)
        record = self._seen.records.get(row.image_id)
        return (
            image is not None
            and image.status in _WHOLE
            and record is not None
            and record.state is model.RecordState.POSITIVE
        )

    def _current(self, one: wanted_.Wanted) -> Publication | None:
        """The row of the wanted bytes that got furthest.

        A newer version of the same bytes is the same image under a new
        number: users keep it, and nothing is uploaded again.
        """
        order = (
            State.RETIRED,
            State.CREATING,
            State.QUARANTINE,
            State.ACTIVE,
        )
        found = [
            row
            for row in self._rows
            if row.sha512 == one.image.sha512
            and (row.state is State.CREATING or self._usable(row))
        ]
        return max(
            found,
            key=lambda r: (
                order.index(r.state),
                r.version == one.image.version,
            ),
            default=None,
        )

    def _arriving(
        self, one: wanted_.Wanted, row: Publication | None
    ) -> Iterator[Action]:
        if row is None:
            yield Create(one)
        elif row.state is State.CREATING:
            yield Finish(one, row)
        elif row.state is State.QUARANTINE:
            if (
                row.trial is Trial.FAILED
                and row.subscription in self._seen.trials
                and not self._retry
            ):
                yield Hold(
                    one,
                    row,
                    f'quarantine failed: {row.trial_detail}; "hepix-vm '
                    'publish --retry" tries it again',
                )
            else:
                yield Finish(one, row)
        elif row.state is State.RETIRED:
            yield Revive(one, row)
        else:
            yield from self._published(one, row)

    def _published(
        self, one: wanted_.Wanted, row: Publication
    ) -> Iterator[Action]:
        image = self._seen.present[row.image_id]
        if image.status == 'deactivated':
            because = (
                'deactivated by the sync'
                if row.image_id in self._seen.deactivated
                else 'somebody deactivated it in Glance; it stays so until '
                f'"openstack image set --activate {row.image_id}"'
            )
            yield Leave(one, row, because)
            return
        differences = looks.differences(
            image, looks.released(one, self._seen.project)
        )
        if differences or row.version != one.image.version:
            yield Correct(one, row, differences)
        elif self._members_due(one, row):
            yield Share(one, row)
        else:
            yield Leave(one, row)

    def _members_due(self, one: wanted_.Wanted, row: Publication) -> bool:
        if one.visibility != 'shared':
            return False
        return (
            row.members_at is None
            or self._now - row.members_at > self._settings.members_age
            or row.members_sha256 != publications.digest(one.members)
        )

    def _leaving(
        self, one: wanted_.Wanted, current: Publication | None
    ) -> Iterator[Action]:
        newest = f'version {one.image.version} is there'
        retired = [r for r in self._rows if r.state is State.RETIRED]
        retired = [row for row in retired if row is not current]
        for row in retired:
            if self._shown(row):
                yield Retire(row, 'it is retired, but can be seen')
        leaving = [
            row
            for row in self._rows
            if row.state is State.ACTIVE and row is not current
        ]
        for row in leaving:
            yield Retire(row, newest)
        yield from self._deleted(leaving, retired)

    def _shown(self, row: Publication) -> bool:
        """Whether users could still see or boot a retired version."""
        image = self._seen.present[row.image_id]
        return image.status == 'active' or bool(
            looks.differences(image, looks.RETIRED)
        )

    def _deleted(
        self, leaving: list[Publication], retired: list[Publication]
    ) -> Iterator[Action]:
        older = sorted(
            retired,
            key=lambda row: (row.retired_at or 0, row.at, row.image_id),
            reverse=True,
        )
        leaving = sorted(leaving, key=lambda r: (r.at, r.image_id))[::-1]
        whole = []
        for row in (*leaving, *older):
            image = self._seen.present[row.image_id]
            if image.status in _WHOLE:
                whole.append(row)
            else:
                yield Delete(row, f'its data is not there ({image.status})')
        keep = self._settings.keep
        for row in whole[keep:]:
            yield Delete(row, f'{keep} older versions are kept')

    def _unsuited(self, reason: str) -> Iterator[Action]:
        for row in self._rows:
            if row.state in (State.CREATING, State.QUARANTINE):
                yield Discard(row, reason)
            elif row.state is State.ACTIVE or self._shown(row):
                yield Retire(row, reason)


def _unsure(action: Action) -> bool:
    """Whether the newest version is there, but not for users."""
    return isinstance(action, Leave) and bool(action.because)
