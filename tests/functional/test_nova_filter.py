# SPDX-License-Identifier: Apache-2.0
"""A real Nova places servers from approved images, and from no others."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import pathlib
import time
from typing import Any

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import model
from hepix_vm.catalogue import quarantine
from hepix_vm.catalogue import schema
from tests import catalogue_rows
from tests.cloud import cloud as clouds
from tests.cloud import hepix
from tests.cloud import waits
from tests.functional import images as acts


@pytest.fixture(scope='module', autouse=True)
def past_the_guard(cloud: clouds.Cloud) -> Iterator[None]:
    """What Nova's API would refuse already comes to the scheduler."""
    before = cloud.site
    if before.options.nova_guard is None:
        yield
        return
    options = dataclasses.replace(before.options, nova_guard=None)
    cloud.site = dataclasses.replace(before, options=options)
    cloud.write_configuration()
    cloud.restart('nova-api')
    try:
        yield
    finally:
        cloud.site = before
        cloud.write_configuration()
        cloud.restart('nova-api')


@pytest.fixture
def user(cloud: clouds.Cloud) -> Iterator[acts.Servers]:
    """Somebody who boots; the servers are deleted afterwards."""
    one = acts.Servers(cloud)
    yield one
    one.delete(*(server.id for server in one.client.servers.list()))


@pytest.fixture(scope='module')
def approved(
    cloud: clouds.Cloud, rows: catalogue_rows.Rows
) -> tuple[str, bytes]:
    """Id and data of an image that came in as it should."""
    return take_in(cloud, rows)


def take_in(
    cloud: clouds.Cloud, rows: catalogue_rows.Rows, list_name: str = 'trusted'
) -> tuple[str, bytes]:
    """Endorse and import an image; returns its id and data."""
    data = acts.some_bytes(4096)
    rows.endorse(data, list_name)
    outcome = acts.Images(cloud).imported(data)
    assert outcome.status == 'success', outcome.message
    return outcome.image['id'], data


@pytest.fixture(scope='module')
def slipped_in(cloud: clouds.Cloud) -> str:
    """An image that an administrator uploaded past the import."""
    admin = acts.Images(cloud, 'admin')
    return admin.uploaded(acts.some_bytes(4096), visibility='public')


def refused(server: Any, code: str) -> str:
    """The fault of a server that was refused with this code."""
    text = acts.fault(server)
    assert f'is refused ({code}): ' in text
    assert model.SENTENCES[model.Reason(code)] in text
    return text


def test_an_approved_image_boots(
    cloud: clouds.Cloud, user: acts.Servers, approved: tuple[str, bytes]
) -> None:
    image_id, _ = approved
    server = user.boot(image_id)
    assert server.status == 'ACTIVE'
    log = cloud.log('nova-scheduler').read_text()
    lines = [line for line in log.splitlines() if server.id in line]
    assert any(
        f'verdict=approved image={image_id} list=' in line
        and 'code=approved' in line
        for line in lines
    )


def test_an_image_past_the_import_ends_in_error_with_our_reason(
    cloud: clouds.Cloud, user: acts.Servers, slipped_in: str
) -> None:
    server = user.boot(slipped_in)
    assert f'image {slipped_in} is refused' in refused(server, 'no-record')
    assert f'verdict=refused image={slipped_in}' in (
        cloud.log('nova-scheduler').read_text()
    )


def test_many_servers_at_once(
    user: acts.Servers, approved: tuple[str, bytes], slipped_in: str
) -> None:
    for image_id, status in ((approved[0], 'ACTIVE'), (slipped_in, 'ERROR')):
        user.boot(image_id, min_count=3, max_count=3)
        found = [
            user.settled(server.id)
            for server in user.client.servers.list()
            if server.image['id'] == image_id
        ]
        assert [server.status for server in found] == [status] * 3
        if status == 'ERROR':
            for server in found:
                refused(server, 'no-record')


Change = Callable[[catalogue_rows.Rows, str, bytes], None]


def _withdraw_record(
    rows: catalogue_rows.Rows, image_id: str, _data: bytes
) -> None:
    rows.change(
        schema.glance_record,
        schema.glance_record.c.image_id == image_id,
        state='withdrawn',
    )


