# SPDX-License-Identifier: Apache-2.0
"""A real nova-api makes no server of what is not approved, however asked."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import json
from typing import Any
import urllib.parse
import uuid

import pytest

from hepix_vm.catalogue import schema
from tests import catalogue_rows
from tests.cloud import cloud as clouds
from tests.cloud import hepix
from tests.cloud import settings
from tests.cloud import waits
from tests.functional import images as acts
from tests.functional import raw as novas

#: Microversions at which the body of a new server takes another shape, the
#: first and the newest among them (``nova/api/openstack/compute/schemas``).
MICROVERSIONS = (
    '2.1',
    '2.19',
    '2.32',
    '2.33',
    '2.37',
    '2.42',
    '2.52',
    '2.57',
    '2.63',
    '2.67',
    '2.74',
    '2.90',
    '2.94',
    'latest',
)


@pytest.fixture(scope='module')
def raw(cloud: clouds.Cloud) -> novas.Raw:
    return novas.Raw(cloud)


@pytest.fixture(scope='module')
def admin(cloud: clouds.Cloud) -> novas.Raw:
    return novas.Raw(cloud, 'admin')


@pytest.fixture
def user(cloud: clouds.Cloud) -> Iterator[acts.Servers]:
    """Somebody whose servers are deleted afterwards."""
    one = acts.Servers(cloud)
    yield one
    one.delete(*(server.id for server in one.client.servers.list()))


@pytest.fixture(scope='module')
def flavor(cloud: clouds.Cloud) -> str:
    return str(acts.Servers(cloud).flavor().id)


def take_in(
    cloud: clouds.Cloud, rows: catalogue_rows.Rows, user: str = 'demo'
) -> tuple[str, bytes]:
    """Endorse and import an image; returns its id and data."""
    data = acts.some_bytes(4096)
    rows.endorse(data)
    outcome = acts.Images(cloud, user).imported(data)
    assert outcome.status == 'success', outcome.message
    return outcome.image['id'], data


@pytest.fixture(scope='module')
def good(cloud: clouds.Cloud, rows: catalogue_rows.Rows) -> str:
    """An approved image."""
    return take_in(cloud, rows)[0]


@pytest.fixture(scope='module')
def bad(cloud: clouds.Cloud) -> str:
    """An image that an administrator uploaded past the import."""
    slipped = acts.Images(cloud, 'admin')
    return slipped.uploaded(acts.some_bytes(4096), visibility='public')


def soon(ask: Callable[[], novas.Answer], code: str) -> str:
    """Ask until a change has reached Nova's memory."""

    def changed() -> novas.Answer | None:
        answer = ask()
        return answer if answer.status == 403 else None

    answer = waits.until(f'a refusal with {code}', changed, acts.LIMIT)
    return novas.refused(answer, code)


# --- new servers, in every shape that Nova takes


@pytest.mark.parametrize('version', MICROVERSIONS)
def test_each_microversion_refuses_and_makes_no_server(
    raw: novas.Raw, user: acts.Servers, bad: str, flavor: str, version: str
) -> None:
    body = novas.a_server('refused', bad, flavor, version)
    answer = raw.send('POST', '/v2.1/servers', body, version)
    assert f'image {bad} is refused' in novas.refused(answer, 'no-record')
    assert 'refused' not in {one.name for one in user.client.servers.list()}


def test_an_approved_image_boots_and_is_logged(
    cloud: clouds.Cloud,
    raw: novas.Raw,
    user: acts.Servers,
    good: str,
    flavor: str,
) -> None:
    answer = raw.send(
        'POST', '/v2.1/servers', novas.a_server('s', good, flavor)
    )
    assert answer.status == 202, answer
    server = json.loads(answer.text)['server']['id']
    assert user.settled(server).status == 'ACTIVE'
    assert any(
        f'verdict=approved image={good} list=' in line and 'act=boot' in line
        for line in cloud.log('nova-api').read_text().splitlines()
    )


Ask = Callable[[novas.Raw, Any], novas.Answer]


