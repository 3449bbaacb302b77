# SPDX-License-Identifier: Apache-2.0
"""What is asked of Cinder and Keystone, and what becomes of answers."""

from __future__ import annotations

from typing import Any

from keystoneauth1.identity import v3
from keystoneauth1 import session as sessions
from keystoneauth1 import token_endpoint
import pytest
import requests
import requests_mock

from hepix_vm import errors
from hepix_vm.nova import projects
from hepix_vm.nova import volumes

URL = 'http://cinder.test/v3'
KEYSTONE = 'http://keystone.test/v3'


@pytest.fixture
def cloud():
    with requests_mock.Mocker() as mocker:
        yield mocker


@pytest.fixture
def cinder():
    session = sessions.Session(token_endpoint.Token(URL, 'token'))
    return volumes.Volumes(session, None, 'public')


def shown(volume_id: str, **changes: Any) -> dict[str, Any]:
    return {
        'id': volume_id,
        'name': None,
        'status': 'in-use',
        'bootable': 'true',
        'migration_status': None,
        'os-vol-tenant-attr:tenant_id': 'a project',
        'snapshot_id': None,
        'source_volid': None,
        'attachments': [],
    } | changes


def listing(cloud, what: str, pages: dict[str | None, Any]) -> None:
    def answer(request: Any, context: Any) -> dict[str, Any]:
        assert request.qs['all_tenants'] == ['1']
        page = pages.get(request.qs.get('marker', [None])[0], [])
        if isinstance(page, int):
            context.status_code = page
            return {}
        return {what: page}

    cloud.get(f'{URL}/{what}/detail', json=answer)


def test_all_volumes_of_all_projects_page_by_page(cloud, cinder):
    listing(
        cloud,
        'volumes',
        {
            None: [
                shown(
                    'v1',
                    name='root',
                    volume_image_metadata={'image_id': 'an-image'},
                    attachments=[
                        {'server_id': 'a-server', 'device': '/dev/vda'},
                        {'server_id': None, 'device': '/dev/vdz'},
                    ],
                ),
                shown('v2', snapshot_id='s1', bootable='false'),
            ],
            'v2': [shown('v3', source_volid='v1')],
        },
    )
    first, second, third = cinder.volumes()
    assert first == volumes.Volume(
        'v1',
        'root',
        'a project',
        'in-use',
        True,
        'an-image',
        devices={'a-server': '/dev/vda'},
    )
    assert first.devices == {'a-server': '/dev/vda'}
    assert (second.snapshot_id, second.bootable) == ('s1', False)
    assert (third.source_id, third.image_id) == ('v1', None)


def test_all_snapshots_page_by_page(cloud, cinder):
    item = {
        'id': 's1',
        'name': 'nightly',
        'status': 'available',
        'volume_id': 'v1',
        'os-extended-snapshot-attributes:project_id': 'a project',
    }
    listing(cloud, 'snapshots', {None: [item], 's1': [item | {'id': 's2'}]})
    assert [one.snapshot_id for one in cinder.snapshots()] == ['s1', 's2']
    assert cinder.snapshots()[0] == volumes.Snapshot(
        's1', 'nightly', 'a project', 'available', 'v1'
    )


def test_listing_begins_anew_when_its_place_was_deleted(cloud, cinder):
    answers = iter(
        [
            {'json': {'volumes': [shown('v1')]}},
            {'status_code': 404},
            {'json': {'volumes': [shown('v2')]}},
            {'json': {'volumes': []}},
        ]
    )
    cloud.get(f'{URL}/volumes/detail', list(answers))
    assert [one.volume_id for one in cinder.volumes()] == ['v2']


def test_listing_that_never_ends_well_is_an_error(cloud, cinder):
    listing(cloud, 'volumes', {None: [shown('v1')], 'v1': 404})
    with pytest.raises(errors.TryAgain, match='deleted faster than listed'):
        cinder.volumes()


def test_those_of_one_project_are_not_taken_for_all(cloud, cinder):
    own = shown('v1')
    del own['migration_status']
    listing(cloud, 'volumes', {None: [own]})
    with pytest.raises(errors.Misconfigured, match='volumes of all projects'):
        cinder.volumes()


def test_none_at_all_is_believed_of_an_administrator_only(cloud, cinder):
    listing(cloud, 'volumes', {})
    cloud.get(f'{URL}/os-services', status_code=403)
    with pytest.raises(errors.Misconfigured, match='volumes of all projects'):
        cinder.volumes()
    cloud.get(f'{URL}/os-services', json={'services': []})
    assert cinder.volumes() == ()


