# SPDX-License-Identifier: Apache-2.0
"""A real Glance takes in endorsed bytes, and nothing else."""

from collections.abc import Callable
from collections.abc import Iterator
import concurrent.futures
import contextlib
import dataclasses
import functools
import gzip
import pathlib
import subprocess
import time
from typing import Any
import uuid

from glanceclient import exc as glance_exc
import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import settle
from tests import catalogue_rows
from tests.cloud import cloud as clouds
from tests.cloud import hepix
from tests.cloud import ports
from tests.cloud import site as sites
from tests.cloud import waits
from tests.functional import images as acts
from tests.functional import importing

NOW = int(time.time())
OURS = importing.OURS


@pytest.fixture
def user(cloud: clouds.Cloud) -> acts.Images:
    return acts.Images(cloud)


@pytest.fixture(scope='module')
def as_shipped(cloud: clouds.Cloud) -> Iterator[sites.Site]:
    """How this cloud's Glance is set up, and is left in the end."""
    before = cloud.site
    yield before
    if cloud.site is not before:
        cloud.site = before
        importing.restart_glance(cloud)


@pytest.fixture(autouse=True)
def glance_as_shipped(
    request: pytest.FixtureRequest,
    cloud: clouds.Cloud,
    as_shipped: sites.Site,
) -> None:
    """Only tests that ask for another Glance get one."""
    another = {'plugins', 'between_ours', 'one_store'}
    wanted = another & set(request.fixturenames)
    if not wanted and cloud.site is not as_shipped:
        cloud.site = as_shipped
        importing.restart_glance(cloud)


def test_a_user_imports_endorsed_bytes(
    user: acts.Images, rows: catalogue_rows.Rows
) -> None:
    data = acts.some_bytes()
    rows.endorse(data)
    importing.assert_taken_in(rows, user.imported(data), data)


def test_an_empty_image_is_no_special_case(
    cloud: clouds.Cloud, user: acts.Images, rows: catalogue_rows.Rows
) -> None:
    outcome = user.imported(b'')
    importing.assert_refused(cloud, rows, outcome, '(not-endorsed)')


Spoil = Callable[[catalogue_rows.Rows, bytes], bytes]


def _unknown(_rows: catalogue_rows.Rows, data: bytes) -> bytes:
    return data


def _changed(rows: catalogue_rows.Rows, data: bytes) -> bytes:
    rows.endorse(data)
    return data[:-1] + bytes([data[-1] ^ 1])