def _plain(path: str) -> Ask:
    return lambda raw, body: raw.send(
        'POST', path.format(project=raw.project), body
    )


def _with(**headers: str) -> Ask:
    return lambda raw, body: raw.send('POST', '/v2.1/servers', body, **headers)


def _legacy(raw: novas.Raw, body: Any) -> novas.Answer:
    # It knows no microversions, and so no servers without network, but
    # passes over what it does not know.
    body['server'].pop('networks', None)
    body['server']['unknown'] = 'x'
    return raw.send('POST', f'/v2/{raw.project}/servers', body)


def _chunked(raw: novas.Raw, body: Any) -> novas.Answer:
    text = json.dumps(body).encode()
    pieces = iter([text[:20], text[20:]])
    return raw.send(
        'POST', '/v2.1/servers', pieces, Transfer_Encoding='chunked'
    )


def _twice(raw: novas.Raw, body: Any) -> novas.Answer:
    """The image is named twice; the last one counts, for Nova too."""
    wanted = body['server']['imageRef']
    text = json.dumps(body).replace(
        '"imageRef"', f'"imageRef": "{uuid.uuid4()}", "imageRef"'
    )
    assert text.index(wanted) > text.index('imageRef')
    return raw.send('POST', '/v2.1/servers', text)


def _server_twice(raw: novas.Raw, body: Any) -> novas.Answer:
    text = '{"server": {"imageRef": "' + str(uuid.uuid4()) + '"}, '
    return raw.send('POST', '/v2.1/servers', text + json.dumps(body)[1:])


def _escaped(raw: novas.Raw, body: Any) -> novas.Answer:
    text = json.dumps(body).replace('imageRef', '\\u0069mageRef')
    return raw.send('POST', '/v2.1/servers', text)


def _in_a_put(raw: novas.Raw, body: Any) -> novas.Answer:
    return raw.send('PUT', '/v2.1/servers?_method=POST', body)


def _in_a_put_lower(raw: novas.Raw, body: Any) -> novas.Answer:
    return raw.send('PUT', '/v2.1/servers?x=1&_method=post', body)


#: Ways to ask for a server that Nova understands.
UNDERSTOOD: dict[str, Ask] = {
    'with the project': _plain('/v2.1/{project}/servers'),
    'older name': _plain('/v2.1/os-volumes_boot'),
    'older name with the project': _plain('/v2.1/{project}/os-volumes_boot'),
    'encoded path': _plain('/v2.1/%73ervers'),
    'double slash before the version': _plain('//v2.1/servers'),
    'unknown query': _plain('/v2.1/servers?a=b'),
    'media type of compute': _with(
        Content_Type='application/vnd.openstack.compute+json'
    ),
    'media type with parameters': _with(
        Content_Type='application/json; charset=utf-8'
    ),
    'plain text': _with(Content_Type='text/plain'),
    'no media type': _with(Content_Type=''),
    'key twice': _twice,
    'server twice': _server_twice,
    'escaped key': _escaped,
    'white space': lambda raw, body: raw.send(
        'POST', '/v2.1/servers', ' \n' + json.dumps(body, indent=3) + '\n '
    ),
    'method from the query': _in_a_put,
    'method from the query in lower case': _in_a_put_lower,
}

