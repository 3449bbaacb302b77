# SPDX-License-Identifier: Apache-2.0
"""Notifications on a message bus, through oslo.messaging.

A notification has the envelope and fields that notifiers of OpenStack's
services write (message_id, publisher_id, event_type, priority, payload,
timestamp), so that any listener of oslo.messaging reads it. It is given to
the transport directly: ``oslo_messaging.Notifier`` logs what its driver
raises and returns as if all were well (``notify.messaging`` of 18.3),
and then nobody could tell whether the broker has it. The transport returns
when RabbitMQ has confirmed.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import datetime
import functools
import threading
from typing import Any
import urllib.parse
import uuid

from hepix_vm.catalogue import notices
from hepix_vm import errors

#: Before the kind of an event: names of other services are like ours.
PREFIX = 'hepix_vm.'

#: Return before the broker has the message.
_NOT_SURE = ('kafka',)

# Attempts within the time that there is, beside the first.
_RETRIES = 2

# Any number: the same event has the same message_id however often it is told.
_NAMES = uuid.UUID('6a1b2f0e-6f83-4c7e-9a39-0d5b7b6f5f2a')


@dataclasses.dataclass(frozen=True, slots=True)
class Bus:
    """A message bus.

    :ivar url: as oslo.messaging takes it; has the password
    :ivar options: the ``ConfigOpts`` with the driver's own groups
    :ivar timeout: seconds for one notification, connecting included
    """

    url: str
    topic: str
    publisher: str
    options: Callable[[], Any]
    timeout: float = 30

    #: Notices that are told at once.
    at_once = 1

    @property
    def patience(self) -> float:
        """Seconds that telling once may take at most."""
        return self.timeout

    @contextlib.contextmanager
    def opened(self) -> Iterator[_Connected]:
        """A connection, made at its first use."""
        connected = _Connected(self, _transport(self))
        try:
            yield connected
        finally:
            connected.close()


class _Connected:
    """A transport; one that hangs is left to itself."""

    def __init__(self, bus: Bus, transport: Any) -> None:
        self._bus = bus
        self._transport = transport
        self._hangs = False

    def tell(self, told: tuple[notices.Notice, ...], now: int) -> None:
        """Send a notification for each notice.

        :raises errors.TryAgain: when the broker does not confirm in time
        """
        for notice in told:
            message = notification(self._bus, notice, now)
            self._within(functools.partial(self._send, message), notice)

    def _send(self, message: dict[str, Any]) -> None:
        import oslo_messaging

        self._transport._send_notification(
            oslo_messaging.Target(topic=f'{self._bus.topic}.info'),
            {},
            message,
            version=2.0,
            retry=_RETRIES,
        )

    def _within(
        self, work: Callable[[], None], notice: notices.Notice
    ) -> None:
        """Do it in a thread: the driver's own waits cannot all be bounded."""
        ended: list[Exception | None] = []

        def run() -> None:
            try:
                work()
            except Exception as exc:  # noqa: BLE001 - raised by who waits
                ended.append(exc)
            else:
                ended.append(None)

        thread = threading.Thread(target=run, name='notification', daemon=True)
        thread.start()
        thread.join(self._bus.timeout)
        what = f'{_place(self._bus)}: notice {notice.id} ({notice.kind})'
        if not ended:
            self._hangs = True
            raise errors.TryAgain(
                f'{what}: expected the broker to confirm within '
                f'{self._bus.timeout:g} s, found nothing; whether it has the '
                'notification is not known'
            )
        exc = ended[0]
        if exc is not None:
            raise errors.TryAgain(f'{what}: {_cause(self._bus, exc)}') from exc

    def close(self) -> None:
        """Give the connections back."""
        if not self._hangs:
            with contextlib.suppress(Exception):
                self._transport.cleanup()


def notification(bus: Bus, notice: notices.Notice, now: int) -> dict[str, Any]:
    """One event in the form that listeners of oslo.messaging expect.

    :param now: UNIX seconds
    """
    moment = datetime.datetime.fromtimestamp(now, datetime.UTC)
    return {
        'message_id': str(
            uuid.uuid5(_NAMES, f'{bus.publisher} {notice.id} {notice.at}')
        ),
        'publisher_id': bus.publisher,
        'event_type': PREFIX + notice.kind,
        'priority': 'INFO',
        'payload': notice.document(),
        'timestamp': moment.strftime('%Y-%m-%d %H:%M:%S.%f'),
    }


def require(url: str) -> None:
    """See that a transport can be used; nobody is asked.

    :raises errors.Misconfigured: for what is no URL, and for a transport
        whose driver does not wait for the broker
    """
    scheme = _parts(url)[0]
    if scheme.partition('+')[0] in _NOT_SURE:
        raise errors.Misconfigured(
            'option [notify] transport_url: expected a transport that '
            f'confirms what it takes, such as rabbit://, found {scheme}://'
        )


def _parts(url: str) -> tuple[str, tuple[str, ...]]:
    """The scheme, and ``USER:PASSWORD@HOST:PORT`` of each host.

    :raises errors.Misconfigured: for what is no URL
    """
    try:
        found = urllib.parse.urlsplit(url)
        if found.scheme and found.netloc:
            return found.scheme, tuple(found.netloc.split(','))
    except ValueError:
        # What it says may have the password in it.
        pass
    raise errors.Misconfigured(
        'option [notify] transport_url: expected a URL of oslo.messaging such '
        'as rabbit://USER:PASSWORD@HOST:5672/, found something else'
    )


def _transport(bus: Bus) -> Any:
    require(bus.url)
    try:
        import oslo_messaging

        return oslo_messaging.get_notification_transport(
            bus.options(), url=bus.url
        )
    except Exception as exc:
        scheme = _parts(bus.url)[0]
        raise errors.Misconfigured(
            'option [notify] transport_url: expected a URL of oslo.messaging '
            f'such as rabbit://USER:PASSWORD@HOST:5672/, found one of scheme '
            f'"{scheme}" that cannot be used ({_cause(bus, exc)}); install '
            'the extra "messaging", or edit the option'
        ) from exc


def _place(bus: Bus) -> str:
    """How the bus is called in a sentence: without user and password."""
    scheme, hosts = _parts(bus.url)
    named = ','.join(host.rpartition('@')[2] for host in hosts)
    return f'message bus {scheme}://{named}'


def _cause(bus: Bus, exc: BaseException) -> str:
    """What it failed with, without the password."""
    text = ' '.join(str(exc).split())
    for host in _parts(bus.url)[1]:
        secret = host.rpartition('@')[0].partition(':')[2]
        for form in filter(None, (secret, urllib.parse.unquote(secret))):
            text = text.replace(form, '***')
    text = ''.join(c if c.isprintable() else ' ' for c in text)
    return text[:300] or type(exc).__name__