@pytest.mark.parametrize(
    ('answer', 'kind'),
    [
        ({'status_code': 401}, errors.Misconfigured),
        ({'status_code': 403}, errors.Misconfigured),
        ({'status_code': 404}, errors.TryAgain),
        ({'status_code': 500}, errors.TryAgain),
        ({'status_code': 503}, errors.TryAgain),
        ({'exc': requests.ConnectionError('refused')}, errors.TryAgain),
        ({'exc': requests.ReadTimeout('silent')}, errors.TryAgain),
        ({'text': '<html>'}, errors.TryAgain),
        ({'json': []}, errors.TryAgain),
        ({'json': {}}, errors.TryAgain),
        ({'json': {'volumes': None, 'snapshots': None}}, errors.TryAgain),
        ({'json': {'volumes': ['v'], 'snapshots': ['s']}}, errors.TryAgain),
        ({'json': {'volumes': [{}], 'snapshots': [{}]}}, errors.TryAgain),
    ],
    ids=[
        '401',
        '403',
        '404',
        '500',
        '503',
        'refused',
        'silent',
        'html',
        'a list',
        'empty',
        'null',
        'strings',
        'no id',
    ],
)
def test_failures_of_cinder_are_errors_of_ours(cloud, cinder, answer, kind):
    for what, call in (
        ('volumes', cinder.volumes),
        ('snapshots', cinder.snapshots),
    ):
        cloud.get(f'{URL}/{what}/detail', **answer)
        with pytest.raises(kind, match=f'Cinder: list {what}') as caught:
            call()
        assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    'odd',
    [
        {'id': 'v1', 'migration_status': None},
        shown('v1', attachments=['x']),
        shown('v1', volume_image_metadata='x'),
    ],
    ids=['no status', 'attachments', 'metadata'],
)
def test_volume_that_is_none_is_an_error(cloud, cinder, odd):
    listing(cloud, 'volumes', {None: [odd]})
    with pytest.raises(errors.TryAgain, match='expected JSON'):
        cinder.volumes()


def logged_in(cloud, *services: tuple[str, str, str]) -> sessions.Session:
    """A session whose service catalogue has these."""
    catalog = [
        {
            'type': kind,
            'name': kind,
            'id': kind,
            'endpoints': [
                {
                    'interface': 'public',
                    'region': region,
                    'region_id': region,
                    'url': url,
                    'id': url,
                }
            ],
        }
        for kind, region, url in services
    ]
    version = {
        'id': 'v3.14',
        'status': 'stable',
        'links': [{'rel': 'self', 'href': KEYSTONE}],
        'media-types': [],
    }
    cloud.get(KEYSTONE, json={'version': version})
    cloud.post(
        f'{KEYSTONE}/auth/tokens',
        json={
            'token': {
                'catalog': catalog,
                'methods': ['password'],
                'expires_at': '2999-01-01T00:00:00.000000Z',
                'issued_at': '2026-01-01T00:00:00.000000Z',
                'user': {
                    'id': 'u',
                    'name': 'u',
                    'domain': {'id': 'default', 'name': 'Default'},
                },
                'project': {
                    'id': 'p',
                    'name': 'p',
                    'domain': {'id': 'default', 'name': 'Default'},
                },
                'roles': [],
            }
        },
        headers={'X-Subject-Token': 'token'},
    )
    auth = v3.Password(
        KEYSTONE,
        username='u',
        password='p',
        user_domain_id='default',
        project_name='p',
        project_domain_id='default',
    )
    return sessions.Session(auth)


@pytest.mark.parametrize('kind', ['block-storage', 'volumev3', 'block-store'])
def test_cinder_is_found_by_each_name_that_it_goes_by(cloud, kind):
    session = logged_in(cloud, (kind, 'one', URL))
    listing(cloud, 'volumes', {None: [shown('v1')]})
    cinder = volumes.Volumes(session, 'one', 'public')
    assert [one.volume_id for one in cinder.volumes()] == ['v1']


def test_cloud_or_region_without_cinder_has_no_volumes(cloud):
    session = logged_in(
        cloud, ('compute', 'one', 'http://n'), ('block-storage', 'two', URL)
    )
    cinder = volumes.Volumes(session, 'one', 'public')
    assert (cinder.volumes(), cinder.snapshots()) == ((), ())


def test_cinder_without_the_wanted_interface_is_an_error(cloud):
    session = logged_in(cloud, ('block-storage', 'one', URL))
    for call in ('volumes', 'snapshots'):
        with pytest.raises(errors.TryAgain, match='Cinder: list'):
            getattr(volumes.Volumes(session, 'one', 'internal'), call)()


def test_keystone_that_is_away_is_an_error_and_no_lack_of_cinder(cloud):
    session = logged_in(cloud)
    cloud.post(f'{KEYSTONE}/auth/tokens', status_code=503)
    with pytest.raises(errors.TryAgain, match='Cinder: look it up'):
        volumes.Volumes(session, None, 'public').volumes()


# Names of projects


def test_projects_have_names(cloud):
    session = logged_in(cloud, ('identity', 'one', KEYSTONE))
    cloud.get(
        f'{KEYSTONE}/projects',
        json={
            'projects': [
                {'id': 'p1', 'name': 'atlas'},
                {'id': 'p2', 'name': 'cms'},
            ]
        },
    )
    assert projects.names(session, None, 'public', ['p1', 'p9']) == {
        'p1': 'atlas'
    }


def test_keystone_is_not_asked_for_nothing(cloud):
    session = logged_in(cloud)
    assert projects.names(session, None, 'public', ['']) == {}
    assert cloud.request_history == []


@pytest.mark.parametrize(
    'answer',
    [
        {'status_code': 403},
        {'status_code': 500},
        {'exc': requests.ConnectionError('refused')},
        {'text': 'no JSON'},
        {'json': {}},
        {'json': {'projects': [{'id': 'p1'}]}},
        {'json': {'projects': 5}},
    ],
    ids=['403', '500', 'refused', 'text', 'empty', 'no name', 'number'],
)
def test_names_that_are_not_told_are_missed_only(cloud, answer):
    session = logged_in(cloud, ('identity', 'one', KEYSTONE))
    cloud.get(f'{KEYSTONE}/projects', **answer)
    assert projects.names(session, None, 'public', ['p1']) == {}