#: Others, at which Nova may fail.
ODD: dict[str, Ask] = {
    'version in the media type': lambda raw, body: raw.send(
        'POST',
        '/servers',
        body,
        Content_Type='application/json;version=2.1',
    ),
    'legacy version': _legacy,
    'chunked': _chunked,
    'slash at the end': _plain('/v2.1/servers/'),
    'double slash': _plain('/v2.1//servers'),
    'suffix': _plain('/v2.1/servers.json'),
    'capitals': _plain('/v2.1/Servers'),
    'dot segments': _plain('/v2.1/flavors/../servers'),
    'encoded slash': _plain('/v2.1%2Fservers'),
    'get with a method in the query': lambda raw, body: raw.send(
        'GET', '/v2.1/servers?_method=POST', body
    ),
    'delete with a method in the query': lambda raw, body: raw.send(
        'DELETE', '/v2.1/servers?_method=POST', body
    ),
    'method in a header': lambda raw, body: raw.send(
        'PUT', '/v2.1/servers', body, X_HTTP_Method_Override='POST'
    ),
    'form': lambda raw, body: raw.send(
        'POST',
        '/v2.1/servers',
        urllib.parse.urlencode({'_method': 'POST', 'b': json.dumps(body)}),
        Content_Type='application/x-www-form-urlencoded',
    ),
    'form of a put': lambda raw, body: raw.send(
        'POST',
        '/v2.1/servers?_method=PUT',
        body,
        Content_Type='application/x-www-form-urlencoded',
    ),
    'xml': _with(Content_Type='application/xml'),
    'utf-16': lambda raw, body: raw.send(
        'POST', '/v2.1/servers', json.dumps(body).encode('utf-16')
    ),
    'byte order mark': lambda raw, body: raw.send(
        'POST', '/v2.1/servers', b'\xef\xbb\xbf' + json.dumps(body).encode()
    ),
    'two bodies': lambda raw, body: raw.send(
        'POST', '/v2.1/servers', json.dumps(body) + json.dumps(body)
    ),
    'a list': lambda raw, body: raw.send('POST', '/v2.1/servers', [body]),
    'key in capitals': lambda raw, body: raw.send(
        'POST', '/v2.1/servers', {'Server': body['server']}
    ),
    'image in capitals': lambda raw, body: raw.send(
        'POST',
        '/v2.1/servers',
        {
            'server': body['server']
            | {'imageRef': body['server']['imageRef'].upper()}
        },
    ),
    'image in braces': lambda raw, body: raw.send(
        'POST',
        '/v2.1/servers',
        {
            'server': body['server']
            | {'imageRef': '{' + body['server']['imageRef'] + '}'}
        },
    ),
    'image as a list': lambda raw, body: raw.send(
        'POST',
        '/v2.1/servers',
        {
            'server': body['server']
            | {'imageRef': [body['server']['imageRef']]}
        },
    ),
    'deep nesting': lambda raw, body: raw.send(
        'POST',
        '/v2.1/servers',
        '{"server": ' + '[' * 20000 + ']' * 20000 + '}',
    ),
    'not a number': lambda raw, body: raw.send(
        'POST',
        '/v2.1/servers',
        json.dumps(body)[:-1] + ', "os:scheduler_hints": {"x": NaN}}',
    ),
    'too large': lambda raw, body: raw.send(
        'POST', '/v2.1/servers', {**body, 'x': 'x' * 200_000}
    ),
    'no body': lambda raw, body: raw.send('POST', '/v2.1/servers'),
}


#: Nova 34 fails at them by itself: they leave out what its checks of a body
#: ask for.
FAILING = frozenset({'older name', 'older name with the project'})


@pytest.mark.parametrize('way', sorted(UNDERSTOOD))
def test_each_way_that_nova_understands_is_judged(
    raw: novas.Raw, good: str, bad: str, way: str
) -> None:
    ask = UNDERSTOOD[way]
    answer = ask(raw, novas.a_server('refused', bad, 'none'))
    assert bad in novas.refused(answer, 'no-record')
    # It is a way indeed: Nova looks for the flavor.
    answer = ask(raw, novas.a_server('approved', good, 'none'))
    if way in FAILING and answer.status == 500:
        return
    assert answer.status == 400, answer
    assert 'Flavor none could not be found' in answer.text


def test_no_odd_way_leads_to_a_server(
    raw: novas.Raw, user: acts.Servers, bad: str, flavor: str
) -> None:
    answers = {
        way: ask(raw, novas.a_server(way, bad, flavor))
        for way, ask in sorted(ODD.items())
    }
    assert [way for way, one in answers.items() if one.status == 202] == []
    assert user.client.servers.list() == []
    # It is the guard that refuses what Nova would take.
    for way in ('legacy version', 'get with a method in the query'):
        novas.refused(answers[way], 'no-record')


