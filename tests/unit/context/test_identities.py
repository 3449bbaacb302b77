# SPDX-License-Identifier: Apache-2.0
"""Facts that are kept: when Nova is asked, by how many, and when not."""

import threading
import uuid

import pytest

from hepix_vm.context import facts
from hepix_vm.context import identities
from hepix_vm.context import identity

#: Seconds that a busy machine may take for what happens soon.
SOON = 120
TTL = 30.0
NAMES = [str(uuid.UUID(int=number)) for number in range(200)]
ONE = NAMES[1]


def _facts(name, **values):
    return facts.Facts(
        **{
            'uuid': name,
            'project': 'p',
            'host': 'h',
            'launched_at': 1_800_000_000,
            **values,
        }
    )


class Nova:
    """Answers as it is told and remembers what it was asked."""

    def __init__(self):
        self.asked = []
        self.error = None
        self.answers = {}

    def __call__(self, names):
        self.asked.append(list(names))
        if self.error is not None:
            raise self.error
        return {name: self.answers.get(name, _facts(name)) for name in names}


@pytest.fixture
def nova():
    return Nova()


@pytest.fixture
def known(nova):
    return identities.Identities(
        nova, identities.Settings(ttl=TTL, timeout=SOON)
    )


def _who(name=ONE, project='p'):
    return identity.Instance(name, project)


def test_nova_is_asked_once_in_a_while(known, nova):
    for now in (0.0, 1.0, TTL - 0.1):
        assert known.facts_of(_who(), now) == _facts(ONE)
    assert nova.asked == [[ONE]]
    nova.answers[ONE] = _facts(ONE, host='another')
    assert known.facts_of(_who(), TTL).host == 'another'
    assert nova.asked == [[ONE], [ONE]]


def test_another_project_than_nova_s_finds_nothing(known, nova):
    refusal = known.facts_of(_who(project='q'), 0.0)
    assert refusal.status == 404
    assert refusal.reason == identity.Reason.PROJECT_WRONG
    assert known.facts_of(_who(), 0.0) == _facts(ONE)
    assert nova.asked == [[ONE]]


def test_an_unknown_instance_is_asked_for_again_soon(known, nova):
    nova.answers[ONE] = identities.unknown(ONE)
    refusal = known.facts_of(_who(), 0.0)
    assert refusal.status == 404
    assert refusal.reason == identity.Reason.INSTANCE_UNKNOWN
    nova.answers.clear()
    assert known.facts_of(_who(), identities.SOON - 0.1) is refusal
    assert known.facts_of(_who(), identities.SOON) == _facts(ONE)


@pytest.mark.parametrize('missing', ['host', 'launched_at'])
def test_one_that_is_being_built_is_asked_for_again_soon(known, nova, missing):
    nova.answers[ONE] = _facts(ONE, **{missing: None})
    assert known.facts_of(_who(), 0.0) == _facts(ONE, **{missing: None})
    nova.answers.clear()
    assert known.facts_of(_who(), identities.SOON) == _facts(ONE)


def test_what_is_known_is_used_on_while_nova_is_away(known, nova, caplog):
    known.facts_of(_who(), 0.0)
    nova.error = OSError('no route')
    for now in (TTL, 2 * TTL, identities.LONGEST - 1):
        assert known.facts_of(_who(), now) == _facts(ONE)
    refusal = known.facts_of(_who(), identities.LONGEST)
    assert refusal.status == 503
    assert refusal.reason == identity.Reason.NOVA_FAILED
    # Once, not with each request.
    assert caplog.text.count('no route') == 1


def test_who_is_not_known_while_nova_is_away_comes_again(known, nova, caplog):
    nova.error = OSError('no route')
    assert known.facts_of(_who(), 0.0).status == 503
    nova.error = None
    with caplog.at_level('INFO'):
        assert known.facts_of(_who(), 0.0) == _facts(ONE)
    assert 'Nova answers again' in caplog.text


