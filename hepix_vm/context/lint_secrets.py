# SPDX-License-Identifier: Apache-2.0
"""Texts that look like secrets; no I/O."""

from __future__ import annotations

from collections.abc import Iterator
import re

_PRIVATE_KEY = re.compile(rb'-----BEGIN ([A-Z]+ ){0,3}PRIVATE KEY-----')

#: A value that is written out: no variable, no command, no template.
_VALUE = r'["\']?[^\s"\'$`@<>(){}|;&*]{4,}'

_SECRETS = (
    ('a password', rf'(?i)pass(word|wd|phrase)["\']?\s*[=:]\s*{_VALUE}'),
    (
        'a token or key',
        r'(?i)(secret|token|api[_-]?key|access[_-]?key)(_id)?["\']?\s*[=:]\s*'
        + _VALUE,
    ),
    ('an AWS key', r'\b(AKIA|ASIA)[0-9A-Z]{16}\b'),
    ('a token of GitHub', r'\b(gh[pousr]_|github_pat_)[A-Za-z0-9_]{30,}'),
    ('a token of GitLab', r'\bglpat-[A-Za-z0-9_-]{20,}'),
    ('a token of Slack', r'\bxox[abeoprs]-[A-Za-z0-9-]{10,}'),
    ('a Keystone token', r'\bgAAAAA[A-Za-z0-9_=-]{60,}'),
    ('a JSON web token', r'\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}'),
    ('a bearer token', r'(?i)\bbearer\s+[a-z0-9._~+/-]{20,}'),
    ('a password in a URL', r'://[^/\s:@$]{1,100}:[^/\s@$`]{3,100}@'),
)
_PATTERNS = tuple((what, re.compile(text)) for what, text in _SECRETS)


def has_private_key(content: bytes) -> bool:
    """Whether a private key in PEM is in there."""
    return bool(_PRIVATE_KEY.search(content))


def secrets(text: str) -> Iterator[tuple[int, str]]:
    """Lines, from 1, where something looks like a secret, and like which."""
    # Most files have none: then no line is looked at.
    likely = [one for one in _PATTERNS if one[1].search(text)]
    if not likely:
        return
    for number, line in enumerate(text.split('\n'), 1):
        for what, pattern in likely:
            if pattern.search(line):
                yield number, what
                break
