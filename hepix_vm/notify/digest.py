# SPDX-License-Identifier: Apache-2.0
"""One mail about all that happened since the one before."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import dataclasses
import datetime
from email import message
import itertools
from typing import Any

from oslo_log import log

from hepix_vm.catalogue import notices
from hepix_vm.mail import letter
from hepix_vm.mail import sending

LOG = log.getLogger(__name__)

#: Events of a kind that are shown; all are counted.
SHOWN = 100

# Characters of one value.
_LONGEST = 200

# What is shown of a payload, in this order; the rest is for programs.
_FIELDS = (
    'title',
    'name',
    'cloud',
    'subscription',
    'identifier',
    'version',
    'sha512',
    'code',
    'detail',
)


@dataclasses.dataclass(frozen=True, slots=True)
class Digest:
    """Who gets it, and how.

    :ivar to: addresses as :func:`letter.address` gives them
    :ivar author: has a sender
    """

    to: tuple[str, ...]
    author: letter.Author
    server: sending.Server

    #: Notices that are told at once: more of them are a second mail.
    at_once = 10_000

    @property
    def patience(self) -> float:
        """Seconds that telling once may take at most."""
        return self.server.timeout

    @contextlib.contextmanager
    def opened(self) -> Iterator[Digest]:
        """Nothing is kept open between two mails."""
        yield self

    def tell(self, told: tuple[notices.Notice, ...], now: int) -> None:
        """Send one mail about all of these.

        :raises errors.HepixError: when no recipient gets it
        """
        for refused in sending.send(self.server, write(self, told, now)):
            LOG.warning('the digest was not taken for %s', refused)


def write(
    digest: Digest, told: tuple[notices.Notice, ...], now: int
) -> message.EmailMessage:
    """The mail.

    :param told: at least one
    :param now: UNIX seconds
    """
    by_kind = _by_kind(told)
    counts = ', '.join(f'{len(some)} {kind}' for kind, some in by_kind.items())
    return letter.write(
        # Those who get it are all named.
        dataclasses.replace(digest.author, cc=()),
        digest.to,
        f'{digest.author.name}: {counts}',
        '\n'.join(_text(digest, told, by_kind)),
        datetime.datetime.fromtimestamp(now, datetime.UTC),
    )


def _by_kind(
    told: tuple[notices.Notice, ...],
) -> dict[str, list[notices.Notice]]:
    ordered = sorted(told, key=lambda notice: (notice.kind, notice.id))
    groups = itertools.groupby(ordered, lambda notice: notice.kind)
    return {_plain(kind): list(some) for kind, some in groups}


def _text(
    digest: Digest,
    told: tuple[notices.Notice, ...],
    by_kind: dict[str, list[notices.Notice]],
) -> Iterator[str]:
    yield (
        f'{_plain(digest.author.name)}: {len(told)} events from '
        f'{_time(told[0].at)} to {_time(told[-1].at)}'
    )
    for kind, some in by_kind.items():
        yield ''
        yield f'{kind} ({len(some)})'
        for notice in some[:SHOWN]:
            yield ''
            yield from _event(notice)
        if len(some) > SHOWN:
            yield ''
            yield f'  and {len(some) - SHOWN} more'
    yield ''
    yield '"hepix-vm status" shows how the site fares now.'


def _event(notice: notices.Notice) -> Iterator[str]:
    """Some lines; each value is one line whatever is in it."""
    yield f'  {_time(notice.at)}  {_plain(notice.subject)}'
    for name in _FIELDS:
        value = notice.payload.get(name)
        if value not in (None, '', notice.subject):
            yield f'    {name:<12}  {_plain(value)}'
    servers = notice.payload.get('servers')
    if isinstance(servers, list) and servers:
        yield f'    servers       {len(servers)}'
        for server in servers[:10]:
            yield f'      {_server(server)}'
        if len(servers) > 10:
            yield f'      and {len(servers) - 10} more'


def _server(server: Any) -> str:
    if not isinstance(server, dict):
        return _plain(server)
    return ', '.join(
        f'{_plain(name)} {_plain(value)}'
        for name, value in server.items()
        if value not in (None, '')
    )


def _plain(value: object) -> str:
    """A value that others may have written, as a part of one line."""
    text = ''.join(c if c.isprintable() else '?' for c in str(value))
    return text if len(text) <= _LONGEST else f'{text[:_LONGEST]}...'


def _time(seconds: int) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.strftime('%Y-%m-%d %H:%M:%S UTC')