def _truncated(rows: catalogue_rows.Rows, data: bytes) -> bytes:
    rows.endorse(data)
    return data[: len(data) // 2]


def _longer(rows: catalogue_rows.Rows, data: bytes) -> bytes:
    rows.endorse(data)
    return data + b'\0'


# Blocked before they are endorsed, they are approved at no moment.
def _blocked_bytes(rows: catalogue_rows.Rows, data: bytes) -> bytes:
    rows.block(catalogue_rows.sha512(data))
    rows.endorse(data)
    return data


def _blocked_image(rows: catalogue_rows.Rows, data: bytes) -> bytes:
    identifier = str(uuid.uuid4())
    rows.block(identifier)
    rows.endorse(data, identifier=identifier)
    return data


def _endorsed(rows: catalogue_rows.Rows, data: bytes, **values: Any) -> bytes:
    rows.endorse(data, **values)
    return data


def _listed(rows: catalogue_rows.Rows, data: bytes, **values: Any) -> bytes:
    name = f'list-{catalogue_rows.sha512(data)[:8]}'
    rows.subscription(name, **values)
    rows.endorse(data, name)
    return data


REFUSALS: list[tuple[str, Spoil]] = [
    ('not-endorsed', _unknown),
    ('not-endorsed', _changed),
    ('not-endorsed', _truncated),
    ('not-endorsed', _longer),
    ('blocked', _blocked_bytes),
    ('blocked', _blocked_image),
    ('not-approved', functools.partial(_endorsed, approved=False)),
    ('withdrawn', functools.partial(_endorsed, withdrawn=True)),
    ('size-differs', functools.partial(_endorsed, size=7)),
    ('image-expired', functools.partial(_endorsed, expires=NOW - 1)),
    ('list-expired', functools.partial(_listed, expires=NOW - 1)),
    (
        'list-stale',
        functools.partial(_listed, verified_at=NOW - 700, max_age=600),
    ),
    ('wrong-project', functools.partial(_listed, projects=['another'])),
    ('unsubscribed', functools.partial(_listed, configured=False)),
    ('distrusted', functools.partial(_listed, standing='distrusted')),
    ('revoked', functools.partial(_listed, standing='revoked')),
]


@pytest.mark.parametrize(
    ('code', 'spoil'),
    REFUSALS,
    ids=[f'{number}-{code}' for number, (code, _) in enumerate(REFUSALS)],
)
def test_other_bytes_are_refused_and_the_user_reads_why(
    cloud: clouds.Cloud,
    user: acts.Images,
    rows: catalogue_rows.Rows,
    code: str,
    spoil: Spoil,
) -> None:
    data = spoil(rows, acts.some_bytes(4096))
    outcome = user.imported(data)
    importing.assert_refused(cloud, rows, outcome, f'is refused ({code}): ')
    assert model.SENTENCES[model.Reason(code)] in outcome.message


def test_a_list_for_some_projects_serves_them(
    cloud: clouds.Cloud, user: acts.Images, rows: catalogue_rows.Rows
) -> None:
    data = acts.some_bytes()
    _listed(rows, data, projects=[cloud.add_project('demo')])
    importing.assert_taken_in(rows, user.imported(data), data)
    stranger = acts.Images(cloud, 'other')
    importing.assert_refused(
        cloud, rows, stranger.imported(data), '(wrong-project)'
    )


def test_after_a_refusal_the_same_image_takes_the_right_bytes(
    cloud: clouds.Cloud, user: acts.Images, rows: catalogue_rows.Rows
) -> None:
    data = acts.some_bytes()
    rows.endorse(data)
    image_id = user.create()
    user.stage(image_id, data + b'!')
    user.start(image_id)
    importing.assert_refused(
        cloud, rows, user.finished(image_id), '(not-endorsed)'
    )
    user.stage(image_id, data)
    user.start(image_id)
    importing.assert_taken_in(rows, user.finished(image_id, imports=2), data)


def test_approval_acts_without_waiting(
    cloud: clouds.Cloud, user: acts.Images, rows: catalogue_rows.Rows
) -> None:
    data = acts.some_bytes(4096)
    importing.assert_refused(
        cloud, rows, user.imported(data), '(not-endorsed)'
    )
    rows.endorse(data)
    importing.assert_taken_in(rows, user.imported(data), data)


def test_the_staged_file_shortened_behind_glance_is_refused(
    cloud: clouds.Cloud, user: acts.Images, rows: catalogue_rows.Rows
) -> None:
    data = acts.some_bytes(8192)
    rows.endorse(data[:4096])
    image_id = user.create()
    user.stage(image_id, data)
    acts.staged(cloud, image_id).write_bytes(data[:4096])
    user.start(image_id)
    importing.assert_refused(
        cloud,
        rows,
        user.finished(image_id),
        '4096 bytes are staged, Glance noted 8192',
    )


def test_a_link_in_place_of_the_staged_file_is_refused(
    cloud: clouds.Cloud, user: acts.Images, rows: catalogue_rows.Rows
) -> None:
    data = acts.some_bytes(4096)
    rows.endorse(data)
    image_id = user.create()
    user.stage(image_id, data)
    path = acts.staged(cloud, image_id)
    elsewhere = path.with_name(f'{image_id}.elsewhere')
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    user.start(image_id)
    importing.assert_refused(
        cloud, rows, user.finished(image_id), 'staged data cannot be read'
    )
    assert elsewhere.read_bytes() == data
    elsewhere.unlink()


@pytest.mark.parametrize('named', ['of another image', 'of the machine'])
def test_a_request_that_names_another_file_is_refused(
    cloud: clouds.Cloud,
    user: acts.Images,
    rows: catalogue_rows.Rows,
    tmp_path: pathlib.Path,
    named: str,
) -> None:
    # Glance takes the location from the request; see its import flow.
    data = acts.some_bytes(4096)
    rows.endorse(data)
    if named == 'of the machine':
        path = tmp_path / 'file'
        path.write_bytes(data)
    else:
        other = acts.Images(cloud, 'other')
        other_id = other.create()
        other.stage(other_id, data)
        path = acts.staged(cloud, other_id)
    image_id = user.create()
    user.stage(image_id, acts.some_bytes(4096))
    user.client.http_client.post(
        f'/v2/images/{image_id}/import',
        data={'method': {'name': 'glance-direct', 'uri': f'file://{path}'}},
    )
    outcome = user.finished(image_id)
    importing.assert_refused(cloud, rows, outcome, 'names another file')
    assert path.read_bytes() == data


def test_the_same_bytes_twice_at_once(
    cloud: clouds.Cloud, rows: catalogue_rows.Rows
) -> None:
    data = acts.some_bytes(4 * acts.MIB)
    rows.endorse(data)
    users = [acts.Images(cloud) for _ in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda one: one.imported(data), users))
    for outcome in outcomes:
        importing.assert_taken_in(rows, outcome, data)


