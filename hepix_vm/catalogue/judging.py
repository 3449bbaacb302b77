# SPDX-License-Identifier: Apache-2.0
"""Whether a standing that was found once still holds.

The standing of a stored list follows from four things: the message, what the
site demands of its signer, the trust anchors with their CRLs, and the time.
A *mark* stands for the first three. While it stays the same and no moment
passes at which a certificate or CRL begins or ends, verifying again would
find the same, so the message is neither loaded nor verified.

A mark has two halves of 128 bits: what is asked for (URL and demands), and
the evidence (message and anchors). So it is seen, too, that a subscription
was edited.
"""

from __future__ import annotations

from collections.abc import Iterable
import functools
import hashlib
from importlib import metadata
import json

import sqlalchemy as sa

from hepix_vm.catalogue import believed
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import store
from hepix_vm.catalogue import subscription as subscription_

#: Stands for the anchors of a directory that cannot be used.
UNUSABLE = 'unusable'

_HALF = 32


def mark(
    subscription: subscription_.Subscription,
    message_sha256: str | None,
    anchors_sha256: str,
) -> str:
    """What a standing is found with; 64 hex digits.

    :param message_sha256: of the stored message; None: there is none
    """
    evidence = _digest([message_sha256, anchors_sha256])
    return asked(subscription) + evidence


def asked(subscription: subscription_.Subscription) -> str:
    """The first half of a mark: where the list is, and who may sign it."""
    return _digest(
        [
            *_versions(),
            subscription.url,
            subscription.list_identifier,
            subscription.endorser_subject,
            subscription.endorser_issuer,
            subscription.co_endorsers,
            subscription.threshold,
            subscription.trust_anchors,
            subscription.crl,
            subscription.signing_policy,
            sorted(subscription.pins),
            subscription.accept_server_certificates,
            subscription.dangerous_accept_self_signed,
            subscription.dangerous_accept_sha1,
            sorted(subscription.limits.items()),
        ]
    )


def was_edited(
    subscription: subscription_.Subscription, state: store.SubscriptionState
) -> bool:
    """Whether it is configured otherwise than when it was last tried."""
    return (state.judged_by or '')[:_HALF] != asked(subscription)


def needs_a_look(state: store.SubscriptionState, found: str, now: int) -> bool:
    """Whether a stored list may fare otherwise than it did.

    :param found: its present mark
    """
    if state.judged_by != found:
        return True
    return state.judged_until is not None and state.judged_until <= now


def holds(state: store.SubscriptionState, found: str, now: int) -> bool:
    """Whether a stored list is trusted without another look.

    :param found: its present mark
    """
    return (
        state.standing is believed.Standing.TRUSTED
        and state.judged_by == found
        and state.judged_until is not None
        and now < state.judged_until
        # The clock went back: what had begun then may not have begun now.
        and state.verified_at is not None
        and state.verified_at <= now
    )


def first_after(now: int, moments: Iterable[int]) -> int | None:
    """The first of some moments that is still to come."""
    return min((moment for moment in moments if moment > now), default=None)


def messages(connection: sa.Connection) -> dict[str, str]:
    """SHA-256 of the stored message, by name of the subscription."""
    table, seen = schema.subscription, schema.list_seen
    rows = connection.execute(
        sa.select(table.c.name, seen.c.message_sha256).join(
            seen, seen.c.id == table.c.list_id
        )
    )
    return {row.name: row.message_sha256 for row in rows}


@functools.cache
def _versions() -> tuple[str, ...]:
    """Another release may judge otherwise."""
    return tuple(
        metadata.version(name) for name in ('hepix_vm', 'cryptography')
    )


def _digest(values: list[object]) -> str:
    text = json.dumps(values, separators=(',', ':'))
    return hashlib.sha256(text.encode()).hexdigest()[:_HALF]
