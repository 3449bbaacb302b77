# SPDX-License-Identifier: Apache-2.0
"""``sync --dry-run``: what would change is shown, and nothing changes."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import accept
from hepix_vm.catalogue import rehearsal
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import subscription
from hepix_vm.catalogue import sync
from hepix_vm import errors
from tests import endorser
from tests.unit.catalogue import following
from tests.unit.catalogue import servers

DATA, OTHER = b'an image', b'another image'
Outcome = sync.Outcome

image = endorser.make_image


@pytest.fixture
def entry():
    return image(DATA)


@pytest.fixture
def held(site, entry):
    """One image is endorsed and imported."""
    site.follow('main', endorser.Endorser.create(name='Lonely'))
    site.publish('main', '1', entry)
    site.sync()
    site.image = site.record(DATA)
    return site


def everything(site: following.Site) -> dict[str, list[tuple[object, ...]]]:
    """All rows of all tables."""
    with site.database.reading() as connection:
        return {
            table.name: sorted(
                map(tuple, connection.execute(sa.select(table))), key=repr
            )
            for table in schema.metadata.sorted_tables
        }


def rehearsed(
    site: following.Site, *only: str, due: bool = False
) -> rehearsal.Rehearsed:
    """Rehearse a sync, and see that nothing has changed."""
    before = everything(site)
    found = rehearsal.rehearse(
        site.database,
        site.configured,
        following.SETTINGS,
        site.now,
        frozenset(only) or None,
        due,
    )
    assert everything(site) == before
    return found


def changes(found: rehearsal.Rehearsed) -> list[str]:
    """The lines of the diff without its headings."""
    return [
        line
        for line in found.diff.splitlines()
        if not line.startswith(('---', '+++', '@@'))
    ]


def test_first_list_is_shown_whole(site, entry):
    site.follow()
    site.publish('main', '1', entry)
    found = rehearsed(site)
    digest = f'sha512:{entry.sha512[:16]}...'
    assert found.diff.splitlines() == [
        '--- subscription/main\tnow',
        '+++ subscription/main\tafter the sync',
        '@@ -0,0 +1,3 @@',
        '+standing trusted',
        '+list version 1',
        f'+image {entry.identifier} version 1.0 {digest} listed, approved',
    ]
    assert found.reports[0].outcome is Outcome.ACCEPTED


def test_new_version_says_what_is_listed_and_what_is_withdrawn(held, entry):
    new = image(OTHER, identifier=entry.identifier, version='2.0')
    held.publish('main', '2', new)
    found = rehearsed(held)
    assert changes(found) == [
        f'-image {held.image} positive',
        f'+image {held.image} withdrawn withdrawn',
        '-list version 1',
        f'-image {entry.identifier} version 1.0 '
        f'sha512:{entry.sha512[:16]}... listed, approved',
        '+list version 2',
        f'+image {entry.identifier} version 1.0 '
        f'sha512:{entry.sha512[:16]}... withdrawn, approved',
        f'+image {entry.identifier} version 2.0 '
        f'sha512:{new.sha512[:16]}... listed, approved',
    ]
    assert [w.image_id for w in found.withdrawals] == [held.image]
    assert held.sync()['main'].withdrawn == 1


def test_nothing_new_is_no_diff(held):
    found = rehearsed(held)
    assert found.diff == ''
    assert found.reports[0].outcome is Outcome.UNCHANGED


def test_rule_that_was_edited_is_shown_and_what_is_gone(held, entry):
    held.follow('second')
    held.publish('second', '1')
    held.sync('second')
    held.configured.pop('second')
    held.change('main', approval=subscription.Approval.NONE)
    assert changes(rehearsed(held)) == [
        f'-image {held.image} positive',
        f'+image {held.image} withdrawn not-approved',
        f'-image {entry.identifier} version 1.0 '
        f'sha512:{entry.sha512[:16]}... listed, approved',
        f'+image {entry.identifier} version 1.0 '
        f'sha512:{entry.sha512[:16]}... listed, not approved',
        '-standing trusted',
        '+standing unsubscribed',
    ]


def test_revocation_is_shown_and_its_list_is_not_kept(held):
    held.endorsers['main'].revoke()
    held.silence('main')
    found = rehearsed(held)
    assert changes(found) == [
        f'-image {held.image} positive',
        f'+image {held.image} withdrawn revoked',
        '-standing trusted',
        '+standing revoked',
    ]
    assert found.reports[0].outcome is Outcome.UNREACHABLE


def test_what_is_not_due_is_judged_and_not_fetched(held):
    held.publish('main', '2')
    assert rehearsed(held, due=True).diff == ''
    held.endorsers['main'].revoke()
    assert '+standing revoked' in rehearsed(held, due=True).diff


def test_refusal_changes_nothing_and_is_told(held):
    held.serve('main', b'garbage')
    found = rehearsed(held)
    assert found.diff == ''
    assert found.reports[0].outcome is Outcome.REFUSED


def test_one_that_breaks_does_not_end_the_rehearsal(held, monkeypatch):
    """A part of the transaction fails by itself."""
    held.follow('second')
    held.publish('second', '1', image(OTHER))
    held.publish('main', '2')
    real = accept.store_list

    def broken(transaction, subscription_, *arguments):
        if subscription_.name == 'main':
            transaction.execute(sa.text('SELECT * FROM nowhere'))
        return real(transaction, subscription_, *arguments)

    monkeypatch.setattr(accept, 'store_list', broken)
    found = rehearsed(held)
    outcomes = {r.subscription: r.outcome for r in found.reports}
    assert outcomes == {'main': Outcome.FAILED, 'second': Outcome.ACCEPTED}
    assert 'subscription/second' in found.diff
    assert 'subscription/main' not in found.diff


def test_named_ones_alone_are_rehearsed(held):
    held.follow('second')
    held.publish('second', '1', image(OTHER))
    held.publish('main', '2')
    assert 'subscription/main' not in rehearsed(held, 'second').diff
    with pytest.raises(errors.Misconfigured, match='nobody'):
        rehearsed(held, 'nobody')


def test_lists_are_fetched_before_anything_is_locked(held):
    """Another writer does not wait for a server."""
    message = held.publish('main', '2')
    with servers.running() as server:

        def behave(handler: servers.Handler) -> None:
            held.record(OTHER)
            servers.answer(message)(handler)

        held.change('main', url=server.tell('/list', behave))
        found = rehearsal.rehearse(
            held.database, held.configured, following.SETTINGS, held.now
        )
    assert '+list version 2' in found.diff


def test_store_that_is_away_is_told(held, tmp_path):
    (tmp_path / 'catalogue.sqlite').unlink()
    held.database.close()
    with pytest.raises(errors.LocalFault, match='does not answer'):
        rehearsal.rehearse(
            held.database, held.configured, following.SETTINGS, held.now
        )


def test_words_of_an_endorser_cannot_move_the_cursor():
    before = {'subscription/main': ['list version 1']}
    after = {'subscription/main': ['list version 2\x1b[2J']}
    found = rehearsal.difference(before, after)
    assert '\x1b' not in found
    assert '+list version 2?[2J\n' in found


def test_waiting_withdrawal_is_said():
    class Row:
        approved, withdrawn, held_at = True, False, 7
        replaced_until = None

    assert rehearsal._state(Row) == (
        'listed no more, its withdrawal waits, approved'
    )
