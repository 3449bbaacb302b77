# SPDX-License-Identifier: Apache-2.0
"""The order of list and image versions."""

from __future__ import annotations

import re
from typing import TypeAlias

LENGTH = 255

_SEPARATOR = re.compile('([^0-9A-Za-z]+)')
_RUN = re.compile('[0-9]+|[A-Za-z]+')
_DIGIT = re.compile('[0-9]')

_Run: TypeAlias = tuple[bool, int, str]
_Part: TypeAlias = tuple[bool, int, tuple[_Run, ...], str]
VersionKey: TypeAlias = tuple[_Part, ...]


def require(version: str) -> None:
    """Refuse what has no place in the order of versions.

    :raises ValueError: no ASCII digit, or longer than 255 characters
    """
    if len(version) > LENGTH:
        raise ValueError(f'a version has at most {LENGTH} characters')
    if not _DIGIT.search(version):
        raise ValueError('a version contains a digit')


def version_key(version: str) -> VersionKey:
    """Return what orders versions: by their parts, numbers as numbers.

    A version is cut into words (runs of ASCII letters and digits) and the
    separators between them. From left to right

    * a word of digits counts as its number, so ``01`` equals ``1``;
    * a word with a letter comes before every number (``1.0rc1`` before
      ``1.0``); two such words compare run by run, letters before digits;
    * separators compare by character code (``,`` ``-`` ``.`` ``/``);
    * the shorter of two versions that agree so far comes first.

    This is the order that vmcatcher implements, made total: there ``01``
    equals names that differ among themselves.

    :raises ValueError: as :func:`require`
    """
    require(version)
    return tuple(
        _separator(part) if index % 2 else _word(part)
        for index, part in enumerate(_SEPARATOR.split(version))
    )


def _separator(part: str) -> _Part:
    return False, 0, (), part


def _word(part: str) -> _Part:
    if part.isdigit():
        return True, int(part), (), ''
    return False, 0, tuple(_run(run) for run in _RUN.findall(part)), ''


def _run(run: str) -> _Run:
    return (True, int(run), '') if run.isdigit() else (False, 0, run)
