# SPDX-License-Identifier: Apache-2.0
"""The API guard as a piece of WSGI, over Nova's own parsing and routes."""

from collections.abc import Callable
from collections.abc import Iterator
import io
import json
import pathlib
import threading
import time
import types
from typing import Any

import pytest

pytest.importorskip('nova')

from nova.api import openstack
from nova.api.openstack.compute import routes
from nova.api.openstack.compute.schemas import servers
from oslo_config import cfg
from oslo_middleware import sizelimit
from routes import middleware

from hepix_vm.conf import inside
from hepix_vm.nova import guard
from hepix_vm.nova import lookups
from hepix_vm.nova import requested
from hepix_vm.nova import watched
from tests import catalogue_rows

GOOD = 'aaaaaaaa-0000-4000-8000-000000000001'
BAD = 'bbbbbbbb-0000-4000-8000-000000000002'
DATA = b'endorsed bytes'


# --- nothing of Nova is overlooked

#: Requests that give Nova a body and start nothing of an image.
HARMLESS_ROUTES = {
    '/flavors',
    '/flavors/{id}',
    '/flavors/{id}/action',
    '/flavors/{flavor_id}/os-extra_specs',
    '/flavors/{flavor_id}/os-extra_specs/{id}',
    '/os-agents',
    '/os-agents/{id}',
    '/os-aggregates',
    '/os-aggregates/{id}',
    '/os-aggregates/{id}/action',
    # Hosts download images, for which Glance is asked.
    '/os-aggregates/{id}/images',
    '/os-assisted-volume-snapshots',
    '/os-baremetal-nodes',
    '/os-baremetal-nodes/{id}/action',
    '/os-cells',
    '/os-cells/sync_instances',
    '/os-cells/{id}',
    '/os-certificates',
    '/os-cloudpipe',
    '/os-cloudpipe/{id}',
    '/os-fixed-ips/{id}/action',
    '/os-floating-ip-dns/{id}',
    '/os-floating-ip-dns/{domain_id}/entries/{id}',
    '/os-floating-ips',
    '/os-floating-ips-bulk',
    '/os-floating-ips-bulk/{id}',
    '/os-floating-ips/{id}/action',
    '/os-hosts/{id}',
    '/os-keypairs',
    '/os-networks',
    '/os-networks/add',
    '/os-networks/{id}/action',
    '/os-quota-class-sets/{id}',
    '/os-quota-sets/{id}',
    '/os-security-group-default-rules',
    '/os-security-group-rules',
    '/os-security-groups',
    '/os-security-groups/{id}',
    '/os-server-external-events',
    '/os-server-groups',
    '/os-services/{id}',
    '/os-services/disable',
    '/os-services/disable-log-reason',
    '/os-services/enable',
    '/os-services/force-down',
    '/os-snapshots',
    '/os-tenant-networks',
    # Cinder makes the volume, and asks Glance.
    '/os-volumes',
    '/os-volumes_boot/{id}',
    '/servers/{id}',
    '/servers/{server_id}/consoles',
    '/servers/{server_id}/metadata',
    '/servers/{server_id}/metadata/{id}',
    '/servers/{server_id}/migrations/{id}/action',
    '/servers/{server_id}/os-interface',
    # A data disk of a server that there is. Nova gives it no place in the
    # order of booting, and never lets go of a server's root volume.
    '/servers/{server_id}/os-volume_attachments',
    '/servers/{server_id}/os-volume_attachments/{id}',
    '/servers/{server_id}/remote-consoles',
    '/servers/{server_id}/shares',
    '/servers/{server_id}/tags',
    '/servers/{server_id}/tags/{id}',
}

HARMLESS_ACTIONS = {
    'addFixedIp',
    'addFloatingIp',
    'addSecurityGroup',
    'changePassword',
    'confirmResize',
    'forceDelete',
    'injectNetworkInfo',
    'lock',
    'os-getConsoleOutput',
    'os-getRDPConsole',
    'os-getSPICEConsole',
    'os-getSerialConsole',
    'os-getVNCConsole',
    'os-resetState',
    'os-start',
    'os-stop',
    'pause',
    'reboot',
    'removeFixedIp',
    'removeFloatingIp',
    'removeSecurityGroup',
    'resetNetwork',
    'restore',
    'resume',
    'revertResize',
    'shelve',
    'shelveOffload',
    'suspend',
    'trigger_crash_dump',
    'unlock',
    'unpause',
    'unrescue',
}


