# SPDX-License-Identifier: Apache-2.0
"""What is said of a measure that is beyond its limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hepix_vm.catalogue import condition
from hepix_vm.catalogue import measures
from hepix_vm.catalogue import overview as overview_

if TYPE_CHECKING:
    from hepix_vm.operations import overview

_CONTEXT = {
    'context_superseded': 'servers run a context that is superseded',
    'context_failed': 'servers say that their context did not run',
    'context_lost': 'notes or more on who fetched context are lost',
}

# Characters of one cause.
_LONGEST = 200


def of(glance: overview.Glance, name: str, value: float) -> str:
    """What is wrong, how much of it, and what to do."""
    stored = glance.stored
    many = measures.number(value)
    by_state = {
        'stale': condition.State.STALE,
        'distrusted': condition.State.DISTRUSTED,
        'revoked': condition.State.REVOKED,
        'misconfigured': condition.State.MISCONFIGURED,
        'never_synced': condition.State.NEVER,
    }
    if name in by_state:
        names = glance.states[by_state[name]]
        return f'{many} {by_state[name]} ({_some(names)})'
    if name == 'failing':
        names = tuple(item.name for item in stored.failing)
        return (
            f'{many} failed {overview_.FAILING} times in a row or more '
            f'({_some(names, int(value))})'
        )
    if name == 'waiting':
        names = tuple(item.subscription for item in stored.waiting)
        return (
            f'{many} images wait to be withdrawn ({_some(names)}): run '
            '"hepix-vm subscription confirm NAME" or ask the endorser'
        )
    if name in _CONTEXT:
        return f'{many} {_CONTEXT[name]}; see "hepix-vm context status"'
    return _outward_sentence(glance, name, value) or _time_sentence(
        glance, name, value
    )


def _outward_sentence(glance: overview.Glance, name: str, value: float) -> str:
    """Of the clouds and of those who are told; '' of anything else."""
    found = glance.stored.published
    many = measures.number(value)
    if name == 'publishing_errors':
        names = tuple(
            f'{item.identifier} in {item.cloud}: {_short(item.detail)}'
            for item in found.unpublished
        )
        return (
            f'{many} images are not published as they should be '
            f'({_some(names, int(value))})'
        )
    if name in ('quarantine_waiting', 'quarantine_failed'):
        failed = name == 'quarantine_failed'
        names = tuple(
            item.image_id
            for item in found.quarantined
            if item.failed is failed
        )
        said = 'failed in quarantine' if failed else 'wait in quarantine'
        return f'{many} images {said} ({_some(names, int(value))})'
    if name.endswith('_failed'):
        run = found.runs[name.removesuffix('_failed')]
        said = {
            'withdraw': 'the clouds do not follow the last sync',
            'sync': 'the last sync did not end well',
            'publish': 'the last run of publishing did not end well',
        }[run.name]
        return f'{said}: {_short(run.detail)}'
    if name == 'undelivered':
        names = tuple(
            f'{channel}: {_short(found.channels[channel][0].problem)}'
            for channel in glance.channels
            if found.channels[channel][0].failures
        )
        return f'{many} events cannot be told ({_some(names)})'
    if name == 'events_given_up':
        return f'{many} events were never told and are given up'
    return ''


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f'{text[:_LONGEST]}...'


def _time_sentence(glance: overview.Glance, name: str, value: float) -> str:
    stored = glance.stored
    many = measures.number(value)
    if name == 'subscriptions':
        return f'{many} subscriptions in the configuration'
    if name == 'last_sync_hours':
        return f'nothing was fetched or tried for {many} h'
    if name == 'next_expiry_hours' and stored.next_expiry is not None:
        return f'the list of {stored.next_expiry[0]} expires in {many} h'
    if name == 'last_publish_hours':
        return f'nothing was published or looked through for {many} h'
    if name == 'crl_hours':
        first = glance.crls[0].subject if glance.crls else 'an authority'
        said = f'runs out in {many} h'
        if value <= 0:
            said = f'ran out {measures.number(-value)} h ago'
        return f'the CRL of {first} {said}: run fetch-crl'
    if name == 'run_anyway_hours' and stored.anyway:
        return (
            f'image data sha512:{stored.anyway[0].sha512[:16]}... may run for '
            f'{many} h more'
        )
    places = tuple(
        f'{item.servers} of project {item.project_name or item.project} on '
        f'{f"host {item.host}" if item.host else "no host (shelved)"}'
        for item in glance.use
    )
    return f'{many} servers run from withdrawn images ({_some(places)})'


def _some(names: tuple[str, ...], count: int | None = None) -> str:
    """A few of the names, and how many more there are."""
    total = len(names) if count is None else count
    shown = names[:5]
    more = total - len(shown)
    return ', '.join(shown) + (f' and {more} more' if more > 0 else '')