def _leave_unfinished(
    rows: catalogue_rows.Rows, image_id: str, _data: bytes
) -> None:
    rows.change(
        schema.glance_record,
        schema.glance_record.c.image_id == image_id,
        state='verified',
    )


def _same_id_of_another_image(
    rows: catalogue_rows.Rows, image_id: str, _data: bytes
) -> None:
    rows.change(
        schema.glance_record,
        schema.glance_record.c.image_id == image_id,
        created_at=schema.glance_record.c.created_at - 1000,
    )


def _another_size(
    rows: catalogue_rows.Rows, image_id: str, _data: bytes
) -> None:
    rows.change(
        schema.glance_record,
        schema.glance_record.c.image_id == image_id,
        final_size=1,
    )


def _block(rows: catalogue_rows.Rows, _image_id: str, data: bytes) -> None:
    rows.block(catalogue_rows.sha512(data))


def _endorser_withdraws(
    rows: catalogue_rows.Rows, _image_id: str, data: bytes
) -> None:
    rows.withdraw(data)


def _list_changes(**values: Any) -> Change:
    def change(rows: catalogue_rows.Rows, _image_id: str, data: bytes) -> None:
        name = f'nova-{catalogue_rows.sha512(data)[:8]}'
        rows.change(
            schema.endorsement,
            schema.endorsement.c.sha512 == catalogue_rows.sha512(data),
            subscription=name,
        )
        rows.subscription(name, **values)

    return change


@pytest.mark.parametrize(
    ('code', 'change'),
    [
        ('record-withdrawn', _withdraw_record),
        ('record-pending', _leave_unfinished),
        ('image-changed', _same_id_of_another_image),
        ('image-changed', _another_size),
        ('blocked', _block),
        ('withdrawn', _endorser_withdraws),
        ('list-expired', _list_changes(expires=int(time.time()) - 1)),
        ('list-stale', _list_changes(verified_at=1, max_age=600)),
        ('wrong-project', _list_changes(projects=['another'])),
        ('revoked', _list_changes(standing='revoked')),
        ('distrusted', _list_changes(standing='distrusted')),
        ('unsubscribed', _list_changes(configured=False)),
    ],
)
def test_what_changes_after_the_import_stops_new_boots(
    cloud: clouds.Cloud,
    rows: catalogue_rows.Rows,
    user: acts.Servers,
    code: str,
    change: Change,
) -> None:
    image_id, data = take_in(cloud, rows)
    change(rows, image_id, data)
    soon_refused(user, image_id, code)


def soon_refused(user: acts.Servers, image_id: str, code: str) -> None:
    """Boot until the change has reached the scheduler's memory.

    It looks several times a second; each boot takes longer than that.
    """

    def refusal() -> Any | None:
        server = user.boot(image_id)
        return server if server.status == 'ERROR' else None

    server = waits.until('a boot to be refused', refusal, acts.LIMIT)
    refused(server, code)


def test_rebuild_with_another_image_is_judged_by_that_image(
    cloud: clouds.Cloud,
    rows: catalogue_rows.Rows,
    user: acts.Servers,
    approved: tuple[str, bytes],
    slipped_in: str,
) -> None:
    server = user.boot(approved[0])
    assert server.status == 'ACTIVE'
    another, _ = take_in(cloud, rows)
    user.client.servers.rebuild(server.id, another)
    rebuilt = user.settled(server.id)
    assert rebuilt.status == 'ACTIVE'
    assert rebuilt.image['id'] == another
    user.client.servers.rebuild(server.id, slipped_in)
    refused(user.settled(server.id), 'no-record')


def volume_of(image_id: str, index: int = 0) -> dict[str, Any]:
    """A disk that Nova is to make from an image, in Cinder."""
    return {
        'boot_index': index,
        'uuid': image_id,
        'source_type': 'image',
        'destination_type': 'volume',
        'volume_size': 1,
        'delete_on_termination': True,
    }