def test_another_spelling_of_an_approved_image_is_another_image(
    raw: novas.Raw, user: acts.Servers, good: str, flavor: str
) -> None:
    for image in (good.upper(), f'{{{good}}}', f'urn:uuid:{good}'):
        body = novas.a_server('refused', image, flavor)
        novas.refused(raw.send('POST', '/v2.1/servers', body), 'no-record')
    assert user.client.servers.list() == []


# --- disks


def a_disk(kind: str, ident: str, **values: Any) -> dict[str, Any]:
    return {
        'source_type': kind,
        'uuid': ident,
        'destination_type': 'volume',
        'volume_size': 1,
        'boot_index': 0,
    } | values


def test_every_image_of_the_disks_is_named(
    raw: novas.Raw, user: acts.Servers, good: str, bad: str, flavor: str
) -> None:
    """A client is known that sends one image and boots a volume of another."""
    body = novas.a_server('refused', good, flavor)
    body['server']['block_device_mapping_v2'] = [a_disk('image', bad)]
    text = novas.refused(
        raw.send('POST', '/v2.1/servers', body), 'no-record', 'volume-boot'
    )
    assert f'The request involves image {good}, image {bad}' in text
    # Not even as a disk that nothing boots from.
    body['server']['block_device_mapping_v2'] = [
        a_disk('image', bad, boot_index=-1)
    ]
    novas.refused(raw.send('POST', '/v2.1/servers', body), 'no-record')
    assert user.client.servers.list() == []


@pytest.mark.parametrize('kind', ['volume', 'snapshot', 'image', 'legacy'])
def test_no_new_server_boots_from_a_volume_by_default(
    raw: novas.Raw, user: acts.Servers, good: str, flavor: str, kind: str
) -> None:
    body = novas.a_server('refused', good, flavor)
    ident = good if kind == 'image' else str(uuid.uuid4())
    if kind == 'legacy':
        body['server']['block_device_mapping'] = [
            {'device_name': 'vda', 'volume_id': ident}
        ]
    else:
        body['server']['block_device_mapping_v2'] = [a_disk(kind, ident)]
    for image in (good, ''):
        body['server']['imageRef'] = image
        answer = raw.send('POST', '/v2.1/servers', body)
        assert ident in novas.refused(answer, 'volume-boot')
    assert user.client.servers.list() == []


def test_empty_disks_of_an_approved_server_are_fine(
    raw: novas.Raw, user: acts.Servers, good: str, flavor: str
) -> None:
    body = novas.a_server('swap', good, flavor)
    body['server']['block_device_mapping_v2'] = [
        a_disk('image', good, destination_type='local'),
    ]
    del body['server']['block_device_mapping_v2'][0]['volume_size']
    answer = raw.send('POST', '/v2.1/servers', body)
    assert answer.status == 202, answer


# --- what the scheduler filter does not see


def test_a_named_host_is_no_way_around(
    cloud: clouds.Cloud,
    admin: novas.Raw,
    rows: catalogue_rows.Rows,
    good: str,
    bad: str,
    flavor: str,
) -> None:
    body = novas.a_server('forced', bad, flavor)
    body['server']['availability_zone'] = f'nova:{settings.HOST}'
    novas.refused(admin.send('POST', '/v2.1/servers', body), 'no-record')
    # Its properties count there: no filter sees them.
    changed, _ = take_in(cloud, rows)
    acts.Images(cloud).client.images.update(changed, visibility='shared')
    project = admin.project
    acts.Images(cloud).client.image_members.create(changed, project)
    rows.change(
        schema.glance_record,
        schema.glance_record.c.image_id == changed,
        boot='{"os_command_line": "quiet"}',
    )
    body['server']['imageRef'] = changed
    # Until it is known the guard passes it on: to Nova, without a flavor.
    nothing = {'server': body['server'] | {'flavorRef': str(uuid.uuid4())}}
    soon(lambda: admin.send('POST', '/v2.1/servers', nothing), 'image-changed')
    answer = admin.send('POST', '/v2.1/servers', body)
    assert 'os_command_line' in novas.refused(answer, 'image-changed')
    servers = acts.Servers(cloud, 'admin')
    assert [one.name for one in servers.client.servers.list()] == []


