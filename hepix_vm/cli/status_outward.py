# SPDX-License-Identifier: Apache-2.0
"""Of the screen: what became of it in the clouds, and who was told."""

from __future__ import annotations

import dataclasses

from hepix_vm.cli import base
from hepix_vm.cli import status_parts as parts
from hepix_vm.operations import overview

# Items of a kind that are named.
_NAMED = 10


def running(glance: overview.Glance) -> parts.Part:
    """What runs from withdrawn images, and where."""
    asked = glance.withdrawn_servers is not None
    use = glance.use[:_NAMED]
    more = len(glance.use) - len(use)
    return parts.Part(
        {
            'servers': sum(item.servers for item in glance.use),
            'source': 'nova' if asked else 'last sync',
            'where': [
                {
                    'image_id': item.image_id,
                    'project': item.project,
                    'project_name': item.project_name,
                    'host': item.host,
                    'servers': item.servers,
                }
                for item in use
            ],
        },
        *(
            f'{item.servers} from {item.image_id} in project '
            f'{parts.plain(item.project_name or item.project)} on '
            f'{parts.plain(item.host or "no host (shelved)")}'
            for item in use
        ),
        f'and {more} more places' if more > 0 else '',
        'as of the last sync' if use and not asked else '',
    )


def publishing(glance: overview.Glance) -> parts.Part:
    """Images that are not published as they should be."""
    found = glance.stored.published
    more = found.unpublished_count - len(found.unpublished)
    return parts.Part(
        {
            'count': found.unpublished_count,
            'first': [
                {
                    'cloud': item.cloud,
                    'subscription': item.subscription,
                    'identifier': item.identifier,
                    'version': item.version,
                    'since': parts.time(item.at),
                    'detail': item.detail,
                }
                for item in found.unpublished
            ],
        },
        *(
            f'{item.subscription} {item.identifier} version '
            f'{parts.plain(item.version)} in {item.cloud} since '
            f'{base.shown_time(item.at)}: {parts.plain(item.detail)}'
            for item in found.unpublished
        ),
        f'and {more} more' if more else '',
    )


def quarantine(glance: overview.Glance) -> parts.Part:
    """Images that users do not see yet."""
    found = glance.stored.published
    more = found.waiting + found.failed - len(found.quarantined)
    return parts.Part(
        {
            'waiting': found.waiting,
            'failed': found.failed,
            'first': [
                {
                    'image_id': item.image_id,
                    'cloud': item.cloud,
                    'identifier': item.identifier,
                    'version': item.version,
                    'state': 'failed' if item.failed else 'waiting',
                    'since': parts.time(item.at),
                    'detail': item.detail,
                }
                for item in found.quarantined
            ],
        },
        *(
            f'{item.image_id} in {item.cloud} since '
            f'{base.shown_time(item.at)}: '
            + ('failed' if item.failed else 'waiting')
            + (f', {parts.plain(item.detail)}' if item.detail else '')
            for item in found.quarantined
        ),
        f'and {more} more' if more else '',
    )


def runs(glance: overview.Glance) -> parts.Part:
    """How the last run of each job ended."""
    found = glance.stored.published.runs
    return parts.Part(
        {
            run.name: {
                'ok': run.ok,
                'started': parts.time(run.started_at),
                'ended': parts.time(run.ended_at),
                'detail': run.detail,
            }
            for run in found.values()
        },
        *(
            f'{run.name}: {"worked" if run.ok else "failed"} '
            f'{base.shown_time(run.ended_at)}'
            + (f', {parts.plain(run.detail)}' if run.detail else '')
            for run in found.values()
        ),
    )


def notices(glance: overview.Glance) -> parts.Part:
    """How the channels fare that are on."""
    found = {
        channel: glance.stored.published.channels[channel]
        for channel in glance.channels
    }
    return parts.Part(
        {
            channel.value: {
                'left': left,
                'told': parts.time(state.told_at),
                'failures': state.failures,
                'problem': state.problem,
                'next_attempt': parts.time(state.next_attempt),
                'given_up': state.given_up,
                'given_up_at': parts.time(state.given_up_at),
            }
            for channel, (state, left) in found.items()
        },
        *(
            f'{channel}: {left} to tell, told last '
            f'{base.shown_time(state.told_at) or "never"}'
            + (
                f', failed {state.failures} times in a row '
                f'({parts.plain(state.problem)}), again '
                f'{base.shown_time(state.next_attempt)}'
                if state.failures
                else ''
            )
            + (f', {state.given_up} given up' if state.given_up else '')
            for channel, (state, left) in found.items()
        ),
    )


def context(glance: overview.Glance) -> parts.Part:
    """Servers that fetched the site's context, as far as it is noted."""
    found = glance.stored.context
    said = (
        f'{found.instances} servers fetched it'
        + (
            f', {found.superseded} of them another one than the newest'
            if found.superseded
            else ''
        )
        + (f', {found.failed} say that it did not run' if found.failed else '')
    )
    lost = (
        f'lost: {found.lost} notes, and those of {found.crashed} processes '
        'that were killed'
    )
    return parts.Part(
        dataclasses.asdict(found),
        said,
        lost if found.lost or found.crashed else '',
    )
