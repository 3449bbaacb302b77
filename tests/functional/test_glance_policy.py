# SPDX-License-Identifier: Apache-2.0
"""Each shipped rule of Glance closes a way that is open without it."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import functools
import json
import pathlib
from typing import Any

from glance import policies
from glanceclient import exc as glance_exc
from keystoneauth1 import adapter
from keystoneauth1 import service_token
import pytest

from hepix_vm.catalogue import boot
from hepix_vm.catalogue import schema
from tests import catalogue_rows
from tests.cloud import cloud as clouds
from tests.cloud import site as sites
from tests.cloud import waits
from tests.functional import images as acts
from tests.functional import importing

#: What Glance does without a rule of ours.
STOCK = {rule.name: rule.check_str for rule in policies.list_rules()}


@pytest.fixture(scope='module', autouse=True)
def as_shipped(cloud: clouds.Cloud) -> Iterator[sites.Site]:
    """How this cloud's Glance is set up, and is left in the end."""
    before = cloud.site
    yield before
    if cloud.site is not before:
        cloud.site = before
        importing.restart_glance(cloud)
    importing.write_rules(cloud, before.options.glance_policy)


def without(
    cloud: clouds.Cloud, *names: str
) -> contextlib.AbstractContextManager[None]:
    """Some rules are Glance's own for a while."""
    # Glance before 2026.1 does not know download_from_store.
    known = [name for name in names if name in STOCK]
    for name in known:
        assert cloud.site.options.glance_policy[name] != STOCK[name]
    return importing.ruled(cloud, **{name: STOCK[name] for name in known})


@pytest.fixture
def user(cloud: clouds.Cloud) -> acts.Images:
    return acts.Images(cloud)


@pytest.fixture
def admin(cloud: clouds.Cloud) -> acts.Images:
    return acts.Images(cloud, 'admin')


@pytest.fixture(scope='module')
def slipped_in(cloud: clouds.Cloud) -> str:
    """An image that came in past the import, which everybody sees."""
    return acts.Images(cloud, 'admin').uploaded(
        acts.some_bytes(4096), visibility='public'
    )


def take_in(
    images: acts.Images, rows: catalogue_rows.Rows, **properties: Any
) -> tuple[str, bytes]:
    """Endorse and import an image; returns its id and data."""
    data = acts.some_bytes(4096)
    rows.endorse(data)
    outcome = images.imported(data, **properties)
    assert outcome.status == 'success', outcome.message
    return outcome.image['id'], data


def given(images: acts.Images, image_id: str, prefer: str = '') -> bytes:
    """The data that Glance gives out."""
    query = f'?prefer={prefer}' if prefer else ''
    _, body = images.client.http_client.get(
        f'/v2/images/{image_id}/file{query}'
    )
    return b''.join(body)


def kept_back(images: acts.Images, image_id: str, prefer: str = '') -> None:
    """Glance gives nothing out."""
    with pytest.raises(glance_exc.HTTPForbidden):
        given(images, image_id, prefer)


def refusals(cloud: clouds.Cloud, image_id: str) -> list[str]:
    """Lines of Glance's log that say why it does not."""
    log = cloud.log('glance').read_text()
    mark = f'verdict=refused image={image_id} list='
    return [line for line in log.splitlines() if mark in line]


def as_nova(cloud: clouds.Cloud) -> adapter.Adapter:
    """Glance's API as Nova uses it for a user: with its service token."""
    session = cloud.session('demo')
    both = service_token.ServiceTokenAuthWrapper(
        user_auth=session.auth,
        service_auth=cloud.session('nova', 'service').auth,
    )
    return adapter.Adapter(session, auth=both, service_type='image')


#: What Nova says of a snapshot that it makes.
OF_NOVA = {
    'image_type': 'snapshot',
    'instance_uuid': 'cccccccc-0000-4000-8000-000000000003',
    'base_image_ref': 'bbbbbbbb-0000-4000-8000-000000000002',
    'image_location': 'snapshot',
    'image_state': 'available',
    'kernel_id': 'a kernel',
    'ramdisk_id': 'a ramdisk',
    'os_command_line': 'quiet',
    'root_device_name': '/dev/vda',
    'block_device_mapping': '[]',
    'bdm_v2': 'True',
    'mappings': '[]',
}


