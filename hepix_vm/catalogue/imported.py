# SPDX-License-Identifier: Apache-2.0
"""What another tool had seen of a list, as this catalogue's knowledge.

It only ever speaks against a list: one that is older is a rollback. No list,
image or signer is believed because of it.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import enum
from typing import Any

from hepix_vm.catalogue import database
from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import store
from hepix_vm.catalogue import subscription as subscription_
from hepix_vm import imagelist

Transact = Callable[[Callable[[database.Transaction], 'Outcome']], 'Outcome']


class Outcome(enum.StrEnum):
    """What became of it."""

    WRITTEN = 'written'
    KNOWN = 'known already'
    NOT_FOLLOWED = 'not followed'
    OTHER_LIST = 'other list'
    FROM_FUTURE = 'from the future'

    @property
    def problem(self) -> str:
        """What an operator has to do; '' for nothing."""
        return _PROBLEMS.get(self, '')


_PROBLEMS = {
    Outcome.OTHER_LIST: (
        'the catalogue still holds another list under this name: give the '
        'group another name, or sync it first and apply the state again'
    ),
    Outcome.FROM_FUTURE: (
        'that list was created in the future, so every real one would be '
        'refused: look at the clocks; it was not taken over'
    ),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Imported:
    """The newest list that a tool had accepted.

    :ivar created: when the list was made, UNIX seconds
    :ivar endorsers: whose signature the tool took, for the history
    """

    tool: str
    version: str
    created: int
    endorsers: tuple[str, ...] = ()


def remember(
    transaction: database.Transaction,
    subscription: subscription_.Subscription,
    found: Imported,
    now: int,
    who: str,
) -> Outcome:
    """Know of a list that it was seen elsewhere.

    What is known is never lowered; knowing more already changes nothing.

    :raises ValueError: the version is none, see ``imagelist.version_key``
    """
    if found.created > now + model.CLOCK_SKEW:
        return Outcome.FROM_FUTURE
    name = subscription.name
    state = store.subscription_state(transaction.connection, name)
    version, created = found.version, found.created
    if (
        state is not None
        and state.list_identifier is not None
        and state.list_version is not None
        and state.created is not None
    ):
        if state.list_identifier != subscription.list_identifier:
            return Outcome.OTHER_LIST
        before = imagelist.version_key(state.list_version)
        if imagelist.version_key(version) <= before:
            version = state.list_version
        created = max(created, state.created)
        if (version, created) == (state.list_version, state.created):
            return Outcome.KNOWN
    _write(transaction, subscription, state, version, created)
    transaction.remember(
        now,
        who,
        'state-imported',
        name,
        f'list {subscription.list_identifier} version {found.version} created '
        f'{found.created}, accepted by {found.tool} from '
        f'{"; ".join(found.endorsers) or "an unknown endorser"}: older lists '
        'are refused',
    )
    return Outcome.WRITTEN


def _write(
    transaction: database.Transaction,
    subscription: subscription_.Subscription,
    state: store.SubscriptionState | None,
    version: str,
    created: int,
) -> None:
    values: dict[str, Any] = {
        'list_identifier': subscription.list_identifier,
        'list_version': version,
        'created': created,
        # Its content is not known: that very list may come, as another may.
        'payload_sha256': None,
        # The server is asked for its list, whatever it has said before.
        'etag': None,
        'last_modified': None,
        'judged_by': None,
        'judged_until': None,
    }
    if state is None:
        values |= {
            'configured': True,
            'standing': model.Standing.DISTRUSTED.value,
            'max_age': subscription.list_max_age,
        }
    transaction.put(schema.subscription, {'name': subscription.name}, values)
