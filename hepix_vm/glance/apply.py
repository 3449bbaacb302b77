# SPDX-License-Identifier: Apache-2.0
"""The plan of one image is carried out in one cloud.

Every write is on an image id of a row of ours, and the image is looked at
again just before: what is no longer as the plan has it is left alone, and the
next run plans anew.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import enum
import functools

from oslo_log import log

from hepix_vm.catalogue import database
from hepix_vm.catalogue import model
from hepix_vm.catalogue import records
from hepix_vm.catalogue import store
from hepix_vm import errors
from hepix_vm.glance import client
from hepix_vm.glance import looks
from hepix_vm.glance import outcomes
from hepix_vm.glance.outcomes import Outcome
from hepix_vm.glance import picture
from hepix_vm.glance import plan
from hepix_vm.glance import publications
from hepix_vm.glance.publications import Publication
from hepix_vm.glance.publications import Trial
from hepix_vm.glance import source as source_
from hepix_vm.glance import wanted as wanted_

LOG = log.getLogger(__name__)


class Verdict(enum.StrEnum):
    """How the site's own boot of an image ended."""

    PASSED = 'passed'
    FAILED = 'failed'
    UNDECIDED = 'undecided'


@dataclasses.dataclass(frozen=True, slots=True)
class Tried:
    """What the site saw when it booted an image."""

    verdict: Verdict
    detail: str


@dataclasses.dataclass(frozen=True, slots=True)
class Quarantine:
    """How the site tries an image out before its users may.

    :ivar project: id of the project that it is booted in
    :ivar boot: boots an image by its id, and tells how far that is
    """

    project: str
    boot: Callable[[str, Callable[[str], None]], Tried]


@dataclasses.dataclass(frozen=True, slots=True)
class Cloud:
    """One cloud, and how its images are treated.

    :ivar project: id of the project that publishes; None: not known
    :ivar quarantine: for a subscription's images; None: they need none
    """

    name: str
    glance: client.Glance
    project: str | None
    import_deadline: float
    quarantine: Callable[[str], Quarantine | None] = lambda subscription: None


