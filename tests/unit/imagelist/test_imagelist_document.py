# SPDX-License-Identifier: Apache-2.0
"""JSON is read strictly and within limits."""

from __future__ import annotations

import pytest

from hepix_vm import errors
from hepix_vm import imagelist
from tests.unit.imagelist import lists


def refusal(
    payload: bytes, limits: imagelist.Limits = imagelist.DEFAULT_LIMITS
) -> errors.InvalidList:
    with pytest.raises(errors.InvalidList) as caught:
        imagelist.parse(payload, limits)
    return caught.value


def list_with(extra: str) -> bytes:
    """A list with JSON text under the key ``x``."""
    keys = lists.payload(lists.hepix(x='HERE')).decode()
    return keys.replace('"HERE"', extra).encode('utf-8', 'surrogatepass')


@pytest.mark.parametrize(
    ('payload', 'message'),
    [
        (b'', 'expected JSON, found Expecting value at line 1 column 1'),
        (b'{"a" 1}', "expected JSON, found Expecting ':' delimiter"),
        (b'{} {}', 'expected JSON, found Extra data at line 1 column 4'),
        (b'{"a": 1', "expected JSON, found Expecting ',' delimiter"),
        (b'{"a": "b', 'expected JSON, found Unterminated string'),
        (b'{"a": "\t"}', 'expected JSON, found Invalid control character'),
        (b"{'a': 1}", 'expected JSON, found Expecting property name'),
        (b'{"a": 01}', "expected JSON, found Expecting ',' delimiter"),
        (b'\xef\xbb\xbf{}', 'expected UTF-8 without a byte order mark'),
        (b'{"a": "\xe9"}', 'expected UTF-8, found 0xe9 at byte 7'),
        (b'{"a": "\xed\xa0\x80"}', 'expected UTF-8, found 0xed at byte 7'),
        (b'{"a": "\xc0\x80"}', 'expected UTF-8, found 0xc0 at byte 7'),
        (b'{}\x00', 'expected UTF-8 text, found a NUL at byte 2'),
        ('{}'.encode('utf-16-le'), 'expected UTF-8 text, found a NUL'),
        (b'{"a": NaN}', 'expected finite numbers, found NaN'),
        (b'{"a": -Infinity}', 'expected finite numbers, found -Infinity'),
        (b'{"a": 1e999}', 'expected numbers within IEEE 754 doubles'),
    ],
)
def test_payload_that_is_not_strict_json_is_refused(
    payload: bytes, message: str
) -> None:
    assert str(refusal(payload)).startswith(f'at $: {message}')


@pytest.mark.parametrize(
    ('extra', 'path'),
    [
        ('{"a": 1, "a": 1}', '.a'),
        ('{"b": 1, "a": 1, "c": 2, "a": 2}', '.a'),
        ('[0, {"a": {"b c": [], "b c": []}}]', '[1].a["b c"]'),
        ('{"a": 1, "\\u0061": 2}', '.a'),
    ],
)
def test_key_that_stands_twice_is_refused_by_its_path(
    extra: str, path: str
) -> None:
    error = refusal(list_with(extra))
    assert error.path == '$.hv:imagelist.x' + path
    assert error.expected == 'each key once in an object'
    assert error.found == 'the key again'


@pytest.mark.parametrize(
    ('extra', 'path', 'found'),
    [
        (r'"\u0000"', '', r'"\u0000"'),
        (r'["a", "\ud800"]', '[1]', r'"\ud800"'),
        (r'{"\udfff": 1}', r'["\udfff"]', r'"\udfff"'),
    ],
)
def test_escaped_nul_and_lone_surrogates_are_refused(
    extra: str, path: str, found: str
) -> None:
    error = refusal(list_with(extra))
    assert error.path == '$.hv:imagelist.x' + path
    assert error.expected == 'text without U+0000 and lone surrogates'
    assert error.found == found


def test_pair_of_surrogates_is_one_character() -> None:
    parsed = imagelist.parse(list_with(r'"\ud83d\ude00"'))
    assert parsed.extra == {'x': '\U0001f600'}


@pytest.mark.parametrize(
    'extra', ['{"a": [1, -2, 3.5, 1e2, true, false, null]}', '"\\"[{,"']
)
def test_any_json_may_stand_under_an_unknown_key(extra: str) -> None:
    assert imagelist.parse(list_with(extra)).problems == ()


@pytest.mark.parametrize('number', ['1' * 65, '-' + '1' * 64, '0.' + '1' * 63])
def test_long_number_is_refused(number: str) -> None:
    error = refusal(list_with(number))
    assert error.expected == 'numbers of at most 64 characters'
    assert error.found == 'one of 65'


@pytest.mark.parametrize('number', ['1' * 64, '0.' + '1' * 62])
def test_number_at_the_limit_is_read(number: str) -> None:
    assert imagelist.parse(list_with(number)).problems == ()


def test_number_of_200_000_digits_is_refused() -> None:
    assert refusal(list_with('7' * 200_000)).found == 'one of 200000'


@pytest.mark.parametrize(
    ('opening', 'closing'), [('[', ']'), ('{"a":', '}'), ('[', '')]
)
def test_nesting_of_100_000_levels_is_refused(
    opening: str, closing: str
) -> None:
    deep = opening * 100_000 + '0' + closing * 100_000
    error = refusal(list_with(deep))
    assert error.path == '$'
    assert error.expected == 'at most 32 levels of nesting'


def test_nesting_at_the_limit_is_read() -> None:
    # The document and the list are two levels.
    deep = '[' * 30 + ']' * 30
    assert imagelist.parse(list_with(deep)).problems == ()
    assert 'nesting' in refusal(list_with(f'[{deep}]')).expected


def test_brackets_in_text_are_no_nesting() -> None:
    text = '"' + r'[{\"' * 1000 + '"'
    assert imagelist.parse(list_with(text)).problems == ()


def test_text_without_end_is_refused_in_linear_time() -> None:
    error = refusal(b'"' + b'\\"' * 2_000_000)
    assert error.found.startswith('Unterminated string')


def test_more_values_than_the_limit_are_refused() -> None:
    limits = imagelist.Limits(values=100)
    few = list_with('[' + '0,' * 50 + '0]')
    assert imagelist.parse(few, limits).problems == ()
    many = list_with('[' + '0,' * 80 + '0]')
    assert refusal(many, limits).expected == 'at most 100 values'


def test_payload_beyond_16_mib_is_refused() -> None:
    error = refusal(b' ' * (2**24 + 1))
    assert str(error) == (
        'at $: expected at most 16777216 bytes, found 16777217 bytes'
    )


def test_payload_of_16_mib_is_read() -> None:
    payload = lists.payload(lists.hepix())
    assert imagelist.parse(payload.ljust(2**24)).problems == ()
    assert imagelist.parse(payload.replace(b'\n', b'\r\n')).problems == ()
