# SPDX-License-Identifier: Apache-2.0
"""What a site believes, as frozen values, and the decision over them.

Pure: no file, network, database or clock. Times are whole UNIX seconds
(UTC) and arrive as arguments. This module runs inside Glance and Nova, so
it needs the standard library only.

Which endorsement counts: endorsements attach to *bytes* (SHA-512 and
size). Bytes are approved for a project when at least one endorsement of
them is approved for that project and fresh, and none of them is blocked by
the site or stems from a revoked endorser. The site may run bytes anyway, for
a time, whose endorsement has ended by itself (``PASSED_OVER``). A Glance
image is approved when its record is positive, it still is the image that was
recorded, and its endorsed bytes are approved.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import enum
from typing import NoReturn

from hepix_vm.catalogue.reasons import Reason as Reason
from hepix_vm.catalogue.reasons import SENTENCES as SENTENCES
from hepix_vm.catalogue.reasons import Verdict as Verdict
from hepix_vm.catalogue.reasons import WITHDRAWING as WITHDRAWING

#: Seconds by which the clocks of two machines may differ.
CLOCK_SKEW = 300


class Standing(enum.StrEnum):
    """How the stored list of a subscription fares under verification."""

    TRUSTED = 'trusted'
    DISTRUSTED = 'distrusted'
    REVOKED = 'revoked'
    UNSUBSCRIBED = 'unsubscribed'


class RecordState(enum.StrEnum):
    """Life of a Glance record.

    ``verified``: the staged bytes were right, the import goes on.
    ``positive``: the import is complete as far as this suite can see; the
    record takes effect when Glance makes the image active.
    ``withdrawn``: kept so that servers can be found; never positive again
    except by a new import.
    """

    VERIFIED = 'verified'
    POSITIVE = 'positive'
    WITHDRAWN = 'withdrawn'


@dataclasses.dataclass(frozen=True, slots=True)
class Subscribed:
    """What decisions need to know of a subscription and its list.

    :ivar expires: end of the list's validity
    :ivar verified_at: when the list was last fetched **and** verified
    :ivar max_age: seconds that a list may go without that
    :ivar projects: project ids that may use its images; None means all
    :ivar held_run: whether images whose withdrawal waits for the operator's
        confirmation go on running meanwhile
    """

    name: str
    list_identifier: str
    list_version: str
    standing: Standing
    expires: int
    verified_at: int
    max_age: int
    projects: frozenset[str] | None
    held_run: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Endorsement:
    """One image of one list: these bytes, said to be this image.

    :ivar held: the newest list lacks it, but would withdraw so much at once
        that an operator has to confirm it
    """

    row: int
    subscription: str
    identifier: str
    version: str
    sha512: str
    size: int
    expires: int | None
    approved: bool
    withdrawn: bool
    held: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class GlanceRecord:
    """What the import plugins found out about a Glance image.

    :ivar sha512: of the bytes as endorsed, with :ivar:`size`
    :ivar final_sha512: of the bytes that Glance stores; they differ from
        the endorsed ones only where a converting plugin ran
    :ivar created_at: the image's own creation time in Glance: a deleted
        image's id that somebody uses again has another one (OSSN-0075)
    """

    image_id: str
    state: RecordState
    sha512: str
    size: int
    final_sha512: str
    final_size: int
    created_at: int


@dataclasses.dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a caller sees of a Glance image; None where it sees nothing."""

    image_id: str | None
    size: int | None = None
    created_at: int | None = None
    final_sha512: str | None = None
    must_know_size: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    """The catalogue at one revision, as decisions see it.

    :ivar endorsements: by SHA-512 (lower-case hex)
    :ivar records: by Glance image id
    :ivar blocked: image identifiers and SHA-512 values
    :ivar run_anyway: UNIX seconds until which the site runs bytes although
        their endorsement has ended, by SHA-512
    :ivar answered_at: when the store last answered; None: never
    """

    subscriptions: Mapping[str, Subscribed]
    endorsements: Mapping[str, tuple[Endorsement, ...]]
    records: Mapping[str, GlanceRecord]
    blocked: frozenset[str]
    answered_at: int | None
    revision: int = 0
    run_anyway: Mapping[str, int] = dataclasses.field(default_factory=dict)


