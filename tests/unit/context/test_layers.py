# SPDX-License-Identifier: Apache-2.0
"""``layers.yaml``: what it says, what it must not say, and matching."""

import pytest

from hepix_vm.context import archive
from hepix_vm.context import documents
from hepix_vm.context import facts as facts_
from hepix_vm.context import layers

WHOLE = b"""\
variables: {squid: cache.example.org, Empty: ''}
layers:
  - directory: common
  - directory: atlas
    when: {vo: atlas, flavor: [m1.*, big]}
"""

ENDORSED = facts_.Endorsed('/DC=org/CN=Endorser', 'list-1', 'atlas', 'id-1')
FACTS = facts_.Facts(
    'uuid',
    'project-1',
    availability_zone='nova',
    host='host-1',
    hypervisor_type='QEMU',
    flavor='m1.large',
    image='image-1',
    endorsed=ENDORSED,
)


def _plan(text: str) -> layers.Plan:
    return layers.plan(text.encode(), '/site/layers.yaml')


def _refused(text: str) -> str:
    with pytest.raises(archive.BundleRefused) as caught:
        _plan(text)
    said = str(caught.value)
    assert said.startswith('site context /site/layers.yaml')
    assert '\n' not in said
    return said


def test_the_file_is_read_whole():
    text = WHOLE.decode().replace("Empty: ''", "empty: ''")
    assert _plan(text) == layers.Plan(
        (
            layers.Rule('common'),
            layers.Rule(
                'atlas', (('vo', ('atlas',)), ('flavor', ('m1.*', 'big')))
            ),
        ),
        (('empty', ''), ('squid', 'cache.example.org')),
    )


def test_what_looks_like_another_kind_of_value_is_text():
    plan = _plan('layers: [{directory: "1", when: {vo: no, flavor: 1.10}}]')
    assert plan.rules[0].when == (('vo', ('no',)), ('flavor', ('1.10',)))


@pytest.mark.parametrize(
    ('text', 'says'),
    [
        ('', 'expected a mapping'),
        ('- a', 'expected a mapping'),
        ('layers: [', 'expected YAML'),
        ('layers: \x00', 'expected YAML'),
        ('a: &x 1\nb: *x', 'reference to an anchor'),
        ('layers: []\nlayers: []', 'appears twice'),
        ('? [a]\n: b', 'appears twice'),
        ('[' * 5000, 'too deep'),
        ('#' * (documents.LARGEST + 1), 'at most 65536'),
        ('layers: []', 'expected a list'),
        ('layers: common', 'expected a list'),
        ('layers: [common]', 'layer 1: expected a mapping'),
        ('layers: [{directory: a}]\nmore: 1', "key 'more' is unknown"),
        ('layers: [{directory: a, if: b}]', "key 'if' is unknown"),
        ('layers: [{when: {vo: a}}]', 'expected "directory"'),
        ('layers: [{directory: a/b}]', 'one plain name'),
        ('layers: [{directory: ..}]', 'one plain name'),
        ('layers: [{directory: ""}]', 'one plain name'),
        ('layers: [{directory: [a]}]', 'one plain name'),
        ('layers: [{directory: a}, {directory: a}]', 'named twice'),
        ('layers: [{directory: a, when: {site: b}}]', "key 'site'"),
        ('layers: [{directory: a, when: [vo]}]', 'expected a mapping'),
        ('layers: [{directory: a, when: {vo: []}}]', 'a list of texts'),
        ('layers: [{directory: a, when: {vo: ""}}]', 'a list of texts'),
        ('layers: [{directory: a, when: {vo: [[a]]}}]', 'a list of texts'),
        ('layers: [{directory: a, when: {vo: {a: b}}}]', 'a list of texts'),
        ('layers: [{directory: a}]\nvariables: [a]', 'expected a mapping'),
        ('layers: [{directory: a}]\nvariables: {A: b}', "variable 'A'"),
        ('layers: [{directory: a}]\nvariables: {a-b: c}', "variable 'a-b'"),
        ('layers: [{directory: a}]\nvariables: {vo: b}', 'would hide'),
        ('layers: [{directory: a}]\nvariables: {serial: b}', 'would hide'),
        ('layers: [{directory: a}]\nvariables: {a: [b]}', 'one line'),
        ('layers: [{directory: a}]\nvariables: {a: "b\\nc"}', 'one line'),
    ],
)
def test_what_cannot_be_meant_is_refused(text, says):
    assert says in _refused(text)


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(archive.BundleRefused, match='expected YAML'):
        layers.plan(b'\xff\xfe\xfd', 'x')


@pytest.mark.parametrize(
    ('pattern', 'value', 'expected'),
    [
        ('a', 'a', True),
        ('a', 'A', False),
        ('a', 'ab', False),
        ('*', '', True),
        ('*', 'anything\nat all', True),
        ('a*', 'a', True),
        ('*a', 'ba', True),
        ('a*a', 'a', False),
        ('a*a', 'aa', True),
        ('a*b*c', 'aXbXbXc', True),
        ('a*b*c', 'acb', False),
        ('ab*bc', 'abc', False),
        ('a?c', 'abc', False),
        ('[ab]', 'a', False),
        ('[ab]', '[ab]', True),
        ('a.c', 'abc', False),
    ],
)
def test_a_star_stands_for_any_text_and_nothing_else_does(
    pattern, value, expected
):
    assert layers.matches(pattern, value) is expected


def test_everything_known_can_be_asked_for():
    known = facts_.known(FACTS)
    assert tuple(known) == facts_.NAMES
    for name, value in known.items():
        rule = layers.Rule('x', ((name, ('other', value)),))
        assert layers.counts(rule, known)
        assert layers.match(rule, known).why == f'{name} is {value}'


def test_what_is_not_known_matches_nothing():
    known = facts_.known(facts_.Facts('uuid', ''))
    assert known == {}
    for name in facts_.NAMES:
        rule = layers.Rule('x', ((name, ('*',)),))
        assert not layers.counts(rule, known)
        found = layers.match(rule, known)
        assert not found.matched
        assert found.why == f'{name} is not known, expected *'


def test_all_conditions_must_hold_and_each_that_fails_is_told():
    known = facts_.known(FACTS)
    rule = layers.Rule(
        'x', (('vo', ('cms', 'lhcb')), ('host', ('host-*',)), ('list', ('x',)))
    )
    assert not layers.counts(rule, known)
    assert layers.match(rule, known) == layers.Matched(
        'x',
        False,
        'vo is atlas, expected cms or lhcb; list is list-1, expected x',
    )


def test_a_layer_without_conditions_always_counts():
    assert layers.counts(layers.Rule('x'), {})
    assert layers.match(layers.Rule('x'), {}).why == 'no condition'