def snapshot(cloud: clouds.Cloud, data: bytes = b'a snapshot') -> str:
    """An image that is made and filled as Nova does it."""
    glance = as_nova(cloud)
    fields = {'name': 'of a server', 'visibility': 'private'}
    formats = {'disk_format': 'raw', 'container_format': 'bare'}
    made = glance.post('/v2/images', json=fields | formats | OF_NOVA).json()
    glance.put(
        f'/v2/images/{made["id"]}/file',
        data=data,
        headers={'Content-Type': 'application/octet-stream'},
    )
    assert glance.get(f'/v2/images/{made["id"]}').json()['status'] == 'active'
    return str(made['id'])


# --- downloads


def test_approved_data_leave_glance_and_others_do_not(
    cloud: clouds.Cloud,
    user: acts.Images,
    admin: acts.Images,
    rows: catalogue_rows.Rows,
    slipped_in: str,
) -> None:
    image_id, data = take_in(user, rows)
    for who in (user, admin):
        assert given(who, image_id) == data
        kept_back(who, slipped_in)
    lines = refusals(cloud, slipped_in)
    assert len(lines) == 2
    assert all('code=no-record' in line for line in lines)
    with without(cloud, 'download_image'):
        assert len(given(user, slipped_in)) == 4096
    kept_back(user, slipped_in)


def test_a_preferred_store_is_no_way_around(
    cloud: clouds.Cloud, user: acts.Images, slipped_in: str
) -> None:
    kept_back(user, slipped_in, 'local')
    with without(cloud, 'download_image'):
        kept_back(user, slipped_in, 'local')
    with without(cloud, 'download_image', 'download_from_store'):
        assert len(given(user, slipped_in, 'local')) == 4096


Change = Callable[[catalogue_rows.Rows, str, bytes], None]


def _record(**values: Any) -> Change:
    def change(rows: catalogue_rows.Rows, image_id: str, _data: bytes) -> None:
        rows.change(
            schema.glance_record,
            schema.glance_record.c.image_id == image_id,
            **values,
        )

    return change


CHANGES: dict[str, tuple[str, Change]] = {
    'withdrawn': ('withdrawn', lambda rows, _, data: rows.withdraw(data)),
    'blocked': (
        'blocked',
        lambda rows, _, data: rows.block(catalogue_rows.sha512(data)),
    ),
    'record withdrawn': ('record-withdrawn', _record(state='withdrawn')),
    'record pending': ('record-pending', _record(state='verified')),
    'other bytes': ('image-changed', _record(final_sha512='0' * 128)),
    'other size': ('image-changed', _record(final_size=1)),
    'same id of another image': ('image-changed', _record(created_at=1)),
}


@pytest.mark.parametrize('change', CHANGES)
def test_what_changes_after_the_import_ends_downloads(
    cloud: clouds.Cloud,
    user: acts.Images,
    admin: acts.Images,
    rows: catalogue_rows.Rows,
    change: str,
) -> None:
    code, does = CHANGES[change]
    image_id, data = take_in(user, rows)
    assert given(user, image_id) == data
    does(rows, image_id, data)
    waits.until(
        'Glance to know of the change',
        lambda: _refused(user, image_id),
        acts.LIMIT,
        log=cloud.log('glance'),
    )
    assert f'code={code} ' in refusals(cloud, image_id)[-1]
    kept_back(admin, image_id)
    # Where an administrator may have what was approved once.
    once = code in ('withdrawn', 'blocked', 'record-withdrawn')
    loose = shipped_rule(cloud).replace(':any', ':imported')
    with importing.ruled(cloud, hepix_download=loose):
        assert _refused(admin, image_id) is not once


