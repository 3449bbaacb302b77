# SPDX-License-Identifier: Apache-2.0
"""The filter with Nova's own loader, requests and exceptions."""

from collections.abc import Iterator
import concurrent.futures
import os
import pathlib
import time
from typing import Any

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

objects.register_all()

IMAGE = 'aaaaaaaa-0000-4000-8000-000000000001'
OTHER = 'bbbbbbbb-0000-4000-8000-000000000002'
SERVER = 'cccccccc-0000-4000-8000-000000000003'
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


@pytest.fixture
def existing(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Servers that Nova says it has placed; its database is not here."""
    known: dict[str, Any] = {}
    monkeypatch.setattr(
        hepix_filter, '_exists', lambda server: known.get(server, False)
    )
    return known


def spec(image: str | None = IMAGE, **values: Any) -> Any:
    fields: dict[str, Any] = {
        'instance_uuid': SERVER,
        'project_id': 'project',
        'is_bfv': False,
        'image': objects.ImageMeta(id=image, size=len(DATA)),
    } | values
    return objects.RequestSpec(**fields)


def refused(one: Any, request: Any) -> str:
    with pytest.raises(exception.NoValidHost) as refusal:
        list(one.filter_all(HOSTS, request))
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


@pytest.mark.usefixtures('existing')
def test_another_image_is_refused_with_the_reason(ours: Any) -> None:
    text = refused(ours, spec(OTHER))
    assert f'image {OTHER} is refused (no-record)' in text


@pytest.mark.usefixtures('existing')
def test_an_empty_request_is_refused(ours: Any) -> None:
    assert 'volume-boot' in refused(ours, objects.RequestSpec())


def test_it_runs_once_for_many_servers(ours: Any) -> None:
    assert ours.run_filter_for_index(0)
    assert not ours.run_filter_for_index(1)


def test_servers_that_exist_may_move(
    ours: Any, existing: dict[str, Any]
) -> None:
    existing[SERVER] = True
    assert list(ours.filter_all(HOSTS, spec(OTHER))) == HOSTS
    rebuild = {'_nova_check_type': ['rebuild']}
    assert 'no-record' in refused(ours, spec(OTHER, scheduler_hints=rebuild))


def test_without_nova_s_database_a_server_counts_as_new(ours: Any) -> None:
    # Nothing configures a database here, so asking Nova fails.
    assert 'no-record' in refused(ours, spec(OTHER))


@pytest.mark.usefixtures('existing')
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


@pytest.mark.usefixtures('existing')
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


@pytest.mark.usefixtures('existing')
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
