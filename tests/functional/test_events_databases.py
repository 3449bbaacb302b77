# SPDX-License-Identifier: Apache-2.0
"""Events and channels are the same with every database."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib

import pytest

from hepix_vm.catalogue import channels
from hepix_vm.catalogue import notices
from hepix_vm.catalogue import overview
from tests import catalogue_rows
from tests import databases
from tests.unit.catalogue import test_notices

HOOK, MESSAGE, MAIL = channels.Channel
NOW = test_notices.NOW


@pytest.fixture(params=['mariadb', 'postgresql'])
def box(request: pytest.FixtureRequest) -> Iterator[test_notices.Box]:
    """An empty catalogue on a server."""
    with getattr(databases, request.param)() as server:
        made = catalogue_rows.Rows(server.url())
        with contextlib.closing(made):
            yield test_notices.Box(made.store)


def test_events_wait_are_struck_off_told_and_pruned(
    box: test_notices.Box,
) -> None:
    box.write('a', 'b', at=NOW - 9)
    box.pass_over({HOOK: None, MESSAGE: frozenset(['b'])})
    box.write('c')
    assert box.pending(HOOK) == ['a', 'b', 'c']
    assert box.pending(MESSAGE) == ['b', 'c']
    assert box.pending(MAIL) == ['c']
    with box.store.reading() as connection:
        (first, *_) = notices.pending(connection, HOOK, 9)
    box.tell(HOOK, first.id)
    lost = box.store.transact(lambda made: notices.prune(made, NOW))
    assert lost == {HOOK: 1, MESSAGE: 1}
    token = box.store.transact(
        lambda made: channels.claim(made, NOW, HOOK, NOW + 9)
    )
    assert token is not None
    assert not box.store.transact(
        lambda made: channels.claim(made, NOW, HOOK, NOW + 9)
    )
    box.store.transact(lambda made: channels.gave_up(made, NOW, HOOK, 1))
    box.store.transact(lambda made: channels.failed(made, NOW, HOOK, 'x'))
    with box.store.reading() as connection:
        state, left = overview.look(connection, NOW).published.channels[HOOK]
    assert (state.failures, state.given_up, left) == (1, 1, 1)
    assert state.claimed_until == NOW + 9