def shipped_rule(cloud: clouds.Cloud) -> str:
    """What our policy says of downloads."""
    return cloud.site.options.glance_policy['hepix_download']


def _refused(images: acts.Images, image_id: str) -> bool:
    try:
        given(images, image_id)
    except glance_exc.HTTPForbidden:
        return True
    return False


@pytest.mark.parametrize('name', boot.NAMES)
def test_what_the_image_boots_changed_after_the_import(
    user: acts.Images,
    admin: acts.Images,
    rows: catalogue_rows.Rows,
    name: str,
) -> None:
    image_id, data = take_in(user, rows)
    value = 3 if name == 'min_disk' else '[{"device": "vda"}]'
    if name == 'min_disk':
        # The owner may always change it; Glance does not protect it.
        user.client.images.update(image_id, min_disk=value)
    else:
        admin.client.images.update(image_id, **{name: value})
    kept_back(user, image_id)
    if name == 'min_disk':
        user.client.images.update(image_id, min_disk=0)
    else:
        admin.client.images.update(image_id, remove_props=[name])
    assert given(user, image_id) == data


def test_what_the_image_had_at_its_import_may_stay(
    admin: acts.Images, rows: catalogue_rows.Rows
) -> None:
    image_id, data = take_in(
        admin, rows, min_disk=2, kernel_id=catalogue_rows.sha512(b'')[:32]
    )
    assert given(admin, image_id) == data
    recorded = rows.recorded(image_id)
    assert recorded is not None
    assert set(json.loads(recorded.boot)) == {'kernel_id', 'min_disk'}


def test_a_list_for_some_projects_serves_them_and_administrators(
    cloud: clouds.Cloud,
    user: acts.Images,
    admin: acts.Images,
    rows: catalogue_rows.Rows,
) -> None:
    image_id, data = take_in(user, rows)
    user.client.images.update(image_id, visibility='community')
    stranger = acts.Images(cloud, 'other')
    assert given(stranger, image_id) == data
    name = f'policy-{image_id[:8]}'
    rows.subscription(name, projects=[cloud.add_project('demo')])
    rows.change(
        schema.endorsement,
        schema.endorsement.c.sha512 == catalogue_rows.sha512(data),
        subscription=name,
    )
    waits.until(
        'Glance to know of the projects',
        lambda: _refused(stranger, image_id),
        acts.LIMIT,
        log=cloud.log('glance'),
    )
    assert 'code=wrong-project ' in refusals(cloud, image_id)[-1]
    assert given(user, image_id) == data
    assert given(admin, image_id) == data


def test_a_service_token_is_no_way_around(
    cloud: clouds.Cloud, slipped_in: str
) -> None:
    with_token = as_nova(cloud)
    found = with_token.get(f'/v2/images/{slipped_in}/file', raise_exc=False)
    assert found.status_code == 403


def test_the_roles_of_a_service_are_not_its_users(
    cloud: clouds.Cloud, rows: catalogue_rows.Rows, user: acts.Images
) -> None:
    image_id, data = take_in(user, rows, os_distro='debian')
    with_token = as_nova(cloud)
    path = f'/v2/images/{image_id}/file'
    assert with_token.get(path).content == data
    rows.block(catalogue_rows.sha512(data))
    waits.until(
        'Glance to know of the block',
        lambda: with_token.get(path, raise_exc=False).status_code == 403,
        acts.LIMIT,
        log=cloud.log('glance'),
    )


def test_exemptions_are_words_of_the_policy(
    cloud: clouds.Cloud, user: acts.Images, slipped_in: str
) -> None:
    exempt = f'project_id:{cloud.add_project("demo")}'
    with importing.ruled(cloud, hepix_exempt=exempt):
        assert len(given(user, slipped_in)) == 4096
        kept_back(acts.Images(cloud, 'other'), slipped_in)
    kept_back(user, slipped_in)


