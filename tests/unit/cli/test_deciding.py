# SPDX-License-Identifier: Apache-2.0
"""Commands by which an operator overrules for a time, or confirms."""

from __future__ import annotations

import pytest

from hepix_vm.catalogue import expression
from hepix_vm.catalogue import subscription
from tests import endorser

DATA, OTHER = b'an image', b'another image'


@pytest.fixture
def image():
    return endorser.make_image(DATA, title='Worker node')


@pytest.fixture
def approving(site, hepix_vm, image):
    """All images of a list of two are approved; one withdrawal may wait."""
    site.change('main', approval='all', brake=subscription.Brake(images=0))
    site.publish('main', '1', image, endorser.make_image(OTHER))
    assert hepix_vm('sync').status == 0
    return hepix_vm


def one_line(ran, said):
    assert said in ran.err
    assert len(ran.err.strip().splitlines()) == 1
    assert ran.out == ''


def states(hepix_vm):
    rows = hepix_vm('image', 'list', '--all', '-f', 'json').json
    return {row['title']: (row['code'], row['state']) for row in rows}


def test_waiting_withdrawal_is_told_shown_and_confirmed(
    site, approving, image
):
    record = site.record(DATA)
    site.publish('main', '2', endorser.make_image(OTHER, title='new'))
    ran = approving('sync', '-f', 'json')
    assert ran.status == 1
    assert 'subscription confirm main' in ran.json[0]['detail']
    assert 'withdrawal of 2 images waits' in ran.err
    assert states(approving)['Worker node'] == ('suspended', 'stale')
    shown = approving('subscription', 'show', 'main', '-f', 'json').json
    assert shown['waiting'] == 2
    assert shown['brake'] == (
        'more than 0 images or 50 % wait and are suspended'
    )
    site.silence('main')
    again = approving('sync')
    assert again.status == 1
    assert 'withdrawal of 2 images waits' in again.err
    ran = approving(
        'subscription', 'confirm', 'main', '--reason', 'asked', '-f', 'json'
    )
    assert ran.status == 0
    assert ran.json['confirmed'] == 'main'
    assert image.identifier in ran.json['images']
    assert ran.json['withdrawn'] == [record]
    assert states(approving)['Worker node'] == ('withdrawn', 'withdrawn')
    shown = approving('subscription', 'show', 'main', '-f', 'json').json
    assert shown['waiting'] == 0


def test_confirming_needs_a_reason_and_something_that_waits(approving):
    assert approving('subscription', 'confirm', 'main').status == 2
    for name in ('main', 'typo'):
        ran = approving('subscription', 'confirm', name, '--reason', 'x')
        assert ran.status == 2
        one_line(ran, f'subscription {name}: expected one with withdrawals')


def test_image_runs_anyway_until_it_does_not(site, approving, image):
    site.change('main', brake=None)
    site.publish('main', '2')
    approving('sync')
    ran = approving(
        'image',
        'run-anyway',
        image.identifier,
        '--until',
        site.now + 3600,
        '--reason',
        'a campaign',
        '-f',
        'json',
    )
    assert ran.status == 0, ran.err
    assert ran.json['run_anyway'] == image.sha512
    assert ran.json['until'].endswith('Z')
    assert (ran.json['code'], ran.json['state']) == ('run-anyway', 'fresh')
    assert ran.json['restored'] == []
    assert states(approving)['Worker node'] == ('run-anyway', 'fresh')
    (row,) = approving('image', 'show', image.identifier, '-f', 'json').json
    assert (row['code'], row['state']) == ('run-anyway', 'fresh')
    ran = approving('image', 'run-anyway', image.sha512, '--end', '-f', 'json')
    assert ran.status == 0
    assert ran.json == {'ended': image.sha512, 'withdrawn': []}
    assert states(approving)['Worker node'] == ('withdrawn', 'withdrawn')


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        ((), 'one of the arguments --until --end is required'),
        (('--until', 'tomorrow', '--reason', 'x'), 'expected RFC 3339'),
        (('--until', '2030-01-01T00:00:00Z', '--end'), 'not allowed with'),
        (('--until', '2030-01-01T00:00:00'), 'expected RFC 3339'),
    ],
)
def test_when_has_to_be_said_in_one_way(approving, image, options, said):
    ran = approving('image', 'run-anyway', image.identifier, *options)
    assert ran.status == 2
    assert said in ran.err


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (('--until', '2020-01-01T00:00:00Z', '--reason', 'x'), '--until'),
        (('--until', '2999-01-01T00:00:00Z', '--reason', 'x'), '--until'),
        (('--until', '1795262400'), 'option --reason'),
        (('--until', '1795262400', '--reason', '  '), 'option --reason'),
        (('--end',), 'expected one that runs anyway'),
    ],
)
def test_what_cannot_be_is_one_sentence(approving, image, options, said):
    ran = approving('image', 'run-anyway', image.identifier, *options)
    assert ran.status == 2
    one_line(ran, said)


def test_longest_time_is_an_option(site, approving, image):
    path = site.folder / 'short.conf'
    path.write_text(
        approving.file.read_text().replace(
            '[catalogue]', '[catalogue]\nrun_anyway_longest = 60'
        )
    )
    path.chmod(0o600)
    ran = approving.bare(
        '--config-file',
        path,
        'image',
        'run-anyway',
        image.identifier,
        '--until',
        site.now + 3600,
        '--reason',
        'x',
    )
    assert ran.status == 2
    one_line(ran, '60 seconds ahead ([catalogue] run_anyway_longest)')


def test_expressions_of_the_file_approve(site, hepix_vm, image):
    site.change(
        'main',
        approval='matching',
        approve_if=(expression.parse('title = "worker *" and version >= 1'),),
    )
    site.publish('main', '1', image, endorser.make_image(OTHER))
    hepix_vm('sync')
    assert states(hepix_vm) == {
        'Worker node': ('approved', 'fresh'),
        'a test image': ('not-approved', 'fresh'),
    }
    shown = hepix_vm('subscription', 'show', 'main', '-f', 'json').json
    assert shown['approve_if'] == ['title = "worker *" and version >= 1']


def test_term_that_cannot_be_read_leaves_the_others_alone(
    site, hepix_vm, image
):
    site.publish('main', '1', image)
    site.follow('second', approval='all')
    site.publish('second', '1', endorser.make_image(OTHER))
    hepix_vm('sync')
    text = hepix_vm.file.read_text().replace(
        'approval = listed', 'approval = matching\napprove_if = colour = red'
    )
    path = site.folder / 'broken.conf'
    path.write_text(text)
    path.chmod(0o600)
    ran = hepix_vm.bare('--config-file', path, 'sync', '-f', 'json')
    assert ran.status == 1
    rows = {row['subscription']: row for row in ran.json}
    assert rows['main']['outcome'] == 'misconfigured'
    assert "term 'colour = red': expected one of vo" in rows['main']['detail']
    assert rows['second']['outcome'] == 'unchanged'
