# SPDX-License-Identifier: Apache-2.0
"""What a site believes and has recorded, as frozen values.

Times are whole UNIX seconds (UTC). Runs inside Glance and Nova; the standard
library only.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import enum


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


class Children(enum.StrEnum):
    """What becomes of snapshots of servers whose image is approved."""

    FOLLOW = 'follow'
    KEEP = 'keep'
    REFUSE = 'refuse'


@dataclasses.dataclass(frozen=True, slots=True)
class Subscribed:
    """What decisions need to know of a subscription and its list.

    :ivar expires: end of the list's validity
    :ivar verified_at: when the list was last fetched **and** verified
    :ivar max_age: seconds that a list may go without that
    :ivar projects: project ids that may use its images; None means all
    :ivar held_run: whether images whose withdrawal waits for the operator's
        confirmation go on running meanwhile
    :ivar endorser: distinguished name of who signed the list; the first of
        several; '': not known
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
    endorser: str = ''


@dataclasses.dataclass(frozen=True, slots=True)
class Endorsement:
    """One image of one list: these bytes, said to be this image.

    :ivar held: the newest list lacks it, but would withdraw so much at once
        that an operator has to confirm it
    :ivar replaced_until: the newest list has a newer version in its place;
        UNIX seconds until which it counts all the same
    :ivar vo: the virtual organisation that it names; '': none
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
    replaced_until: int | None = None
    vo: str = ''


@dataclasses.dataclass(frozen=True, slots=True)
class Derived:
    """Endorsed bytes of which the site made others; see ``schema.derived``.

    :ivar size: of the bytes that were made
    :ivar sha512: of the endorsed bytes, with :ivar:`origin_size`
    """

    size: int
    sha512: str
    origin_size: int
    step: str


@dataclasses.dataclass(frozen=True, slots=True)
class GlanceRecord:
    """What the import plugins found out about a Glance image.

    :ivar sha512: of the bytes as endorsed, with :ivar:`size`
    :ivar final_sha512: of the bytes that Glance stores; they differ from
        the endorsed ones only where a converting plugin ran
    :ivar created_at: the image's own creation time in Glance: a deleted
        image's id that somebody uses again has another one (OSSN-0075)
    :ivar boot: what of the image changes how it boots, see
        ``catalogue.boot``; None: nobody looked
    :ivar parent: the image of whose server it is a snapshot; '': of none
    """

    image_id: str
    state: RecordState
    sha512: str
    size: int
    final_sha512: str
    final_size: int
    created_at: int
    boot: str | None = None
    parent: str = ''


@dataclasses.dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a caller sees of a Glance image; None where it sees nothing.

    :ivar boot: names and values that ``catalogue.boot`` found
    """

    image_id: str | None
    size: int | None = None
    created_at: int | None = None
    final_sha512: str | None = None
    must_know_size: bool = True
    boot: tuple[tuple[str, str], ...] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    """The catalogue at one revision, as decisions see it.

    :ivar endorsements: by SHA-512 (lower-case hex)
    :ivar records: by Glance image id
    :ivar blocked: image identifiers and SHA-512 values
    :ivar derived: of which endorsed bytes the site made others, in the order
        of their SHA-512, by the SHA-512 of those others
    :ivar run_anyway: UNIX seconds until which the site runs bytes although
        their endorsement has ended, by SHA-512
    :ivar quarantined: the project that alone may boot an image, by its id
    :ivar children: what becomes of records with a parent
    :ivar answered_at: when the store last answered; None: never
    """

    subscriptions: Mapping[str, Subscribed]
    endorsements: Mapping[str, tuple[Endorsement, ...]]
    records: Mapping[str, GlanceRecord]
    blocked: frozenset[str]
    answered_at: int | None
    revision: int = 0
    run_anyway: Mapping[str, int] = dataclasses.field(default_factory=dict)
    derived: Mapping[str, tuple[Derived, ...]] = dataclasses.field(
        default_factory=dict
    )
    quarantined: Mapping[str, str] = dataclasses.field(default_factory=dict)
    children: Children = Children.FOLLOW


EMPTY = Snapshot({}, {}, {}, frozenset(), None)
