# SPDX-License-Identifier: Apache-2.0
"""The catalogue at a glance is the same with every database."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib

import pytest

from hepix_vm.catalogue import condition
from hepix_vm.catalogue import overview
from hepix_vm.catalogue import store
from tests import catalogue_rows
from tests import databases
from tests.unit.catalogue import test_overview

NOW = test_overview.NOW


@pytest.fixture(params=['mariadb', 'postgresql'])
def rows(request: pytest.FixtureRequest) -> Iterator[catalogue_rows.Rows]:
    """An empty catalogue on a server."""
    with getattr(databases, request.param)() as server:
        made = catalogue_rows.Rows(server.url())
        with contextlib.closing(made):
            yield made


def test_the_catalogue_at_a_glance(rows: catalogue_rows.Rows) -> None:
    test_overview.every_state(rows)
    rows.endorse(b'1', 's1')
    rows.endorse(b'2', 's1', approved=False)
    rows.endorse(b'3', 's2', held_at=NOW - 9)
    test_overview.subscribe(
        rows, 'last', failures=3, last_code='fetch', next_attempt=NOW + 5
    )
    with rows.store.reading() as connection:
        whole = store.subscription_states(connection)
        found = overview.look(connection, NOW)
    assert found.states == {
        name: condition.of(state, NOW).state for name, state in whole.items()
    }
    assert (found.images, found.approved) == (3, 2)
    assert found.waiting == (overview.Waiting('s2', 1, NOW - 9),)
    assert found.failing == (overview.Failing('last', 3, 'fetch', NOW + 5),)
    assert found.next_attempt == NOW + 5
    assert found.last_codes == {'fetch': 1}
    assert found.next_expiry is not None
    assert found.next_expiry[1] == NOW + 1