def test_an_answer_that_nova_owes_is_a_503(known, nova):
    known = identities.Identities(lambda names: {})
    assert known.facts_of(_who(), 0.0).reason == identity.Reason.NOVA_FAILED


def test_a_refusal_of_nova_for_one_is_not_kept(known, nova):
    nova.answers[ONE] = identity.Refusal(
        503, identity.Reason.NOVA_FAILED, 'its cell is down'
    )
    assert known.facts_of(_who(), 0.0).status == 503
    nova.answers.clear()
    assert known.facts_of(_who(), 0.0) == _facts(ONE)


def test_what_is_kept_is_bounded(nova):
    known = identities.Identities(nova, identities.Settings(most=3))
    for name in NAMES[:5]:
        known.facts_of(_who(name), 0.0)
    for name in reversed(NAMES[:5]):
        known.facts_of(_who(name), 0.0)
    # The newest three were there; the two before them were asked for again.
    assert len(nova.asked) == 7


class Held(Nova):
    """Answers when it may."""

    def __init__(self):
        super().__init__()
        self.inside = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, names):
        self.inside.set()
        assert self.go_on.wait(SOON)
        return super().__call__(names)


def _all_at_once(known, names):
    found = {}

    def ask(place, name):
        found[place] = known.facts_of(_who(name), 0.0)

    return found, [
        threading.Thread(target=ask, args=(place, name))
        for place, name in enumerate(names)
    ]


def _until(what, so):
    for _ in range(SOON * 100):
        if so():
            return
        threading.Event().wait(0.01)
    raise AssertionError(f'nobody {what}')


def _waiting(known, most):
    """Until so many instances wait for Nova."""
    _until('comes', lambda: len(known._waiting) >= most)


def test_those_that_come_meanwhile_are_one_question():
    nova = Held()
    known = identities.Identities(nova, identities.Settings(timeout=SOON))
    found, threads = _all_at_once(known, [*NAMES[:40], *NAMES[:40]])
    for thread in threads[:1]:
        thread.start()
    assert nova.inside.wait(SOON)
    for thread in threads[1:]:
        thread.start()
    _waiting(known, 40)
    nova.go_on.set()
    for thread in threads:
        thread.join(SOON)
    assert [found[place].uuid for place in range(80)] == NAMES[:40] * 2
    assert len(nova.asked) == 2
    assert sorted(nova.asked[0] + nova.asked[1]) == NAMES[:40]


def test_a_question_has_an_end(monkeypatch):
    monkeypatch.setattr(identities, 'TOGETHER', 3)
    nova = Held()
    known = identities.Identities(nova, identities.Settings(timeout=SOON))
    found, threads = _all_at_once(known, NAMES[:10])
    threads[0].start()
    assert nova.inside.wait(SOON)
    for thread in threads[1:]:
        thread.start()
    _waiting(known, 10)
    nova.go_on.set()
    for thread in threads:
        thread.join(SOON)
    assert len(found) == 10
    assert max(map(len, nova.asked)) == 3


def test_nobody_waits_longer_than_allowed():
    nova = Held()
    known = identities.Identities(nova, identities.Settings(timeout=0.05))
    _, [first] = _all_at_once(known, [ONE])
    first.start()
    try:
        assert nova.inside.wait(SOON)
        refusal = known.facts_of(_who(NAMES[2]), 0.0)
        assert refusal.reason == identity.Reason.NOVA_FAILED
    finally:
        nova.go_on.set()
        first.join(SOON)
    # It was asked about with the next ones all the same.
    assert known.facts_of(_who(NAMES[3]), 0.0) == _facts(NAMES[3])
    assert NAMES[2] in nova.asked[-1]