EMPTY = Snapshot({}, {}, {}, frozenset(), None)


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
) -> Decision:
    """Whether these bytes may be used by that project now.

    :param size: bytes
    :param project: project id; None asks for the bytes in general
    :param reader_max_age: seconds since the store last answered
    :param subject: how to call the bytes in the sentence
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
    return _best(snapshot, candidates, size, project, now, subject)


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
    if record.state is RecordState.VERIFIED:
        return refused(Reason.RECORD_PENDING, subject)
    decision = decide_bytes(
        snapshot,
        record.sha512,
        record.size,
        project,
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
    return ''


def _best(
    snapshot: Snapshot,
    candidates: tuple[Endorsement, ...],
    size: int,
    project: str | None,
    now: int,
    subject: str,
) -> Decision:
    """Approval by any candidate, or the refusal that got furthest."""
    furthest = -1
    best: Decision | None = None
    anyway: Decision | None = None
    for endorsement in candidates:
        subscribed = snapshot.subscriptions.get(endorsement.subscription)
        reason = _reason_against(endorsement, subscribed, size, project, now)
        if (
            reason in PASSED_OVER
            and subscribed is not None
            and now < snapshot.run_anyway.get(endorsement.sha512, 0)
        ):
            reason = _reason_against(
                endorsement, subscribed, size, project, now, PASSED_OVER
            )
            if reason is None:
                anyway = anyway or _anyway(subject, endorsement, subscribed)
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
        rank = _ORDER.index(reason or Reason.UNSUBSCRIBED)
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


_ORDER = (
    Reason.UNSUBSCRIBED,
    Reason.WITHDRAWN,
    Reason.SIZE_DIFFERS,
    Reason.NOT_APPROVED,
    Reason.DISTRUSTED,
    Reason.CLOCK,
    Reason.LIST_EXPIRED,
    Reason.IMAGE_EXPIRED,
    Reason.LIST_STALE,
    Reason.SUSPENDED,
    Reason.WRONG_PROJECT,
)

#: What a site's own word can pass over: an endorsement that ran out, was not
#: seen again, or was taken back. Never a revocation, a block, a list that is
#: not believed (its signer may be revoked), other bytes or another project.
PASSED_OVER = frozenset(
    {
        Reason.WITHDRAWN,
        Reason.LIST_EXPIRED,
        Reason.IMAGE_EXPIRED,
        Reason.LIST_STALE,
        Reason.SUSPENDED,
    }
)


def _reason_against(
    endorsement: Endorsement,
    subscribed: Subscribed | None,
    size: int,
    project: str | None,
    now: int,
    passed_over: frozenset[Reason] = frozenset(),
) -> Reason | None:
    """The first thing that speaks against one endorsement, in order."""
    for reason in _reasons_against(
        endorsement, subscribed, size, project, now
    ):
        if reason not in passed_over:
            return reason
    return None


def _reasons_against(
    endorsement: Endorsement,
    subscribed: Subscribed | None,
    size: int,
    project: str | None,
    now: int,
) -> Iterator[Reason]:
    if subscribed is None or subscribed.standing is Standing.UNSUBSCRIBED:
        yield Reason.UNSUBSCRIBED
        return
    if endorsement.withdrawn:
        yield Reason.WITHDRAWN
    if endorsement.size != size:
        yield Reason.SIZE_DIFFERS
    if not endorsement.approved:
        yield Reason.NOT_APPROVED
    if subscribed.standing is not Standing.TRUSTED:
        yield Reason.DISTRUSTED
    if subscribed.verified_at > now + CLOCK_SKEW:
        yield Reason.CLOCK
    if now >= subscribed.expires:
        yield Reason.LIST_EXPIRED
    if endorsement.expires is not None and now >= endorsement.expires:
        yield Reason.IMAGE_EXPIRED
    if now - subscribed.verified_at > subscribed.max_age:
        yield Reason.LIST_STALE
    if endorsement.held and not subscribed.held_run:
        yield Reason.SUSPENDED
    if (
        project is not None
        and subscribed.projects is not None
        and project not in subscribed.projects
    ):
        yield Reason.WRONG_PROJECT


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
