# SPDX-License-Identifier: Apache-2.0
"""Servers as the paths ask for them, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.cloud import cloud as clouds
from tests.paths import asking
from tests.paths import states
from tests.paths import table
from tests.paths.table import At
from tests.paths.table import State
from tests.paths.table import Who
from tests.paths import world as worlds

Body = dict[str, Any]


def body(world: worlds.World, image_id: str | None, **more: Any) -> Body:
    """The body of a request for a server."""
    flavor = world.made('flavor', lambda: _flavor(world, clouds.FLAVOR))
    server: Body = {
        'name': world.mark,
        'flavorRef': flavor,
        'networks': 'none',
        **more,
    }
    if image_id is not None:
        server['imageRef'] = image_id
    return {'server': server}


def _flavor(world: worlds.World, name: str) -> str:
    found = world.ask(Who.ADMIN, 'compute', 'GET', '/flavors')['flavors']
    (flavor,) = [one['id'] for one in found if one['name'] == name]
    return str(flavor)


def larger_flavor(world: worlds.World) -> str:
    """Id of a flavor to resize to."""

    def make() -> str:
        fields = {'name': world.mark, 'ram': 128, 'vcpus': 1, 'disk': 1}
        made = world.ask(
            Who.ADMIN, 'compute', 'POST', '/flavors', {'flavor': fields}
        )
        return str(made['flavor']['id'])

    found: str = world.made('larger flavor', make)
    return found


def asked(
    world: worlds.World,
    who: Who,
    wanted: Body,
    path: str = '/servers',
    **more: Any,
) -> str:
    """Ask for a server; returns its id.

    :raises asking.Refused: when the API refuses
    """
    made = world.ask(who, 'compute', 'POST', path, wanted, **more)
    return str(made['server']['id'])


def unguarded(
    world: worlds.World, who: Who, wanted: Body, path: str = '/servers'
) -> Any:
    """The same of a compute API in whose pipeline our guard is not."""
    return world.ask(
        who,
        'compute',
        'POST',
        path,
        wanted,
        endpoint_override=world.unguarded,
    )


def in_force(world: worlds.World) -> None:
    """Wait until every service knows of the last change, so of all.

    Each remembers what the catalogue said a moment ago.
    """
    image_id = states.image(world, State.STALE).image_id
    wanted = body(world, image_id)
    # Nova looks for the flavor when the request has passed the guard.
    nothing = {'server': wanted['server'] | {'flavorRef': 'none'}}

    def refused(service: str, method: str, path: str, json: Any) -> bool:
        answer = world.answer(Who.USER, service, method, path, json)
        return bool(answer.status_code == 403)

    def not_placed() -> bool:
        made = unguarded(world, Who.USER, wanted)['server']['id']
        return bool(world.settled(made)['status'] == 'ERROR')

    data = f'/v2/images/{image_id}/file'
    what = 'all changes to be known to'
    world.wait(
        f'{what} Glance',
        lambda: refused('image', 'GET', data, None),
        'glance',
    )
    world.wait(
        f"{what} Nova's API",
        lambda: refused('compute', 'POST', '/servers', nothing),
        'nova-api',
    )
    world.wait(f'{what} the scheduler', not_placed, 'nova-scheduler')


def outcome(
    world: worlds.World, server_id: str, runs: states.Image | None
) -> asking.Seen:
    """What became of a server.

    :param runs: whose bytes have to run where machines are real
    """
    server = world.settled(server_id)
    if server['status'] != 'ACTIVE':
        return failed(server)
    if world.real and runs is not None:
        world.wait(
            f'server {server_id} to say {runs.says!r}',
            lambda: runs.says in _console(world, server_id),
            'nova-compute',
        )
    return asking.BOOTS


def failed(server: Mapping[str, Any]) -> asking.Seen:
    """How a server that does not run was refused."""
    text = str(server.get('fault', {}).get('message', ''))
    if asking.reason(text) is not None:
        return asking.refusal(At.SCHEDULER, text, '')
    return asking.refusal(At.COMPUTE, text, str(server['status']))


def _console(world: worlds.World, server_id: str) -> str:
    text = action(world, Who.ADMIN, server_id, 'os-getConsoleOutput', {})
    return str(text['output'])


def action(
    world: worlds.World,
    who: Who,
    server_id: str,
    name: str,
    value: Any,
    **more: Any,
) -> Any:
    """Have something done to a server.

    :raises asking.Refused: when the API refuses
    """
    return world.ask(
        who,
        'compute',
        'POST',
        f'/servers/{server_id}/action',
        {name: value},
        **more,
    )


def running(world: worlds.World, state: State, of: object) -> str:
    """A server of the image of a state, made while that is approved.

    :param of: for whom; the same server for the same
    """

    def make() -> str:
        image = states.image(world, state)
        wanted = body(world, image.image_id)
        server_id = asked(world, Who.USER, wanted)
        seen = outcome(world, server_id, image)
        if seen != asking.BOOTS:
            raise asking.Refused(seen)
        return server_id

    found: str = world.made(('server', state, of), make)
    return found


def own(world: worlds.World, row: table.Row) -> str:
    """A running server of the row's image."""
    return running(world, row.state, whose(row))


def whose(row: table.Row) -> str:
    """For whom a server is: rows that the API refuses leave it alone."""
    return 'untouched' if row.verdict.at is At.NOVA else row.key


def device(source: str, uuid: str, index: int, **more: Any) -> Body:
    """One block device of a request."""
    return {
        'boot_index': index,
        'uuid': uuid,
        'source_type': source,
        'destination_type': 'volume',
        'delete_on_termination': True,
        **more,
    }
