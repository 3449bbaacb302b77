# SPDX-License-Identifier: Apache-2.0
"""Moving in from another tool: a proposal, and what it had seen."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import importlib
from pathlib import Path

from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import imported
from hepix_vm.catalogue import subscription as subscription_
from hepix_vm.catalogue import sync
from hepix_vm import errors
from hepix_vm.operations import messages
from hepix_vm.operations.predecessors import proposal
from hepix_vm.operations.predecessors import values
from hepix_vm.operations import site as site_
from hepix_vm import trust
from hepix_vm.trust import names

#: The tools whose state can be read.
TOOLS = ('vmcatcher', 'atrope', 'cloudkeeper')

Fetch = Callable[
    [str, fetch.FetchSettings, fetch.Validators],
    fetch.Fetched | fetch.NotModified,
]


@dataclasses.dataclass(frozen=True, slots=True)
class Applied:
    """What became of one list's state.

    :ivar subscription: name of the subscription that follows it, or ''
    :ivar list: the list's identifier
    :ivar warning: what an operator has to look at, or ''
    """

    subscription: str
    list: str
    version: str
    outcome: imported.Outcome
    warning: str = ''


def read(tool: str, path: Path) -> values.Predecessor:
    """What a tool keeps.

    :param tool: one of :data:`TOOLS`
    :param path: its database or configuration file
    :raises errors.Misconfigured: it cannot be read
    """
    module = importlib.import_module(
        f'hepix_vm.operations.predecessors.{tool}'
    )
    found: values.Predecessor = module.read(path)
    return found


def proposed(
    predecessor: values.Predecessor,
    configured: sync.Configured,
    claims: Mapping[str, proposal.Claim],
) -> str:
    """The configuration that an operator may want.

    :param configured: the subscriptions that are there already
    :param claims: see :func:`claimed`
    """
    groups = [
        proposal.Group(name, item, claims.get(item.url))
        for name, item in proposal.named(predecessor.followed, configured)
    ]
    already = {
        item.list_identifier: name
        for name, item in configured.items()
        if isinstance(item, subscription_.Subscription)
    }
    return proposal.render(predecessor, groups, already)


def claimed(
    predecessor: values.Predecessor,
    settings: fetch.FetchSettings,
    fetch_list: Fetch = fetch.fetch_list,
) -> dict[str, proposal.Claim]:
    """What the lists of unknown identity say of themselves, by URL.

    Nothing of it is verified, and no secret is shown to a server.
    """
    return {
        item.url: _claim(item.url, settings, fetch_list)
        for item in predecessor.followed
        if item.list_identifier is None or not item.endorsers
    }


def _claim(
    url: str, settings: fetch.FetchSettings, fetch_list: Fetch
) -> proposal.Claim:
    try:
        got = fetch_list(
            url,
            dataclasses.replace(settings, access=fetch.Access(url=url)),
            fetch.Validators(),
        )
        if isinstance(got, fetch.NotModified):
            return proposal.Claim(problem='the server says "not modified"')
        shown = messages.show(got.content)
    except errors.HepixError as exc:
        return proposal.Claim(problem=str(exc))
    return proposal.Claim(
        identifier=shown.identifier,
        version=shown.version,
        endorsers=tuple(
            (endorser.subject, endorser.issuer) for endorser in shown.endorsers
        ),
        signed=got.content.lstrip()[:1] not in (b'{', b'['),
    )


def apply_state(
    site: site_.Site, predecessor: values.Predecessor, now: int, who: str
) -> tuple[Applied, ...]:
    """Have every list refused that is older than what a tool had seen.

    Nothing becomes verified or approved by it, and nothing known is
    lowered. Lists are found among the configured subscriptions by their
    identifier, whatever their names are.

    :raises errors.Misconfigured: the tool keeps no versions
    :raises errors.LocalFault: when the catalogue cannot be written
    """
    known = [item for item in predecessor.followed if item.seen is not None]
    if not known:
        raise errors.Misconfigured(
            f'{predecessor.name} has kept no version of a list that it had '
            'accepted, so there is nothing to apply; leave --apply-state out'
        )
    applied = []
    with site_.usable(site) as catalogue:
        for item in known:
            followers = [
                found
                for found in site.subscriptions.values()
                if isinstance(found, subscription_.Subscription)
                and found.list_identifier == item.list_identifier
            ]
            applied += [
                _apply(catalogue.transact, found, item, predecessor, now, who)
                for found in followers
            ] or [_not_followed(item)]
    return tuple(applied)


def _not_followed(item: values.Followed) -> Applied:
    return Applied(
        '',
        item.list_identifier or '',
        item.seen.version if item.seen else '',
        imported.Outcome.NOT_FOLLOWED,
        f'no subscription follows {item.label}: put its group into '
        'hepix_vm.conf first',
    )


def _apply(
    transact: imported.Transact,
    subscription: subscription_.Subscription,
    item: values.Followed,
    predecessor: values.Predecessor,
    now: int,
    who: str,
) -> Applied:
    seen = item.seen
    if seen is None:
        raise ValueError('there is no state')
    found = imported.Imported(
        tool=predecessor.name,
        version=seen.version,
        created=int(seen.created.timestamp()),
        endorsers=tuple(
            f'{endorser.subject} of {endorser.issuer}'
            for endorser in item.endorsers
        ),
    )
    outcome = transact(
        lambda transaction: imported.remember(
            transaction, subscription, found, now, who
        )
    )
    warning = outcome.problem or _other_endorser(subscription, item)
    return Applied(
        subscription.name,
        subscription.list_identifier,
        seen.version,
        outcome,
        warning,
    )


def _other_endorser(
    subscription: subscription_.Subscription, item: values.Followed
) -> str:
    """Said when the configuration trusts somebody else than the tool did."""
    try:
        configured = (
            names.parse(subscription.endorser_subject),
            names.parse(subscription.endorser_issuer),
        )
        before = {
            (names.parse(endorser.subject), names.parse(endorser.issuer))
            for endorser in item.endorsers
        }
    except trust.NotAName as exc:
        return f'its endorser cannot be compared: {exc}'
    if not before or configured in before:
        return ''
    return (
        f'its configured endorser {subscription.endorser_subject} is none of '
        'those that could sign it before: see that this is meant'
    )