def test_own_snapshots_can_be_exempt(
    cloud: clouds.Cloud, user: acts.Images
) -> None:
    image_id = snapshot(cloud)
    kept_back(user, image_id)
    own = "project_id:%(owner)s and 'snapshot':%(image_type)s"
    with importing.ruled(cloud, hepix_exempt=own):
        assert given(user, image_id) == b'a snapshot'
        admin = acts.Images(cloud, 'admin')
        kept_back(admin, image_id)
        # Nobody can say that of another image.
        with pytest.raises(glance_exc.HTTPForbidden):
            user.create(image_type='snapshot')


def test_without_the_package_nothing_leaves(
    cloud: clouds.Cloud, user: acts.Images, rows: catalogue_rows.Rows
) -> None:
    image_id, data = take_in(user, rows)
    package = cloud.layout.site / 'hepix_vm' / 'glance' / 'policy.py'
    away = package.with_suffix('.away')
    package.rename(away)
    importing.forget_packages(cloud)
    try:
        cloud.restart('glance')
        kept_back(user, image_id)
    finally:
        away.rename(package)
        importing.forget_packages(cloud)
        cloud.restart('glance')
    assert given(user, image_id) == data


# --- locations


def test_only_of_approved_images_services_learn_the_place(
    cloud: clouds.Cloud,
    user: acts.Images,
    admin: acts.Images,
    rows: catalogue_rows.Rows,
    slipped_in: str,
) -> None:
    image_id, _ = take_in(user, rows)
    service = adapter.Adapter(
        cloud.session('nova', 'service'), service_type='image'
    )

    def place(of: str) -> int:
        path = f'/v2/images/{of}/locations'
        return int(service.get(path, raise_exc=False).status_code)

    assert (place(image_id), place(slipped_in)) == (200, 403)
    with without(cloud, 'fetch_image_location'):
        assert place(slipped_in) == 200
    assert place(slipped_in) == 403


# --- ways to an image with data


def test_a_member_uploads_only_through_a_service(
    cloud: clouds.Cloud, user: acts.Images, rows: catalogue_rows.Rows
) -> None:
    with pytest.raises(glance_exc.HTTPForbidden):
        user.uploaded(b'past the import')
    with without(cloud, 'upload_image'):
        image_id = user.uploaded(b'past the import')
    assert user.client.images.get(image_id)['status'] == 'active'
    assert rows.recorded(image_id) is None
    image_id = snapshot(cloud)
    # Not into images of others, even where a service can be led astray.
    admin = acts.Images(cloud, 'admin')
    foreign = admin.create(visibility='public')
    found = as_nova(cloud).put(
        f'/v2/images/{foreign}/file',
        data=b'from elsewhere',
        headers={'Content-Type': 'application/octet-stream'},
        raise_exc=False,
    )
    assert found.status_code == 403
    assert admin.client.images.get(foreign)['status'] == 'queued'


def test_what_was_deactivated_stays_so(
    cloud: clouds.Cloud,
    user: acts.Images,
    admin: acts.Images,
    rows: catalogue_rows.Rows,
) -> None:
    image_id, _ = take_in(user, rows)
    with pytest.raises(glance_exc.HTTPForbidden):
        user.client.images.deactivate(image_id)
    with without(cloud, 'deactivate'):
        user.client.images.deactivate(image_id)
    with pytest.raises(glance_exc.HTTPForbidden):
        user.client.images.reactivate(image_id)
    assert user.client.images.get(image_id)['status'] == 'deactivated'
    with without(cloud, 'reactivate'):
        user.client.images.reactivate(image_id)
    assert user.client.images.get(image_id)['status'] == 'active'
    admin.client.images.deactivate(image_id)
    admin.client.images.reactivate(image_id)


# --- properties


PROTECTED = sorted(
    {
        *(set(boot.NAMES) - {'min_disk'}),
        *(f'img_{name}' for name in boot.TWICE),
        *OF_NOVA,
    }
)


