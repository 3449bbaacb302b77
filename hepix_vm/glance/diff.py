# SPDX-License-Identifier: Apache-2.0
"""What publishing would do, as the lines of a diff."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator

from hepix_vm.catalogue import store
from hepix_vm.glance.actions import Action
from hepix_vm.glance.actions import Correct
from hepix_vm.glance.actions import Create
from hepix_vm.glance.actions import Delete
from hepix_vm.glance.actions import Discard
from hepix_vm.glance.actions import Finish
from hepix_vm.glance.actions import Forget
from hepix_vm.glance.actions import Group
from hepix_vm.glance.actions import Hold
from hepix_vm.glance.actions import Leave
from hepix_vm.glance.actions import Retire
from hepix_vm.glance.actions import Revive
from hepix_vm.glance.actions import Share
from hepix_vm.glance.actions import Skip
from hepix_vm.glance.publications import Publication
from hepix_vm.glance import wanted as wanted_


def text(cloud: str, groups: Iterable[Group]) -> str:
    """What a dry run prints: nothing where nothing would change."""
    lines = [
        line
        for group in groups
        for action in group.actions
        for line in lines_of(action)
    ]
    if not lines:
        return ''
    heading = [f'--- cloud/{cloud} now', f'+++ cloud/{cloud} after publishing']
    return ''.join(f'{_printable(line)}\n' for line in (*heading, *lines))


def lines_of(action: Action) -> Iterator[str]:
    """One action as lines of a diff; none where nothing changes."""
    if isinstance(action, Leave):
        if action.because:
            yield f' {_row(action.row)} stays: {action.because}'
    elif isinstance(action, Skip):
        yield f' {_image(action.image)} is skipped: {action.because}'
    elif isinstance(action, Hold):
        yield f' {_row(action.row)} waits: {action.because}'
    elif isinstance(action, Create):
        yield f'+{_image(action.wanted.image)} {_look(action.wanted)}'
    elif isinstance(action, Finish | Revive):
        word = 'finish' if isinstance(action, Finish) else 'bring back'
        yield f'+{_row(action.row)}: {word} {_look(action.wanted)}'
    elif isinstance(action, Correct):
        yield f' {_row(action.row)}'
        for difference in action.differences:
            yield f'-    {difference.name}: {difference.found}'
            yield f'+    {difference.name}: {difference.wanted}'
    elif isinstance(action, Share):
        members = ', '.join(sorted(action.wanted.members)) or 'nobody'
        yield f' {_row(action.row)}: compare members with {members}'
    else:
        word = {
            Retire: 'retire (hide, take from users, deactivate)',
            Delete: 'delete, unless something uses it',
            Discard: 'delete, never released',
            Forget: 'forget',
        }[type(action)]
        yield f'-{_row(action.row)}: {word}: {action.because}'


def _image(image: store.Image) -> str:
    return (
        f'image {image.identifier} version {image.version} of subscription '
        f'{image.subscription}'
    )


def _row(row: Publication) -> str:
    return (
        f'image {row.image_id} ({row.identifier} version {row.version} of '
        f'subscription {row.subscription})'
    )


def _look(one: wanted_.Wanted) -> str:
    shared = (
        f' with {", ".join(sorted(one.members)) or "nobody"}'
        if one.visibility == 'shared'
        else ''
    )
    tags = f', tags {", ".join(sorted(one.tags))}' if one.tags else ''
    return (
        f'as "{one.name}", {one.visibility}{shared}{tags}, '
        f'{one.image.size} bytes'
    )


def _printable(line: str) -> str:
    """Versions and titles are an endorser's words; a terminal obeys some."""
    return ''.join(c if c.isprintable() else '?' for c in line)
