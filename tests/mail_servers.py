# SPDX-License-Identifier: Apache-2.0
"""Real mail servers on loopback, some of which misbehave."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
from email import message as email_message
from email import parser
from email import policy
import socket
import ssl
import threading
from typing import Any

from aiosmtpd import controller
from aiosmtpd import smtp


class MailServer:
    """Takes messages, unless it is told to refuse.

    :ivar taken: what was taken
    :ivar recipients: envelope recipients of each
    :ivar refusing: answers by recipient
    :ivar answer: to the message itself
    """

    def __init__(self) -> None:
        self.taken: list[email_message.EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.refusing: dict[str, str] = {}
        self.answer = '250 taken'
        self.port = 0

    async def handle_RCPT(
        self,
        server: Any,
        session: Any,
        envelope: Any,
        address: str,
        options: Any,
    ) -> str:
        """Whether a recipient is welcome."""
        if address in self.refusing:
            return self.refusing[address]
        envelope.rcpt_tos.append(address)
        return '250 OK'

    async def handle_DATA(
        self, server: Any, session: Any, envelope: Any
    ) -> str:
        """Keep the message, or not."""
        if self.answer.startswith('250'):
            self.taken.append(
                parser.BytesParser(policy=policy.SMTP).parsebytes(
                    envelope.content
                )
            )
            self.recipients.append(list(envelope.rcpt_tos))
        return self.answer

    def authenticated(
        self,
        server: Any,
        session: Any,
        envelope: Any,
        mechanism: str,
        data: Any,
    ) -> smtp.AuthResult:
        """The only account that there is."""
        return smtp.AuthResult(
            success=(data.login, data.password) == (b'me', b'my secret'),
            handled=False,
        )


@contextlib.contextmanager
def running(
    context: ssl.SSLContext | None = None,
    at_once: bool = False,
    **options: Any,
) -> Iterator[MailServer]:
    """A mail server.

    :param context: of TLS
    :param at_once: whether TLS begins with the first byte
    :param options: of ``aiosmtpd.smtp.SMTP``
    """
    made = MailServer()
    if options.get('auth_required'):
        options['authenticator'] = made.authenticated
    if context is not None:
        options['ssl_context' if at_once else 'tls_context'] = context
    running_ = _started(made, options)
    try:
        yield made
    finally:
        running_.stop()


def _started(made: MailServer, options: Any) -> controller.Controller:
    for left in reversed(range(20)):
        made.port = _free_port()
        found = controller.Controller(
            made,
            hostname='127.0.0.1',
            port=made.port,
            ready_timeout=120,
            **options,
        )
        try:
            found.start()
        except OSError:
            # Somebody else was faster.
            if not left:
                raise
            continue
        return found
    raise AssertionError


def _free_port() -> int:
    with socket.create_server(('127.0.0.1', 0)) as listening:
        return int(listening.getsockname()[1])


@contextlib.contextmanager
def talking(
    behave: Callable[[socket.socket, threading.Event], None],
) -> Iterator[int]:
    """The port of a server that does with a connection what it likes.

    :param behave: is told by an event when the test is over
    """
    over = threading.Event()
    with socket.create_server(('127.0.0.1', 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listening.accept()
                with connection:
                    behave(connection, over)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield int(listening.getsockname()[1])
        finally:
            over.set()
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            thread.join(60)


def silent(connection: socket.socket, over: threading.Event) -> None:
    """Says nothing."""
    over.wait(600)


def dripping(connection: socket.socket, over: threading.Event) -> None:
    """A greeting without an end, a little at a time."""
    connection.sendall(b'220-')
    while not over.wait(0.2):
        connection.sendall(b'x')


def nonsense(connection: socket.socket, over: threading.Event) -> None:
    """Not SMTP."""
    connection.sendall(b'HTTP/1.1 400 Bad Request\r\n\r\n')
    over.wait(1)


def hung_up(connection: socket.socket, over: threading.Event) -> None:
    """Closes at once."""


def busy(connection: socket.socket, over: threading.Event) -> None:
    """Has no time."""
    connection.sendall(b'421 too \x1b[31m busy\r\n')
    over.wait(1)
