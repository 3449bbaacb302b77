# SPDX-License-Identifier: Apache-2.0
"""Values of an instance in files."""

import subprocess

import pytest

from hepix_vm.context import archive
from hepix_vm.context import facts as facts_
from hepix_vm.context import templates


def _filled(text: str, **values: str) -> bytes:
    return templates.parse(text.encode(), {'squid': ''}, 'x.in').filled(values)


def test_variables_are_replaced_and_the_shell_keeps_its_own():
    assert _filled('A=@vo@ $B "${C}" @@ a@b.org @Vo@\n', vo='atlas') == (
        b'A=atlas $B "${C}" @@ a@b.org @Vo@\n'
    )


def test_each_fact_the_serial_and_the_site_s_own_can_be_inserted():
    for name in (*facts_.NAMES, 'serial', 'squid'):
        assert _filled(f'@{name}@', **{name: 'x'}) == b'x'


def test_neighbours_share_no_sign():
    assert _filled('@vo@host@list@', vo='a', list='b') == b'ahostb'


def test_another_variable_is_refused_with_its_line():
    with pytest.raises(archive.BundleRefused, match=r'x\.in:3: @typo@'):
        templates.parse(b'@vo@\n\n@typo@\n', {}, 'x.in')


def test_bytes_that_are_no_text_stay():
    assert templates.parse(b'\xff@vo@\0', {}, '').filled({}) == b"\xff''\0"


@pytest.mark.parametrize(
    'value',
    [
        'plain',
        'two words',
        "O'Brien",
        '$(touch /x)',
        '`id`',
        '"; reboot; "',
        'a;b&c|d',
        '*',
        '~',
        'é',
        '',
    ],
)
def test_a_value_is_one_word_of_a_shell(value):
    script = b'for x in @vo@; do printf "[%s]" "$x"; done'
    filled = templates.parse(script, {}, '').filled({'vo': value})
    ran = subprocess.run(
        ['/bin/sh', '-c', filled.decode()],
        check=True,
        capture_output=True,
        timeout=120,
        cwd='/',
    )
    assert ran.stdout == f'[{value}]'.encode()


@pytest.mark.parametrize('value', ['a\nb', 'a\0b', '\x1b[31m', '\ud800'])
def test_a_value_that_cannot_be_printed_is_empty(value):
    assert templates.word(value) == b"''"


def test_what_is_not_known_is_an_empty_word():
    assert _filled('x=@host@') == b"x=''"


def test_facts_go_before_nothing_and_the_serial_before_all():
    assert templates.values({'vo': 'a'}, 7, {'squid': 's'}) == {
        'vo': 'a',
        'serial': '7',
        'squid': 's',
    }
