# SPDX-License-Identifier: Apache-2.0
"""Telling an endorser what is wrong with an image, and what the site did.

A site does not change what somebody else endorsed; that its endorser hears of
it is the other half of that rule.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses
import datetime
from email import message as email_message
import hashlib

import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import history
from hepix_vm.catalogue import model
from hepix_vm.catalogue import origin
from hepix_vm.catalogue import store
from hepix_vm import errors
from hepix_vm.mail import letter
from hepix_vm.mail import sending
from hepix_vm.operations import explaining
from hepix_vm.operations import messages
from hepix_vm.operations import site as site_


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """A message to the endorsers of an image.

    :ivar to: addresses
    :ivar problems: why a list's own address was passed over
    """

    letter: email_message.EmailMessage
    identifiers: tuple[str, ...]
    to: tuple[str, ...]
    summary: str
    problems: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class _About:
    """One list that endorses the image, and the entry in it."""

    image: store.Image
    signed: origin.SignedList | None


def prepare(
    site: site_.Site,
    now: int,
    named: str,
    reason: str,
    author: letter.Author,
    to: tuple[str, ...] = (),
) -> Report:
    """Write the message; nothing is sent or stored.

    :param named: image identifier, SHA-512 or Glance image id
    :param reason: for the endorser, in words
    :param to: addresses to write to; without any, those of the lists
    :raises errors.Misconfigured: when nothing of that name is known, no list
        has an address, or the reason is empty
    """
    if not reason.strip():
        raise errors.Misconfigured(
            'option --reason: expected what is wrong with the image, found '
            'nothing'
        )
    found = explaining.explain(site, now, named, with_servers=False)
    about = _about(found)
    if not about:
        raise errors.Misconfigured(
            f'image {named}: expected one that a list endorses or has '
            'endorsed, found none of that name; there is nobody to tell'
        )
    problems: list[str] = []
    if not to:
        with site_.usable(site) as catalogue:
            to = tuple(dict.fromkeys(_addresses(catalogue, about, problems)))
    if not to:
        raise errors.Misconfigured(
            f'image {named}: no endorser can be written to: '
            f'{"; ".join(problems)}; name an address with --to'
        )
    image = about[0].image
    made = letter.write(
        author,
        to,
        f'Image "{image.title[:80]}" version {image.version} '
        f'({image.identifier})',
        '\n'.join(_text(found, about, reason, author)),
        datetime.datetime.fromtimestamp(now, datetime.UTC),
    )
    lists = ', '.join(_named(item) for item in about)
    return Report(
        letter=made,
        identifiers=tuple(
            dict.fromkeys(item.image.identifier for item in about)
        ),
        to=to,
        summary=f'to {", ".join(to)} about {lists}: {reason} '
        f'({made["Message-ID"]})',
        problems=tuple(problems),
    )


def note(
    site: site_.Site,
    now: int,
    who: str,
    report: Report,
    sent: bool,
    refused: tuple[str, ...] = (),
) -> None:
    """Keep in the history that a message was written or sent.

    :param refused: recipients that the mail server refused, with why
    """
    event = 'report-sent' if sent else 'report-prepared'
    detail = report.summary
    if refused:
        detail += f'; refused: {"; ".join(refused)}'

    def work(transaction: database.Transaction) -> None:
        for identifier in report.identifiers:
            transaction.remember(now, who, event, identifier, detail)

    with site_.usable(site) as catalogue:
        catalogue.transact(work)


def send(
    site: site_.Site,
    now: int,
    who: str,
    report: Report,
    server: sending.Server,
) -> tuple[str, ...]:
    """Send the message, and keep in the history that it was.

    :returns: recipients that the mail server refused, with why
    :raises errors.HepixError: when it was not sent; nothing is kept then
    """
    refused = sending.send(server, report.letter)
    try:
        note(site, now, who, report, True, refused)
    except errors.HepixError as exc:
        raise errors.LocalFault(
            f'the message was sent, but the history lacks it: {exc}'
        ) from exc
    return refused


def _about(found: explaining.Explained) -> tuple[_About, ...]:
    """What the lists endorse; if none does any more, what they did."""
    newest = {item.state.name: item.newest for item in found.subscriptions}
    items = [
        item for item in found.endorsements if not item.judged.image.withdrawn
    ] or list(found.endorsements)
    last: dict[str, explaining.Endorsed] = {}
    for item in sorted(items, key=lambda item: item.judged.image.row):
        last[item.judged.image.subscription] = item
    return tuple(
        _About(
            item.judged.image,
            item.came_with
            if item.judged.image.withdrawn
            else newest.get(item.judged.image.subscription),
        )
        for item in last.values()
    )


def _addresses(
    catalogue: database.Database,
    about: Iterable[_About],
    problems: list[str],
) -> Iterator[str]:
    """What the endorsers of these lists say that they read.

    :param problems: is added to
    """
    for item in about:
        name = item.image.subscription
        try:
            if item.signed is None:
                raise errors.NotBelieved('its signed message is not kept')
            with catalogue.reading() as connection:
                emails = _emails(connection, item.signed)
        except errors.NotBelieved as exc:
            problems.append(f'the list of {name} cannot be read: {exc}')
            continue
        for email in emails:
            try:
                yield letter.address(email)
            except letter.NotAnAddress as exc:
                problems.append(
                    f'hv:email of the list of {name}: {exc}, found '
                    f'{email[:100]!r}'
                )


def _emails(
    connection: sa.Connection, signed: origin.SignedList
) -> tuple[str, ...]:
    """``hv:email`` of each endorser; the list was believed when it came.

    :raises errors.NotBelieved: when it is no longer what came
    """
    content = history.message(connection, signed.row)
    digest = hashlib.sha256(content).hexdigest()
    if digest != signed.message_sha256:
        raise errors.NotBelieved(
            f'expected a message of SHA-256 {signed.message_sha256}, found '
            f'{digest}; run "hepix-vm history verify"'
        )
    return tuple(
        endorser.email for endorser in messages.show(content).endorsers
    )


def _named(item: _About) -> str:
    signed = item.signed
    if signed is None:
        return f'{item.image.subscription} version {item.image.version}'
    return (
        f'{item.image.subscription} list {signed.list_identifier} version '
        f'{signed.list_version}'
    )


def _text(
    found: explaining.Explained,
    about: tuple[_About, ...],
    reason: str,
    author: letter.Author,
) -> Iterator[str]:
    yield f'{author.name} reports an image that you endorse.'
    yield ''
    for item in about:
        yield from _entry(item)
        yield ''
    yield 'What is wrong:'
    yield ''
    for line in reason.strip().splitlines():
        yield f'  {line}'
    yield ''
    yield 'What this site did:'
    yield ''
    for line in _done(found):
        yield f'  - {line}'
    yield ''
    yield 'A site does not change an image that somebody endorsed. A newer'
    yield 'version of it, or a list without it, mends this at every site that'
    yield 'follows the list.'
    answer = author.contact or author.sender
    if answer:
        yield ''
        yield f'Contact: {answer}'


def _entry(item: _About) -> Iterator[str]:
    image, signed = item.image, item.signed
    yield f'  Image       {image.title}'
    yield f'  Identifier  {image.identifier}'
    yield f'  Version     {image.version}'
    if signed is not None:
        yield f'  List        {signed.list_identifier}'
        yield f'              version {signed.list_version}'
        yield f'  Message     SHA-256 {signed.message_sha256}'
    if image.withdrawn:
        yield '              (the newest list no longer has the image)'
    yield f'  File        {image.uri}'
    yield f'  Size        {image.size} bytes'
    yield f'  SHA-512     {image.sha512[:64]}'
    yield f'              {image.sha512[64:]}'


def _done(found: explaining.Explained) -> Iterator[str]:
    """What the site has done about the image."""
    some = False
    for block in found.blocks:
        some = True
        yield f'blocked {_short(block.subject)} on {_day(block.at)}'
    withdrawn = sum(
        record.state is model.RecordState.WITHDRAWN for record in found.records
    )
    if withdrawn:
        some = True
        yield f'withdrew {withdrawn} imported copies'
    for item in found.endorsements:
        if item.case.anyway is not None:
            some = True
            yield f'runs it until {_day(item.case.anyway.until)} all the same'
            break
    if not some:
        yield 'nothing yet'


def _short(subject: str) -> str:
    return model.short(subject) if len(subject) == 128 else subject


def _day(seconds: int) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.strftime('%Y-%m-%d')