def test_all_stores_at_once_and_copied_later(
    user: acts.Images, rows: catalogue_rows.Rows
) -> None:
    data = acts.some_bytes()
    rows.endorse(data)
    image_id = user.create()
    user.stage(image_id, data)
    user.start(image_id, stores=['local', 'local2'])
    outcome = user.finished(image_id)
    importing.assert_taken_in(rows, outcome, data)
    assert set(outcome.image['stores'].split(',')) == {'local', 'local2'}


def test_copying_to_another_store_needs_no_new_check(
    cloud: clouds.Cloud, rows: catalogue_rows.Rows
) -> None:
    admin = acts.Images(cloud, 'admin')
    data = acts.some_bytes()
    rows.endorse(data)
    outcome = admin.imported(data)
    importing.assert_taken_in(rows, outcome, data)
    image_id = outcome.image['id']
    # Even though nobody endorses the bytes any more: the same bytes.
    rows.withdraw(data)
    admin.start(image_id, 'copy-image', stores=['local2'])
    copied = admin.finished(image_id, imports=2)
    assert copied.status == 'success'
    assert set(copied.image['stores'].split(',')) == {'local', 'local2'}
    assert copied.image['os_hash_value'] == catalogue_rows.sha512(data)
    record = rows.recorded(image_id)
    assert record is not None
    assert record.state == 'positive'


def test_web_download_goes_through_the_same_check(
    cloud: clouds.Cloud,
    user: acts.Images,
    rows: catalogue_rows.Rows,
    tmp_path: pathlib.Path,
) -> None:
    data = acts.some_bytes()
    (tmp_path / 'image').write_bytes(data)
    with importing.served(tmp_path) as url:
        image_id = user.create()
        user.start(image_id, 'web-download', uri=f'{url}/image')
        refused = user.finished(image_id)
        importing.assert_refused(cloud, rows, refused, '(not-endorsed)')
        rows.endorse(data)
        user.start(image_id, 'web-download', uri=f'{url}/image')
        outcome = user.finished(image_id, imports=2)
    importing.assert_taken_in(rows, outcome, data)


def test_glance_download_goes_through_the_same_check(
    cloud: clouds.Cloud, user: acts.Images, rows: catalogue_rows.Rows
) -> None:
    data = acts.some_bytes()
    rows.endorse(data)
    source = user.imported(data).image['id']
    other = acts.some_bytes()
    slipped_in = acts.Images(cloud, 'admin').uploaded(
        other, visibility='public'
    )
    # The Glance that gives is another one, whose policy is its own.
    with importing.ruled(cloud, hepix_exempt='role:member'):
        for image_id, remote in (
            (user.create(), source),
            (user.create(), slipped_in),
        ):
            user.start(
                image_id,
                'glance-download',
                remote_region='RegionOne',
                remote_image_id=remote,
                remote_service_interface='internal',
            )
            outcome = user.finished(image_id)
            if remote == source:
                importing.assert_taken_in(rows, outcome, data)
            else:
                importing.assert_refused(
                    cloud, rows, outcome, '(not-endorsed)'
                )


