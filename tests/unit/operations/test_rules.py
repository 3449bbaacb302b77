# SPDX-License-Identifier: Apache-2.0
"""Which rule speaks for an image, and what would change the decision."""

from __future__ import annotations

import dataclasses

import pytest

from hepix_vm.catalogue import expression
from hepix_vm.catalogue import model
from hepix_vm.catalogue import origin
from hepix_vm.catalogue import store
from hepix_vm.catalogue import subscription
from hepix_vm import errors
from hepix_vm.operations import rules

CONTENT, OLDER = 'a' * 128, 'b' * 128
IMAGE = store.Image(
    row=1,
    subscription='main',
    identifier='an-identifier',
    version='2.0',
    sha512=CONTENT,
    size=5,
    expires=None,
    approved=True,
    withdrawn=False,
    proven=False,
    first_seen=1,
    held_at=None,
    replaced_until=None,
    vo='atlas',
    title='Worker',
    uri='http://h/i',
    entry={'os': 'linux', 'hypervisors': ['kvm']},
)
RULE = subscription.Subscription(
    'main', 'http://h/l', 'a-list', 'CN=x', 'CN=y', '/anchors'
)
SIGNATURE = subscription.ImageSignature('.sig', '/c.pem', 'sha256')
APPROVAL = origin.Approval(CONTENT, 0, 'jane', 'tested')
Kind = subscription.Approval


def case(rule=RULE, approval=None, anyway=None, held_run=False, **image):
    if isinstance(rule, dict):
        rule = dataclasses.replace(RULE, **rule)
    return rules.Case(
        dataclasses.replace(IMAGE, **image), rule, approval, anyway, held_run
    )


def matching(*lines):
    return {
        'approval': Kind.MATCHING,
        'approve_if': tuple(expression.parse(line) for line in lines),
    }


@pytest.mark.parametrize(
    ('given', 'said'),
    [
        (case({'approval': Kind.ALL}), 'approves every image'),
        (case({'approval': Kind.NONE}), 'approves no image'),
        (case(), 'approval = listed: nobody has approved it'),
        (
            case(approval=APPROVAL),
            'approved by jane at 1970-01-01T00:00:00Z (tested)',
        ),
        (
            case(approval=dataclasses.replace(APPROVAL, reason='')),
            'approved by jane at 1970-01-01T00:00:00Z',
        ),
        (
            case(approval=dataclasses.replace(APPROVAL, sha512=OLDER)),
            'as sha512:bbbbbbbbbbbbbbbb...; approve_new_versions = true '
            'covers this version',
        ),
        (
            case(
                {'approve_new_versions': False},
                dataclasses.replace(APPROVAL, sha512=OLDER),
            ),
            'approve_new_versions = false does not cover this version',
        ),
        (
            case(matching('os = windows', 'vo = atlas os = linux')),
            'approves it by "vo = atlas os = linux"',
        ),
        (
            case(matching('os = windows', 'vo = cms')),
            'none of 2 lines of approve_if holds',
        ),
    ],
    ids=lambda given: given if isinstance(given, str) else '',
)
def test_rule_of_the_site_in_words(given, said):
    (sentence,) = rules.sentences(given)
    assert said in sentence


@pytest.mark.parametrize(
    ('given', 'said'),
    [
        (case(None), 'not configured any more'),
        (
            case(errors.Misconfigured('group x: broken')),
            'stands, but group x: broken',
        ),
        (case({'projects': frozenset({'p', 'q'})}), 'for projects: p, q'),
        (case({'projects': frozenset()}), 'for projects: none'),
        (
            case({'vo_projects': {'atlas': frozenset({'p'})}}),
            'for projects: p',
        ),
        (case({'image_signature': SIGNATURE}), 'has not been checked'),
        (case(held_at=60), 'since 1970-01-01T00:01:00Z; it is not placed'),
        (case(held_at=60, held_run=True), 'it runs on'),
        (
            case(replaced_until=60),
            'it counts until 1970-01-01T00:01:00Z, or until that one is '
            'published',
        ),
        (
            case(anyway=store.Anyway(120, 60, 'joe', 'needed')),
            'run-anyway until 1970-01-01T00:02:00Z, by joe at '
            '1970-01-01T00:01:00Z: needed',
        ),
    ],
    ids=lambda given: given if isinstance(given, str) else '',
)
def test_further_sentences_about_an_image(given, said):
    assert any(said in sentence for sentence in rules.sentences(given))


def test_what_does_not_concern_an_image_is_not_said():
    assert len(rules.sentences(case(held_at=60, withdrawn=True))) == 1
    proven = case({'image_signature': SIGNATURE}, proven=True)
    assert len(rules.sentences(proven)) == 1


def decision(code):
    return model.Decision(
        model.Verdict.APPROVED
        if code in (model.Reason.APPROVED, model.Reason.RUN_ANYWAY)
        else model.Verdict.REFUSED,
        code,
        'image x',
        'detail',
    )


@pytest.mark.parametrize('code', sorted(model.Reason), ids=str)
def test_each_decision_has_something_that_would_change_it(code):
    for given in (case(), None):
        found = rules.changes(decision(code), given, ('an-identifier',))
        assert found
        assert all(found)


@pytest.mark.parametrize(
    ('code', 'given', 'said'),
    [
        ('approved', case(), 'image block an-identifier'),
        ('run-anyway', case(), f'image run-anyway {CONTENT} --end'),
        ('blocked', None, 'image unblock an-identifier'),
        ('revoked', case(), 'nothing that this site says'),
        ('unsubscribed', case(None), '[subscription:main]'),
        ('withdrawn', case(), f'image run-anyway {CONTENT} --until'),
        ('withdrawn', case(), 'image report an-identifier'),
        ('distrusted', case(), 'subscription show main'),
        ('list-stale', case(), 'hepix-vm sync main'),
        ('suspended', case(), 'subscription confirm main'),
        ('wrong-project', case(), 'vo_projects'),
        ('record-withdrawn', None, 'hepix-vm publish'),
        ('not-approved', case(), 'image approve an-identifier --subs'),
        (
            'not-approved',
            case({'approval': Kind.NONE}),
            'another "approval" than none',
        ),
        ('not-approved', case(matching('os = x')), 'a line of approve_if'),
        ('not-approved', case(None), 'that can be used'),
        (
            'not-approved',
            case({'approval': Kind.ALL, 'image_signature': SIGNATURE}),
            'publish" checks the signature',
        ),
        ('not-approved', case(approval=APPROVAL), 'hepix-vm sync" settles'),
        (
            'not-approved',
            case(
                {'approve_new_versions': False},
                dataclasses.replace(APPROVAL, sha512=OLDER),
            ),
            'image approve',
        ),
    ],
    ids=lambda given: given if isinstance(given, str) else '',
)
def test_what_would_change_a_decision(code, given, said):
    found = rules.changes(
        decision(model.Reason(code)), given, ('an-identifier',)
    )
    assert any(said in line for line in found), found