class Applying:
    """Carries out plans in one cloud; several threads may use it.

    :param now: UNIX seconds
    """

    def __init__(
        self,
        store_: database.Database,
        cloud: Cloud,
        now: int,
        told: outcomes.Told,
    ) -> None:
        self._store = store_
        self._cloud = cloud
        self._glance = cloud.glance
        self._now = now
        self._told = told

    def results(
        self, action: plan.Action, source: source_.Source | None
    ) -> Iterator[outcomes.Published]:
        """Do one action and say what came of it.

        :param source: of the bytes, where the action may need them
        :raises errors.HepixError: what speaks against going on with this
            image
        """
        if isinstance(action, plan.Create | plan.Finish | plan.Revive):
            if source is None:
                raise TypeError('bytes are needed')
            yield self._arrived(action, source)
        elif isinstance(action, plan.Correct | plan.Share):
            yield self._corrected(action)
        elif isinstance(action, plan.Leave):
            yield self._of(
                action.wanted.image,
                Outcome.PRESENT,
                action.row.image_id,
                action.because or 'already there',
            )
        elif isinstance(action, plan.Skip):
            yield self._of(action.image, Outcome.SKIPPED, None, action.because)
        elif isinstance(action, plan.Hold):
            yield self._of(
                action.wanted.image,
                Outcome.FAILED,
                action.row.image_id,
                action.because,
            )
        elif isinstance(action, plan.Retire):
            yield from self._retired(action)
        elif isinstance(action, plan.Delete):
            yield from self._deleted(action)
        elif isinstance(action, plan.Discard):
            self._discard(action.row, action.because)
        else:
            self._forget(action)

    def _of(
        self,
        image: store.Image,
        outcome: Outcome,
        image_id: str | None,
        detail: str,
    ) -> outcomes.Published:
        return outcomes.of_image(
            image, self._cloud.name, outcome, image_id, detail
        )

    def _note(self, row: Publication, step: publications.Step) -> None:
        publications.note(self._store, row, step, self._now)

    def _renumbered(
        self, one: wanted_.Wanted, row: Publication
    ) -> Publication:
        """The row of an image, under the number that its bytes have now."""
        version = one.image.version
        if row.version == version:
            return row
        self._note(row, publications.renumbered(version))
        return dataclasses.replace(row, version=version)

    # Bringing in

    def _arrived(
        self,
        action: plan.Create | plan.Finish | plan.Revive,
        source: source_.Source,
    ) -> outcomes.Published:
        one = action.wanted
        if isinstance(action, plan.Revive):
            row = self._renumbered(one, action.row)
            self._glance.reactivate(self._mine(row).image_id)
        else:
            row = self._imported(
                one,
                source,
                self._renumbered(one, action.row)
                if isinstance(action, plan.Finish)
                else None,
            )
            tried = self._tried(one, row)
            if tried is not None and tried.verdict is not Verdict.PASSED:
                return self._of(
                    one.image,
                    Outcome.FAILED
                    if tried.verdict is Verdict.FAILED
                    else Outcome.WAITING,
                    row.image_id,
                    f'quarantine: {tried.detail}',
                )
        self._release(one, row)
        return self._of(one.image, Outcome.PUBLISHED, row.image_id, '')

    def _imported(
        self,
        one: wanted_.Wanted,
        source: source_.Source,
        row: Publication | None,
    ) -> Publication:
        """An image of ours that is active, with a positive record."""
        image = None if row is None else self._glance.image(row.image_id)
        if row is not None and image is not None:
            row = self._resumed(one, row, image)
        if row is None or image is None:
            row = self._staged(one, source, row)
        try:
            self._glance.wait_active(
                row.image_id,
                self._cloud.import_deadline,
                functools.partial(self._importing, one),
            )
            self._expect_record(row.image_id)
        except errors.NotBelieved as exc:
            # Glance has refused these bytes: nothing is to be kept. Where it
            # cannot be deleted now, the next run finds the row.
            with contextlib.suppress(errors.TryAgain, errors.Misconfigured):
                self._glance.delete(row.image_id)
                self._note(row, publications.gone(str(exc)))
            raise
        return row

    def _importing(self, one: wanted_.Wanted, message: str) -> None:
        self._told(
            outcomes.Progress(
                one.image.title, 'import', 0, one.image.size, message
            )
        )

    def _resumed(
        self,
        one: wanted_.Wanted,
        row: Publication,
        image: picture.GlanceImage,
    ) -> Publication | None:
        """What an earlier run has left, as far as it can be used."""
        if image.status == 'active' or (
            image.status == 'importing'
            and self._now - row.at <= self._cloud.import_deadline
        ):
            return row
        if image.status == 'deactivated':
            raise errors.TryAgain(
                f'image {row.image_id}: somebody deactivated it before it '
                'was released; activate or delete it in Glance'
            )
        if image.status == 'uploading' and image.size == one.image.size:
            # All of it is staged; the import judges the bytes.
            self._import_left(row)
            return row
        self._discard(row, f'an earlier run left it {image.status}')
        return None

    def _import_left(self, row: Publication) -> None:
        """Have imported what an earlier run has staged.

        That run may have asked for it and not have heard the answer: until
        Glance has begun the image is as it was, and nobody may ask again.
        """
        try:
            self._glance.import_staged(row.image_id)
        except client.Conflict:
            late = self._now - row.at > self._cloud.import_deadline
            if late or not self._glance.imports(row.image_id, 0):
                raise

    def _staged(
        self,
        one: wanted_.Wanted,
        source: source_.Source,
        row: Publication | None,
    ) -> Publication:
        """A new image whose import has begun.

        :param row: an image id of ours of which nobody knows yet whether
            Glance has made it
        """
        bytes_ = source.bytes()
        body = looks.creation(one, bytes_.disk_format)
        if row is not None:
            try:
                self._glance.create(row.image_id, body)
            except client.Conflict:
                # Made all the same, a moment ago, or once and deleted.
                self._discard(row, 'its creation did not come to an end')
                row = None
        if row is None:
            trial = self._cloud.quarantine(one.image.subscription)
            row = publications.begin(
                self._store,
                self._cloud.name,
                one.image,
                self._now,
                None if trial is None else trial.project,
            )
            self._glance.create(row.image_id, body)
        self._told(outcomes.Progress(one.image.title, 'stage', 0, bytes_.size))
        self._glance.stage(row.image_id, bytes_.path, bytes_.size)
        self._glance.import_staged(row.image_id)
        return row

    def _record(self, image_id: str) -> store.Record | None:
        with self._store.reading() as connection:
            found = store.records(
                connection, [model.RecordState.POSITIVE], image_id=image_id
            )
        return found[0] if found else None

    def _expect_record(self, image_id: str) -> None:
        """An active image without our record came past our plugins."""
        if self._record(image_id) is None:
            raise errors.NotBelieved(
                f'image {image_id}: Glance made it active, but its import '
                'plugins have not recorded it; list hepix_verify and '
                'hepix_record in [image_import_opts] image_import_plugins, '
                'and give Glance the same [catalogue] connection'
            )

    # Quarantine and release

    def _tried(self, one: wanted_.Wanted, row: Publication) -> Tried | None:
        """How the site's own boot went; None where none is asked for."""
        trial = self._cloud.quarantine(row.subscription)
        if trial is None:
            return None
        if row.trial is Trial.PASSED:
            return Tried(Verdict.PASSED, row.trial_detail)
        self._note(row, publications.quarantined(Trial.WAITING, ''))
        tried = trial.boot(
            row.image_id,
            lambda message: self._told(
                outcomes.Progress(one.image.title, 'quarantine', 0, 0, message)
            ),
        )
        if tried.verdict is not Verdict.UNDECIDED:
            self._note(
                row,
                publications.quarantined(
                    Trial(tried.verdict.value), tried.detail
                ),
            )
        return tried

    def _release(self, one: wanted_.Wanted, row: Publication) -> None:
        """Give it to its users: all of its look first, then itself."""
        self._expect_record(row.image_id)
        image = self._mine(row)
        look = looks.released(one, self._cloud.project)
        if one.visibility == 'shared':
            # Members can be told only when it is; nobody sees it before.
            hidden = dataclasses.replace(look, hidden=None, protected=None)
            self._look(row, image, hidden)
            self._share(one, row)
            image = self._mine(row)
        self._look(row, image, look)
        self._note(row, publications.released(self._now))

    def _look(
        self, row: Publication, image: picture.GlanceImage, look: looks.Look
    ) -> None:
        """Bring an image to a look."""
        if image.visibility == 'shared' and look.visibility != 'shared':
            # Glance tells the members of a shared image only.
            self._unshare(row, frozenset())
        values, without = looks.changes(image, look)
        if 'min_disk' in values:
            records.Records(self._store).sets_min_disk(
                row.image_id, values['min_disk']
            )
        if values or without:
            self._glance.change(image, values, without)

    def _share(self, one: wanted_.Wanted, row: Publication) -> int:
        """Have exactly the mapping's members; returns how many changed."""
        if one.visibility != 'shared':
            return 0
        changed = self._unshare(row, one.members)
        found = self._glance.members(row.image_id)
        for project in sorted(one.members):
            if project not in found:
                self._glance.share(row.image_id, project)
                changed += 1
            # Who refused an image has decided that for itself.
            if found.get(project, 'pending') == 'pending':
                self._accept(row, project)
        self._note(row, publications.compared(self._now, one.members))
        return changed

    def _unshare(self, row: Publication, keep: frozenset[str]) -> int:
        left = sorted(self._glance.members(row.image_id).keys() - keep)
        for project in left:
            self._glance.unshare(row.image_id, project)
        return len(left)

    def _accept(self, row: Publication, project: str) -> None:
        """Where Glance refuses that, the project accepts it itself."""
        try:
            self._glance.accept(row.image_id, project)
        except errors.Misconfigured as exc:
            LOG.warning(
                'verdict=pending image=%s project=%s %s',
                row.image_id,
                project,
                exc,
            )

    def _corrected(
        self, action: plan.Correct | plan.Share
    ) -> outcomes.Published:
        one = action.wanted
        row = self._renumbered(one, action.row)
        image = self._mine(row)
        look = looks.released(one, self._cloud.project)
        # What is hidden shows itself last, with all the rest.
        self._look(row, image, dataclasses.replace(look, hidden=None))
        changed = self._share(one, row)
        found = looks.differences(image, look)
        self._look(row, self._mine(row), look)
        said = [f'{d.name}: {d.found} -> {d.wanted}' for d in found]
        if changed:
            said.append(f'{changed} members changed')
        if not said:
            return self._of(
                one.image, Outcome.PRESENT, row.image_id, 'already there'
            )
        detail = '; '.join(said)
        self._note(row, publications.Step({}, 'corrected', '', detail))
        return self._of(one.image, Outcome.CHANGED, row.image_id, detail)

    # Leaving

    def _mine(self, row: Publication) -> picture.GlanceImage:
        """The image of a row, seen to be ours this moment.

        :raises errors.TryAgain: when it is not there, or not ours
        """
        image = self._glance.image(row.image_id)
        if image is None:
            raise errors.TryAgain(
                f'image {row.image_id}: it is gone from Glance; the next run '
                'publishes it anew'
            )
        if not self._ours(row, image):
            raise errors.TryAgain(
                f'image {row.image_id}: somebody has made another image of '
                'its id, which is left alone; the next run publishes it anew'
            )
        return image

    def _ours(self, row: Publication, image: picture.GlanceImage) -> bool:
        with self._store.reading() as connection:
            created = publications.created_at(connection, row.image_id)
        if created is not None:
            return image.created_at in (None, created)
        return self._cloud.project in (None, image.owner)

    def _retired(self, action: plan.Retire) -> Iterator[outcomes.Published]:
        row = action.row
        self._note(row, publications.retired(self._now, action.because))
        image = self._glance.image(row.image_id)
        if image is None or not self._ours(row, image):
            self._note(row, publications.gone('it is not there any more'))
            return
        self._look(row, image, looks.RETIRED)
        if image.status == 'active':
            self._glance.deactivate(row.image_id)
        yield outcomes.of_row(row, image.name, Outcome.RETIRED, action.because)

    def _deleted(self, action: plan.Delete) -> Iterator[outcomes.Published]:
        row = action.row
        image = self._glance.image(row.image_id)
        if image is not None and self._ours(row, image):
            if image.protected:
                self._glance.change(image, {'protected': False})
            self._glance.delete(row.image_id)
        self._note(row, publications.gone(action.because, told=True))
        yield outcomes.of_row(
            row,
            '' if image is None else image.name,
            Outcome.DELETED,
            action.because,
        )

    def _discard(self, row: Publication, because: str) -> None:
        """Delete what was never released, whether or not it is there."""
        image = self._glance.image(row.image_id)
        if image is None or self._ours(row, image):
            self._glance.delete(row.image_id)
        self._note(row, publications.gone(because))

    def _forget(self, action: plan.Forget) -> None:
        image = self._glance.image(action.row.image_id)
        if image is not None and self._ours(action.row, image):
            raise errors.TryAgain(
                f'image {action.row.image_id}: Glance did not list it, but '
                'has it; the next run looks again'
            )
        LOG.warning(
            'verdict=gone image=%s list-image=%s %s',
            action.row.image_id,
            action.row.identifier,
            action.because,
        )
        self._note(action.row, publications.gone(action.because))
