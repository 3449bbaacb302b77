# SPDX-License-Identifier: Apache-2.0
"""One real cloud for all functional tests of a session."""

from collections.abc import Iterator
import os
import pathlib
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from hepix_vm.context import vendordata
from tests import catalogue_rows
from tests.cloud import cloud as clouds
from tests.cloud import hepix
from tests.cloud import launch
from tests.cloud import waits
from tests.functional import fronts

#: The modules that share a cloud of the session: those of a line run in one
#: process. Two lines of the same cloud may run at the same time, in a cloud
#: each.
SHARING = (
    (
        'cloud',
        (
            'test_adopting',
            'test_concurrency',
            'test_context',
            'test_context_fronts',
            'test_context_vendordata',
            'test_derived_images',
            'test_explain',
            'test_features',
            'test_glance_hardening',
            'test_glance_import',
            'test_glance_policy',
            'test_guest_agent',
            'test_nova_filter',
            'test_nova_guard',
            'test_paths',
            'test_publish_quarantine',
            'test_publishing',
            'test_story',
        ),
    ),
    (
        'cloud',
        (
            'test_publish_exchange',
            'test_publish_faults',
            'test_publish_kills',
            'test_publish_year',
        ),
    ),
    (
        'guests',
        (
            'test_guest_paths',
            'test_guests',
            'test_lineage',
            'test_nova_guard_volumes',
            'test_quarantine',
            'test_withdrawing',
        ),
    ),
    ('neutron', ('test_context_neutron',)),
    ('chain', ('test_guest_context',)),
)
#: What takes longest, longest first, by seconds on two busy cores. What is
#: not named takes less; it comes last, so that both processes end together.
LONGEST = (
    *('cloud 0', 'cloud 1', 'guests 2', 'neutron 3', 'chain 4', 'test_boot'),
    *('test_catalogue_faults', 'test_catalogue_databases'),
    *('test_daemon_takeover', 'test_daemon_tooz'),
    *('test_notifications', 'test_catalogue_migrations'),
)
#: Modules with an environment of tox of their own, by what asks for them.
APART = {
    'HEPIX_VM_CONCURRENCY': 'test_concurrency.py',
    'HEPIX_VM_FRONTS': 'test_context_fronts.py',
    'HEPIX_VM_HARNESS': 'test_harness.py',
    'HEPIX_VM_NEUTRON': 'test_context_neutron.py',
}
collect_ignore = [
    module for name, module in APART.items() if not os.environ.get(name)
]
LOGS_SHOWN = ('glance', 'nova-api', 'nova-scheduler', 'nova-compute')


@pytest.fixture(scope='session')
def cloud() -> Iterator[clouds.Cloud]:
    """A cloud with every part of hepix_vm, started once for all tests."""
    with (
        launch.work_directory() as work,
        launch.running(hepix.hepix_cloud_options(work), work) as running,
    ):
        yield running


@pytest.fixture(scope='session')
def guests() -> Iterator[clouds.Cloud]:
    """The same with real machines and real volumes, started once."""
    with (
        launch.work_directory() as work,
        launch.running(hepix.guests_cloud_options(work), work) as running,
    ):
        yield running


@pytest.fixture(scope='session')
def neutron() -> Iterator[clouds.Cloud]:
    """The same with real networks in front of the metadata, started once."""
    with (
        launch.work_directory() as work,
        launch.running(hepix.neutron_cloud_options(work), work) as running,
    ):
        yield running


@pytest.fixture(scope='session')
def chain() -> Iterator[clouds.Cloud]:
    """The same with real machines in the networks, started once."""
    with (
        launch.work_directory() as work,
        launch.running(
            hepix.chain_cloud_options(work, vendordata.PATH), work
        ) as running,
        fronts.process_running(running),
    ):
        yield running


@pytest.fixture(scope='session')
def rows(cloud: clouds.Cloud) -> Iterator[catalogue_rows.Rows]:
    """The catalogue of ``cloud``, with one list that tests fill."""
    yield from _catalogue(cloud)


@pytest.fixture(scope='session')
def guest_rows(guests: clouds.Cloud) -> Iterator[catalogue_rows.Rows]:
    """The catalogue of ``guests``, with one list that tests fill."""
    yield from _catalogue(guests)


def _catalogue(cloud: clouds.Cloud) -> Iterator[catalogue_rows.Rows]:
    one = catalogue_rows.Rows(cloud.site.database(hepix.DATABASE))
    one.subscription('trusted')
    yield one
    one.close()


def _scope(module: str) -> str:
    """What runs in one process: tests of one cloud, or of one module."""
    name = pathlib.PurePath(module).stem
    for number, (cloud, modules) in enumerate(SHARING):
        if name in modules:
            return f'{cloud} {number}'
    return name


class ByCloud(LoadScopeScheduling):  # type: ignore[misc]
    """Tests of one cloud go to one process, those of a module likewise."""

    def _split_scope(self, nodeid: str) -> str:
        return _scope(nodeid.partition('::')[0])


def pytest_xdist_make_scheduler(config: Any, log: Any) -> ByCloud:
    """Have several processes share out the tests as above."""
    # Its own order is by the number of tests, however long they take.
    config.option.loadscopereorder = False
    return ByCloud(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """See that no process starts a cloud that another one has."""
    for item in items:
        if isinstance(item, pytest.Function):
            for cloud in sorted({cloud for cloud, _ in SHARING}):
                _expect_listed(item, cloud)
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    scope = _scope(item.path.name)
    return LONGEST.index(scope) if scope in LONGEST else len(LONGEST)


def _expect_listed(item: pytest.Function, cloud: str) -> None:
    known = item._fixtureinfo.name2fixturedefs.get(cloud, ())
    # The module's own, if there is one, is the last.
    of_session = any(not f.baseid.endswith('.py') for f in known[-1:])
    listed = {m for of, modules in SHARING if of == cloud for m in modules}
    if of_session and item.path.stem not in listed:
        raise pytest.UsageError(
            f'{item.nodeid} uses the fixture {cloud}: name {item.path.stem} '
            f'in SHARING of {__file__}'
        )


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[None]:
    """Show what the services logged last beside a failure."""
    del call
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    for value in getattr(item, 'funcargs', {}).values():
        if isinstance(value, clouds.Cloud):
            for name in LOGS_SHOWN:
                log: pathlib.Path = value.log(name)
                if log.exists():
                    report.sections.append((str(log), waits.tail(log)))