@dataclasses.dataclass(frozen=True, slots=True)
class Withdrawn:
    """A server whose image has been withdrawn since, of another project.

    :ivar approved: an image of the same project that is approved
    """

    raw: novas.Raw
    servers: acts.Servers
    images: acts.Images
    server: str
    image: str
    approved: str


@pytest.fixture(scope='module')
def withdrawn(
    cloud: clouds.Cloud, rows: catalogue_rows.Rows
) -> Iterator[Withdrawn]:
    raw = novas.Raw(cloud, 'other')
    servers = acts.Servers(cloud, 'other')
    image, data = take_in(cloud, rows, 'other')
    approved, _ = take_in(cloud, rows, 'other')
    one = servers.boot(image)
    assert one.status == 'ACTIVE', acts.fault(one)
    rows.withdraw(data)
    body = novas.a_server('s', image, str(uuid.uuid4()))
    soon(lambda: raw.send('POST', '/v2.1/servers', body), 'withdrawn')
    yield Withdrawn(
        raw, servers, acts.Images(cloud, 'other'), one.id, image, approved
    )
    servers.delete(*(one.id for one in servers.client.servers.list()))


def test_rebuild_and_rescue_need_an_approved_image(
    withdrawn: Withdrawn, bad: str
) -> None:
    server, raw = withdrawn.server, withdrawn.raw
    for version in ('2.1', '2.93', 'latest'):
        for image, code in (
            (withdrawn.image, 'withdrawn'),
            (bad, 'no-record'),
        ):
            body = {'rebuild': {'imageRef': image}}
            answer = raw.action(server, body, version=version)
            assert image in novas.refused(answer, code)
        body = {'rescue': {'rescue_image_ref': bad}}
        answer = raw.action(server, body, version=version)
        assert bad in novas.refused(answer, 'no-record')
        # The image that Nova takes when none is named.
        for nothing in (None, {}, {'adminPass': 'secret'}):
            answer = raw.action(server, {'rescue': nothing}, version=version)
            assert withdrawn.image in novas.refused(answer, 'withdrawn')
    # The same by other names.
    body = {'rebuild': {'imageRef': bad}}
    for method, path in (
        ('POST', f'/v2.1/os-volumes_boot/{server}/action'),
        ('POST', f'/v2.1/{raw.project}/servers/{server}/action'),
        ('POST', f'/v2/{raw.project}/servers/{server}/action'),
        ('PUT', f'/v2.1/servers/{server}/action?_method=POST'),
    ):
        novas.refused(raw.send(method, path, body), 'no-record')
    nova = withdrawn.servers
    found = nova.settled(server)
    assert found.status == 'ACTIVE'
    assert found.image['id'] == withdrawn.image
    # They work with an approved one.
    body = {'rescue': {'rescue_image_ref': withdrawn.approved}}
    answer = raw.action(server, body)
    assert answer.status == 200, answer
    assert nova.settled(server).status == 'RESCUE'
    assert raw.action(server, {'unrescue': None}).status == 202
    waits.until(
        'the rescue to end',
        lambda: nova.settled(server).status == 'ACTIVE',
        acts.LIMIT,
    )


def test_a_server_of_a_withdrawn_image_runs_on(
    withdrawn: Withdrawn,
) -> None:
    for action in (
        {'reboot': {'type': 'HARD'}},
        {'os-stop': None},
        {'os-start': None},
    ):
        answer = withdrawn.raw.action(withdrawn.server, action)
        assert answer.status == 202, answer
        withdrawn.servers.settled(withdrawn.server)