def _same(path: str) -> str:
    return path.replace('{image_id}/metadata', '{id}/metadata').replace(
        'metadata/{id}', 'metadata/{key}'
    )


def test_every_route_of_nova_is_watched_or_known_to_start_nothing() -> None:
    seen = {(path, method) for path, method, _ in watched.ROUTES}
    unknown = [
        (method, path)
        for path, methods in routes.ROUTE_LIST
        if not isinstance(methods, str)
        for method in methods
        if method in ('POST', 'PUT', 'PATCH')
        and path not in HARMLESS_ROUTES
        and (_same(path) if '/images/' in path else path, method) not in seen
    ]
    assert unknown == []


def test_every_action_of_nova_is_read_or_known_to_start_nothing() -> None:
    known = set(requested._ACTIONS) | HARMLESS_ACTIONS
    made = (routes.server_controller, *_further())
    found = {
        name
        for controller in made
        for part in (controller.args[0], *controller.args[1])
        for name in part.wsgi_actions
    }
    assert found >= {'rebuild', 'rescue', 'unshelve', 'createImage'}
    assert found <= known


def _further() -> list[Any]:
    one = getattr(routes, 'volumes_boot_controller', None)
    return [] if one is None else [one]


#: Names of ``server`` in the body of a new server: those that are read, and
#: those that name nothing that boots.
SERVER = {
    'imageRef',
    'availability_zone',
    'block_device_mapping',
    'block_device_mapping_v2',
} | {
    'OS-DCF:diskConfig',
    'accessIPv4',
    'accessIPv6',
    'adminPass',
    'config_drive',
    'description',
    'flavorRef',
    'host',
    'hostname',
    'hypervisor_hostname',
    'key_name',
    'max_count',
    'metadata',
    'min_count',
    'name',
    'networks',
    'personality',
    'return_reservation_id',
    'security_groups',
    'tags',
    'trusted_image_certificates',
    'user_data',
}
DEVICE = {
    'boot_index',
    'destination_type',
    'image_id',
    'snapshot_id',
    'source_type',
    'uuid',
    'volume_id',
} | {
    'connection_info',
    'delete_on_termination',
    'device_name',
    'device_type',
    'disk_bus',
    'guest_format',
    'no_device',
    'tag',
    'virtual_name',
    'volume_size',
    'volume_type',
}


def test_no_schema_of_nova_names_what_is_not_known() -> None:
    schemas = [
        value
        for name, value in vars(servers).items()
        if name.startswith('create')
        and isinstance(value, dict)
        and 'server' in value.get('properties', {})
        and 'imageRef' in value['properties']['server']['properties']
    ]
    assert len(schemas) > 10
    for schema in schemas:
        server = schema['properties']['server']['properties']
        assert set(server) <= SERVER
        for name in ('block_device_mapping', 'block_device_mapping_v2'):
            device = server[name]['items']['properties']
            assert set(device) <= DEVICE


# --- matching


def environ(
    method: str = 'POST',
    path: str = '/servers',
    body: bytes = b'',
    query: str = '',
    **more: Any,
) -> dict[str, Any]:
    return {
        'REQUEST_METHOD': method,
        'SCRIPT_NAME': '/v2.1',
        'PATH_INFO': path,
        'QUERY_STRING': query,
        'SERVER_NAME': 'localhost',
        'SERVER_PORT': '80',
        'SERVER_PROTOCOL': 'HTTP/1.1',
        'HTTP_HOST': 'localhost',
        'CONTENT_TYPE': 'application/json',
        'CONTENT_LENGTH': str(len(body)),
        'wsgi.url_scheme': 'http',
        'wsgi.input': io.BytesIO(body),
        'nova.context': types.SimpleNamespace(project_id='a-project'),
    } | more


@pytest.fixture(scope='module')
def matching() -> watched.Matching:
    return watched.Matching()


@pytest.fixture(scope='module')
def novas() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Nova's own routes, all of them, by the names of what they lead to."""
    mapper = openstack.ProjectMapper()
    for path, methods in routes.ROUTE_LIST:
        if isinstance(methods, str):
            continue
        for method, (_, action) in methods.items():
            mapper.create_route(path, method, path, action)

    def found(environ: dict[str, Any], _start: Any) -> Any:
        return environ['wsgiorg.routing_args'][1]

    routing = middleware.RoutesMiddleware(found, mapper)
    return lambda environ: routing(dict(environ), None)