def test_in_trouble_only_who_tries_again_waits(known, nova):
    nova.error = OSError('no route')
    known.facts_of(_who(), 0.0)
    held = Held()
    known._ask = held
    _, [trying] = _all_at_once(known, [ONE])
    trying.start()
    try:
        assert held.inside.wait(SOON)
        # With SOON as the time-out, this would not come back.
        assert known.facts_of(_who(NAMES[2]), 0.0).status == 503
    finally:
        held.go_on.set()
        trying.join(SOON)


def test_who_waits_is_bounded(monkeypatch):
    monkeypatch.setattr(identities, 'WAITING', 1)
    nova = Held()
    known = identities.Identities(nova, identities.Settings(timeout=SOON))
    _, [first] = _all_at_once(known, [ONE])
    first.start()
    try:
        assert nova.inside.wait(SOON)
        assert known.facts_of(_who(NAMES[2]), 0.0).status == 503
    finally:
        nova.go_on.set()
        first.join(SOON)


def test_what_nova_tells_of_others_is_kept_as_well():
    asked = []

    def ask(names):
        asked.append(names)
        return {name: _facts(name) for name in NAMES[:5]}

    known = identities.Identities(ask)
    for name in NAMES[:5]:
        assert known.facts_of(_who(name), 0.0) == _facts(name)
    assert asked == [NAMES[:1]]


def test_who_asks_is_in_the_question_that_it_asks(monkeypatch):
    monkeypatch.setattr(identities, 'TOGETHER', 3)
    nova = Held()
    known = identities.Identities(nova, identities.Settings(timeout=0.05))
    _, [first] = _all_at_once(known, [ONE])
    first.start()
    try:
        assert nova.inside.wait(SOON)
        # They have gone again, and are asked about all the same.
        for name in NAMES[10:30]:
            assert known.facts_of(_who(name), 0.0).status == 503
    finally:
        nova.go_on.set()
        first.join(SOON)
    assert known.facts_of(_who(NAMES[3]), 0.0) == _facts(NAMES[3])
    assert nova.asked[1:] == [[NAMES[3], *NAMES[10:12]]]


def test_once_somebody_has_waited_in_vain_nobody_else_does(caplog):
    nova = Held()
    nova.go_on.set()
    known = identities.Identities(
        nova, identities.Settings(ttl=TTL, timeout=0.05)
    )
    assert known.facts_of(_who(NAMES[2]), 0.0) == _facts(NAMES[2])
    nova.go_on.clear()
    nova.inside.clear()
    _, [first] = _all_at_once(known, [ONE])
    first.start()
    try:
        assert nova.inside.wait(SOON)
        assert known.facts_of(_who(NAMES[3]), 0.0).status == 503
        assert known._trouble
        # With this time-out, these would not come back.
        known._settings = identities.Settings(ttl=TTL, timeout=SOON)
        assert known.facts_of(_who(NAMES[4]), 0.0).status == 503
        assert known.facts_of(_who(NAMES[2]), TTL) == _facts(NAMES[2])
    finally:
        nova.go_on.set()
        first.join(SOON)
    assert known.facts_of(_who(NAMES[4]), 0.0) == _facts(NAMES[4])
    assert known._trouble is False


def test_facts_may_have_to_be_newer_than_they_are_kept(known, nova):
    known.facts_of(_who(), 0.0)
    nova.answers[ONE] = _facts(ONE, flavor='resized')
    assert known.facts_of(_who(), 1.9, 2.0) == _facts(ONE)
    assert known.facts_of(_who(), 2.0) == _facts(ONE)
    assert known.facts_of(_who(), 2.0, 2.0).flavor == 'resized'
    assert known.facts_of(_who(), 3.0, 2.0).flavor == 'resized'
    assert nova.asked == [[ONE], [ONE]]
    nova.error = OSError('no route')
    assert known.facts_of(_who(), 4.0, 2.0).flavor == 'resized'


def test_what_another_thread_has_just_asked_is_not_asked_again(known, nova):
    known.facts_of(_who(), 0.0)
    assert known._fresh(ONE, 1.0, 2.0) == _facts(ONE)
    assert nova.asked == [[ONE]]


