# SPDX-License-Identifier: Apache-2.0
"""The decision over what a site believes.

Pure: no file, network, database or clock. Times are whole UNIX seconds
(UTC) and arrive as arguments. This module runs inside Glance and Nova, so
it needs the standard library only.

Which endorsement counts: endorsements attach to *bytes* (SHA-512 and
size). Bytes are approved for a project when at least one endorsement of
them is approved for that project and fresh, and none of them is blocked by
the site or stems from a revoked endorser. The site may run bytes anyway, for
a time, whose endorsement has ended by itself (``PASSED_OVER``). A Glance
image is approved when its record is positive, it still is the image that was
recorded, and its endorsed bytes are approved. While the site still tries out
whether it boots, that holds for the one project in which it does so.
"""

from __future__ import annotations

import dataclasses
from typing import NoReturn

from hepix_vm.catalogue import against
from hepix_vm.catalogue.against import CLOCK_SKEW as CLOCK_SKEW
from hepix_vm.catalogue.believed import Children as Children
from hepix_vm.catalogue.believed import Derived as Derived
from hepix_vm.catalogue.believed import EMPTY as EMPTY
from hepix_vm.catalogue.believed import Endorsement as Endorsement
from hepix_vm.catalogue.believed import GlanceRecord as GlanceRecord
from hepix_vm.catalogue.believed import ImageFacts as ImageFacts
from hepix_vm.catalogue.believed import RecordState as RecordState
from hepix_vm.catalogue.believed import Snapshot as Snapshot
from hepix_vm.catalogue.believed import Standing as Standing
from hepix_vm.catalogue.believed import Subscribed as Subscribed
from hepix_vm.catalogue import boot
from hepix_vm.catalogue.reasons import PASSED_OVER as PASSED_OVER
from hepix_vm.catalogue.reasons import Reason as Reason
from hepix_vm.catalogue.reasons import SENTENCES as SENTENCES
from hepix_vm.catalogue.reasons import State as State
from hepix_vm.catalogue.reasons import STATES as STATES
from hepix_vm.catalogue.reasons import Verdict as Verdict
from hepix_vm.catalogue.reasons import WITHDRAWING as WITHDRAWING


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """A verdict, its stable reason code and a sentence.

    It has no truth value on purpose: ask for ``verdict``.
    """

    verdict: Verdict
    code: Reason
    subject: str
    detail: str
    endorsement: Endorsement | None = None
    list_identifier: str | None = None

    def __bool__(self) -> NoReturn:
        raise TypeError(
            'a Decision has no truth value; compare its verdict with '
            'Verdict.APPROVED'
        )

    @property
    def approved(self) -> bool:
        """True only for ``Verdict.APPROVED``."""
        return self.verdict is Verdict.APPROVED

    @property
    def state(self) -> State:
        """Fresh, stale or withdrawn: what to expect of the image."""
        return STATES[self.code]

    @property
    def sentence(self) -> str:
        """What a user reads: subject, verdict, why and what to do."""
        return f'{self.subject} is {self.verdict} ({self.code}): {self.detail}'


def refused(
    code: Reason,
    subject: str,
    extra: str = '',
    endorsement: Endorsement | None = None,
    list_identifier: str | None = None,
) -> Decision:
    """A refusal with its standard sentence, and particulars in front."""
    detail = SENTENCES[code]
    if extra:
        detail = f'{extra}; {detail}'
    return Decision(
        Verdict.REFUSED, code, subject, detail, endorsement, list_identifier
    )


def short(sha512: str) -> str:
    """A digest as people compare it in a sentence."""
    return f'sha512:{sha512[:16]}...'


