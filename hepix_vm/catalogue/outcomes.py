# SPDX-License-Identifier: Apache-2.0
"""What an attempt leaves in the catalogue, written in one transaction.

Each function is the work of a transaction, which may be done again: nothing
but the transaction is touched.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
from typing import Any

from hepix_vm.catalogue import accept
from hepix_vm.catalogue import database
from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import model
from hepix_vm.catalogue.reports import Outcome
from hepix_vm.catalogue.reports import Report
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import store
from hepix_vm.catalogue import subscription as subscription_
from hepix_vm.catalogue import unsigned
from hepix_vm import errors
from hepix_vm import trust


@dataclasses.dataclass(frozen=True, slots=True)
class Judgement:
    """How the stored list fares, and what that was found with.

    :ivar judged_by: see ``judging``
    :ivar judged_until: likewise
    :ivar list_id: which list was looked at: 0, there was none; None, it did
        not matter
    """

    standing: model.Standing
    code: str
    detail: str
    judged_by: str
    judged_until: int | None
    list_id: int | None


def accepted(
    transaction: database.Transaction,
    subscription: subscription_.Subscription,
    endorsed: trust.EndorsedList,
    offered: fetch.Fetched,
    marks: accept.Marks,
    refused: Callable[..., Report],
    now: int,
) -> Report:
    """Store a believed list.

    :param refused: what to do when it is older than the one before
    """
    try:
        stored = accept.store_list(
            transaction,
            subscription,
            endorsed,
            offered.content,
            offered.validators,
            now,
            marks,
        )
    except errors.Refused as exc:
        # Said before anything was written.
        return refused(transaction, refusal=exc)
    return Report(
        subscription.name,
        Outcome.ACCEPTED if stored.new_list else Outcome.UNCHANGED,
        str(trust.Code.OK),
        '',
        model.Standing.TRUSTED,
        endorsed.image_list.version,
        stored.added,
        stored.withdrawn,
        stored.problems,
    )


def refused(
    transaction: database.Transaction,
    subscription: subscription_.Subscription,
    message: bytes,
    refusal: errors.Refused,
    judged: Callable[[], Judgement],
    timed: Callable[[int], int],
    now: int,
) -> Report:
    """Keep a refused message, and why; the stored list stays."""
    detail = refusal.detail
    if (
        subscription.dangerous_list_unsigned
        and refusal.code == trust.Code.NOT_SIGNED
    ):
        detail = f'{detail}; {unsigned.told(message)}'
    accept.remember_message(
        transaction, subscription.name, message, now, refusal.code, detail
    )
    return failed(
        transaction,
        subscription,
        Outcome.REFUSED,
        str(refusal.code),
        detail,
        judged(),
        timed,
        now,
    )


def failed(
    transaction: database.Transaction,
    subscription: subscription_.Subscription,
    outcome: Outcome,
    code: str,
    detail: str,
    judged: Judgement,
    timed: Callable[[int], int],
    now: int,
) -> Report:
    """Write down how the attempt ended; the stored list stays.

    :param timed: UNIX seconds of the next attempt, by failures in a row
    """
    before = store.subscription_state(
        transaction.connection, subscription.name
    )
    failures = (before.failures if before else 0) + 1
    standing = _put(
        transaction,
        subscription,
        before,
        judged,
        now,
        {
            'configured': True,
            'max_age': subscription.list_max_age,
            'last_attempt': now,
            'last_code': code,
            'last_detail': detail,
            'failures': failures,
            'next_attempt': timed(failures),
        },
    )
    if before is None or before.last_code != code:
        transaction.remember(
            now, 'sync', f'list-{outcome}', subscription.name, detail
        )
    return Report(
        subscription.name,
        outcome,
        code,
        detail,
        standing,
        before.list_version if before else None,
    )


def looked_again(
    transaction: database.Transaction,
    subscription: subscription_.Subscription,
    judged: Judgement,
    now: int,
) -> Report | None:
    """Note how the stored list fares; nothing was fetched.

    :returns: None when it fares as before
    """
    before = store.subscription_state(
        transaction.connection, subscription.name
    )
    standing = _put(transaction, subscription, before, judged, now, {})
    if before is None or before.standing is standing:
        return None
    return Report(
        subscription.name,
        Outcome.JUDGED,
        judged.code,
        judged.detail,
        standing,
        before.list_version,
    )


def _put(
    transaction: database.Transaction,
    subscription: subscription_.Subscription,
    before: store.SubscriptionState | None,
    judged: Judgement,
    now: int,
    values: dict[str, Any],
) -> model.Standing:
    """Write values, and the standing of the list that was looked at.

    Another sync may have stored a newer list, and judged that, since.

    :returns: the standing that holds now
    """
    if (
        before is not None
        and judged.list_id is not None
        and judged.list_id != (before.list_id or 0)
    ):
        if values:
            transaction.put(
                schema.subscription, {'name': subscription.name}, values
            )
        return before.standing
    transaction.put(
        schema.subscription,
        {'name': subscription.name},
        values
        | {
            'standing': judged.standing.value,
            'judged_by': judged.judged_by,
            'judged_until': judged.judged_until,
        },
    )
    if before is not None and before.standing is not judged.standing:
        transaction.remember(
            now,
            'sync',
            'standing',
            subscription.name,
            f'{before.standing} is now {judged.standing}',
        )
    return judged.standing
