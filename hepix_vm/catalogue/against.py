# SPDX-License-Identifier: Apache-2.0
"""What speaks against one endorsement, in the order of the checks.

Pure, as ``model`` is; runs inside Glance and Nova.
"""

from __future__ import annotations

from collections.abc import Iterator

from hepix_vm.catalogue import believed
from hepix_vm.catalogue.reasons import Reason

#: Seconds by which the clocks of two machines may differ.
CLOCK_SKEW = 300

#: Of several refusals the last one in this order got furthest.
ORDER = (
    Reason.UNSUBSCRIBED,
    Reason.WITHDRAWN,
    Reason.REPLACED,
    Reason.SIZE_DIFFERS,
    Reason.NOT_APPROVED,
    Reason.REVOKED,
    Reason.DISTRUSTED,
    Reason.CLOCK,
    Reason.LIST_EXPIRED,
    Reason.IMAGE_EXPIRED,
    Reason.LIST_STALE,
    Reason.SUSPENDED,
    Reason.WRONG_PROJECT,
)


def first(
    endorsement: believed.Endorsement,
    subscribed: believed.Subscribed | None,
    size: int,
    project: str | None,
    now: int,
    passed_over: frozenset[Reason] = frozenset(),
) -> Reason | None:
    """The first thing that speaks against an endorsement; None: nothing.

    :param subscribed: the subscription that it came by, if it is known
    :param size: bytes
    :param passed_over: what is not asked for
    """
    for reason in _all(endorsement, subscribed, size, project, now):
        if reason not in passed_over:
            return reason
    return None


def _all(
    endorsement: believed.Endorsement,
    subscribed: believed.Subscribed | None,
    size: int,
    project: str | None,
    now: int,
) -> Iterator[Reason]:
    standing = believed.Standing
    if subscribed is None or subscribed.standing is standing.UNSUBSCRIBED:
        yield Reason.UNSUBSCRIBED
        return
    if endorsement.withdrawn:
        yield Reason.WITHDRAWN
    replaced = endorsement.replaced_until
    if replaced is not None and now >= replaced:
        yield Reason.REPLACED
    if endorsement.size != size:
        yield Reason.SIZE_DIFFERS
    if not endorsement.approved:
        yield Reason.NOT_APPROVED
    if subscribed.standing is standing.REVOKED:
        yield Reason.REVOKED
    elif subscribed.standing is not standing.TRUSTED:
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
