# SPDX-License-Identifier: Apache-2.0
"""One message as RFC 5322 has it, made of texts that others wrote.

Whatever a list says becomes a value: of an address that the standard
library's parser takes as exactly one, or of a text without line ends.
"""

from __future__ import annotations

import dataclasses
import datetime
from email import headerregistry
from email import message
from email import policy
from email import utils
from typing import Any

#: Longest address (RFC 5321, 4.5.3.1: a path of 256 with its brackets).
LONGEST = 254

# Characters of a text with one address in it.
_LONGEST_TEXT = 1000

# Seven bits get through every server, as written where that is possible.
_POLICY = policy.SMTP.clone(cte_type='7bit')

# RFC 5322, 2.1.1, with room for what is between.
_LONGEST_LINE = 900


class NotAnAddress(ValueError):
    """A text that is not one address; says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Author:
    """Who writes.

    :ivar sender: address; None: the From line is left to whoever sends it
    :ivar name: of the site, for people
    :ivar contact: address that answers go to; None: the sender's
    :ivar cc: addresses that get a copy
    """

    sender: str | None = None
    name: str = 'a cloud site'
    contact: str | None = None
    cc: tuple[str, ...] = ()


def address(text: str) -> str:
    """The address in a text such as ``Jane Doe <jane@example.org>``.

    :returns: local part and domain, ASCII
    :raises NotAnAddress: for none, several, or what cannot be read in one
        way
    """
    if not text.isprintable() or len(text) > _LONGEST_TEXT:
        raise NotAnAddress(
            f'expected one line of at most {_LONGEST_TEXT} characters '
            'without control characters'
        )
    try:
        parsed: Any = headerregistry.HeaderRegistry()('to', text)
        found = parsed.addresses
    except Exception as exc:
        # The parser has ways of its own to fail at broken input.
        raise NotAnAddress(f'expected one address: {exc}') from exc
    if len(found) != 1 or any(each.display_name for each in parsed.groups):
        raise NotAnAddress(f'expected one address, found {len(found)}')
    if parsed.defects:
        raise NotAnAddress(f'expected one address: {parsed.defects[0]}')
    one = found[0]
    spec = str(one.addr_spec)
    if not one.username or not one.domain:
        raise NotAnAddress('expected an address NAME@DOMAIN')
    if not spec.isascii() or len(spec) > LONGEST:
        raise NotAnAddress(
            f'expected an address in ASCII of at most {LONGEST} characters'
        )
    return spec


def write(
    author: Author,
    to: tuple[str, ...],
    subject: str,
    text: str,
    now: datetime.datetime,
) -> message.EmailMessage:
    """A message, ready to be sent.

    :param to: addresses as :func:`address` gives them
    :param subject: whatever controls a line in it is replaced
    :param text: lines end with LF
    :param now: aware
    """
    made = message.EmailMessage(policy=_POLICY)
    if author.sender is not None:
        made['From'] = headerregistry.Address(
            _line(author.name), addr_spec=author.sender
        )
    made['To'] = [headerregistry.Address(addr_spec=each) for each in to]
    if author.cc:
        made['Cc'] = [
            headerregistry.Address(addr_spec=each) for each in author.cc
        ]
    if author.contact is not None:
        made['Reply-To'] = headerregistry.Address(addr_spec=author.contact)
    made['Subject'] = _line(subject)[:200]
    made['Date'] = now
    made['Message-ID'] = utils.make_msgid(domain=_domain(author))
    made.set_content(_body(text), cte=_encoding(text))
    return made


def shown(letter: message.EmailMessage) -> str:
    """A message with the line ends of this machine, to be printed."""
    return letter.as_string(policy=_POLICY.clone(linesep='\n'))


def _domain(author: Author) -> str:
    # RFC 6761 keeps "invalid" for names that are nobody's.
    written = author.sender or author.contact
    return written.rpartition('@')[2] if written else 'hepix-vm.invalid'


def _line(text: str) -> str:
    return ''.join(c if c.isprintable() else '?' for c in text)


def _body(text: str) -> str:
    return '\n'.join(_line(line) for line in text.split('\n'))


def _encoding(text: str) -> str:
    if text.isascii() and all(
        len(line) <= _LONGEST_LINE for line in text.split('\n')
    ):
        return '7bit'
    return 'quoted-printable'
