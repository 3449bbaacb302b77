# SPDX-License-Identifier: Apache-2.0
"""What all answers over HTTP have in common.

======  ==============================================================
200     what was asked for
403     the request proves no instance, or is not one to read
404     no such name, or no such instance in that project
503     there is nothing good to give at the moment
======  ==============================================================

There is no other status: proxies on the way to a guest turn others into
failures of their own. Refusals have empty bodies, because guests unpack
whatever they get and take whatever they get for a value. Behind neutron the
body is a line end: the metadata agent, from release 26 on, loses a refusal
without any, and the guest would read the page of a proxy about that.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
import http
import time
from wsgiref import types

from oslo_log import log as logging

from hepix_vm.catalogue import refreshing
from hepix_vm.context import identity
from hepix_vm.context import prepared
from hepix_vm.context import telling as telling_

LOG = logging.getLogger(__name__)

#: See above.
REFUSAL_BEHIND_NEUTRON = b'\n'

Answer = prepared.Body | identity.Refusal


class Bound:
    """How many requests are at work at once; safe to share between threads.

    :param most: at once in this process; more are refused at once
    """

    def __init__(self, most: int = 64) -> None:
        self._most = most
        self._lock = refreshing.threads().Lock()
        self._at_work = 0

    @property
    def at_work(self) -> int:
        """Requests that have begun and not ended."""
        return self._at_work

    def within(self, work: Callable[[], Answer]) -> Answer:
        """Do it, if there is a place; 503 otherwise."""
        with self._lock:
            busy = self._at_work >= self._most
            if not busy:
                self._at_work += 1
        if busy:
            return identity.Refusal(
                503,
                identity.Reason.BUSY,
                f'{self._most} requests are at work already',
            )
        try:
            return work()
        finally:
            with self._lock:
                self._at_work -= 1


class Answering:
    """A WSGI application that never raises into the service around it.

    :param answer: of a request, at a time of ``clock``
    :param telling: writes what is refused into the log
    :param refusal: body of refusals, nothing that anybody takes for a value
    :param clock: seconds of a clock that never goes back
    """

    def __init__(
        self,
        answer: Callable[[types.WSGIEnvironment, float], Answer],
        telling: telling_.Telling,
        refusal: bytes = b'',
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._answer = answer
        self._telling = telling
        self._refusal = refusal
        self._clock = clock

    def __call__(
        self,
        environ: types.WSGIEnvironment,
        start_response: types.StartResponse,
    ) -> Iterable[bytes]:
        """Answer one request."""
        now = self._clock()
        try:
            answer = self._answer(environ, now)
            if isinstance(answer, identity.Refusal):
                self._telling.refused(answer, now)
        except Exception:
            LOG.exception('context refused: status=503 reason=internal')
            answer = identity.Refusal(503, identity.Reason.INTERNAL, '')
        is_head = environ.get('REQUEST_METHOD') == 'HEAD'
        if isinstance(answer, identity.Refusal):
            return _refuse(
                answer.status, start_response, self._refusal, is_head
            )
        start_response(
            '200 OK',
            [
                ('Content-Type', answer.content_type),
                ('Content-Length', str(len(answer.content))),
            ],
        )
        return [] if is_head else [answer.content]


def unavailable(
    environ: types.WSGIEnvironment, start_response: types.StartResponse
) -> list[bytes]:
    """The application of a service that cannot serve."""
    is_head = environ.get('REQUEST_METHOD') == 'HEAD'
    return _refuse(503, start_response, REFUSAL_BEHIND_NEUTRON, is_head)


def _refuse(
    status: int,
    start_response: types.StartResponse,
    body: bytes,
    is_head: bool,
) -> list[bytes]:
    """Answer with a status and nothing that could be taken for more."""
    start_response(
        f'{status} {http.HTTPStatus(status).phrase}',
        [('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))],
    )
    return [] if is_head or not body else [body]
