# SPDX-License-Identifier: Apache-2.0
"""Whatever an operator writes, and whatever a list says of an image."""

from __future__ import annotations

from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies as st

from hepix_vm.catalogue import expression
from hepix_vm import errors

#: A busy machine draws slowly; what is drawn stays the same.
BUSY = settings(
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],
)

keys = st.sampled_from(expression.KEYS)
operators = st.sampled_from(['=', '!=', '<', '<=', '>', '>='])
pieces = st.one_of(
    keys,
    operators,
    st.sampled_from(
        [' ', 'and', '"', "'", '\\', '|', '*', '[', '[!', ']', '-', '(', ',']
    ),
    st.text(max_size=6),
)
#: Lines that nearly are some.
lines = st.lists(pieces, max_size=14).map(''.join)
facts = st.dictionaries(
    keys, st.lists(st.text(max_size=12), max_size=3).map(tuple)
)


def quoted(value: str) -> str:
    """A value as the shell takes it, whatever is in it."""
    return "'" + value.replace("'", "'\"'\"'") + "'"


@given(st.text() | lines, facts)
@BUSY
def test_a_line_is_read_or_refused_in_words_and_then_answers(text, said):
    try:
        line = expression.parse(text)
    except errors.Misconfigured as exc:
        assert 'expected' in str(exc)
        return
    assert line.terms
    assert line.holds(said) in (True, False)
    assert line.holds({}) is False


@given(
    st.lists(
        st.tuples(
            keys,
            st.sampled_from(['=', '!=']),
            st.text(min_size=1, max_size=20),
        ),
        min_size=1,
        max_size=4,
    )
)
@BUSY
def test_quoted_values_come_back_as_they_were(terms):
    terms = [(key, op, value.replace('|', '/')) for key, op, value in terms]
    text = ' '.join(f'{key} {op} {quoted(value)}' for key, op, value in terms)
    found = expression.parse(text)
    assert [(t.key, t.op, t.value) for t in found.terms] == [
        (key, op, value) for key, op, value in terms
    ]


@given(keys, st.text(alphabet='ab*?[]!|', min_size=1, max_size=8), facts)
@BUSY
def test_a_term_and_its_contrary_divide_what_is_said(key, value, said):
    try:
        same = expression.parse(f'{key} = {quoted(value)}')
        other = expression.parse(f'{key} != {quoted(value)}')
    except errors.Misconfigured:
        assert not all(value.split('|'))
        return
    assert (same.holds(said) or other.holds(said)) is bool(said.get(key))
    assert not (same.holds(said) and other.holds(said))


@given(st.lists(st.text(max_size=5), max_size=3), facts)
@BUSY
def test_more_lines_never_take_an_approval_back(values, said):
    read = [
        expression.parse(f'title = {quoted(value)}')
        for value in values
        if value and all(value.casefold().split('|'))
    ]
    for count in range(len(read)):
        fewer = expression.any_holds(read[:count], said)
        assert not fewer or expression.any_holds(read, said)
