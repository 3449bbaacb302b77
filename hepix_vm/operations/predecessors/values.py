# SPDX-License-Identifier: Apache-2.0
"""What is taken over from a predecessor, as frozen values."""

from __future__ import annotations

import dataclasses
import datetime
import urllib.parse
import uuid

from hepix_vm import trust
from hepix_vm.trust import names

#: Where sites keep the CAs that IGTF distributes.
ANCHORS = '/etc/grid-security/certificates'

_SCHEMES = ('http', 'https', 'file')
_LONGEST_URL = 4096
#: Names of query parameters that carry a secret, in lower case.
_SECRETS = ('token', 'key', 'password', 'passwd', 'secret', 'sig', 'auth')


@dataclasses.dataclass(frozen=True, slots=True)
class Endorser:
    """Who may sign a list, as the predecessor wrote the two DNs."""

    subject: str
    issuer: str


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """The newest list that the predecessor had accepted.

    :ivar version: as the list writes it
    :ivar created: when the list was made, UTC
    """

    version: str
    created: datetime.datetime


@dataclasses.dataclass(frozen=True, slots=True)
class Secret:
    """That the list's server asks for one; the secret itself is not here.

    :ivar place: where it stands
    :ivar form: how option ``token_file`` takes it
    """

    place: str
    form: str = 'USER:PASSWORD'


@dataclasses.dataclass(frozen=True, slots=True)
class Followed:
    """One list that the predecessor follows.

    :ivar label: what it is to its operator, printable
    :ivar name: what its operator called it, or ''
    :ivar list_identifier: UUID; None where the predecessor keeps none
    :ivar endorsers: whose signature it took, the latest signer first
    :ivar trust_anchors: directory of CAs, where its configuration says so
    :ivar images: identifiers of the images that were chosen by name
    :ivar takes_all: whether it took every image of the list
    :ivar projects: ids of the projects that got the images; empty: all
    :ivar secret: None where the server asks for none
    :ivar notes: what the operator has to know of this list
    """

    label: str
    url: str
    list_identifier: str | None = None
    endorsers: tuple[Endorser, ...] = ()
    trust_anchors: str | None = None
    images: tuple[str, ...] = ()
    takes_all: bool = False
    projects: tuple[str, ...] = ()
    secret: Secret | None = None
    seen: Seen | None = None
    notes: tuple[str, ...] = ()
    name: str = ''


@dataclasses.dataclass(frozen=True, slots=True)
class LeftOut:
    """A list of the predecessor that cannot be followed, and why."""

    label: str
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Predecessor:
    """All that a predecessor keeps.

    :ivar name: of the tool
    :ivar insecure: what was insecure there and is not here
    :ivar no_equivalent: what it had that is done in another way here
    """

    name: str
    followed: tuple[Followed, ...]
    left_out: tuple[LeftOut, ...] = ()
    insecure: tuple[str, ...] = ()
    no_equivalent: tuple[str, ...] = ()


class Unusable(ValueError):
    """One list of a predecessor cannot be followed; the message says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Location:
    """A URL without the secrets that stood in it.

    :ivar had_user: whether a user or password stood in it
    :ivar emptied: names of query parameters whose value was taken out
    """

    url: str
    had_user: bool = False
    emptied: tuple[str, ...] = ()


def shown(text: str) -> str:
    """What a predecessor wrote, as a part of a line."""
    return ''.join(c if c.isprintable() else '?' for c in text[:200])


def location(text: str) -> Location:
    """Take a URL of a predecessor's file apart.

    :raises Unusable: it is none that a list is fetched from; the message
        has nothing of the URL in it
    """
    if not text:
        raise Unusable('it has no URL')
    if len(text) > _LONGEST_URL or not all('!' <= c <= '~' for c in text):
        raise Unusable(
            f'its URL has more than {_LONGEST_URL} characters, or others '
            'than printable ASCII'
        )
    try:
        parts = urllib.parse.urlsplit(text)
        whole = parts.scheme == 'file' or (parts.hostname and parts.port != 0)
    except ValueError:
        whole = False
    if not whole or parts.scheme not in _SCHEMES:
        raise Unusable(
            f'its URL is none of {", ".join(_SCHEMES)} with a host or path'
        )
    emptied = []
    query = []
    for pair in parts.query.split('&') if parts.query else []:
        name, equals, _ = pair.partition('=')
        if equals and any(word in name.lower() for word in _SECRETS):
            emptied.append(name)
            pair = f'{name}='
        query.append(pair)
    user, _, host = parts.netloc.rpartition('@')
    clean = parts._replace(netloc=host, query='&'.join(query), fragment='')
    return Location(clean.geturl(), bool(user), tuple(emptied))


def emptied_note(found: Location) -> tuple[str, ...]:
    """What to say of a URL whose query held secrets."""
    if not found.emptied:
        return ()
    return (
        f'the values of {", ".join(found.emptied)} were taken out of the URL, '
        'because they look like secrets: see whether the server needs them',
    )


def list_identifier(text: str) -> str:
    """A list's identifier in the form that the configuration takes.

    :raises Unusable: it is no UUID
    """
    try:
        return str(uuid.UUID(text))
    except ValueError as exc:
        raise Unusable(
            f'its identifier {text[:64]!r} is no UUID, so no subscription '
            'can name it'
        ) from exc


def readable(subject: str, issuer: str) -> tuple[str, ...]:
    """Why a pair of DNs cannot be configured; empty when it can."""
    problems = []
    for what, text in (('subject', subject), ('issuer', issuer)):
        try:
            names.parse(text)
        except trust.NotAName as exc:
            problems.append(
                f'the {what} of its endorser cannot be taken over: {exc}'
            )
    return tuple(problems)