def root_of(image_id: str) -> dict[str, Any]:
    """The disk that a server usually boots from."""
    return {
        'boot_index': 0,
        'uuid': image_id,
        'source_type': 'image',
        'destination_type': 'local',
    }


def boot_with(
    user: acts.Servers,
    image_id: str | None,
    devices: list[dict[str, Any]],
    **more: Any,
) -> Any:
    """Boot, not by the client's own call, which completes the devices."""
    server = {
        'name': 'with devices',
        'flavorRef': user.flavor().id,
        'networks': 'none',
        'block_device_mapping_v2': devices,
    }
    if image_id is not None:
        server['imageRef'] = image_id
    _, answer = user.client.client.post(
        '/servers', body={'server': server, **more}
    )
    return user.settled(answer['server']['id'])


@pytest.mark.parametrize('named', ['nothing', 'approved', 'as a rebuild'])
def test_boot_from_a_volume_is_refused(
    user: acts.Servers,
    approved: tuple[str, bytes],
    slipped_in: str,
    named: str,
) -> None:
    image_id = approved[0] if named == 'approved' else None
    more: dict[str, Any] = {}
    if named == 'as a rebuild':
        # Nova's own mark, which a user can forge.
        more['os:scheduler_hints'] = {'_nova_check_type': 'rebuild'}
    server = boot_with(user, image_id, [volume_of(slipped_in)], **more)
    refused(server, 'volume-boot')


def test_data_disk_of_another_image_is_seen(
    user: acts.Servers, approved: tuple[str, bytes], slipped_in: str
) -> None:
    devices = [root_of(approved[0]), volume_of(slipped_in, -1)]
    text = refused(boot_with(user, approved[0], devices), 'no-record')
    assert f'image {slipped_in} is refused' in text
    assert 'its images: ' in text


CHANGED = {
    'kernel_id': 'slipped in',
    'min_disk': 1,
    'os_command_line': 'init=/bin/sh',
    'root_device_name': '/dev/vdb',
}


@pytest.mark.parametrize('name', sorted(CHANGED))
def test_what_boots_was_changed_after_the_approval(
    cloud: clouds.Cloud,
    rows: catalogue_rows.Rows,
    user: acts.Servers,
    approved: tuple[str, bytes],
    slipped_in: str,
    name: str,
) -> None:
    image_id, _ = take_in(cloud, rows)
    value = slipped_in if name == 'kernel_id' else CHANGED[name]
    admin = acts.Images(cloud, 'admin').client.images
    admin.update(image_id, **{name: value})
    refused(user.boot(image_id), 'image-changed')
    log = cloud.log('nova-scheduler').read_text()
    assert f'its {name} was changed after it was recorded' in log
    if name == 'kernel_id':
        server = user.boot(approved[0])
        user.client.servers.rebuild(server.id, image_id)
        refused(user.settled(server.id), 'image-changed')


def test_a_server_whose_image_is_withdrawn_may_still_move(
    cloud: clouds.Cloud,
    rows: catalogue_rows.Rows,
    user: acts.Servers,
) -> None:
    image_id, data = take_in(cloud, rows)
    server = user.boot(image_id)
    assert server.status == 'ACTIVE'
    rows.withdraw(data)
    soon_refused(user, image_id, 'withdrawn')
    # This cloud has one host and may resize on it.
    larger = acts.Servers(cloud, 'admin').client.flavors.create(
        f'larger-{server.id}', ram=128, vcpus=1, disk=1
    )
    user.client.servers.resize(server.id, larger.id)
    resized = user.settled(server.id)
    assert resized.status == 'VERIFY_RESIZE'
    log = cloud.log('nova-scheduler').read_text()
    assert f'verdict=existing-server image={image_id}' in log
    user.client.servers.confirm_resize(server.id)
    waits.until(
        'the resize to be confirmed',
        lambda: user.client.servers.get(server.id).status == 'ACTIVE',
        acts.LIMIT,
    )


