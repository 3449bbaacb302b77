# SPDX-License-Identifier: Apache-2.0
"""What subscribers will say of a published list, as findings.

Pure: what was fetched comes as arguments.
"""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import datetime
import enum

from hepix_vm.endorse import sealing
from hepix_vm import errors
from hepix_vm import imagelist
from hepix_vm import trust
from hepix_vm.trust import codes
from hepix_vm.trust import unchained

#: A list or certificate that ends sooner is worth a warning.
SOON = datetime.timedelta(days=7)


class Level(enum.StrEnum):
    """How a subscriber takes it."""

    OK = 'ok'
    WARNING = 'warning'
    PROBLEM = 'problem'


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    :param level: a problem keeps subscribers from the list or an image
    :param subject: ``list``, or identifier of the image
    :param check: what was looked at, in one word
    :param detail: what was found, and what to do
    """

    level: Level
    subject: str
    check: str
    detail: str


@dataclasses.dataclass(frozen=True, slots=True)
class Received:
    """What fetching an image gave.

    :param size: bytes
    :param sha512: hex digest; None when only the size was asked for
    """

    size: int
    sha512: str | None


def envelope(
    message: bytes, anchored: sealing.Anchored, now: datetime.datetime
) -> tuple[Finding, trust.EndorsedList | None]:
    """The verdict over the message; the list only if it is accepted."""
    try:
        signers = len(unchained.read(message).claimed)
        endorsed = sealing.verify(message, anchored, signers, now)
    except errors.Refused as exc:
        remedy = codes.TABLE[trust.Code(exc.code)].remedy
        detail = f'{exc}; subscribers are told: {remedy}'
        return Finding(Level.PROBLEM, 'list', str(exc.code), detail), None
    who = ' and '.join(str(one) for one in endorsed.signers)
    return Finding(Level.OK, 'list', 'signature', f'signed by {who}'), endorsed


def of_list(
    endorsed: trust.EndorsedList, url: str, now: datetime.datetime
) -> Iterator[Finding]:
    """What else there is to say of an accepted list."""
    image_list = endorsed.image_list
    yield _end('expiry', 'the list', image_list.expires, now)
    for signer in endorsed.signers:
        yield _end(
            'certificate', f'certificate of {signer}', signer.not_after, now
        )
        if signer.crl_next_update is not None:
            yield _end(
                'crl',
                f'CRL that {signer} needs',
                signer.crl_next_update,
                now,
                datetime.timedelta(days=1),
            )
    if len(endorsed.signers) > 1:
        yield Finding(
            Level.WARNING,
            'list',
            'signers',
            f'{len(endorsed.signers)} signatures: subscribers have to '
            'configure all endorsers; old consumers read one signer only',
        )
    if image_list.uri != url:
        yield Finding(
            Level.WARNING,
            'list',
            'address',
            f'hv:uri says {image_list.uri}; subscribers that follow it fetch '
            'something else than this',
        )
    for problem in image_list.problems:
        yield Finding(
            Level.PROBLEM if problem.dropped else Level.WARNING,
            'list',
            'content',
            str(problem),
        )
    for warning in endorsed.warnings:
        yield Finding(Level.WARNING, 'list', 'signature', warning)
    if not image_list.images:
        yield Finding(
            Level.OK,
            'list',
            'content',
            'the list is empty: subscribers withdraw all of its images',
        )


def _end(
    check: str,
    what: str,
    end: datetime.datetime,
    now: datetime.datetime,
    soon: datetime.timedelta = SOON,
) -> Finding:
    left = end - now
    if left <= datetime.timedelta(0):
        level, word = Level.PROBLEM, 'ended'
    else:
        level = Level.WARNING if left < soon else Level.OK
        word = f'{left.days} days left, ends'
    return Finding(level, 'list', check, f'{what}: {word} {end.isoformat()}')


def of_image(
    image: imagelist.ImageEntry,
    received: Received | errors.HepixError,
    now: datetime.datetime,
) -> Finding:
    """What subscribers will say of one image."""

    def finding(level: Level, check: str, detail: str) -> Finding:
        return Finding(level, image.identifier, check, detail)

    if image.expires is not None and image.expires <= now:
        return finding(
            Level.WARNING, 'expiry', f'expired {image.expires.isoformat()}'
        )
    if isinstance(received, errors.HepixError):
        return finding(Level.PROBLEM, 'fetch', str(received))
    if received.size != image.size:
        return finding(
            Level.PROBLEM,
            'size',
            f'{image.uri}: the list says {image.size} bytes, there are '
            f'{received.size}',
        )
    if received.sha512 is None:
        return finding(
            Level.OK, 'size', f'{image.uri}: {image.size} bytes, not hashed'
        )
    if received.sha512 != image.sha512:
        return finding(
            Level.PROBLEM,
            'digest',
            f'{image.uri}: the list says sha512 {image.sha512}, found '
            f'{received.sha512}',
        )
    return finding(
        Level.OK, 'digest', f'{image.uri}: {image.size} bytes, right digest'
    )