def test_unshelving_needs_an_approved_snapshot(
    cloud: clouds.Cloud,
    rows: catalogue_rows.Rows,
    raw: novas.Raw,
    user: acts.Servers,
    good: str,
) -> None:
    server = user.boot(good)
    assert server.status == 'ACTIVE'
    assert raw.action(server.id, {'shelve': None}).status == 202
    waits.until(
        'the server to be shelved',
        lambda: user.settled(server.id).status == 'SHELVED_OFFLOADED',
        acts.LIMIT,
    )
    (shelved,) = (
        image
        for image in acts.Images(cloud).client.images.list()
        if image.get('instance_uuid') == server.id
    )
    # Nova's driver for tests makes a snapshot without data.
    for body in (None, {'availability_zone': 'nova'}, {'host': settings.HOST}):
        answer = raw.action(server.id, {'unshelve': body})
        assert shelved['id'] in novas.refused(answer, 'no-record')
    data = b''
    rows.endorse(data)
    rows.record(
        shelved['id'], data, created_at=acts.created_at(shelved), parent=good
    )
    answer = waits.until(
        'the snapshot to be approved',
        lambda: (
            found
            if (found := raw.action(server.id, {'unshelve': None})).status
            != 403
            else None
        ),
        acts.LIMIT,
    )
    assert answer.status == 202, answer
    # Nova answers 500 when it is to delete a server that comes back just now:
    # it finds it without a host, then with one.
    user.settled(server.id)


@pytest.mark.parametrize(
    'name', ['base_image_ref', 'instance_uuid', 'kernel_id', 'Mappings']
)
def test_nobody_says_where_a_snapshot_comes_from_but_nova(
    withdrawn: Withdrawn, name: str
) -> None:
    server, raw, good = withdrawn.server, withdrawn.raw, withdrawn.approved
    metadata = {name: good, 'mine': 'x'}
    for body in (
        {'createImage': {'name': 'forged', 'metadata': metadata}},
        {
            'createBackup': {
                'name': 'forged',
                'backup_type': 'daily',
                'rotation': 1,
                'metadata': metadata,
            }
        },
    ):
        text = novas.refused(raw.action(server, body), 'snapshot-metadata')
        assert f'{name}; ' in text
        path = f'/v2.1/os-volumes_boot/{server}/action'
        novas.refused(raw.send('POST', path, body), 'snapshot-metadata')
    # Nor through Nova's own way to an image's properties.
    for method, path, body in (
        ('POST', f'/v2.1/images/{good}/metadata', {'metadata': metadata}),
        ('PUT', f'/v2.1/images/{good}/metadata', {'metadata': metadata}),
        (
            'PUT',
            f'/v2.1/images/{good}/metadata/{name}',
            {'meta': {name: good}},
        ),
        (
            'POST',
            f'/v2.1/{raw.project}/images/{good}/metadata',
            {'metadata': metadata},
        ),
    ):
        novas.refused(raw.send(method, path, body, '2.1'), 'snapshot-metadata')
    images = withdrawn.images.client.images
    assert name not in images.get(good)
    assert not [one for one in images.list() if one['name'] == 'forged']


def test_other_metadata_of_an_image_are_the_users(
    cloud: clouds.Cloud, raw: novas.Raw, good: str
) -> None:
    body = {'metadata': {'mine': 'yes'}}
    path = f'/v2.1/images/{good}/metadata'
    answer = raw.send('POST', path, body, '2.1')
    assert answer.status == 200, answer
    assert acts.Images(cloud).client.images.get(good)['mine'] == 'yes'


def test_a_server_that_is_not_the_users_is_not_found(
    raw: novas.Raw, withdrawn: Withdrawn, bad: str
) -> None:
    for server in (withdrawn.server, str(uuid.uuid4()), 'x', '%0a', "a'b"):
        answer = raw.action(server, {'rebuild': {'imageRef': bad}})
        assert answer.status == 404, answer


# --- settings


@contextlib.contextmanager
def api_with(cloud: clouds.Cloud, **options: str) -> Iterator[None]:
    """A nova-api that starts with other options of its own."""
    work = cloud.layout.work
    path = hepix.config_file(work)
    before = path.read_text()
    lines = ''.join(f'{name} = {value}\n' for name, value in options.items())
    try:
        path.write_text(before + f'[nova]\n{lines}')
        cloud.restart('nova-api')
        yield
    finally:
        path.write_text(before)
        cloud.restart('nova-api')