def test_members_change_nothing_that_boots_or_says_whence(
    user: acts.Images, admin: acts.Images
) -> None:
    image_id = user.create()
    with_all = admin.create(
        visibility='community', **dict.fromkeys(PROTECTED, 'x')
    )
    for name in PROTECTED:
        assert user.client.images.get(with_all)[name] == 'x'
        with pytest.raises(glance_exc.HTTPForbidden, match=name):
            user.create(**{name: 'x'})
        with pytest.raises(glance_exc.HTTPForbidden, match=name):
            user.client.images.update(image_id, **{name: 'x'})
    of_user = snapshot_properties(user, image_id)
    assert not set(PROTECTED) & of_user
    own = user.client.images.update(
        image_id, os_distro='alma', my_kernel_id=''
    )
    assert own['os_distro'] == 'alma'


def snapshot_properties(images: acts.Images, image_id: str) -> set[str]:
    return set(images.client.images.get(image_id))


def test_members_cannot_take_away_what_nova_said(
    cloud: clouds.Cloud, user: acts.Images
) -> None:
    image_id = snapshot(cloud)
    for name in OF_NOVA:
        with pytest.raises(glance_exc.HTTPForbidden, match=name):
            user.client.images.update(image_id, remove_props=[name])
        with pytest.raises(glance_exc.HTTPForbidden, match=name):
            user.client.images.update(image_id, **{name: 'another'})


def test_nova_makes_snapshots_all_the_same(
    cloud: clouds.Cloud, user: acts.Images, rows: catalogue_rows.Rows
) -> None:
    image_id, _ = take_in(user, rows)
    servers = acts.Servers(cloud)
    server = servers.boot(image_id)
    assert server.status == 'ACTIVE', server.fault
    made = servers.client.servers.create_image(server.id, 'a snapshot')
    image = user.client.images.get(made)
    assert image['image_type'] == 'snapshot'
    assert image['base_image_ref'] == image_id
    servers.delete(server.id)


@pytest.fixture(scope='class')
def open_glance(cloud: clouds.Cloud, as_shipped: sites.Site) -> Iterator[None]:
    """Glance with its cache, and without what the sample of ours sets."""
    options = as_shipped.options
    glance = options.extra['glance-api']
    data = cloud.layout.data / 'glance'
    another = {
        **glance,
        'DEFAULT': {
            **glance['DEFAULT'],
            'enabled_backends': None,
            'node_staging_uri': f'file://{data / "staging"}',
            'show_image_direct_url': True,
            'show_multiple_locations': True,
            'property_protection_file': None,
        },
        # With several stores tasks run qemu-img by the name of their own
        # interpreter, which Glance does not know under uWSGI.
        'glance_store': {
            'default_backend': None,
            'stores': 'file,http',
            'default_store': 'file',
            'filesystem_store_datadir': str(data / 'local'),
        },
        'paste_deploy': {'flavor': 'keystone+caching'},
    }
    cloud.site = dataclasses.replace(
        as_shipped,
        options=dataclasses.replace(
            options,
            glance_guard=None,
            extra={**options.extra, 'glance-api': another},
        ),
    )
    importing.restart_glance(cloud)
    yield
    cloud.site = as_shipped
    importing.restart_glance(cloud)


def test_nobody_learns_where_data_is(
    user: acts.Images, rows: catalogue_rows.Rows
) -> None:
    image_id, _ = take_in(user, rows)
    assert not {'direct_url', 'locations'} & snapshot_properties(
        user, image_id
    )


