# SPDX-License-Identifier: Apache-2.0
"""What a path asks for; no I/O.

========================================  ================================
``/context/``                             what there is, a name a line
``/context/NAME.tgz``                     the bundle, compressed
``/context/NAME.tgz.b64``                 the same in base64
``/context/manifest``, ``manifest.sig``   what it is, signed by the site
``/context/ran/SHA256``                   a guest says that it ran a bundle
``/context/failed/SHA256``                or could not
``/machinefeatures/``, ``/jobfeatures/``  the keys that are known
``/machinefeatures/KEY`` and so on        the value of one
========================================  ================================

Users choose NAME, and every name is the site's bundle: none escapes its
policy. A path has one form; whatever could be another way to write one, or
more than one reading, asks for nothing.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from wsgiref import types

#: Characters of a path at most.
LONGEST = 200

#: Where servers say how a path was sent: uWSGI and Apache, gunicorn, eventlet.
_SENT = ('REQUEST_URI', 'RAW_URI', 'RAW_PATH_INFO')

_PATH = re.compile(r'(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)+/?')
_NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9._-]{0,63}\.tgz(\.b64)?')
_SHA256 = re.compile(r'[0-9a-f]{64}')
_KEY = re.compile(r'[a-z0-9_]{1,64}')


class What(enum.StrEnum):
    """Kinds of answers, by the names that logs and the audit use."""

    INDEX = 'index'
    BUNDLE = 'tgz'
    BASE64 = 'tgz.b64'
    MANIFEST = 'manifest'
    SIGNATURE = 'manifest.sig'
    RAN = 'ran'
    FAILED = 'failed'
    MACHINE = 'machinefeatures'
    JOB = 'jobfeatures'


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for.

    :param detail: the digest that ran or failed, or the key of a feature;
        '': all keys
    """

    what: What
    detail: str = ''


def path_of(environ: types.WSGIEnvironment) -> str:
    """The whole path, whichever part of it the application is mounted at.

    Where the server says how it was sent, and that is no plain path, it is
    that: servers replace percent codes and some take ``..`` away, and a proxy
    that chose between us and nova may have read it otherwise.
    """
    for variable in _SENT:
        sent = str(environ.get(variable) or '').partition('?')[0]
        if sent.startswith('/') and not _PATH.fullmatch(sent):
            return sent
    return f'{environ.get("SCRIPT_NAME", "")}{environ.get("PATH_INFO", "")}'


def wanted(path: str) -> Wanted | None:
    """Read a path, percent codes already replaced; None: nothing here."""
    if len(path) > LONGEST or not _PATH.fullmatch(path):
        return None
    top, *parts = path[1:].split('/')
    if parts == ['']:
        parts = []
    if top == 'context':
        return _of_context(parts)
    if top in (What.MACHINE, What.JOB):
        what = What(top)
        if not parts:
            return Wanted(what)
        if len(parts) == 1 and _KEY.fullmatch(parts[0]):
            return Wanted(what, parts[0])
    return None


def _of_context(parts: list[str]) -> Wanted | None:
    match parts:
        case []:
            return Wanted(What.INDEX)
        case [What.MANIFEST | What.SIGNATURE as name]:
            return Wanted(What(name))
        case [What.RAN | What.FAILED as name, digest]:
            if _SHA256.fullmatch(digest):
                return Wanted(What(name), digest)
        case [name]:
            found = _NAME.fullmatch(name)
            if found is not None:
                return Wanted(What.BASE64 if found[1] else What.BUNDLE)
    return None
