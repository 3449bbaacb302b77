# SPDX-License-Identifier: Apache-2.0
"""The filter with Nova's own loader, requests and exceptions."""

from collections.abc import Iterator
import concurrent.futures
import logging
import os
import pathlib
import time
import types
from typing import Any
import uuid

from oslo_config import cfg
import pytest

pytest.importorskip('nova')

from nova import exception
from nova import objects
from nova.scheduler import filters

from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema
from hepix_vm.conf import inside
from hepix_vm.nova import filter as hepix_filter
from tests import catalogue_rows
from tests import nova_databases

objects.register_all()

IMAGE = 'aaaaaaaa-0000-4000-8000-000000000001'
OTHER = 'bbbbbbbb-0000-4000-8000-000000000002'
SERVER = 'cccccccc-0000-4000-8000-000000000003'
EXISTING = 'dddddddd-0000-4000-8000-000000000004'
DATA = b'endorsed bytes'
HOSTS = [object(), object()]


def host_configuration(path: pathlib.Path) -> cfg.ConfigOpts:
    conf = cfg.ConfigOpts()
    conf(args=[], default_config_files=[], default_config_dirs=[])
    inside.register(conf)
    conf.set_override('config_file', str(path), group='hepix_vm')
    return conf


@pytest.fixture
def rows(tmp_path: pathlib.Path) -> Iterator[catalogue_rows.Rows]:
    one = catalogue_rows.Rows(f'sqlite:///{tmp_path / "catalogue.sqlite"}')
    one.subscription('trusted')
    one.endorse(DATA)
    one.record(IMAGE, DATA, created_at=1_700_000_000)
    yield one
    one.close()


@pytest.fixture
def path(tmp_path: pathlib.Path, rows: catalogue_rows.Rows) -> pathlib.Path:
    found = tmp_path / 'hepix_vm.conf'
    catalogue_rows.write_configuration(found, rows)
    return found


@pytest.fixture
def ours(path: pathlib.Path) -> hepix_filter.HepixApprovedImageFilter:
    return hepix_filter.HepixApprovedImageFilter(host_configuration(path))