def test_upload_past_the_import_is_for_administrators(
    cloud: clouds.Cloud, user: acts.Images, rows: catalogue_rows.Rows
) -> None:
    data = acts.some_bytes(4096)
    rows.endorse(data)
    with pytest.raises(glance_exc.HTTPForbidden):
        user.uploaded(data)
    image_id = acts.Images(cloud, 'admin').uploaded(data)
    assert rows.recorded(image_id) is None


# --- the catalogue or its configuration away


@pytest.fixture
def configuration(cloud: clouds.Cloud) -> Iterator[pathlib.Path]:
    """The file that Glance reads at each import; put back afterwards."""
    path = hepix.config_file(cloud.layout.work)
    content = path.read_text()
    yield path
    path.write_text(content)


def test_without_configuration_nothing_is_imported(
    cloud: clouds.Cloud,
    user: acts.Images,
    rows: catalogue_rows.Rows,
    configuration: pathlib.Path,
) -> None:
    data = acts.some_bytes(4096)
    rows.endorse(data)
    configuration.unlink()
    outcome = user.imported(data)
    importing.assert_refused(cloud, rows, outcome, '(internal-error)')
    assert 'tell the operators' in outcome.message
    assert str(configuration) not in outcome.message
    assert str(configuration) in waits.tail(cloud.log('glance'), 500)


def test_a_broken_configuration_is_not_shown_to_users(
    cloud: clouds.Cloud,
    user: acts.Images,
    rows: catalogue_rows.Rows,
    configuration: pathlib.Path,
) -> None:
    data = acts.some_bytes(4096)
    rows.endorse(data)
    configuration.write_text('[catalogue]\nhunter2\n')
    outcome = user.imported(data)
    importing.assert_refused(cloud, rows, outcome, '(internal-error)')
    assert 'hunter2' not in outcome.message


def test_a_store_that_never_answered_refuses(
    cloud: clouds.Cloud,
    user: acts.Images,
    rows: catalogue_rows.Rows,
    configuration: pathlib.Path,
) -> None:
    data = acts.some_bytes(4096)
    rows.endorse(data)
    configuration.write_text(
        '[catalogue]\n'
        f'connection = mysql+pymysql://nobody@{ports.ADDRESS}:1/none\n'
    )
    outcome = user.imported(data)
    importing.assert_refused(cloud, rows, outcome, '(store-unavailable)')


@contextlib.contextmanager
def table_away(rows: catalogue_rows.Rows, table: sa.Table) -> Iterator[None]:
    """The catalogue without one of its tables."""
    away = f'{table.name}_away'
    with rows.store.engine().begin() as connection:
        connection.execute(sa.text(f'RENAME TABLE {table.name} TO {away}'))
    try:
        yield
    finally:
        with rows.store.engine().begin() as connection:
            connection.execute(sa.text(f'RENAME TABLE {away} TO {table.name}'))


def test_a_store_that_takes_no_record_refuses(
    cloud: clouds.Cloud, user: acts.Images, rows: catalogue_rows.Rows
) -> None:
    data = acts.some_bytes(4096)
    rows.endorse(data)
    # Glance's memory still says that the bytes are approved.
    user.imported(data)
    with table_away(rows, schema.history):
        outcome = user.imported(data)
    importing.assert_refused(cloud, rows, outcome, '(store-unavailable)')


# --- other plugins, and ours in wrong places


@pytest.fixture
def plugins(cloud: clouds.Cloud, as_shipped: sites.Site) -> importing.Plugins:
    return importing.Plugins(cloud, as_shipped)


@pytest.mark.parametrize(
    ('names', 'sentence'),
    [
        (('hepix_record', 'hepix_verify'), 'must list hepix_record last'),
        (('hepix_verify',), 'must list hepix_record exactly once'),
        (('hepix_record',), 'must list hepix_verify exactly once'),
        (
            ('hepix_verify', *OURS),
            'must list hepix_verify exactly once',
        ),
        (
            ('hepix_verify', 'image_decompression', 'hepix_record'),
            'may change the image after the check',
        ),
    ],
    ids=lambda value: '-'.join(value) if isinstance(value, tuple) else '',
)
def test_plugins_in_wrong_places_refuse_every_import(
    cloud: clouds.Cloud,
    user: acts.Images,
    rows: catalogue_rows.Rows,
    plugins: importing.Plugins,
    names: tuple[str, ...],
    sentence: str,
) -> None:
    data = acts.some_bytes(4096)
    rows.endorse(data)
    plugins(*names)
    outcome = user.imported(data)
    importing.assert_refused(cloud, rows, outcome, sentence)


