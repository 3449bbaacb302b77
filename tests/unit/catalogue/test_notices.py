# SPDX-License-Identifier: Apache-2.0
"""Events wait for each channel until it has told them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import channels
from hepix_vm.catalogue import database
from hepix_vm.catalogue import notices
from hepix_vm.catalogue import schema
from tests import catalogue_rows

NOW = 1_800_000_000
DAY = 86400
HOOK, MESSAGE, MAIL = channels.Channel
ALL = dict.fromkeys(channels.Channel)


class Box:
    """Notices in a catalogue."""

    def __init__(self, store: database.Database) -> None:
        self.store = store

    def write(self, *kinds: str, at: int = NOW) -> None:
        """Write one of each kind, together."""

        def work(made: database.Transaction) -> None:
            for kind in kinds:
                notices.write(made, at, kind, f'of {kind}', {'n': kind})

        self.store.transact(work)

    def pending(self, channel: channels.Channel) -> list[str]:
        """Kinds that a channel has still to tell."""
        with self.store.reading() as connection:
            found = notices.pending(connection, channel, 100)
            assert notices.count(connection, channel) == len(found)
        assert sorted(found, key=lambda n: n.id) == list(found)
        return [notice.kind for notice in found]

    def tell(self, channel: channels.Channel, *ids: int) -> None:
        """Note that a channel has told some."""
        self.store.transact(
            lambda made: notices.delivered(made, NOW, channel, ids)
        )

    def pass_over(self, wanted: notices.Wanted) -> None:
        """Strike off what nobody is to be told."""
        with self.store.reading() as connection:
            before = notices.superfluous(connection, wanted)
        self.store.transact(lambda made: notices.pass_over(made, wanted))
        with self.store.reading() as connection:
            assert not notices.superfluous(connection, wanted)
        self.changed = before


@pytest.fixture
def box(tmp_path):
    made = catalogue_rows.Rows(f'sqlite:///{tmp_path / "catalogue.sqlite"}')
    yield Box(made.store)
    made.close()


def test_a_notice_is_read_as_it_was_written(box):
    payload = {'detail': '\x00"\n\u202e', 'servers': [{'host': None}], 'n': 1}
    box.store.transact(
        lambda made: notices.write(made, NOW, 'a.b', 'x' * 300, payload)
    )
    with box.store.reading() as connection:
        (found,) = notices.pending(connection, HOOK, 9)
    assert (found.at, found.kind, found.subject) == (NOW, 'a.b', 'x' * 255)
    assert found.payload == payload
    assert found.document()['at'] == '2027-01-15T08:00:00Z'


@pytest.mark.parametrize('text', ['', '[]', '{', 'null'])
def test_a_damaged_payload_does_not_stop_what_follows(box, text):
    box.write('a')
    box.store.transact(
        lambda made: made.execute(
            sa.update(schema.notice).values(payload=text)
        )
    )
    with box.store.reading() as connection:
        (found,) = notices.pending(connection, HOOK, 9)
    assert found.payload == {}


def test_each_channel_tells_by_itself(box):
    box.write('a', 'b', 'c')
    box.tell(HOOK, 1)
    box.tell(MAIL, 1, 2, 3)
    assert box.pending(HOOK) == ['b', 'c']
    assert box.pending(MESSAGE) == ['a', 'b', 'c']
    assert box.pending(MAIL) == []


def test_what_is_rolled_back_is_not_told(box):
    def work(made: database.Transaction) -> None:
        notices.write(made, NOW, 'a', 'x', {})
        raise ValueError

    with pytest.raises(ValueError):
        box.store.transact(work)
    assert box.pending(HOOK) == []


def test_many_are_noted_at_once(box):
    box.write(*(f'k{n}' for n in range(1201)))
    box.tell(MAIL, *range(1, 1201))
    assert box.pending(MAIL) == ['k1200']


def test_a_channel_that_is_switched_on_has_no_backlog(box):
    box.write('a', 'b')
    box.pass_over({HOOK: None})
    assert box.changed
    assert box.pending(HOOK) == ['a', 'b']
    # Switched on, it begins with what comes now.
    box.pass_over(ALL)
    box.write('c')
    box.pass_over(ALL)
    assert not box.changed
    assert box.pending(HOOK) == ['a', 'b', 'c']
    assert box.pending(MAIL) == ['c']


def test_further_kinds_have_no_backlog_either(box):
    box.write('a', 'b')
    box.pass_over({**ALL, HOOK: frozenset(['a'])})
    box.pass_over({**ALL, HOOK: frozenset(['a', 'b'])})
    box.write('b')
    assert box.pending(HOOK) == ['a', 'b']
    assert box.pending(MAIL) == ['a', 'b', 'b']


def test_what_is_old_is_deleted_and_what_was_not_told_is_counted(box):
    box.write('a', 'b', 'c', at=NOW - 9)
    box.write('d')
    box.tell(HOOK, 1, 2, 3)
    box.tell(MESSAGE, 2)
    box.pass_over({HOOK: None, MESSAGE: None})
    with box.store.reading() as connection:
        assert notices.old(connection, NOW)
        assert not notices.old(connection, NOW - 9)
    lost = box.store.transact(lambda made: notices.prune(made, NOW))
    assert lost == {MESSAGE: 2}
    assert box.pending(HOOK) == ['d']
    assert box.store.transact(lambda made: notices.prune(made, NOW)) == {}


# Channels


@pytest.fixture
def channel(box):
    """Calls a function of the module in a transaction of its own."""

    def call(work, *arguments):
        return box.store.transact(lambda made: work(made, *arguments))

    return call


def state(box, which=HOOK):
    with box.store.reading() as connection:
        return channels.states(connection)[which]


def test_a_channel_that_fails_is_tried_less_and_less(box, channel):
    pauses = []
    for number in range(9):
        at = NOW + number
        again = channel(channels.failed, at, HOOK, f'problem {number}')
        pauses.append(again - at)
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert state(box).failures == 9
    assert state(box).problem == 'problem 8'
    assert state(box).next_attempt == NOW + 8 + 3600
    assert state(box, MAIL) == channels.State()
    channel(channels.told, NOW + 20, HOOK)
    assert state(box) == channels.State(told_at=NOW + 20)


def test_a_channel_that_fails_for_ever_is_tried_each_hour():
    assert channels.pause(10_000) == 3600


def test_a_long_cause_is_cut(box, channel):
    channel(channels.failed, NOW, HOOK, 'x' * 10**6)
    assert len(state(box).problem) == 1000


def test_one_process_at_a_time_tells(box, channel):
    first = channel(channels.claim, NOW, HOOK, NOW + 100)
    assert first
    assert channel(channels.claim, NOW + 99, HOOK, NOW + 200) is None
    assert state(box).claimed_until == NOW + 100
    assert channel(channels.claim, NOW, MAIL, NOW + 100)
    channel(channels.release, HOOK, first)
    assert state(box).claimed_until is None
    assert channel(channels.claim, NOW, HOOK, NOW + 100) not in (None, first)


def test_a_claim_of_one_that_died_runs_out(box, channel):
    first = channel(channels.claim, NOW, HOOK, NOW + 100)
    second = channel(channels.claim, NOW + 100, HOOK, NOW + 200)
    assert second
    # The first one lives after all: what it gives back is not its own.
    channel(channels.release, HOOK, first)
    assert channel(channels.claim, NOW + 101, HOOK, NOW + 300) is None


def test_a_claim_does_not_forget_failures(box, channel):
    channel(channels.failed, NOW, HOOK, 'x')
    token = channel(channels.claim, NOW, HOOK, NOW + 9)
    channel(channels.release, HOOK, token)
    assert state(box).failures == 1


def test_what_was_given_up_is_counted_for_a_week(box, channel):
    channel(channels.gave_up, NOW, HOOK, 2)
    channel(channels.gave_up, NOW + 6 * DAY, HOOK, 3)
    assert state(box).given_up == 5
    assert state(box).given_up_at == NOW + 6 * DAY
    channel(channels.gave_up, NOW + 14 * DAY, HOOK, 1)
    assert state(box).given_up == 1


# What the suite itself writes


ROOT = Path(notices.__file__).parents[1]


def literals(path: Path) -> set[str]:
    """Texts of a module that look like kinds of events."""
    return {
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.startswith(('image.', 'servers.'))
        and ' ' not in node.value
    }


def test_every_kind_that_is_written_is_known_and_documented():
    page = ROOT.parent / 'doc/source/reference/events.rst'
    text = page.read_text()
    for kind in notices.KINDS:
        assert f'``{kind}``' in text, kind
    own = Path(notices.__file__)
    used = {
        kind
        for path in ROOT.rglob('*.py')
        if path != own and 'write(' in path.read_text()
        for kind in literals(path)
    }
    # One of them is made of the outcome of a trial.
    assert used - {'image.quarantine-'} <= set(notices.KINDS)
    assert {'image.withdrawn', 'image.released'} <= used