def decide_bytes(
    snapshot: Snapshot,
    sha512: str,
    size: int,
    project: str | None,
    now: int,
    reader_max_age: int,
    subject: str = '',
    kept: bool = False,
) -> Decision:
    """Whether these bytes may be used by that project now.

    :param size: bytes
    :param project: project id; None asks for the bytes in general
    :param reader_max_age: seconds since the store last answered
    :param subject: how to call the bytes in the sentence
    :param kept: whether they may be although their endorsement has ended
    """
    subject = subject or f'image data {short(sha512)}'
    unsure = _catalogue_unsure(snapshot, now, reader_max_age)
    if unsure is not None:
        return refused(unsure, subject)
    if sha512 in snapshot.blocked:
        return refused(Reason.BLOCKED, subject)
    candidates = snapshot.endorsements.get(sha512, ())
    if not candidates:
        return refused(Reason.NOT_ENDORSED, subject)
    for endorsement in candidates:
        subscribed = snapshot.subscriptions.get(endorsement.subscription)
        if endorsement.identifier in snapshot.blocked:
            return _refused_by(Reason.BLOCKED, subject, endorsement)
        if (
            subscribed is not None
            and subscribed.standing is Standing.REVOKED
            and not endorsement.withdrawn
        ):
            return _refused_by(
                Reason.REVOKED, subject, endorsement, subscribed
            )
    return _best(snapshot, candidates, size, project, now, subject, kept)


def decide_record(
    snapshot: Snapshot,
    record: GlanceRecord,
    project: str | None,
    now: int,
    reader_max_age: int,
    subject: str = '',
) -> Decision:
    """Whether the bytes of a recorded image may be used.

    They are the endorsed ones, or what was made of them by the site or in a
    server, which can be blocked by itself.
    """
    stored = record.final_sha512
    if stored in snapshot.blocked and stored != record.sha512:
        return refused(
            Reason.BLOCKED, subject or f'image data {short(stored)}'
        )
    if record.parent and snapshot.children is Children.REFUSE:
        return refused(
            Reason.NO_RECORD,
            subject or f'image data {short(stored)}',
            'this site uses no snapshots of servers',
        )
    return decide_bytes(
        snapshot,
        record.sha512,
        record.size,
        project,
        now,
        reader_max_age,
        subject,
        bool(record.parent) and snapshot.children is Children.KEEP,
    )


def decide_image(
    snapshot: Snapshot,
    image: ImageFacts,
    project: str | None,
    now: int,
    reader_max_age: int,
) -> Decision:
    """Whether this Glance image may be used by that project now."""
    if not image.image_id:
        return refused(Reason.NO_IMAGE, 'this request')
    subject = f'image {image.image_id}'
    unsure = _catalogue_unsure(snapshot, now, reader_max_age)
    if unsure is not None:
        return refused(unsure, subject)
    record = snapshot.records.get(image.image_id)
    if record is None:
        return refused(Reason.NO_RECORD, subject)
    decision = _of_record(
        snapshot, image, record, project, now, reader_max_age, subject
    )
    if decision.approved or not record.parent:
        return decision
    return dataclasses.replace(
        decision,
        detail=f'it is a snapshot of a server of image {record.parent}; '
        + decision.detail,
    )


def is_imported(
    snapshot: Snapshot, image: ImageFacts, now: int, reader_max_age: int
) -> bool:
    """Whether this is an image that came in by a checked import, unchanged.

    That says nothing about its approval, which may have ended since. It is
    asked for servers that exist: an image that was withdrawn must not keep
    them on a failing host.
    """
    record = snapshot.records.get(image.image_id or '')
    return (
        record is not None
        and record.state is not RecordState.VERIFIED
        and _catalogue_unsure(snapshot, now, reader_max_age) is None
        and not _changed(image, record)
    )


def _of_record(
    snapshot: Snapshot,
    image: ImageFacts,
    record: GlanceRecord,
    project: str | None,
    now: int,
    reader_max_age: int,
    subject: str,
) -> Decision:
    if record.state is RecordState.VERIFIED:
        return refused(Reason.RECORD_PENDING, subject)
    only = snapshot.quarantined.get(record.image_id)
    trying = only is not None and project == only
    decision = decide_record(
        snapshot,
        record,
        # Whether it boots is tried out for all who may use it later.
        None if trying else project,
        now,
        reader_max_age,
        subject,
    )
    if record.state is not RecordState.POSITIVE:
        # The bytes' own reason says more than "withdrawn" where there is one.
        if decision.code in WITHDRAWING:
            return decision
        return refused(Reason.RECORD_WITHDRAWN, subject)
    changed = _changed(image, record)
    if changed:
        return refused(Reason.IMAGE_CHANGED, subject, changed)
    if decision.approved and not (only is None or project is None or trying):
        return refused(
            Reason.QUARANTINE,
            subject,
            '',
            decision.endorsement,
            decision.list_identifier,
        )
    return decision