def test_a_site_begins_by_looking_on(
    cloud: clouds.Cloud,
    raw: novas.Raw,
    user: acts.Servers,
    bad: str,
    flavor: str,
) -> None:
    with api_with(cloud, dry_run='true'):
        answer = raw.send(
            'POST', '/v2.1/servers', novas.a_server('s', bad, flavor)
        )
        assert answer.status == 202, answer
        assert any(
            f'verdict=would-refuse image={bad} ' in line and 'act=boot' in line
            for line in cloud.log('nova-api').read_text().splitlines()
        )


def test_aggregates_exempt_projects_and_strict_moves(
    cloud: clouds.Cloud,
    raw: novas.Raw,
    admin: novas.Raw,
    user: acts.Servers,
    withdrawn: Withdrawn,
    good: str,
    bad: str,
    flavor: str,
) -> None:
    nova = cloud.nova()
    free = novas.a_server('free', bad, flavor)
    forced = novas.a_server('forced', bad, flavor)
    forced['server']['availability_zone'] = f'nova:{settings.HOST.upper()}'
    servers = f'/v2.1/servers/{withdrawn.server}/action'
    with api_with(
        cloud,
        enforce='aggregates',
        exempt_projects=raw.project,
        enforce_on_moves='true',
    ):
        # The host is in no such aggregate yet.
        answer = admin.send('POST', '/v2.1/servers', forced)
        assert answer.status == 202, answer
        rescue = {'rescue': {'rescue_image_ref': str(uuid.uuid4())}}
        other = withdrawn.raw
        assert other.send('POST', servers, rescue).status == 400
        aggregate = nova.aggregates.create(f'enforced-{uuid.uuid4()}', None)
        nova.aggregates.add_host(aggregate, settings.HOST)
        nova.aggregates.set_metadata(aggregate, {'hepix_enforce': 'true'})
        try:
            novas.refused(
                admin.send('POST', '/v2.1/servers', forced), 'no-record'
            )
            novas.refused(other.send('POST', servers, rescue), 'no-record')
            # Where it would start is the scheduler's to say.
            answer = other.send('POST', '/v2.1/servers', free)
            assert answer.status == 202, answer
            resize = {'resize': {'flavorRef': flavor}}
            assert other.send('POST', servers, resize).status != 403
            move = {
                'os-migrateLive': {
                    'host': settings.HOST,
                    'block_migration': 'auto',
                    'force': True,
                }
            }
            answer = admin.send('POST', servers, move, '2.30')
            assert withdrawn.image in novas.refused(answer, 'withdrawn')
            # An exempt project may rescue with anything that it sees.
            server = user.boot(good)
            rescue['rescue']['rescue_image_ref'] = bad
            answer = raw.action(server.id, rescue)
            assert answer.status == 200, answer
            assert f'verdict=exempt image={bad} ' in (
                cloud.log('nova-api').read_text()
            )
        finally:
            nova.aggregates.remove_host(aggregate, settings.HOST)
            nova.aggregates.delete(aggregate)
    servers_of = acts.Servers(cloud, 'admin')
    servers_of.delete(*(one.id for one in servers_of.client.servers.list()))


def test_without_its_configuration_nothing_starts_until_it_is_back(
    cloud: clouds.Cloud,
    raw: novas.Raw,
    user: acts.Servers,
    good: str,
    flavor: str,
) -> None:
    path = hepix.config_file(cloud.layout.work)
    content = path.read_text()
    body = novas.a_server('s', good, flavor)
    try:
        path.unlink()
        cloud.restart('nova-api')
        answer = raw.send('POST', '/v2.1/servers', body)
        assert str(path) not in novas.refused(answer, 'internal-error')
        assert str(path) in cloud.log('nova-api').read_text()
        # What starts nothing goes on.
        assert raw.send('GET', '/v2.1/servers').status == 200
        path.write_text(content)
        assert raw.send('POST', '/v2.1/servers', body).status == 202
    finally:
        path.write_text(content)
        path.chmod(0o640)