# While somebody looks at what changes


def test_who_waits_for_nova_is_answered_by_a_look_that_finds_it():
    nova = Held()
    known = identities.Identities(nova, identities.Settings(timeout=SOON))
    found, threads = _all_at_once(known, NAMES[:2])
    threads[0].start()
    try:
        assert nova.inside.wait(SOON)
        threads[1].start()
        _waiting(known, 2)
        known.learn({name: _facts(name) for name in NAMES[1:3]}, 0.0)
        threads[1].join(SOON)
        assert found == {1: _facts(NAMES[1])}
        refusal = identities.unknown(NAMES[0])
        known.learn({NAMES[0]: refusal}, 0.0)
        assert list(known._waiting) == [NAMES[0]]
        # The one that asks may be found as well.
        known.learn({NAMES[0]: _facts(NAMES[0])}, 0.0)
        assert not known._waiting
    finally:
        nova.go_on.set()
        threads[0].join(SOON)
    assert found[0] == _facts(NAMES[0])


def test_who_is_known_waits_for_the_look_that_is_under_way(known, nova):
    known.facts_of(_who(), 0.0)
    known.looked(1.0)
    found = []
    waiting = threading.Thread(
        target=lambda: found.append(known.facts_of(_who(), 9.0, 5.0))
    )
    waiting.start()
    assert known.wanted.wait(SOON)
    # One that began before is too old.
    known.looked(3.0)
    assert waiting.is_alive()
    known.learn({ONE: _facts(ONE, image='another')}, 8.0)
    waiting.join(SOON)
    assert found == [_facts(ONE, image='another')]
    assert nova.asked == [[ONE]]


def test_who_is_found_gone_by_a_look_is_asked_about(known, nova):
    known.facts_of(_who(), 0.0)
    known.looked(1.0)
    found = []
    waiting = threading.Thread(
        target=lambda: found.append(known.facts_of(_who(), 9.0, 5.0))
    )
    waiting.start()
    assert known.wanted.wait(SOON)
    nova.answers[ONE] = gone = identities.unknown(ONE)
    known.learn({ONE: gone}, 8.0)
    waiting.join(SOON)
    assert found == [gone]
    assert nova.asked == [[ONE], [ONE]]


def test_when_a_look_fails_those_that_wait_ask(known, nova):
    known.facts_of(_who(), 0.0)
    known.looked(1.0)
    found = []
    waiting = threading.Thread(
        target=lambda: found.append(known.facts_of(_who(), 9.0, 5.0))
    )
    waiting.start()
    assert known.wanted.wait(SOON)
    known.not_looked()
    waiting.join(SOON)
    assert found == [_facts(ONE)]
    assert nova.asked == [[ONE], [ONE]]


def test_once_a_look_takes_too_long_nobody_waits_for_it(nova):
    known = identities.Identities(
        nova, identities.Settings(ttl=TTL, timeout=0.05)
    )
    known.facts_of(_who(), 0.0)
    known.looked(1.0)
    assert known.facts_of(_who(), 9.0, 5.0) == _facts(ONE)
    # With this time-out, this would not come back.
    known._settings = identities.Settings(ttl=TTL, timeout=10 * SOON)
    assert known.facts_of(_who(), 9.0, 5.0) == _facts(ONE)
    assert nova.asked == [[ONE]]
    # What has not been said for so long is asked for all the same.
    nova.answers[ONE] = _facts(ONE, host='another')
    late = identities.LONGEST
    assert known.facts_of(_who(), late, 5.0).host == 'another'
    known.looked(late)
    assert not known._late


def test_what_must_be_newer_than_any_look_is_asked_for(known, nova):
    known.facts_of(_who(), 0.0)
    known.looked(1.0)
    for now in (1.0, 2.0, 3.0):
        assert known.facts_of(_who(), now, 0.5) == _facts(ONE)
    assert nova.asked == [[ONE]] * 3