def test_image_in_quarantine_boots_in_the_project_of_the_quarantine_alone(
    cloud: clouds.Cloud, rows: catalogue_rows.Rows, user: acts.Servers
) -> None:
    # The list is for the user's project, the quarantine is in another one.
    project = cloud.session('demo').get_project_id()
    trial = cloud.session('other').get_project_id()
    data = acts.some_bytes(4096)
    rows.subscription('of-demo', projects=[project])
    rows.endorse(data, 'of-demo')
    outcome = acts.Images(cloud).imported(data)
    assert outcome.status == 'success', outcome.message
    image_id = outcome.image['id']
    acts.Images(cloud).client.images.update(image_id, visibility='shared')
    acts.Images(cloud).client.image_members.create(image_id, trial)
    another = acts.Servers(cloud, 'other')
    try:
        refused(another.boot(image_id), 'wrong-project')
        rows.store.transact(
            lambda made: quarantine.hold(made, 1, 'default', image_id, trial)
        )
        soon_refused(user, image_id, 'quarantine')
        assert another.boot(image_id).status == 'ACTIVE'
        rows.store.transact(lambda made: quarantine.release(made, image_id))
        soon_refused(another, image_id, 'wrong-project')
        assert user.boot(image_id).status == 'ACTIVE'
    finally:
        another.delete(*(one.id for one in another.client.servers.list()))


@contextlib.contextmanager
def scheduler_with(cloud: clouds.Cloud, content: str | None) -> Iterator[None]:
    """A scheduler that starts with another hepix_vm.conf, or without."""
    path = hepix.config_file(cloud.layout.work)
    before = path.read_text()
    try:
        if content is None:
            path.unlink()
        else:
            path.write_text(content)
        cloud.restart('nova-scheduler')
        yield
    finally:
        path.write_text(before)
        cloud.restart('nova-scheduler')


def with_options(cloud: clouds.Cloud, *lines: str) -> str:
    """The usual hepix_vm.conf with these in its group nova."""
    content = hepix.config_file(cloud.layout.work).read_text()
    return '\n'.join([content, '[nova]', *lines, ''])


def said_of(cloud: clouds.Cloud, server: Any, image_id: str) -> set[str]:
    """The verdicts that the scheduler has logged of a server's image."""
    log = cloud.log('nova-scheduler').read_text()
    lines = [line for line in log.splitlines() if server.id in line]
    return {
        line.partition('verdict=')[2].partition(' ')[0]
        for line in lines
        if f'image={image_id} ' in line
    }


def test_dry_run_says_what_it_would_refuse(
    cloud: clouds.Cloud,
    user: acts.Servers,
    approved: tuple[str, bytes],
    slipped_in: str,
) -> None:
    with scheduler_with(cloud, with_options(cloud, 'dry_run = true')):
        server = user.boot(slipped_in)
        assert server.status == 'ACTIVE'
        assert said_of(cloud, server, slipped_in) == {'would-refuse'}
        server = user.boot(approved[0])
        assert server.status == 'ACTIVE'
        assert said_of(cloud, server, approved[0]) == {'approved'}


def test_site_that_lets_servers_boot_from_volumes_and_is_strict_on_moves(
    cloud: clouds.Cloud,
    rows: catalogue_rows.Rows,
    user: acts.Servers,
    approved: tuple[str, bytes],
    slipped_in: str,
) -> None:
    good, _ = approved
    image_id, data = take_in(cloud, rows)
    admin = acts.Servers(cloud, 'admin')
    another = acts.Servers(cloud, 'other')
    project = cloud.session('other').get_project_id()
    options = with_options(
        cloud,
        'volume_boot = endorsed',
        'enforce_on_moves = true',
        f'exempt_projects = {project}',
    )
    with scheduler_with(cloud, options):
        for named in (None, good, slipped_in):
            server = boot_with(user, named, [volume_of(slipped_in)])
            text = refused(server, 'no-record')
            assert f'image {slipped_in} is refused' in text
        # Further than the scheduler: this cloud has no Cinder.
        server = boot_with(user, None, [volume_of(good)])
        assert said_of(cloud, server, good) == {'approved'}
        assert 'is refused' not in acts.fault(server)

        server = another.boot(slipped_in)
        assert server.status == 'ACTIVE'
        assert said_of(cloud, server, slipped_in) == {'exempt'}
        another.delete(server.id)

        server = user.boot(image_id)
        rows.withdraw(data)
        soon_refused(user, image_id, 'withdrawn')
        larger = admin.client.flavors.create(
            f'strict-{server.id}', ram=128, vcpus=1, disk=1
        )
        user.client.servers.resize(server.id, larger.id)
        assert user.settled(server.id).status == 'ACTIVE'
        assert said_of(cloud, server, image_id) == {'approved', 'refused'}


