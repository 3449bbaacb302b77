# SPDX-License-Identifier: Apache-2.0
"""JSON as strict as RFC 8259 and RFC 7493 (I-JSON) allow, with limits."""

from __future__ import annotations

import collections
import json
import math
import re

from hepix_vm import errors
from hepix_vm.imagelist import model

_SHOWN = 60
_PLAIN_KEY = re.compile('[A-Za-z0-9:_-]{1,64}')
_ESCAPED = re.compile(r'\\.', re.DOTALL)
_NO_BRACKET = re.compile(r'[^\[\]{}]+')
# Escapes that may stand for U+0000 or half of a surrogate pair.
_SUSPECT = re.compile(r'\\u(?:0000|[dD][89a-fA-F])')
_NO_TEXT = re.compile('[\x00\ud800-\udfff]')


class Missing:
    """The type of :data:`MISSING`."""


MISSING = Missing()


class _Repeated(dict[str, model.JSON]):
    """An object in which a key stands twice."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key


def load(payload: bytes, limits: model.Limits) -> model.JSON:
    """Return the JSON value that the payload holds.

    :raises hepix_vm.errors.InvalidList: not strict UTF-8, a byte order
        mark, U+0000, a lone surrogate, a key twice in one object, NaN or an
        infinity, not JSON, or beyond a limit
    """
    text = _decode(payload, limits)
    _measure(text, limits)

    def number(digits: str) -> str:
        if len(digits) > limits.number:
            raise _refusal(
                f'numbers of at most {limits.number} characters',
                f'one of {len(digits)}',
            )
        return digits

    def real(digits: str) -> float:
        value = float(number(digits))
        if math.isinf(value):
            raise _refusal('numbers within IEEE 754 doubles', digits)
        return value

    repeated = False

    def mapping(pairs: list[tuple[str, model.JSON]]) -> dict[str, model.JSON]:
        nonlocal repeated
        value = dict(pairs)
        if len(value) == len(pairs):
            return value
        repeated = True
        keys = collections.Counter(key for key, _ in pairs)
        return _Repeated(keys.most_common(1)[0][0])

    try:
        document: model.JSON = json.loads(
            text,
            object_pairs_hook=mapping,
            parse_int=lambda digits: int(number(digits)),
            parse_float=real,
            parse_constant=_constant,
        )
    except json.JSONDecodeError as error:
        raise _refusal(
            'JSON',
            f'{error.msg} at line {error.lineno} column {error.colno}',
        ) from None
    # Only then can there be a fault; the walk costs as much as the rest.
    if repeated or _SUSPECT.search(text):
        fault = _fault(document)
        if fault is not None:
            place, expected, found = fault
            raise errors.InvalidList('$' + place, expected, found)
    return document


def show(value: object) -> str:
    """Return a value for a message: JSON in ASCII, shortened."""
    if isinstance(value, Missing):
        return 'nothing'
    if isinstance(value, dict):
        return f'an object of {len(value)} keys'
    if isinstance(value, list):
        return f'an array of {len(value)} values'
    shown = json.dumps(value)
    if len(shown) > _SHOWN:
        return f'{shown[:_SHOWN]}... ({len(shown)} characters)'
    return shown


def step(key: str) -> str:
    """Return the step of a JSON path that leads to a key."""
    return f'.{key}' if _PLAIN_KEY.fullmatch(key) else f'[{show(key)}]'


def _refusal(expected: str, found: str) -> errors.InvalidList:
    return errors.InvalidList('$', expected, found)


def _decode(payload: bytes, limits: model.Limits) -> str:
    if len(payload) > limits.size:
        raise _refusal(f'at most {limits.size} bytes', f'{len(payload)} bytes')
    if payload.startswith(b'\xef\xbb\xbf'):
        raise _refusal('UTF-8 without a byte order mark', 'one')
    if (nul := payload.find(0)) >= 0:
        raise _refusal('UTF-8 text', f'a NUL at byte {nul}')
    try:
        return payload.decode('utf-8')
    except UnicodeDecodeError as error:
        raise _refusal(
            'UTF-8',
            f'0x{payload[error.start]:02x} at byte {error.start}',
        ) from None


def _measure(text: str, limits: model.Limits) -> None:
    """Refuse depth and mass before anything recursive or large is made."""
    # What stands outside of strings. There JSON has no backslash.
    bare = ''.join(_ESCAPED.sub('', text).split('"')[::2])
    values = sum(map(bare.count, '[{,'))
    if values > limits.values:
        raise _refusal(f'at most {limits.values} values', f'{values} or more')
    depth = 0
    for bracket in _NO_BRACKET.sub('', bare):
        depth += 1 if bracket in '[{' else -1
        if depth > limits.depth:
            raise _refusal(f'at most {limits.depth} levels of nesting', 'more')


def _constant(name: str) -> model.JSON:
    raise _refusal('finite numbers', name)


def _fault(value: model.JSON) -> tuple[str, str, str] | None:
    """Return path from here, expected and found of the first fault.

    Recursive: the depth has been measured.
    """
    if isinstance(value, str):
        if _NO_TEXT.search(value):
            expected = 'text without U+0000 and lone surrogates'
            return '', expected, show(value)
    elif isinstance(value, _Repeated):
        return step(value.key), 'each key once in an object', 'the key again'
    elif isinstance(value, dict):
        for key, item in value.items():
            fault = _fault(key) or _fault(item)
            if fault is not None:
                return step(key) + fault[0], *fault[1:]
    elif isinstance(value, list):
        for index, item in enumerate(value):
            fault = _fault(item)
            if fault is not None:
                return f'[{index}]' + fault[0], *fault[1:]
    return None