def test_a_partner_that_cannot_be_loaded_refuses_every_import(
    cloud: clouds.Cloud,
    user: acts.Images,
    rows: catalogue_rows.Rows,
    plugins: importing.Plugins,
) -> None:
    data = acts.some_bytes(4096)
    rows.endorse(data)
    (points,) = cloud.layout.site.glob('hepix_vm*.dist-info/entry_points.txt')
    content = points.read_text()
    points.write_text(
        content.replace('hepix_vm.glance.record', 'hepix_vm.glance.gone')
    )
    importing.forget_packages(cloud)
    try:
        plugins(*OURS)
        outcome = user.imported(data)
    finally:
        points.write_text(content)
        importing.forget_packages(cloud)
    importing.assert_refused(
        cloud, rows, outcome, 'hepix_record but did not load it'
    )


def downloaded(
    user: acts.Images, folder: pathlib.Path, data: bytes
) -> acts.Outcome:
    """How a web-download of these bytes ended.

    Older releases of Glance cannot decompress what was staged: they keep the
    size that it had.
    """
    (folder / 'image').write_bytes(data)
    with importing.served(folder) as url:
        image_id = user.create()
        user.start(image_id, 'web-download', uri=f'{url}/image')
        return user.finished(image_id)


def test_the_checked_bytes_are_those_after_decompression_before_us(
    user: acts.Images,
    rows: catalogue_rows.Rows,
    plugins: importing.Plugins,
    tmp_path: pathlib.Path,
) -> None:
    data = acts.some_bytes()
    rows.endorse(data)
    plugins('image_decompression', *OURS)
    outcome = downloaded(user, tmp_path, gzip.compress(data))
    importing.assert_taken_in(rows, outcome, data)


def test_conversion_between_ours_where_the_site_allows_it(
    cloud: clouds.Cloud,
    user: acts.Images,
    rows: catalogue_rows.Rows,
    configuration: pathlib.Path,
    plugins: importing.Plugins,
    tmp_path: pathlib.Path,
) -> None:
    data = acts.some_bytes()
    packed = gzip.compress(data)
    rows.endorse(packed)
    configuration.write_text(
        configuration.read_text() + '\n[glance_import]\n'
        'allow_conversion = true\n'
    )
    plugins('hepix_verify', 'image_decompression', 'hepix_record')
    outcome = downloaded(user, tmp_path, packed)
    assert outcome.status == 'success', outcome.message
    record = rows.recorded(outcome.image['id'])
    assert record is not None
    assert record.state == 'positive'
    assert record.sha512 == catalogue_rows.sha512(packed)
    assert record.size == len(packed)
    assert record.final_sha512 == catalogue_rows.sha512(data)
    assert record.final_size == len(data) == outcome.image['size']
    assert outcome.image['os_hash_value'] == record.final_sha512
    # What is endorsed is what the endorser made, not what comes out.
    refused = downloaded(user, tmp_path, gzip.compress(acts.some_bytes()))
    importing.assert_refused(cloud, rows, refused, '(not-endorsed)')


def test_image_conversion_between_ours_done_and_failed(
    cloud: clouds.Cloud,
    user: acts.Images,
    rows: catalogue_rows.Rows,
    configuration: pathlib.Path,
    plugins: importing.Plugins,
    tmp_path: pathlib.Path,
) -> None:
    configuration.write_text(
        configuration.read_text() + '\n[glance_import]\n'
        'allow_conversion = true\n'
    )
    plugins('hepix_verify', 'image_conversion', 'hepix_record')
    disk = tmp_path / 'disk.qcow2'
    subprocess.run(
        ['qemu-img', 'create', '-q', '-f', 'qcow2', str(disk), '1M'],
        check=True,
        timeout=60,
    )
    data = disk.read_bytes()
    rows.endorse(data)
    image_id = user.create(disk_format='qcow2')
    user.stage(image_id, data)
    user.start(image_id)
    outcome = user.finished(image_id)
    assert outcome.status == 'success', outcome.message
    assert outcome.image['disk_format'] == 'raw'
    record = rows.recorded(image_id)
    assert record is not None
    assert record.sha512 == catalogue_rows.sha512(data)
    assert record.final_sha512 == catalogue_rows.sha512(bytes(acts.MIB))
    assert record.final_sha512 == outcome.image['os_hash_value']
    assert record.final_size == outcome.image['size'] == acts.MIB

    data = acts.some_bytes()
    rows.endorse(data)
    image_id = user.create(disk_format='qcow2')
    for imports in (1, 2):
        user.stage(image_id, data)
        user.start(image_id)
        # These bytes are no qcow2, says Glance's plugin.
        outcome = user.finished(image_id, imports=imports)
        importing.assert_refused(cloud, rows, outcome, 'Internal Error')


