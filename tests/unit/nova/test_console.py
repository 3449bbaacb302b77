# SPDX-License-Identifier: Apache-2.0
"""Consoles are hostile: searched in linear time, shown without effect."""

from __future__ import annotations

import sys
import time

import pytest

from hepix_vm import errors
from hepix_vm.nova import console

BIDI = '\u202e'


@pytest.mark.parametrize(
    ('text', 'found'),
    [
        ('a\nhost login: \n', True),
        ('a\r\nlogin:\r\n', True),
        ('log\nin:', False),
        ('', False),
        ('login :', False),
        ('\ud800login:', True),
    ],
    ids=['one', 'returns', 'two-lines', 'empty', 'other', 'half-character'],
)
def test_text_is_looked_for_in_each_line(text, found):
    assert console.has(text, console.Text('login:')) is found


@pytest.mark.parametrize(
    ('expression', 'found'),
    [
        ('^host-[0-9]+ login: $', True),
        ('^login', False),
        ('(?i)LOGIN', True),
        ('login.*Debian', False),
    ],
    ids=['whole', 'start', 'case', 'over-lines'],
)
def test_expression_is_looked_for_in_each_line(expression, found):
    text = 'Debian\nhost-7 login: \n\ud800\nDebian'
    assert console.has(text, console.checked(expression)) is found


def test_expression_that_ruins_others_takes_linear_time():
    expected = console.checked('(a*)*(a|aa)*(.*a){20}b')
    began = time.process_time()
    assert not console.has('a' * console.MOST, expected)
    # Backtracking would not come to an end at all.
    assert time.process_time() - began < 300


@pytest.mark.parametrize('expression', ['(', r'(a)\1', '(?<=a)b', 'a{2000}'])
def test_expression_that_is_none_is_refused_in_words(expression, capfd):
    with pytest.raises(errors.Misconfigured) as caught:
        console.checked(expression)
    assert 'option [quarantine] console_expression' in str(caught.value)
    assert repr(expression) in str(caught.value)
    # The library itself keeps still.
    assert capfd.readouterr() == ('', '')


def test_without_the_library_its_name_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, 're2', None)
    with pytest.raises(
        errors.Misconfigured, match=r'google-re2.*console_line'
    ):
        console.checked('nothing has asked for this before')


def test_only_the_end_of_a_console_is_looked_at():
    text = 'login:\n' + 'x' * console.MOST
    assert not console.has(text, console.Text('login:'))


def test_tail_has_nothing_that_controls_a_terminal():
    text = f'one\x1b[2J\x07\n\n\x9btwo{BIDI}\x7f\n\u00e9\ud800\n'
    assert console.tail(text) == (
        'one\\x1b[2J\\x07 | \\x9btwo\\u202e\\x7f | \u00e9?'
    )
    assert console.tail(text).isprintable()


@pytest.mark.parametrize('letter', ['x', '\u00e9', '\U0001f600', '\x00'])
def test_tail_is_at_most_two_kibibytes(letter):
    shown = console.tail('first\n' + letter * 100_000)
    assert 2000 < len(shown.encode()) <= console.SHOWN
    assert 'first' not in shown


def test_tail_of_nothing_is_nothing():
    assert console.tail('\n\r\n  \n') == ''
