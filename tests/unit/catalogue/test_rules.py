# SPDX-License-Identifier: Apache-2.0
"""The site's rules over what lists say: matching, and settling anew."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import expression
from hepix_vm.catalogue import model
from hepix_vm.catalogue import proof
from hepix_vm.catalogue import settle
from hepix_vm.catalogue import store
from hepix_vm.catalogue import subscription
from tests import endorser
from tests.unit.catalogue import following

Approval = subscription.Approval
Reason = model.Reason
image = endorser.make_image

WORKER, LOGIN, OLD = b'a worker', b'a login node', b'an old worker'


def matching(*lines: str) -> dict[str, Any]:
    return {
        'approval': Approval.MATCHING,
        'approve_if': tuple(expression.parse(line) for line in lines),
    }


@pytest.fixture
def listed(main) -> following.Site:
    """Three images of a VO, approved where an expression holds."""
    main.publish(
        'main',
        '1',
        image(
            WORKER,
            title='Worker node',
            os_name='Alma',
            version='2.1',
            hypervisors=('kvm', 'xen'),
            format='qcow2',
        ),
        image(LOGIN, title='Login node', arch='aarch64', version='2.1'),
        image(OLD, title='worker (old)', version='1.9'),
        vo='example.vo',
    )
    return main


def approved(made: following.Site) -> set[bytes]:
    return {
        data
        for data in (WORKER, LOGIN, OLD)
        if made.decide(data) is Reason.APPROVED
    }


MATCHES: list[tuple[list[str], set[bytes]]] = [
    (['title = worker*'], {WORKER, OLD}),
    (['title = worker* version >= 2'], {WORKER}),
    (['vo = example.vo'], {WORKER, LOGIN, OLD}),
    (['vo = other.vo'], set()),
    (['arch = aarch64', 'os_name = alma'], {WORKER, LOGIN}),
    (['hypervisor = xen'], {WORKER}),
    (['format = qcow2'], {WORKER}),
    (['os = linux os_version = 1'], {WORKER, LOGIN, OLD}),
    (['os_name != alma'], set()),
    (['identifier = *'], {WORKER, LOGIN, OLD}),
    ([], set()),
]


@pytest.mark.parametrize(
    ('lines', 'expected'),
    MATCHES,
    ids=[' or '.join(lines) or 'nothing' for lines, _ in MATCHES],
)
def test_images_are_approved_where_an_expression_holds(
    listed, lines, expected
):
    listed.change('main', **matching(*lines))
    listed.sync()
    assert approved(listed) == expected


def test_each_version_is_matched_on_its_own(listed):
    listed.change('main', **matching('title = worker* version < 3'))
    listed.sync()
    (entry,) = [i for i in listed.images() if i.title == 'Worker node']
    newer = image(
        LOGIN, identifier=entry.identifier, title='Worker', version='3'
    )
    listed.publish('main', '2', newer)
    listed.sync()
    assert approved(listed) == set()


def test_changed_expression_holds_after_the_next_sync_without_the_server(
    listed,
):
    listed.change('main', **matching('title = worker*'))
    listed.sync()
    record = listed.record(OLD)
    listed.silence('main')
    listed.change('main', **matching('title = worker* version >= 2'))
    listed.sync()
    assert approved(listed) == {WORKER}
    assert listed.image_state(record) == 'withdrawn not-approved'


def test_proof_is_wanted_only_of_what_matches(listed):
    demanded = subscription.ImageSignature('.sig', '/signer.pem', 'sha256')
    listed.change(
        'main', image_signature=demanded, **matching('title = worker*')
    )
    listed.sync()
    assert approved(listed) == set()
    with listed.database.reading() as connection:
        wanting = proof.wanting(connection, listed.configured['main'])
    assert {item.title for item in wanting} == {'Worker node', 'worker (old)'}


# Settling what changed, and only that


def writes(made: following.Site) -> dict[str, int]:
    """Settle once more; rows of each kind that this wrote."""
    statements: list[str] = []
    engine = made.database.engine()

    def noted(_1: Any, _2: Any, statement: str, *_3: Any) -> None:
        statements.append(statement.split()[0].upper())

    sa.event.listen(engine, 'before_cursor_execute', noted)
    try:
        with made.database.writing() as transaction:
            statements.clear()
            settle.rules(
                transaction,
                list(made.configured.values()),
                made.configured,
                made.now,
            )
    finally:
        sa.event.remove(engine, 'before_cursor_execute', noted)
    return {kind: statements.count(kind) for kind in set(statements)}


def test_unchanged_rules_cost_one_query_and_no_write(main):
    for name in ('second', 'third'):
        main.follow(name)
        main.publish(name, '1', image(name.encode()))
    main.publish('main', '1', image(WORKER))
    main.sync()
    assert writes(main) == {'SELECT': 1}


CHANGES: dict[str, dict[str, Any]] = {
    'approval': {'approval': Approval.LISTED},
    'expression': matching('title = x'),
    'new versions': {'approve_new_versions': False},
    'projects': {'projects': frozenset({'p'})},
    'no projects': {'projects': frozenset()},
    'vo': {'vo_projects': {'vo': frozenset({'p'})}},
    'age': {'list_max_age': 1},
    'signature': {
        'image_signature': subscription.ImageSignature('.sig', '/s', 'sha256')
    },
    'brake': {'brake': subscription.Brake(keep=True)},
}


@pytest.mark.parametrize('change', sorted(CHANGES))
def test_every_changed_rule_is_settled_once(main, change):
    main.publish('main', '1', image(WORKER))
    main.sync()
    main.change('main', **CHANGES[change])
    assert writes(main).get('UPDATE', 0) >= 1
    assert writes(main) == {'SELECT': 1}


def test_what_rows_do_not_depend_on_is_not_settled(main):
    main.publish('main', '1', image(WORKER))
    main.sync()
    main.change(
        'main',
        url='https://example.org/elsewhere',
        crl='if-present',
        brake=subscription.Brake(images=7),
    )
    assert writes(main) == {'SELECT': 1}


def test_rules_are_different_wherever_one_differs():
    first = subscription.Subscription(
        'main', 'u', 'l', 's', 'i', 'a', Approval.ALL
    )
    lines = ["title = 'a b'", "title = 'a  b'", 'title = a and vo = b']
    others = [
        *(dataclasses.replace(first, **change) for change in CHANGES.values()),
        *(dataclasses.replace(first, **matching(line)) for line in lines),
    ]
    digests = [settle.digest(item) for item in (first, *others)]
    assert len(set(digests)) == len(digests)
    assert settle.digest(dataclasses.replace(first)) == digests[0]


def test_subscription_that_another_process_settled_otherwise_is_settled_anew(
    main,
):
    main.publish('main', '1', image(WORKER))
    main.sync()
    right = main.configured['main']
    main.change('main', approval=Approval.NONE)
    main.sync()
    main.configured['main'] = right
    main.silence('main')
    main.sync()
    assert main.decide(WORKER) is Reason.APPROVED


# Who had an identifier first


def test_claimed_identifier_is_an_alarm_in_log_and_history(main, caplog):
    entry = image(WORKER)
    main.publish('main', '1', entry)
    main.follow('second')
    main.publish('second', '1')
    main.sync()
    main.publish('second', '2', image(LOGIN, identifier=entry.identifier))
    caplog.clear()
    report = main.sync()['second']
    assert not report.well
    said = f'image {entry.identifier} is already listed by subscription main'
    warnings = [r for r in caplog.records if r.levelname == 'WARNING']
    assert any(said in r.getMessage() for r in warnings)
    with main.database.reading() as connection:
        events = store.history(connection, 'second')
    assert any(
        event.event == 'list-problem' and said in event.detail
        for event in events
    )
    assert main.decide(WORKER) is Reason.APPROVED
    assert main.decide(LOGIN) is Reason.NOT_ENDORSED