PREFIXES = ('', '/abc123', '/ABC', '//', '/servers')
PATHS = (
    '/servers',
    '/servers/',
    '/servers//',
    '/servers/x/action',
    '/servers/x/action/',
    '/servers/x\n/action',
    '/servers/action',
    '/servers/a.json/action',
    '/servers.json',
    '/servers/detail',
    '/os-volumes_boot',
    '/os-volumes_boot/x/action',
    '/images/x/metadata',
    '/images/x/metadata/y',
    '/images/metadata/metadata',
    '/flavors/x/action',
    '/os-volumes',
    '',
    '/',
)
QUERIES = (
    '',
    '_method=POST',
    '_method=put',
    '_method=GET&_method=POST',
    '_method=POST&_method=GET',
    '%5Fmethod=POST',
    'x_method=1',
    '_method=',
    '_method=%FF',
)


def test_what_nova_leads_to_a_watched_place_is_matched(
    matching: watched.Matching,
    novas: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    places = {path for path, _, _ in watched.ROUTES}
    met = set()
    for prefix in PREFIXES:
        for path in PATHS:
            for method in ('GET', 'PUT', 'POST', 'DELETE', 'PATCH', 'post'):
                for query in QUERIES:
                    asked = environ(method, prefix + path, query=query)
                    found = novas(asked)
                    place = _same(str(found.get('controller')))
                    wanted = place in places and found['action'] in (
                        'create',
                        'update',
                        'update_all',
                        'action',
                    )
                    match = matching.match(asked)
                    assert wanted == (match is not None), (asked, found)
                    if match is not None:
                        met.add((match.kind, method, query))
                        if match.kind is watched.Kind.ACTION:
                            assert match.ident == found['id']
    assert len(met) > 20


def test_matching_leaves_the_request_as_it_is(
    matching: watched.Matching,
) -> None:
    asked = environ(body=b'{}', query='_method=POST')
    before = dict(asked)
    assert matching.match(asked) is not None
    assert asked == before
    assert asked['wsgi.input'].tell() == 0


# --- the whole filter


class Below:
    """What stands behind the guard, and what it is asked."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        # As Nova reads it.
        self.bodies.append(openstack.wsgi.Request(environ).body)
        start_response('200 OK', [])
        return [b'']


class Guarded:
    """A guard, and what it answers."""

    def __init__(self, path: pathlib.Path) -> None:
        host = cfg.ConfigOpts()
        host([], project='test', default_config_files=[])
        inside.register(host)
        host.set_override('config_file', str(path), 'hepix_vm')
        self.below = Below()
        self.guard = guard.Guard(self.below, host)

    def ask(self, asked: dict[str, Any]) -> tuple[int, str]:
        """Status and text of an answer."""
        said: list[str] = []

        def start(status: str, _headers: Any, _exc: Any = None) -> None:
            said.append(status)

        text = b''.join(self.guard(asked, start)).decode()
        return int(said[0].partition(' ')[0]), text


@pytest.fixture(scope='module')
def configured(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[pathlib.Path]:
    folder = tmp_path_factory.mktemp('guard')
    rows = catalogue_rows.Rows(f'sqlite:///{folder}/c.sqlite')
    rows.subscription('trusted')
    rows.endorse(DATA)
    rows.record(GOOD, DATA, created_at=int(time.time()), boot='')
    path = folder / 'hepix_vm.conf'
    path.write_text(
        f'[catalogue]\nconnection = {rows.connection}\nstore_timeout = 30\n'
    )
    path.chmod(0o640)
    yield path
    rows.close()


@pytest.fixture
def guarded(configured: pathlib.Path) -> Guarded:
    return Guarded(configured)


def boots(image: str, **more: Any) -> bytes:
    return json.dumps({'server': {'imageRef': image, **more}}).encode()


def test_a_body_comes_to_nova_as_it_was(guarded: Guarded) -> None:
    for body in (
        boots(GOOD),
        b' {"server" : {"imageRef": "' + GOOD.encode() + b'"}, "a": 1e3} ',
        b'no json',
        b'\xff\xfe',
        b'',
        b'[]',
        b'{"server": 7}',
    ):
        assert guarded.ask(environ(body=body))[0] == 200
        assert guarded.below.bodies.pop() == body


def test_what_is_not_watched_is_not_read(guarded: Guarded) -> None:
    asked = environ('GET', '/servers', b'x')
    assert guarded.ask(asked)[0] == 200
    asked = environ('POST', '/flavors', boots(BAD))
    assert guarded.ask(asked)[0] == 200


def test_a_refusal_never_reaches_nova(guarded: Guarded) -> None:
    status, text = guarded.ask(environ(body=boots(BAD)))
    assert status == 403
    assert json.loads(text)['forbidden']['code'] == 403
    assert guarded.below.bodies == []


def test_a_body_of_unknown_length_is_read_where_nova_reads_it(
    guarded: Guarded,
) -> None:
    asked = environ(body=boots(BAD))
    del asked['CONTENT_LENGTH']
    # Without the mark of a server that has put chunks together Nova sees no
    # body, and refuses the request.
    assert guarded.ask(dict(asked))[0] == 200
    assert guarded.below.bodies.pop() == b''
    assert guarded.ask(asked | {'CONTENT_LENGTH': 'many'})[0] == 200
    assert guarded.below.bodies.pop() == b''
    asked['wsgi.input_terminated'] = True
    assert guarded.ask(asked)[0] == 403


def test_a_body_that_is_too_large_is_answered_as_by_nova(
    guarded: Guarded,
) -> None:
    body = boots(BAD, x='x' * 200_000)
    asked = environ(body=body)
    del asked['CONTENT_LENGTH']
    asked['wsgi.input_terminated'] = True
    asked['wsgi.input'] = sizelimit.LimitingReader(io.BytesIO(body), 100_000)
    assert guarded.ask(asked)[0] == 413
    assert guarded.below.bodies == []


@pytest.mark.parametrize(
    'change',
    [
        {'nova.context': None},
        {'wsgi.input': None},
    ],
    ids=['no context', 'no body'],
)
def test_what_is_not_expected_is_a_refusal(
    guarded: Guarded, change: dict[str, Any]
) -> None:
    status, text = guarded.ask(environ(body=boots(GOOD)) | change)
    assert (status, 'internal-error' in text) == (403, True)
    assert guarded.below.bodies == []


def test_before_novas_own_filters_it_refuses(guarded: Guarded) -> None:
    asked = environ(body=boots(GOOD))
    del asked['nova.context']
    status, text = guarded.ask(asked)
    assert (status, 'internal-error' in text) == (403, True)


def test_nesting_without_end_is_a_refusal_or_novas(guarded: Guarded) -> None:
    body = b'{"server": ' + b'[' * 100_000 + b']' * 100_000 + b'}'
    status, _ = guarded.ask(environ(body=body))
    assert status in (200, 403)


def test_an_error_while_looking_is_a_refusal(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError('secret particulars')

    monkeypatch.setattr(lookups.Lookups, 'server', fail)
    body = json.dumps({'rescue': None}).encode()
    status, text = guarded.ask(environ(path='/servers/x/action', body=body))
    assert status == 403
    assert 'internal-error' in text
    assert 'secret' not in text


def test_without_configuration_everything_watched_is_refused(
    configured: pathlib.Path,
) -> None:
    away = configured.with_suffix('.away')
    configured.rename(away)
    try:
        guarded = Guarded(configured)
        status, text = guarded.ask(environ(body=boots(GOOD)))
        assert (status, str(configured) in text) == (403, False)
        assert guarded.ask(environ('GET'))[0] == 200
    finally:
        away.rename(configured)
    assert guarded.ask(environ(body=boots(GOOD)))[0] == 200


def test_questions_end(monkeypatch: pytest.MonkeyPatch) -> None:
    hurried = lookups.Lookups(types.SimpleNamespace(), 0.05)
    over = threading.Event()
    with pytest.raises(TimeoutError, match='no answer within'):
        hurried._within(lambda: over.wait(600))
    over.set()
    asks = lookups.Lookups(types.SimpleNamespace(), 60)
    assert asks._within(lambda: 7) == 7
    with pytest.raises(ValueError, match='odd'):
        asks._within(lambda: int('odd'))


def test_the_factory_is_pastes() -> None:
    made = guard.filter_factory({}, any='thing')
    assert isinstance(made(Below()), guard.Guard)
