# SPDX-License-Identifier: Apache-2.0
"""Giving a message to the site's mail server (RFC 5321, RFC 3207)."""

from __future__ import annotations

import dataclasses
from email import message
import enum
from pathlib import Path
import smtplib
import socket
import ssl
import threading

from hepix_vm import errors

# A password is a line; what is longer is another file.
_LONGEST_PASSWORD = 4096


class Encryption(enum.StrEnum):
    """How the connection is protected.

    ``starttls``: it has to begin after the greeting. ``tls``: from the
    first byte. ``none``: not at all; for a server on the same machine.
    """

    STARTTLS = 'starttls'
    TLS = 'tls'
    NONE = 'none'


_PORTS = {Encryption.STARTTLS: 587, Encryption.TLS: 465, Encryption.NONE: 25}


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """A mail server.

    :ivar port: None: the usual one
    :ivar ca_file: PEM file of the CAs that may have issued its certificate;
        None: those of the system
    :ivar user: account; None: none is needed
    :ivar password_file: with the account's password, one line
    :ivar timeout: seconds for all of it
    """

    host: str
    port: int | None = None
    encryption: Encryption = Encryption.STARTTLS
    ca_file: str | None = None
    user: str | None = None
    password_file: str | None = None
    timeout: float = 30

    @property
    def place(self) -> str:
        """How the server is called in a sentence."""
        return f'mail server {self.host}:{self.port_used}'

    @property
    def port_used(self) -> int:
        """TCP port."""
        return self.port or _PORTS[self.encryption]


def send(server: Server, letter: message.EmailMessage) -> tuple[str, ...]:
    """Give a message to the server, for all of its recipients.

    :returns: recipients that the server refused, each with why
    :raises errors.Misconfigured: for files that cannot be used
    :raises errors.NotBelieved: when the server refuses the message, the
        account or every recipient; trying again changes nothing
    :raises errors.TryAgain: when the server is away, busy or too slow
    """
    password = _password(server)
    context = _context(server)
    ended: list[tuple[str, ...] | Exception] = []

    def work() -> None:
        try:
            ended.append(_send(server, letter, context, password))
        except Exception as exc:  # noqa: BLE001 - raised by who waits
            ended.append(exc)

    # Each answer is bounded by itself; a server that drips is not, nor is
    # the resolver.
    thread = threading.Thread(target=work, name='smtp', daemon=True)
    thread.start()
    thread.join(server.timeout)
    if not ended:
        raise errors.TryAgain(
            f'{server.place}: expected an end within {server.timeout:g} '
            'seconds, found none; whether the message was taken is not known'
        )
    outcome = ended[0]
    if isinstance(outcome, Exception):
        raise _told(server, outcome) from outcome
    return outcome


def _send(
    server: Server,
    letter: message.EmailMessage,
    context: ssl.SSLContext | None,
    password: str | None,
) -> tuple[str, ...]:
    with _connected(server, context) as connection:
        if server.encryption is Encryption.STARTTLS:
            connection.starttls(context=context)
        if server.user is not None:
            connection.login(server.user, password or '')
        refused = connection.send_message(letter)
    return tuple(
        f'{recipient}: {code} {_text(said)}'
        for recipient, (code, said) in sorted(refused.items())
    )


def _connected(server: Server, context: ssl.SSLContext | None) -> smtplib.SMTP:
    # Asking for our own full name may take as long as the resolver likes.
    name = socket.gethostname()
    if server.encryption is Encryption.TLS:
        return smtplib.SMTP_SSL(
            server.host,
            server.port_used,
            local_hostname=name,
            timeout=server.timeout,
            context=context,
        )
    return smtplib.SMTP(
        server.host,
        server.port_used,
        local_hostname=name,
        timeout=server.timeout,
    )


def _context(server: Server) -> ssl.SSLContext | None:
    if server.encryption is Encryption.NONE:
        if server.user is not None:
            raise errors.Misconfigured(
                'group [mail]: a password is never sent in the clear; set '
                'encryption to starttls or tls, or leave out user'
            )
        return None
    try:
        return ssl.create_default_context(cafile=server.ca_file)
    except (OSError, ssl.SSLError) as exc:
        raise errors.Misconfigured(
            f'group [mail] option ca_file: {server.ca_file}: expected a PEM '
            f'file with CA certificates, found: {exc.strerror or exc}'
        ) from exc


def _password(server: Server) -> str | None:
    if server.user is None:
        return None
    path = Path(server.password_file or '')
    try:
        with path.open(encoding='utf-8') as file:
            password = file.read(_LONGEST_PASSWORD + 1).rstrip('\r\n')
    except (OSError, ValueError) as exc:
        raise errors.Misconfigured(
            f'group [mail] option password_file: {path}: expected a readable '
            f'file with the password of {server.user}, found: '
            f'{getattr(exc, "strerror", None) or exc}'
        ) from exc
    if not password or len(password) > _LONGEST_PASSWORD:
        raise errors.Misconfigured(
            f'group [mail] option password_file: {path}: expected one line '
            f'of at most {_LONGEST_PASSWORD} characters'
        )
    return password


def _told(server: Server, exc: Exception) -> errors.HepixError:
    """The server's failure in one of our errors."""
    if isinstance(exc, smtplib.SMTPRecipientsRefused):
        found = '; '.join(
            f'{recipient}: {code} {_text(said)}'
            for recipient, (code, said) in sorted(exc.recipients.items())
        )
        temporary = all(code < 500 for code, _ in exc.recipients.values())
        kind = errors.TryAgain if temporary else errors.NotBelieved
        return kind(f'{server.place}: refused every recipient: {found}')
    if isinstance(exc, smtplib.SMTPResponseException):
        kind = errors.TryAgain if exc.smtp_code < 500 else errors.NotBelieved
        return kind(
            f'{server.place}: expected it to take the message, found: '
            f'{exc.smtp_code} {_text(exc.smtp_error)}'
        )
    if isinstance(exc, smtplib.SMTPNotSupportedError):
        return errors.NotBelieved(
            f'{server.place}: {exc} Nothing was sent; see option '
            '[mail] encryption'
        )
    if isinstance(exc, ssl.SSLCertVerificationError):
        return errors.NotBelieved(
            f'{server.place}: its certificate is not believed: '
            f'{exc.verify_message}; see option [mail] ca_file'
        )
    return errors.TryAgain(
        f'{server.place}: {type(exc).__name__}: {_text(str(exc))}; try again '
        'later'
    )


def _text(said: bytes | str) -> str:
    text = said.decode('utf-8', 'replace') if isinstance(said, bytes) else said
    return ''.join(c if c.isprintable() else ' ' for c in text)[:300]