# --- a plugin of the site between ours


@pytest.fixture(scope='class')
def between_ours(
    cloud: clouds.Cloud, as_shipped: sites.Site
) -> Iterator[None]:
    """Glance with the plugin between ours; the site vouches for it."""
    with importing.between(cloud, as_shipped, max_parallel_stores='2'):
        yield


@pytest.mark.usefixtures('between_ours')
class TestBetweenOurs:
    """What happens between the check and the upload."""

    def test_bytes_exchanged_after_the_check_are_not_stored(
        self,
        cloud: clouds.Cloud,
        user: acts.Images,
        rows: catalogue_rows.Rows,
    ) -> None:
        data = acts.some_bytes()
        rows.endorse(data)
        outcome = user.imported(data, name='exchange')
        importing.assert_refused(
            cloud, rows, outcome, 'os_hash_value of uploaded data is different'
        )
        assert rows.events(outcome.image['id']) == [
            'import-verified',
            'import-recorded',
            'import-dropped',
        ]
        importing.assert_taken_in(rows, user.imported(data), data)

    def test_exchanged_bytes_become_no_image_in_several_stores(
        self,
        cloud: clouds.Cloud,
        user: acts.Images,
        rows: catalogue_rows.Rows,
    ) -> None:
        data = acts.some_bytes()
        rows.endorse(data)
        image_id = user.create('exchange')
        user.stage(image_id, data)
        user.start(image_id, stores=['local', 'local2'])
        outcome = user.finished(image_id)
        assert outcome.status == 'failure'
        assert outcome.image['status'] == 'queued'
        assert not outcome.image.get('stores')
        assert outcome.image['os_hash_value'] is None
        record = rows.recorded(image_id)
        assert record is not None
        assert record.state == 'withdrawn'

    def test_a_failure_between_ours_leaves_nothing(
        self,
        cloud: clouds.Cloud,
        user: acts.Images,
        rows: catalogue_rows.Rows,
    ) -> None:
        data = acts.some_bytes()
        rows.endorse(data)
        outcome = user.imported(data, name='fail')
        importing.assert_refused(cloud, rows, outcome, 'Internal Error')

    def test_the_user_sees_progress(
        self,
        cloud: clouds.Cloud,
        user: acts.Images,
        rows: catalogue_rows.Rows,
    ) -> None:
        data = acts.some_bytes(2 * acts.MIB)
        rows.endorse(data)
        image_id = user.create('wait')
        user.stage(image_id, data)
        user.start(image_id)
        waiting = importing.reached(cloud, image_id)
        message = user.task(image_id)['message']
        assert message == 'Checked 1 of 2 MiB of the image data'
        record = rows.recorded(image_id)
        assert record is not None
        assert record.state == 'verified'
        waiting.unlink()
        importing.assert_taken_in(rows, user.finished(image_id), data)

    def test_an_endorsement_that_ends_meanwhile_is_the_reason(
        self,
        cloud: clouds.Cloud,
        user: acts.Images,
        rows: catalogue_rows.Rows,
    ) -> None:
        data = acts.some_bytes()
        rows.endorse(data)
        image_id = user.create('wait')
        user.stage(image_id, data)
        user.start(image_id)
        waiting = importing.reached(cloud, image_id)
        rows.withdraw(data)
        rows.store.transact(lambda made: settle.records(made, NOW))
        waiting.unlink()
        outcome = user.finished(image_id)
        importing.assert_refused(cloud, rows, outcome, '(withdrawn)')

    def test_an_image_deleted_while_importing_stays_refused(
        self,
        cloud: clouds.Cloud,
        user: acts.Images,
        rows: catalogue_rows.Rows,
    ) -> None:
        data = acts.some_bytes()
        rows.endorse(data)
        image_id = user.create('wait')
        user.stage(image_id, data)
        user.start(image_id)
        waiting = importing.reached(cloud, image_id)
        user.client.images.delete(image_id)
        waiting.unlink()
        waits.until(
            'the record to be withdrawn',
            lambda: (
                getattr(rows.recorded(image_id), 'state', '') == 'withdrawn'
            ),
            acts.LIMIT,
            log=cloud.log('glance'),
        )
        assert not acts.staged(cloud, image_id).exists()

    def test_an_import_that_was_overtaken_touches_nothing_of_the_other(
        self,
        cloud: clouds.Cloud,
        user: acts.Images,
        rows: catalogue_rows.Rows,
    ) -> None:
        data = acts.some_bytes()
        rows.endorse(data)
        image_id = user.create('wait')
        user.stage(image_id, data)
        user.start(image_id)
        waiting = importing.reached(cloud, image_id)
        importing.take_lock(cloud, image_id)
        waiting.unlink()
        task = waits.until(
            'the import to end',
            lambda: (
                task
                if (task := user.task(image_id))['status'] == 'failure'
                else None
            ),
            acts.LIMIT,
            log=cloud.log('glance'),
        )
        assert '(import-overtaken)' in task['message']
        record = rows.recorded(image_id)
        assert record is not None
        assert record.state == 'withdrawn'
        assert acts.staged(cloud, image_id).read_bytes() == data
        assert user.client.images.get(image_id)['status'] == 'importing'

    def test_a_glance_that_is_killed_leaves_no_positive_record(
        self,
        cloud: clouds.Cloud,
        user: acts.Images,
        rows: catalogue_rows.Rows,
    ) -> None:
        data = acts.some_bytes()
        rows.endorse(data)
        image_id = user.create('wait')
        user.stage(image_id, data)
        user.start(image_id)
        waiting = importing.reached(cloud, image_id)
        cloud.restart('glance')
        waiting.unlink()
        record = rows.recorded(image_id)
        assert record is not None
        assert record.state == 'verified'
        assert user.client.images.get(image_id)['status'] == 'importing'


