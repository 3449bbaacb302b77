# SPDX-License-Identifier: Apache-2.0
"""What is asked of Glance and Nova over HTTP, and what becomes of answers."""

from __future__ import annotations

import itertools
import re
import time
from typing import Any

from keystoneauth1 import session as sessions
from keystoneauth1 import token_endpoint
import pytest
import requests
import requests_mock

from hepix_vm.catalogue import model
from hepix_vm import errors
from hepix_vm.glance import client
from hepix_vm.nova import servers
from tests.unit.catalogue import snapshots as s

URL = 'http://cloud.test'
IMAGE = '0f0e0d0c-0000-4000-8000-000000000001'


@pytest.fixture
def cloud():
    with requests_mock.Mocker() as mocker:
        versions = [
            {
                'id': f'v2.{minor}',
                'status': status,
                'links': [{'rel': 'self', 'href': f'{URL}/v2/'}],
            }
            for minor, status in ((16, 'CURRENT'), (12, 'SUPPORTED'))
        ]
        for path in ('/', '/versions'):
            mocker.get(URL + path, json={'versions': versions})
        mocker.get(
            f'{URL}/v2/schemas/image',
            json={
                'name': 'image',
                'properties': {'id': {'type': 'string'}},
                'additionalProperties': {'type': 'string'},
            },
        )
        yield mocker


def session() -> sessions.Session:
    return sessions.Session(token_endpoint.Token(URL, 'token'))


@pytest.fixture
def glance(cloud):
    return client.Glance(session(), None, 'public')


def shown(image_id: str = IMAGE, status: str = 'active') -> dict[str, Any]:
    return {
        'id': image_id,
        'name': 'Worker',
        'status': status,
        'size': 5,
        'owner': 'me',
    }


# Glance


def test_all_images_are_listed_hidden_and_community_ones_too(cloud, glance):
    pages = {
        ('false', None): [shown('1'), shown('2')],
        ('false', '2'): [shown('3')],
        ('true', None): [shown('4')],
    }

    def answer(request: Any, context: Any) -> dict[str, Any]:
        asked = request.qs
        assert asked['visibility'] == ['all']
        assert asked['status'] == ['active']
        marker = asked.get('marker', [None])[0]
        hidden = asked['os_hidden'][0]
        images = pages.get((hidden, marker), [])
        found: dict[str, Any] = {'images': images}
        if (hidden, marker) == ('false', None):
            found['next'] = f'/v2/images?{request.query}&marker=2'
        return found

    cloud.get(re.compile(f'{URL}/v2/images'), json=answer)
    found = [image.image_id for image in glance.images(status='active')]
    assert found == ['1', '2', '3', '4']


def test_image_is_a_value_and_none_when_it_is_not_there(cloud, glance):
    cloud.get(f'{URL}/v2/images/{IMAGE}', json=shown())
    assert glance.image(IMAGE) == client.GlanceImage(
        IMAGE, 'Worker', 'active', 5, 'me'
    )
    cloud.get(f'{URL}/v2/images/{IMAGE}', status_code=404)
    assert glance.image(IMAGE) is None


@pytest.mark.parametrize(
    ('answer', 'kind'),
    [
        ({'status_code': 401}, errors.Misconfigured),
        ({'status_code': 403}, errors.Misconfigured),
        ({'status_code': 409}, errors.TryAgain),
        ({'status_code': 500}, errors.TryAgain),
        ({'status_code': 503}, errors.TryAgain),
        ({'exc': requests.ConnectionError('refused')}, errors.TryAgain),
        ({'exc': requests.ReadTimeout('silent')}, errors.TryAgain),
    ],
    ids=['401', '403', '409', '500', '503', 'refused', 'silent'],
)
def test_failures_of_glance_are_errors_of_ours(
    cloud, glance, tmp_path, answer, kind
):
    cloud.register_uri(
        requests_mock.ANY, re.compile(f'{URL}/v2/(images|schemas)'), **answer
    )
    staged = tmp_path / 'image'
    staged.write_bytes(b'bytes')
    for call in (
        lambda: list(glance.images()),
        lambda: glance.image(IMAGE),
        lambda: glance.stage(IMAGE, staged, 5),
        lambda: glance.import_staged(IMAGE),
        lambda: glance.deactivate(IMAGE),
        lambda: glance.reactivate(IMAGE),
        lambda: glance.delete(IMAGE),
        lambda: glance.create(IMAGE, {'name': 'x'}),
    ):
        with pytest.raises(kind) as caught:
            call()
        assert str(caught.value).startswith('Glance: ')
        assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('said', 'seconds'),
    [
        ('2026-11-21T12:00:00Z', 1795262400),
        ('2026-11-21T12:00:00', 1795262400),
        ('2026-11-21T13:00:00+01:00', 1795262400),
        ('lately', None),
        ('', None),
    ],
)
def test_image_knows_when_it_was_created_and_its_hash(
    cloud, glance, said, seconds
):
    told = {
        'created_at': said,
        'os_hash_algo': 'sha512',
        'os_hash_value': 'ab' * 64,
    }
    cloud.get(f'{URL}/v2/images/{IMAGE}', json=shown() | told)
    image = glance.image(IMAGE)
    assert (image.created_at, image.sha512) == (seconds, 'ab' * 64)
    other = shown() | told | {'os_hash_algo': 'sha256'}
    cloud.get(f'{URL}/v2/images/{IMAGE}', json=other)
    assert glance.image(IMAGE).sha512 is None


