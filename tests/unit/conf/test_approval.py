# SPDX-License-Identifier: Apache-2.0
"""What the site makes of a list's images, as its configuration says it."""

from __future__ import annotations

from typing import Any

import pytest

from hepix_vm.catalogue import subscription as values
from hepix_vm import conf
from hepix_vm.conf import subscription
from hepix_vm import errors

GROUP = """
[subscription:main]
url = https://example.org/list
list_identifier = 0c6a3f0e-58c3-4d8b-b0a0-6f2b6e6f6d01
endorser_subject = CN=Jane Doe,O=Example,C=CH
endorser_issuer = CN=Example CA,O=Example,C=CH
"""


@pytest.fixture
def read(tmp_path):
    """The subscription of a group with these lines."""

    def read_lines(*lines: str, before: str = '') -> Any:
        path = tmp_path / 'hepix_vm.conf'
        path.write_text('\n'.join([before + GROUP, *lines]) + '\n')
        path.chmod(0o640)
        return subscription.subscriptions(conf.load([str(path)]))['main']

    return read_lines


def refused(found: Any, *said: str) -> None:
    assert isinstance(found, errors.Misconfigured)
    for text in ('group [subscription:main]', *said):
        assert text in str(found)


def test_expressions_are_taken_over_line_by_line(read):
    made = read(
        'approval = matching',
        'approve_if = vo = atlas|cms arch = x86_64',
        'approve_if = title = "Worker, *" and version >= 2.0',
    )
    assert made.approval is values.Approval.MATCHING
    assert [
        [(term.key, term.op, term.value) for term in line.terms]
        for line in made.approve_if
    ] == [
        [('vo', '=', 'atlas|cms'), ('arch', '=', 'x86_64')],
        [('title', '=', 'Worker, *'), ('version', '>=', '2.0')],
    ]


@pytest.mark.parametrize(
    ('line', 'said'),
    [
        ('colour = red', 'expected one of vo, os, os_name, os_version, arch'),
        ('vo ~ atlas', "expected one of = != < <= > >=, found '~'"),
        ('vo == atlas', "found '=='"),
        ('vo atlas', 'expected KEY OP VALUE'),
        ('vo = "atlas', 'expected KEY OP VALUE'),
        ('vo = atlas and', "found 'and'"),
        ('vo = atlas|', 'expected a value'),
        ('vo = ""', 'expected a value'),
        ('vo = atlas, arch = i386', 'expected blanks between terms'),
        ('arch > 7', 'only a version has an order'),
        ('version > newest', 'expected a version'),
        ('vo = ' + 'x' * 5000, 'expected at most 4096 characters'),
    ],
)
def test_term_that_cannot_be_read_is_one_clear_error(read, line, said):
    found = read('approval = matching', f'approve_if = {line}')
    refused(found, 'option approve_if: ', said)
    assert len(str(found)) < 400


@pytest.mark.parametrize(
    'lines',
    [
        ('approval = matching',),
        ('approval = all', 'approve_if = vo = atlas'),
        ('approve_if = vo = atlas',),
    ],
    ids=['alone', 'with all', 'with listed'],
)
def test_rule_and_expressions_go_together(read, lines):
    refused(read(*lines), 'go together')


def test_a_brake_holds_unless_the_site_lets_it_go(read):
    assert read().brake == values.Brake(20, 50, False)


def test_brake_of_the_site_holds_for_lists_without_their_own(read):
    site = (
        '[catalogue]\nbrake_images = 7\nbrake_percent = 70\n'
        'brake_action = keep\n'
    )
    assert read(before=site).brake == values.Brake(7, 70, True)
    own = ('brake_images = 0', 'brake_percent = 0', 'brake_action = suspend')
    assert read(*own, before=site).brake == values.Brake(0, 0, False)


@pytest.mark.parametrize(
    ('gone', 'images', 'held'),
    [
        (0, 0, False),
        (0, 10, False),
        (5, 10, False),
        (6, 10, True),
        (20, 1000, False),
        (21, 1000, True),
        (1, 1, True),
    ],
)
def test_a_brake_counts_images_and_percent(gone, images, held):
    assert values.Brake(20, 50).holds(gone, images) is held


@pytest.mark.parametrize('percent', ['-1', '101', 'half'])
def test_percent_is_one(read, percent):
    refused(read(f'brake_percent = {percent}'), 'brake_percent')
