# SPDX-License-Identifier: Apache-2.0
"""Checks of single values; each raises ``InvalidList`` with its place."""

from __future__ import annotations

import datetime
import re
from typing import NoReturn
from urllib import parse as urlparse

from hepix_vm import errors
from hepix_vm.imagelist import document
from hepix_vm.imagelist import model
from hepix_vm.imagelist import versions

# C0, DEL and C1 controls, line separators and the marks that reorder text:
# what a list says is shown on terminals and web pages.
_UNSAFE = '\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069'
_CONTROL = re.compile(f'[\x00-\x1f{_UNSAFE}]')
_CONTROL_IN_PROSE = re.compile(f'[\x00-\x08\x0b\x0c\x0e-\x1f{_UNSAFE}]')
_UUID = re.compile('[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}')
_SHA512 = re.compile('[0-9a-f]{128}')
_DIGITS = re.compile('[0-9]{1,20}')
_MOMENT = re.compile(
    '([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})Z'
)
_HYPERVISOR = re.compile('[a-z0-9][a-z0-9._+-]{0,63}')
# As urlsplit gives it: lower case, an IPv6 address without its brackets.
_HOST = re.compile('[a-z0-9._-]+|[0-9a-f.]*:[0-9a-f:.]*')
# The characters of RFC 3986; percent signs begin an encoded byte.
_CHARACTERS = r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+"
_URI = re.compile(_CHARACTERS)
# What nearly all are; there is nothing in them to take apart.
_PLAIN_URI = re.compile('https?://[a-z0-9._-]+/' + _CHARACTERS)
# Behind the host of an oci URI: the repository's name as the OCI Distribution
# Specification 1.1 has it, then what of it is meant.
_OCI_NAME = (
    r'/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*'
    r'(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*'
)
_OCI_DIGEST = re.compile(_OCI_NAME + '@sha256:[0-9a-f]{64}')
_OCI_TAG = re.compile(_OCI_NAME + r':[A-Za-z0-9_][A-Za-z0-9._-]{0,127}')
_MOST = 2**63 - 1


def refuse(place: str, expected: str, found: object) -> NoReturn:
    """Raise the refusal of a value."""
    raise errors.InvalidList(place, expected, document.show(found))


def text(
    value: object,
    place: str,
    limit: int,
    *,
    prose: bool = False,
    empty: bool = True,
) -> str:
    """Return a string without control characters.

    :param limit: characters
    :param prose: tabs and line ends are allowed
    :param empty: the empty string is allowed
    """
    if not isinstance(value, str):
        refuse(place, 'a string', value)
    if len(value) > limit:
        expected = f'a string of at most {limit} characters'
        raise errors.InvalidList(place, expected, f'{len(value)} characters')
    if not value and not empty:
        refuse(place, 'a string that is not empty', value)
    if not _harmless(value, _CONTROL_IN_PROSE if prose else _CONTROL):
        refuse(place, 'a string without control characters', value)
    return value


def identifier(value: object, place: str) -> str:
    """Return a UUID in its canonical form: lower case, with hyphens."""
    if isinstance(value, str) and _UUID.fullmatch(value.lower()):
        return value.lower()
    refuse(place, 'a UUID (8-4-4-4-12 hexadecimal digits)', value)


def sha512(value: object, place: str) -> str:
    """Return a SHA-512 as 128 lower-case hexadecimal digits."""
    if isinstance(value, str) and _SHA512.fullmatch(value.lower()):
        return value.lower()
    refuse(place, '128 hexadecimal digits', value)


def number(value: object, place: str) -> int:
    """Return a whole number from 0 to 2**63-1, also written as a string."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if (
        isinstance(value, int)
        and not isinstance(value, bool)
        and 0 <= value <= _MOST
    ):
        return value
    refuse(place, 'a whole number, 0 or more', value)


def moment(value: object, place: str) -> datetime.datetime:
    """Return a date of the form ``YYYY-MM-DDTHH:MM:SSZ``, aware, UTC."""
    if isinstance(value, str) and (match := _MOMENT.fullmatch(value)):
        year, month, day, hour, minute, second = map(int, match.groups())
        try:
            return datetime.datetime(
                year, month, day, hour, minute, second, tzinfo=datetime.UTC
            )
        except ValueError:
            refuse(place, 'a date of the calendar', value)
    refuse(place, 'a date YYYY-MM-DDTHH:MM:SSZ', value)


def version(value: object, place: str) -> str:
    """Return a version; see ``hepix_vm.imagelist.version_key``."""
    checked = text(value, place, versions.LENGTH)
    try:
        versions.require(checked)
    except ValueError:
        refuse(place, 'a version that contains a digit', value)
    return checked


def uri(value: object, place: str, limit: int, *, image: bool) -> str:
    """Return an http, https or oci URI with a host and without credentials.

    :param image: of an image, which an oci URI names by its digest: a tag
        would mean other bytes tomorrow
    """
    expected = 'an http, https or oci URI with a host and no credentials'
    checked = text(value, place, limit)
    if _PLAIN_URI.fullmatch(checked):
        return checked
    if not _URI.fullmatch(checked):
        refuse(place, expected, value)
    try:
        parts = urlparse.urlsplit(checked)
        host, port = parts.hostname, parts.port
    except ValueError:
        refuse(place, expected, value)
    if (
        parts.scheme not in ('http', 'https', 'oci', 'oci+http')
        or '@' in parts.netloc
        or not _HOST.fullmatch(host or '')
        or port == 0
    ):
        refuse(place, expected, value)
    if parts.scheme.startswith('oci'):
        # What the path cannot hold, a query or a fragment neither.
        rest = checked.partition('://')[2].removeprefix(parts.netloc)
        if not _OCI_DIGEST.fullmatch(rest) and (
            image or not _OCI_TAG.fullmatch(rest)
        ):
            expected = 'an oci URI that ends in NAME@sha256:DIGEST'
            refuse(place, expected + ('' if image else ' or NAME:TAG'), value)
    return checked


def hypervisors(value: object, place: str, limit: int) -> tuple[str, ...]:
    """Return the names of a comma list, lower case, each once."""
    checked = text(value, place, limit, empty=False).lower()
    names = tuple(
        dict.fromkeys(
            name.strip() for name in checked.split(',') if name.strip()
        )
    )
    if not names or not all(map(_HYPERVISOR.fullmatch, names)):
        refuse(place, 'names of hypervisors with commas between', value)
    return names


def unknown(
    value: dict[str, model.JSON], known: frozenset[str], place: str
) -> dict[str, model.JSON]:
    """Return the keys that are not known; their text has no controls."""
    kept = {key: item for key, item in value.items() if key not in known}
    for key, item in kept.items():
        if isinstance(item, str) and _harmless(key + item, _CONTROL_IN_PROSE):
            continue
        _inspect(key, place + document.step(key))
        _inspect(item, place + document.step(key))
    return kept


def _inspect(value: model.JSON, place: str) -> None:
    if isinstance(value, str):
        text(value, place, len(value), prose=True)
    elif isinstance(value, dict):
        unknown(value, frozenset(), place)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _inspect(item, f'{place}[{index}]')


def _harmless(value: str, controls: re.Pattern[str]) -> bool:
    # What is printable has none of them, and is told much faster.
    return value.isprintable() or not controls.search(value)