@pytest.fixture(scope='module', autouse=True)
def servers(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[nova_databases.Servers]:
    """Nova's own databases, in which the server is new."""
    with nova_databases.made(tmp_path_factory.mktemp('nova')) as known:
        known.new(SERVER)
        known.existing(EXISTING)
        yield known


def spec(image: str | None = IMAGE, **values: Any) -> Any:
    fields: dict[str, Any] = {
        'instance_uuid': SERVER,
        'project_id': 'project',
        'is_bfv': False,
        'image': objects.ImageMeta(id=image, size=len(DATA)),
    } | values
    return objects.RequestSpec(**fields)


def refused(one: Any, request: Any) -> str:
    return refused_of(one, HOSTS, request)


def refused_of(one: Any, hosts: list[Any], request: Any) -> str:
    with pytest.raises(exception.NoValidHost) as refusal:
        list(one.filter_all(hosts, request))
    return str(refusal.value)


def test_nova_finds_the_class_by_its_path() -> None:
    handler = filters.HostFilterHandler()
    found = handler.get_matching_classes(
        [
            'nova.scheduler.filters.all_filters',
            'hepix_vm.nova.filter.HepixApprovedImageFilter',
        ]
    )
    assert hepix_filter.HepixApprovedImageFilter in found
    names = [cls.__name__ for cls in found]
    assert names.count('HepixApprovedImageFilter') == 1
    assert hepix_filter.HepixApprovedImageFilter.RUN_ON_REBUILD


def test_an_approved_image_keeps_all_hosts(ours: Any) -> None:
    handler = filters.HostFilterHandler()
    assert handler.get_filtered_objects([ours], HOSTS, spec()) == HOSTS


def test_another_image_is_refused_with_the_reason(ours: Any) -> None:
    text = refused(ours, spec(OTHER))
    assert f'image {OTHER} is refused (no-record)' in text


def test_an_empty_request_is_refused(ours: Any) -> None:
    assert 'volume-boot' in refused(ours, objects.RequestSpec())


def test_it_runs_once_for_many_servers(ours: Any) -> None:
    assert ours.run_filter_for_index(0)
    assert not ours.run_filter_for_index(1)


def test_servers_that_exist_may_move(ours: Any) -> None:
    moved = spec(OTHER, instance_uuid=EXISTING)
    assert list(ours.filter_all(HOSTS, moved)) == HOSTS
    moved.scheduler_hints = {'_nova_check_type': ['rebuild']}
    assert 'no-record' in refused(ours, moved)
    moved.image.id = IMAGE
    assert list(ours.filter_all(HOSTS, moved)) == HOSTS


def test_kernel_of_a_rebuild_is_looked_at(
    ours: Any, servers: nova_databases.Servers
) -> None:
    server = str(uuid.uuid4())
    servers.existing(server, kernel=OTHER)
    rebuilt = spec(
        instance_uuid=server,
        scheduler_hints={'_nova_check_type': ['rebuild']},
    )
    assert 'no-record' in refused(ours, rebuilt)
    assert f'image {OTHER} is refused' in refused(ours, rebuilt)


@pytest.mark.parametrize('server', [None, str(uuid.UUID(int=1))])
def test_server_that_nova_does_not_know_is_refused(
    ours: Any, server: str | None
) -> None:
    request = spec(instance_uuid=server or SERVER)
    if server is None:
        del request.instance_uuid
    assert 'internal-error' in refused(ours, request)
    request.image.id = OTHER
    assert 'no-record' in refused(ours, request)


def test_without_nova_s_database_a_server_counts_as_new_and_unknown(
    ours: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*arguments: object) -> None:
        raise OSError('the database is away')

    monkeypatch.setattr(objects.BuildRequest, 'get_by_instance_uuid', away)
    assert 'no-record' in refused(ours, spec(OTHER))
    assert 'internal-error' in refused(ours, spec())


def test_another_image_that_boots_is_found_and_named(
    ours: Any, servers: nova_databases.Servers
) -> None:
    server = str(uuid.uuid4())
    servers.new(
        server,
        [nova_databases.mapping('image', 'local', 0, image_id=OTHER)],
    )
    text = refused(ours, spec(instance_uuid=server))
    assert f'image {OTHER} is refused (no-record)' in text
    assert text.endswith(f'; its images: {IMAGE}, {OTHER}')


def test_one_line_of_the_log_says_what_was_refused(
    ours: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    refused(ours, spec(OTHER))
    assert list(ours.filter_all(HOSTS, spec())) == HOSTS
    said = [r.getMessage() for r in caplog.records if 'verdict' in r.msg]
    ends = f'server={SERVER} project=project: '
    assert len(said) == 2
    assert said[0].startswith(
        f'verdict=refused image={OTHER} list=- code=no-record {ends}'
    )
    assert said[1].startswith(f'verdict=approved image={IMAGE} list=')


SCOPES = {
    'dry_run = true': 'would-refuse',
    'exempt_projects = project': 'exempt',
    'enforced_projects = other': 'exempt',
}


@pytest.mark.parametrize('option', sorted(SCOPES))
def test_what_is_not_enforced_is_logged(
    path: pathlib.Path, option: str, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text(f'{path.read_text()}\n[nova]\n{option}\n')
    ours = hepix_filter.HepixApprovedImageFilter(host_configuration(path))
    assert list(ours.filter_all(HOSTS, spec(OTHER))) == HOSTS
    said = [r.getMessage() for r in caplog.records if 'verdict' in r.msg]
    assert len(said) == 1
    assert said[0].startswith(
        f'verdict={SCOPES[option]} image={OTHER} list=- code=no-record '
    )


def test_dry_run_survives_what_it_does_not_understand(
    path: pathlib.Path,
) -> None:
    path.write_text(f'{path.read_text()}\n[nova]\ndry_run = true\n')
    ours = hepix_filter.HepixApprovedImageFilter(host_configuration(path))
    assert list(ours.filter_all(HOSTS, object())) == HOSTS


def host(*values: str | None) -> types.SimpleNamespace:
    """A host in aggregates whose metadata is this."""
    metadata = ({} if v is None else {'hepix_enforce': v} for v in values)
    return types.SimpleNamespace(
        aggregates=[objects.Aggregate(metadata=one) for one in metadata]
    )


def test_refused_server_goes_to_hosts_outside(
    path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text(f'{path.read_text()}\n[nova]\nenforce = aggregates\n')
    ours = hepix_filter.HepixApprovedImageFilter(host_configuration(path))
    free = [host(), host(None), host('false', None), host('0')]
    bound = [
        host('true'),
        host('True', None),
        host('false', 'yes'),
        host('perhaps'),
        object(),
    ]
    assert list(ours.filter_all([*free, *bound], spec(OTHER))) == free
    assert list(ours.filter_all([*free, *bound], spec())) == [*free, *bound]
    assert 'verdict=other-hosts' in caplog.text
    assert 'verdict=refused' not in caplog.text
    assert 'no-record' in refused_of(ours, bound, spec(OTHER))
    assert 'verdict=refused' in caplog.text


def test_withdrawal_and_blocking_act(
    ours: Any, rows: catalogue_rows.Rows
) -> None:
    assert list(ours.filter_all(HOSTS, spec())) == HOSTS
    rows.block(catalogue_rows.sha512(DATA))
    wait_for_refusal(ours, 'blocked')
    rows.block(catalogue_rows.sha512(DATA), active=False)
    rows.change(
        schema.glance_record,
        schema.glance_record.c.image_id == IMAGE,
        state='withdrawn',
    )
    wait_for_refusal(ours, 'record-withdrawn')


def wait_for_refusal(ours: Any, code: str) -> None:
    """The reader looks several times a second; the limit is generous."""
    end = time.monotonic() + 60
    while True:
        try:
            list(ours.filter_all(HOSTS, spec()))
        except exception.NoValidHost as refusal:
            if f'({code})' in str(refusal):
                return
        if time.monotonic() > end:
            pytest.fail(f'no refusal with {code} within 60 s')
        time.sleep(0.05)


def test_a_missing_configuration_refuses_and_heals(
    tmp_path: pathlib.Path, path: pathlib.Path
) -> None:
    content = path.read_text()
    path.unlink()
    ours = hepix_filter.HepixApprovedImageFilter(host_configuration(path))
    text = refused(ours, spec())
    assert 'internal-error' in text
    assert str(tmp_path) not in text
    path.write_text(content)
    assert list(ours.filter_all(HOSTS, spec())) == HOSTS


def test_a_store_that_was_never_there_refuses(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / 'other.conf'
    path.write_text(
        f'[catalogue]\nconnection = sqlite:///{tmp_path}/none/there\n'
    )
    ours = hepix_filter.HepixApprovedImageFilter(host_configuration(path))
    assert 'store-unavailable' in refused(ours, spec())


def test_anything_unexpected_is_a_refusal(ours: Any) -> None:
    assert 'internal-error' in refused(ours, object())
    assert 'refused' in refused(ours, None)


def test_many_threads_may_ask_at_once(ours: Any) -> None:
    def ask(_number: int) -> bool:
        return list(ours.filter_all(HOSTS, spec())) == HOSTS

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(200)))


def test_a_forked_worker_has_a_reader_of_its_own(ours: Any) -> None:
    assert list(ours.filter_all(HOSTS, spec())) == HOSTS
    child = os.fork()
    if child == 0:
        try:
            passed = list(ours.filter_all(HOSTS, spec())) == HOSTS
        except BaseException:  # noqa: BLE001 - the child reports by status
            passed = False
        os._exit(0 if passed else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_every_reason_fits_into_a_fault() -> None:
    # Nova cuts a fault's message after 255 characters.
    for reason in model.Reason:
        if reason is not model.Reason.APPROVED:
            sentence = model.refused(reason, f'image {IMAGE}').sentence
            fault = exception.NoValidHost(reason=sentence)
            assert len(str(fault)) <= 255, reason