def _catalogue_unsure(
    snapshot: Snapshot, now: int, reader_max_age: int
) -> Reason | None:
    if snapshot.answered_at is None:
        return Reason.STORE_UNAVAILABLE
    if now - snapshot.answered_at > reader_max_age:
        return Reason.STORE_UNAVAILABLE
    if snapshot.answered_at > now + CLOCK_SKEW:
        return Reason.CLOCK
    return None


def _changed(image: ImageFacts, record: GlanceRecord) -> str:
    """What differs between the image and its record; '' for nothing."""
    if image.size is None:
        if image.must_know_size:
            return 'its size is not known'
    elif image.size != record.final_size:
        return f'it has {image.size} bytes, {record.final_size} were recorded'
    if image.created_at is not None and image.created_at != record.created_at:
        return 'it was created at another time than the recorded image'
    if (
        image.final_sha512 is not None
        and image.final_sha512 != record.final_sha512
    ):
        return 'its hash is not the recorded one'
    if image.boot and record.boot is not None:
        name = boot.differs(image.boot, record.boot)
        if name:
            return f'its {name} was changed after it was recorded'
    return ''


def _best(
    snapshot: Snapshot,
    candidates: tuple[Endorsement, ...],
    size: int,
    project: str | None,
    now: int,
    subject: str,
    kept: bool,
) -> Decision:
    """Approval by any candidate, or the refusal that got furthest."""
    furthest = -1
    best: Decision | None = None
    anyway: Decision | None = None
    for endorsement in candidates:
        subscribed = snapshot.subscriptions.get(endorsement.subscription)
        reason = against.first(endorsement, subscribed, size, project, now)
        if (
            reason in PASSED_OVER
            and subscribed is not None
            and (kept or now < snapshot.run_anyway.get(endorsement.sha512, 0))
        ):
            reason = against.first(
                endorsement, subscribed, size, project, now, PASSED_OVER
            )
            if reason is None:
                if anyway is None:
                    anyway = _anyway(subject, endorsement, subscribed)
                continue
        if reason is None and subscribed is not None:
            return Decision(
                Verdict.APPROVED,
                Reason.APPROVED,
                subject,
                f'endorsed as {endorsement.identifier} version '
                f'{endorsement.version} by list '
                f'{subscribed.list_identifier}',
                endorsement,
                subscribed.list_identifier,
            )
        rank = against.ORDER.index(reason or Reason.UNSUBSCRIBED)
        if rank > furthest:
            furthest = rank
            best = _refused_by(
                reason or Reason.UNSUBSCRIBED,
                subject,
                endorsement,
                subscribed,
            )
    if anyway is not None:
        return anyway
    if best is None:
        return refused(Reason.NOT_ENDORSED, subject)
    return best


def _anyway(
    subject: str, endorsement: Endorsement, subscribed: Subscribed
) -> Decision:
    return Decision(
        Verdict.APPROVED,
        Reason.RUN_ANYWAY,
        subject,
        f'was endorsed as {endorsement.identifier} version '
        f'{endorsement.version} by list {subscribed.list_identifier}; '
        f'{SENTENCES[Reason.RUN_ANYWAY]}',
        endorsement,
        subscribed.list_identifier,
    )


def _refused_by(
    code: Reason,
    subject: str,
    endorsement: Endorsement,
    subscribed: Subscribed | None = None,
) -> Decision:
    return refused(
        code,
        subject,
        f'endorsed as {endorsement.identifier} by subscription '
        f'{endorsement.subscription}',
        endorsement,
        subscribed.list_identifier if subscribed is not None else None,
    )