@pytest.mark.usefixtures('open_glance')
class TestOpenGlance:
    """What is open where glance-api.conf is not as its sample says."""

    def test_members_learn_where_data_is_whatever_the_policy_says(
        self, cloud: clouds.Cloud, user: acts.Images, slipped_in: str
    ) -> None:
        with importing.ruled(cloud, get_image_location='!'):
            shown = user.client.images.get(slipped_in)
        assert shown['direct_url'].startswith('file:///')
        assert shown['locations'][0]['url'] == shown['direct_url']

    def test_members_change_what_boots(
        self, user: acts.Images, rows: catalogue_rows.Rows
    ) -> None:
        image_id, data = take_in(user, rows)
        assert given(user, image_id) == data
        for name in PROTECTED:
            user.client.images.update(image_id, **{name: 'x'})
        kept_back(user, image_id)

    def test_members_name_a_place(
        self,
        cloud: clouds.Cloud,
        user: acts.Images,
        rows: catalogue_rows.Rows,
        tmp_path: pathlib.Path,
    ) -> None:
        (tmp_path / 'image').write_bytes(b'from elsewhere')
        with importing.served(tmp_path) as server:
            url = f'{server}/image'
            image_id = user.create()
            name = functools.partial(user.client.images.add_location, url=url)
            with pytest.raises(glance_exc.HTTPForbidden):
                name(image_id=image_id, metadata={})
            with without(cloud, 'set_image_location'):
                name(image_id=image_id, metadata={})
            assert user.client.images.get(image_id)['status'] == 'active'
            assert rows.recorded(image_id) is None
            kept_back(user, image_id)

    def test_members_name_a_place_in_the_newer_way(
        self,
        cloud: clouds.Cloud,
        user: acts.Images,
        rows: catalogue_rows.Rows,
        tmp_path: pathlib.Path,
    ) -> None:
        (tmp_path / 'image').write_bytes(b'from elsewhere')
        with importing.served(tmp_path) as server:
            image_id = user.create()
            name = functools.partial(
                user.client.http_client.post,
                f'/v2/images/{image_id}/locations',
                data={'url': f'{server}/image', 'validation_data': {}},
            )
            with pytest.raises(glance_exc.HTTPForbidden):
                name()
            with without(cloud, 'add_image_location'):
                name()
            waits.until(
                'the image to be active',
                lambda: user.client.images.get(image_id)['status'] == 'active',
                acts.LIMIT,
                log=cloud.log('glance'),
            )
            assert rows.recorded(image_id) is None
            kept_back(user, image_id)

    def test_the_cache_gives_nothing_out_that_is_withdrawn(
        self,
        cloud: clouds.Cloud,
        user: acts.Images,
        rows: catalogue_rows.Rows,
    ) -> None:
        image_id, data = take_in(user, rows)
        cached = cloud.layout.data / 'glance' / 'cache' / image_id
        assert given(user, image_id) == data
        # The cache has it a moment after its reader.
        waits.until(
            'the cache to have the data',
            cached.is_file,
            acts.LIMIT,
            log=cloud.log('glance'),
        )
        assert cached.read_bytes() == data
        assert given(user, image_id) == data
        rows.withdraw(data)
        waits.until(
            'Glance to know of the withdrawal',
            lambda: _refused(user, image_id),
            acts.LIMIT,
            log=cloud.log('glance'),
        )
        assert cached.exists()
        with without(cloud, 'download_image'):
            assert given(user, image_id) == data

    def test_old_tasks_make_no_images(
        self,
        cloud: clouds.Cloud,
        admin: acts.Images,
        rows: catalogue_rows.Rows,
        tmp_path: pathlib.Path,
    ) -> None:
        (tmp_path / 'image').write_bytes(acts.some_bytes(4096))
        name = f'by a task {tmp_path.name}'
        with importing.served(tmp_path) as url:
            asked = {
                'type': 'import',
                'input': {
                    'import_from': f'{url}/image',
                    'import_from_format': 'raw',
                    'image_properties': {
                        'name': name,
                        'disk_format': 'raw',
                        'container_format': 'bare',
                    },
                },
            }
            post = functools.partial(
                admin.client.http_client.post, '/v2/tasks'
            )
            with pytest.raises(glance_exc.HTTPForbidden):
                post(data=asked)
            with without(cloud, 'tasks_api_access'):
                post(data=asked)

            def made() -> Any | None:
                found = admin.client.images.list(filters={'name': name})
                return next(
                    (o for o in found if o['status'] == 'active'), None
                )

            image = waits.until(
                'the image of the task',
                made,
                acts.LIMIT,
                log=cloud.log('glance'),
            )
        assert rows.recorded(image['id']) is None
        kept_back(admin, image['id'])
