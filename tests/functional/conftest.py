# SPDX-License-Identifier: Apache-2.0
"""One real cloud for all functional tests of a session."""

from collections.abc import Iterator
import pathlib

import pytest

from tests import catalogue_rows
from tests.cloud import cloud as clouds
from tests.cloud import hepix
from tests.cloud import launch
from tests.cloud import waits

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
def rows(cloud: clouds.Cloud) -> Iterator[catalogue_rows.Rows]:
    """The catalogue of that cloud, with one list that tests fill."""
    one = catalogue_rows.Rows(cloud.site.database(hepix.DATABASE))
    one.subscription('trusted')
    yield one
    one.close()


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