def test_after_a_fork_nobody_asks_waits_or_looks(known, nova):
    with known._condition:
        known._asking = True
        known._waiting[ONE] = identities._Ticket(0.0, TTL)
        known.forget_parent()
    assert known.facts_of(_who(), 0.0) == _facts(ONE)
    assert nova.asked == [[ONE]]


def test_a_look_from_before_does_not_answer_who_must_know_newer():
    nova = Held()
    known = identities.Identities(nova, identities.Settings(timeout=SOON))
    asking = threading.Thread(target=known.facts_of, args=(_who(), 10.0, 5.0))
    asking.start()
    try:
        assert nova.inside.wait(SOON)
        # Nova took long for this page.
        known.learn({ONE: _facts(ONE, image='before')}, 5.0)
        assert list(known._waiting) == [ONE]
        known.learn({ONE: _facts(ONE, image='another')}, 6.0)
        asking_is_answered = not known._waiting
    finally:
        nova.go_on.set()
        asking.join(SOON)
    assert asking_is_answered


def test_a_question_from_before_does_not_answer_who_must_know_newer():
    nova = Held()
    nova.answers[ONE] = _facts(ONE, image='before')
    known = identities.Identities(nova, identities.Settings(timeout=SOON))
    found = {}

    def ask(now, at_most):
        found[now] = known.facts_of(_who(), now, at_most)

    first, same, later = (
        threading.Thread(target=ask, args=one)
        for one in ((0.0, 5.0), (4.9, 5.0), (5.0, 5.0))
    )
    first.start()
    try:
        assert nova.inside.wait(SOON)
        ticket = known._waiting[ONE]
        same.start()
        _until('waits, too', lambda: ticket.now == 4.9)
        later.start()
        _until('asks anew', lambda: known._waiting[ONE] is not ticket)
        nova.answers = Second(nova.answers)
    finally:
        nova.go_on.set()
        for thread in (first, same, later):
            thread.join(SOON)
    assert found[0.0].image == found[4.9].image == 'before'
    assert found[5.0].image is None
    assert nova.asked == [[ONE], [ONE]]


class Second(dict):
    """Has its answers once."""

    def get(self, name, default=None):
        """As of a dictionary."""
        return self.pop(name, default)


def test_one_without_a_host_is_asked_about_since_guests_have_one(known, nova):
    known.learn({ONE: _facts(ONE, host=None, launched_at=None)}, 0.0)
    known.looked(0.5)
    assert known.facts_of(_who(), 1.0, 2.0) == _facts(ONE)
    assert nova.asked == [[ONE]]


def test_one_that_was_being_built_is_asked_about_when_looks_are_late(nova):
    known = identities.Identities(
        nova, identities.Settings(ttl=TTL, timeout=0.05)
    )
    known.learn({ONE: _facts(ONE, host='first', launched_at=None)}, 0.0)
    known.looked(1.0)
    # It was sent to another host meanwhile.
    assert known.facts_of(_who(), 9.0, 5.0) == _facts(ONE)
    assert nova.asked == [[ONE]]


def test_what_was_known_of_one_being_built_is_not_used_on(known, nova):
    nova.answers[ONE] = _facts(ONE, launched_at=None)
    known.facts_of(_who(), 0.0)
    nova.error = OSError('no route')
    assert known.facts_of(_who(), identities.SOON).status == 503


def test_why_nova_failed_is_told_though_somebody_gave_up_before(caplog):
    nova = Held()
    nova.error = OSError('no route')
    known = identities.Identities(nova, identities.Settings(timeout=0.05))
    _, [first] = _all_at_once(known, [ONE])
    first.start()
    try:
        assert nova.inside.wait(SOON)
        assert known.facts_of(_who(NAMES[2]), 0.0).status == 503
    finally:
        nova.go_on.set()
        first.join(SOON)
    assert caplog.text.count('no route') == 1