def test_aggregates_say_where_only_approved_images_run(
    cloud: clouds.Cloud,
    user: acts.Servers,
    approved: tuple[str, bytes],
    slipped_in: str,
) -> None:
    nova = acts.Servers(cloud, 'admin').client
    content = with_options(cloud, 'enforce = aggregates')
    with scheduler_with(cloud, content):
        server = user.boot(slipped_in)
        assert server.status == 'ACTIVE'
        assert said_of(cloud, server, slipped_in) == {'other-hosts'}
        aggregate = nova.aggregates.create('checked', None)
        host = nova.hypervisors.list()[0].service['host']
        try:
            nova.aggregates.add_host(aggregate, host)
            assert user.boot(slipped_in).status == 'ACTIVE'
            nova.aggregates.set_metadata(
                aggregate.id, {'hepix_enforce': 'true'}
            )
            soon_refused(user, slipped_in, 'no-record')
            assert user.boot(approved[0]).status == 'ACTIVE'
        finally:
            nova.aggregates.remove_host(aggregate, host)
            nova.aggregates.delete(aggregate.id)


def test_without_configuration_nothing_boots_until_it_is_back(
    cloud: clouds.Cloud, user: acts.Servers, approved: tuple[str, bytes]
) -> None:
    path: pathlib.Path = hepix.config_file(cloud.layout.work)
    content = path.read_text()
    with scheduler_with(cloud, None):
        text = refused(user.boot(approved[0]), 'internal-error')
        assert str(path) not in text
        assert str(path) in cloud.log('nova-scheduler').read_text()
        path.write_text(content)
        assert user.boot(approved[0]).status == 'ACTIVE'


def test_a_store_that_is_away_is_survived_for_a_while_only(
    cloud: clouds.Cloud,
    rows: catalogue_rows.Rows,
    user: acts.Servers,
    approved: tuple[str, bytes],
) -> None:
    table = schema.catalogue.name
    content = (
        f'[catalogue]\nconnection = {rows.connection}\n'
        'reader_max_age = 30\nrefresh_interval = 0.2\nnegative_ttl = 0\n'
        # A busy machine is no store that is away.
        'store_timeout = 30\n'
    )
    with scheduler_with(cloud, content):
        assert user.boot(approved[0]).status == 'ACTIVE'
        rename(rows, table, f'{table}_away')
        try:
            assert user.boot(approved[0]).status == 'ACTIVE'
            time.sleep(31)
            refused(user.boot(approved[0]), 'store-unavailable')
        finally:
            rename(rows, f'{table}_away', table)
        assert user.boot(approved[0]).status == 'ACTIVE'


def rename(rows: catalogue_rows.Rows, old: str, new: str) -> None:
    """Take a table of the catalogue away, or bring it back."""
    with rows.store.engine().begin() as connection:
        connection.execute(sa.text(f'RENAME TABLE {old} TO {new}'))


def test_an_image_that_glance_took_in_without_our_plugins_does_not_boot(
    cloud: clouds.Cloud, rows: catalogue_rows.Rows, user: acts.Servers
) -> None:
    data = acts.some_bytes(4096)
    rows.endorse(data)
    before = cloud.site
    options = dataclasses.replace(
        before.options, import_plugins=(), glance_guard=None
    )
    cloud.site = dataclasses.replace(before, options=options)
    cloud.write_configuration()
    cloud.restart('glance')
    try:
        outcome = acts.Images(cloud).imported(data)
        assert outcome.status == 'success'
        refused(user.boot(outcome.image['id']), 'no-record')
    finally:
        cloud.site = before
        cloud.write_configuration()
        cloud.restart('glance')
