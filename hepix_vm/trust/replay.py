# SPDX-License-Identifier: Apache-2.0
"""Rollback and equivocation: a list against the one seen before.

The state of a subscription is a :class:`Seen`; the caller stores what
:func:`check` returns durably before anything acts on it.
"""

from __future__ import annotations

import dataclasses
import datetime

from hepix_vm import imagelist
from hepix_vm.trust import codes
from hepix_vm.trust import verifier

_SKEW = datetime.timedelta(minutes=5)


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """The highest list of a subscription that was accepted.

    :param identifier: of the list
    :param version: as the list writes it
    :param created: when the list was made, UTC
    :param payload_sha256: hex digest of the verified payload; None where
        another tool accepted the list: that version may come again, as
        whatever list, an older one may not
    """

    identifier: str
    version: str
    created: datetime.datetime
    payload_sha256: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class New:
    """The first list of the subscription."""

    seen: Seen


@dataclasses.dataclass(frozen=True, slots=True)
class Renewal:
    """A later list; ``previous`` is superseded."""

    seen: Seen
    previous: Seen


@dataclasses.dataclass(frozen=True, slots=True)
class Same:
    """The list that was seen before; only its last-seen time moves."""

    seen: Seen


Outcome = New | Renewal | Same


def check(
    previous: Seen | None,
    endorsed: verifier.EndorsedList,
    now: datetime.datetime,
    skew: datetime.timedelta = _SKEW,
) -> Outcome:
    """Hold a verified list against what was accepted before.

    :param previous: state of the subscription; None if there is none
    :param now: time of the check, with a time zone
    :param skew: how far ahead of ours the endorser's clock may be
    :raises hepix_vm.errors.Refused: ``list-from-future``,
        ``wrong-identifier``, ``rollback``, ``equivocation``
    """
    image_list = endorsed.image_list
    seen = Seen(
        image_list.identifier,
        image_list.version,
        image_list.created,
        endorsed.payload_sha256,
    )
    if seen.created > now + skew:
        raise codes.refused(
            codes.Code.LIST_FROM_FUTURE,
            f'the list was created at {seen.created.isoformat()}, now is '
            f'{now.isoformat()}',
        )
    if previous is None:
        return New(seen)
    if seen.identifier != previous.identifier:
        raise codes.refused(
            codes.Code.WRONG_IDENTIFIER,
            f'the list is {seen.identifier}, seen before was '
            f'{previous.identifier}',
            expected=previous.identifier,
            found=seen.identifier,
        )
    if seen.payload_sha256 == previous.payload_sha256:
        return Same(seen)
    _require_forward(seen, previous)
    return Renewal(seen, previous)


def _require_forward(seen: Seen, previous: Seen) -> None:
    order = imagelist.version_key(seen.version)
    before = imagelist.version_key(previous.version)
    if order < before:
        raise codes.refused(
            codes.Code.ROLLBACK,
            f'the list has version {seen.version}, seen before was '
            f'{previous.version}',
            expected=previous.version,
            found=seen.version,
        )
    if order == before and previous.payload_sha256 is not None:
        raise codes.refused(
            codes.Code.EQUIVOCATION,
            f'the list has version {seen.version} as before, but other '
            'content',
            expected=previous.payload_sha256,
            found=seen.payload_sha256,
        )
    if seen.created < previous.created:
        raise codes.refused(
            codes.Code.ROLLBACK,
            f'the list was created at {seen.created.isoformat()}, seen '
            f'before was one of {previous.created.isoformat()}',
            expected=previous.created.isoformat(),
            found=seen.created.isoformat(),
        )