def test_image_is_reactivated(cloud, glance):
    url = f'{URL}/v2/images/{IMAGE}/actions/reactivate'
    cloud.post(url, status_code=204)
    glance.reactivate(IMAGE)
    assert cloud.request_history[-1].url == url


def test_deleting_what_is_gone_is_fine(cloud, glance):
    cloud.delete(f'{URL}/v2/images/{IMAGE}', status_code=404)
    glance.delete(IMAGE)


def test_bytes_are_staged_and_imported_to_all_stores_or_none(
    cloud, glance, tmp_path
):
    cloud.put(f'{URL}/v2/images/{IMAGE}/stage', status_code=204)
    cloud.get(f'{URL}/v2/images/{IMAGE}', json=shown(status='uploading'))
    cloud.get(
        f'{URL}/v2/info/import',
        json={'import-methods': {'value': ['glance-direct']}},
    )
    cloud.post(f'{URL}/v2/images/{IMAGE}/import', status_code=202)
    staged = tmp_path / 'image'
    staged.write_bytes(b'bytes')
    glance.stage(IMAGE, staged, 5)
    glance.import_staged(IMAGE)
    body = cloud.request_history[-1].json()
    assert body['method']['name'] == 'glance-direct'
    # Glance's own default; nothing asks for less.
    assert body.get('all_stores_must_succeed', True) is True


@pytest.fixture
def importing(cloud, glance, monkeypatch):
    """Waits for an import whose states and tasks are given in turn.

    Returns how many seconds it slept.
    """
    slept = [0.0]
    monkeypatch.setattr(time, 'sleep', slept.append)
    monkeypatch.setattr(time, 'monotonic', lambda: sum(slept))

    def wait(
        statuses, *turns, deadline=60.0, told=lambda message: None, locks=()
    ):
        cloud.get(
            f'{URL}/v2/images/{IMAGE}',
            [
                {'json': shown(status=status) | lock}
                if status
                else {'status_code': 404}
                for status, lock in itertools.zip_longest(
                    statuses, locks, fillvalue={}
                )
            ],
        )
        cloud.get(
            f'{URL}/v2/images/{IMAGE}/tasks',
            [{'json': {'tasks': tasks}} for tasks in turns or ([],)],
        )
        glance.wait_active(IMAGE, deadline, told)
        return sum(slept)

    return wait


def task(status: str, message: str, created: str = '2') -> dict[str, str]:
    return {
        'id': status,
        'status': status,
        'message': message,
        'created_at': created,
    }


def test_import_that_ends_well(importing):
    heard: list[str] = []
    importing(
        ['importing', 'importing', 'active'],
        [task('processing', '50% checked')],
        [task('processing', '90% checked')],
        [task('success', 'done')],
        told=heard.append,
    )
    assert heard == ['50% checked', '90% checked']


def test_import_is_over_when_its_task_is(importing, cloud):
    # The image is active before, and what somebody changes then is lost.
    importing(
        ['importing', 'active'],
        *([task('processing', '')], [task('processing', '')]),
        *([task('pending', '')], [task('success', '')]),
    )
    asked = [r for r in cloud.request_history if r.path.endswith('/tasks')]
    assert len(asked) == 4


def test_import_is_over_when_its_image_is_unlocked(importing, cloud):
    lock = {'os_glance_import_task': 'a task'}
    importing(
        ['importing', 'active', 'active', 'active'],
        [task('success', '')],
        locks=(lock, lock, lock),
    )
    asked = [r for r in cloud.request_history if r.path.endswith('/tasks')]
    assert len(asked) == 4


@pytest.mark.parametrize(
    ('status', 'lock'),
    [('processing', {}), ('success', {'os_glance_import_task': 'a task'})],
)
def test_import_whose_glance_died_at_its_very_end(importing, status, lock):
    slept = importing(
        ['active'], [task(status, '')], deadline=7200.0, locks=(lock,)
    )
    assert 60 <= slept <= 62


def test_import_that_is_refused_tells_glances_sentence(importing):
    with pytest.raises(
        errors.NotBelieved, match='the import: image x is refused'
    ):
        importing(
            ['importing', 'uploading'],
            [
                task('success', 'an earlier one', '1'),
                task('failure', 'image x is refused (blocked)', '2'),
            ],
        )


def test_import_that_was_refused_before_does_not_count(importing):
    importing(
        ['importing', 'active'],
        [task('failure', 'old', '1'), task('processing', 'new', '2')],
        [task('failure', 'old', '1'), task('success', 'new', '2')],
    )


def test_image_that_is_deleted_meanwhile(importing):
    with pytest.raises(errors.TryAgain, match='deleted while'):
        importing(['importing', None])