# --- a Glance with one store


@pytest.fixture
def one_store(cloud: clouds.Cloud, as_shipped: sites.Site) -> None:
    """Glance in the old way: [glance_store] and node_staging_uri."""
    data = cloud.layout.data / 'glance'
    extra = dict(as_shipped.options.extra)
    glance = extra.get('glance-api', {})
    extra['glance-api'] = {
        **glance,
        'DEFAULT': {
            **glance.get('DEFAULT', {}),
            'enabled_backends': None,
            'node_staging_uri': f'file://{data / "staging"}',
        },
        'glance_store': {
            'default_backend': None,
            'stores': 'file',
            'default_store': 'file',
            'filesystem_store_datadir': str(data / 'local'),
        },
    }
    options = dataclasses.replace(as_shipped.options, extra=extra)
    cloud.site = dataclasses.replace(as_shipped, options=options)
    importing.restart_glance(cloud)


@pytest.mark.usefixtures('one_store')
def test_a_glance_with_one_store_behaves_the_same(
    cloud: clouds.Cloud,
    user: acts.Images,
    rows: catalogue_rows.Rows,
    tmp_path: pathlib.Path,
) -> None:
    data = acts.some_bytes()
    image_id = user.create()
    user.stage(image_id, data)
    user.start(image_id)
    outcome = user.finished(image_id)
    importing.assert_refused(cloud, rows, outcome, '(not-endorsed)', stores='')
    rows.endorse(data)
    user.stage(image_id, data)
    user.start(image_id)
    importing.assert_taken_in(rows, user.finished(image_id, imports=2), data)
    (tmp_path / 'image').write_bytes(data + b'!')
    with importing.served(tmp_path) as url:
        image_id = user.create()
        user.start(image_id, 'web-download', uri=f'{url}/image')
        refused = user.finished(image_id)
    importing.assert_refused(cloud, rows, refused, '(not-endorsed)', stores='')