def test_import_that_does_not_end_in_time(importing):
    with pytest.raises(errors.TryAgain, match='still importing after 0 s'):
        importing(['importing'], deadline=0)


# Nova


@pytest.fixture
def nova(cloud):
    return servers.Nova(session(), None, 'public')


def server(server_id: str, image: Any, **changes: Any) -> dict[str, Any]:
    return {
        'id': server_id,
        'name': 'a server',
        'tenant_id': 'a project',
        'OS-EXT-SRV-ATTR:host': 'a host',
        'status': 'ACTIVE',
        'created': '2026-01-01T00:00:00Z',
        'image': image,
    } | changes


def test_all_servers_of_all_projects_page_by_page(cloud, nova):
    pages = {
        None: [server('1', {'id': IMAGE}), server('2', '')],
        '2': [server('3', {'id': IMAGE})],
    }

    def answer(request: Any, context: Any) -> dict[str, Any]:
        assert request.qs['all_tenants'] == ['true']
        marker = request.qs.get('marker', [None])[0]
        return {'servers': pages.get(marker, [])}

    cloud.get(re.compile(f'{URL}/servers/detail'), json=answer)
    found = list(nova.servers())
    assert [one.server_id for one in found] == ['1', '2', '3']
    assert found[0] == servers.Server(
        '1',
        'a server',
        'a project',
        'a host',
        'ACTIVE',
        '2026-01-01T00:00:00Z',
        IMAGE,
    )
    assert found[1].image_id is None


@pytest.mark.parametrize(
    ('answer', 'kind'),
    [
        ({'status_code': 401}, errors.Misconfigured),
        ({'status_code': 403}, errors.Misconfigured),
        ({'status_code': 500}, errors.TryAgain),
        ({'exc': requests.ConnectionError('refused')}, errors.TryAgain),
    ],
    ids=['401', '403', '500', 'refused'],
)
def test_failures_of_nova_are_errors_of_ours(cloud, nova, answer, kind):
    cloud.get(re.compile(f'{URL}/servers/detail'), **answer)
    with pytest.raises(kind, match='Nova: list servers'):
        list(nova.servers())


@pytest.mark.parametrize(
    ('answer', 'there'),
    [
        ({'json': {'server': server('1', '')}}, True),
        ({'status_code': 404}, False),
    ],
)
def test_whether_nova_has_a_server(cloud, nova, answer, there):
    cloud.get(f'{URL}/servers/1', **answer)
    assert nova.has('1') is there


@pytest.mark.parametrize(
    ('answer', 'kind'),
    [
        ({'status_code': 401}, errors.Misconfigured),
        ({'status_code': 403}, errors.Misconfigured),
        # So it answers while the cell of the server is down.
        ({'status_code': 500}, errors.TryAgain),
        ({'exc': requests.ConnectionError('refused')}, errors.TryAgain),
    ],
    ids=['401', '403', '500', 'refused'],
)
def test_a_server_is_not_gone_because_nova_fails(cloud, nova, answer, kind):
    cloud.get(f'{URL}/servers/1', **answer)
    with pytest.raises(kind, match='Nova: server 1'):
        nova.has('1')


def values(*images: str | None) -> list[servers.Server]:
    return [
        servers.Server(str(n), 'name', 'mine', None, 'ACTIVE', '', image)
        for n, image in enumerate(images)
    ]


def test_servers_whose_image_would_not_boot_today():
    catalogue = s.snapshot(
        subscriptions=[s.subscribed(projects=frozenset({'mine'}))]
    )
    found = list(
        servers.not_approved(
            iter(values(s.GLANCE_IMAGE, 'unknown', None)), catalogue, s.NOW
        )
    )
    assert [(j.server.server_id, j.decision.code) for j in found] == [
        ('1', model.Reason.NO_RECORD),
        ('2', model.Reason.NO_IMAGE),
    ]


def test_servers_are_judged_for_their_own_project():
    catalogue = s.snapshot(
        subscriptions=[s.subscribed(projects=frozenset({'theirs'}))]
    )
    (judged,) = servers.not_approved(
        iter(values(s.GLANCE_IMAGE)), catalogue, s.NOW
    )
    assert judged.decision.code is model.Reason.WRONG_PROJECT


def test_a_glance_of_one_store_tells_why_it_refused(cloud, glance):
    version = {
        'id': 'v2.9',
        'status': 'CURRENT',
        'links': [{'rel': 'self', 'href': f'{URL}/v2/'}],
    }
    for path in ('/', '/versions'):
        cloud.get(URL + path, json={'versions': [version]})
    cloud.get(f'{URL}/v2/images/{IMAGE}', json=shown(status='queued'))
    cloud.get(
        f'{URL}/v2/images/{IMAGE}/tasks',
        json={
            'tasks': [
                {
                    'created_at': '2026-01-01T00:00:00',
                    'status': 'failure',
                    'message': 'not endorsed',
                }
            ]
        },
    )
    with pytest.raises(errors.NotBelieved, match='not endorsed'):
        glance.wait_active(IMAGE, 60)
