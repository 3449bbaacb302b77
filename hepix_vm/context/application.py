# SPDX-License-Identifier: Apache-2.0
"""The site's context over HTTP: one small WSGI application.

It answers what :mod:`hepix_vm.context.asking` reads in a path, to an
instance that is who it says to be, wherever it is mounted: in nova's metadata
service, or in a process of its own behind a rule of a proxy.

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

import collections
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import http
import math
import time
from typing import Protocol
from wsgiref import types

from oslo_log import log as logging

from hepix_vm.catalogue import refreshing
from hepix_vm.context import asking
from hepix_vm.context import facts as facts_
from hepix_vm.context import forms
from hepix_vm.context import identities
from hepix_vm.context import identity
from hepix_vm.context import noted
from hepix_vm.context import prepared
from hepix_vm.context import telling

LOG = logging.getLogger(__name__)

What = asking.What

#: See above.
REFUSAL_BEHIND_NEUTRON = b'\n'

#: What an instance may say of bundles in the life of a process: another
#: digest each time would fill the catalogue.
REPORTS = 16
#: Instances whose reports are counted; the oldest are forgotten first.
REPORTING = 10_000


class Note(Protocol):
    """The part of :class:`hepix_vm.context.audit.Audit` that is used."""

    def note(self, fetch: noted.Fetch) -> None:
        """Keep what an instance did; neither waits nor raises."""


#: Machine or job features of an instance, all keys that are known.
FeaturesOf = Callable[
    [What, facts_.Facts], Mapping[str, str] | identity.Refusal
]


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """What answers are made of; everything may be used by many threads.

    :param identify: who asks
    :param facts_of: what is known of it, at a time, and how many seconds old
        that may be
    :param variant_of: what it gets
    :param features_of: of the machine or of the job
    :param audit: who did what
    :param most: requests at work at once; more are refused at once
    :param refusal: body of refusals, nothing that anybody takes for a value
    """

    identify: identity.Identify
    facts_of: Callable[[identity.Instance, float, float], identities.Answer]
    variant_of: Callable[
        [facts_.Facts, float], prepared.Prepared | identity.Refusal
    ]
    features_of: FeaturesOf
    audit: Note
    most: int = 64
    refusal: bytes = b''


class Application:
    """Serves the context of a site.

    :param clock: seconds of a clock that never goes back
    """

    def __init__(
        self, parts: Parts, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._parts = parts
        self._clock = clock
        self._telling = telling.Telling()
        self._lock = refreshing.threads().Lock()
        self._at_work = 0
        self._reports: collections.OrderedDict[str, set[asking.Wanted]] = (
            collections.OrderedDict()
        )

    def __call__(
        self,
        environ: types.WSGIEnvironment,
        start_response: types.StartResponse,
    ) -> Iterable[bytes]:
        """Answer one request; never raises into the service around it."""
        now = self._clock()
        try:
            answer = self._admitted(environ, now)
            if isinstance(answer, identity.Refusal):
                self._telling.refused(answer, now)
        except Exception:
            LOG.exception('context refused: status=503 reason=internal')
            answer = identity.Refusal(503, identity.Reason.INTERNAL, '')
        if isinstance(answer, identity.Refusal):
            return refuse(
                answer.status,
                start_response,
                self._parts.refusal,
                environ.get('REQUEST_METHOD') == 'HEAD',
            )
        start_response(
            '200 OK',
            [
                ('Content-Type', answer.content_type),
                ('Content-Length', str(len(answer.content))),
            ],
        )
        return [] if environ['REQUEST_METHOD'] == 'HEAD' else [answer.content]

    def _admitted(
        self, environ: types.WSGIEnvironment, now: float
    ) -> prepared.Body | identity.Refusal:
        wanted = _readable(environ)
        if isinstance(wanted, identity.Refusal):
            return wanted
        with self._lock:
            busy = self._at_work >= self._parts.most
            if not busy:
                self._at_work += 1
        if busy:
            return identity.Refusal(
                503,
                identity.Reason.BUSY,
                f'{self._parts.most} requests are at work already',
            )
        try:
            return self._answer(wanted, environ, now)
        finally:
            with self._lock:
                self._at_work -= 1

    def _answer(
        self,
        wanted: asking.Wanted,
        environ: types.WSGIEnvironment,
        now: float,
    ) -> prepared.Body | identity.Refusal:
        instance = self._parts.identify(environ)
        if isinstance(instance, identity.Refusal):
            return instance
        facts = self._parts.facts_of(instance, now, _at_most(wanted.what))
        if isinstance(facts, identity.Refusal):
            return facts
        if wanted.what in (What.MACHINE, What.JOB):
            return self._feature(wanted, instance, facts)
        found = self._parts.variant_of(facts, now)
        if isinstance(found, identity.Refusal):
            return found
        if wanted.what is What.INDEX:
            return _index(found)
        if wanted.what in (What.RAN, What.FAILED):
            return self._report(wanted, instance, found)
        body = found.bodies.get(wanted.what)
        if body is None:
            return identity.Refusal(
                404,
                identity.Reason.NOT_SIGNED,
                f'instance {instance.uuid}: this site signs no manifest',
            )
        self._note(instance, wanted.what, found.sha256, found.serial)
        self._telling.served(
            instance, wanted.what, found.sha256, len(body.content), now
        )
        return body

    def _feature(
        self,
        wanted: asking.Wanted,
        instance: identity.Instance,
        facts: facts_.Facts,
    ) -> prepared.Body | identity.Refusal:
        found = self._parts.features_of(wanted.what, facts)
        if isinstance(found, identity.Refusal):
            return found
        self._note(instance, 'feature')
        if not wanted.detail:
            return _text('\n'.join([*sorted(found), '']))
        value = found.get(wanted.detail)
        if value is None:
            return identity.Refusal(
                404,
                identity.Reason.FEATURE_UNKNOWN,
                f'instance {instance.uuid}: {wanted.what} has no'
                f' {wanted.detail}',
            )
        return _text(value)

    def _report(
        self,
        wanted: asking.Wanted,
        instance: identity.Instance,
        found: prepared.Prepared,
    ) -> prepared.Body | identity.Refusal:
        with self._lock:
            said = self._reports.setdefault(instance.uuid, set())
            if wanted not in said and len(said) >= REPORTS:
                return identity.Refusal(
                    404,
                    identity.Reason.REPORTS_TOO_MANY,
                    f'instance {instance.uuid} has told of {REPORTS} bundles'
                    ' already',
                )
            said.add(wanted)
            if len(self._reports) > REPORTING:
                self._reports.popitem(last=False)
        serial = found.serial if wanted.detail == found.sha256 else 0
        self._note(instance, wanted.what, wanted.detail, serial)
        return _text('noted\n')

    def _note(
        self,
        instance: identity.Instance,
        what: str,
        sha256: str = '',
        serial: int = 0,
    ) -> None:
        self._parts.audit.note(
            noted.Fetch(
                instance.uuid, instance.project_id, what, sha256, serial
            )
        )


def refuse(
    status: int,
    start_response: types.StartResponse,
    body: bytes = b'',
    is_head: bool = False,
) -> list[bytes]:
    """Answer with a status and nothing that could be taken for more."""
    start_response(
        f'{status} {http.HTTPStatus(status).phrase}',
        [('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))],
    )
    return [] if is_head or not body else [body]


def unavailable(
    environ: types.WSGIEnvironment, start_response: types.StartResponse
) -> list[bytes]:
    """The application of a service that cannot serve."""
    return refuse(503, start_response, REFUSAL_BEHIND_NEUTRON)


def _readable(
    environ: types.WSGIEnvironment,
) -> asking.Wanted | identity.Refusal:
    """Refuse what needs no look at who asks."""
    path = asking.path_of(environ)
    wanted = asking.wanted(path)
    if wanted is None:
        return identity.Refusal(
            404, identity.Reason.NAME_UNKNOWN, f'no {path[:80]!a} here'
        )
    if environ.get('REQUEST_METHOD') not in ('GET', 'HEAD'):
        return identity.Refusal(
            403,
            identity.Reason.METHOD_REFUSED,
            f'{environ.get("REQUEST_METHOD", "")[:20]!a} is neither GET'
            ' nor HEAD',
        )
    return wanted


_NAMES = {
    What.BUNDLE: 'default.tgz',
    What.BASE64: 'default.tgz.b64',
    What.MANIFEST: 'manifest',
    What.SIGNATURE: 'manifest.sig',
}


def _at_most(what: asking.What) -> float:
    """Seconds that facts may be old: a rebuilt server has another image."""
    if what in _NAMES or what is What.INDEX:
        return identities.CURRENT
    return math.inf


def _index(found: prepared.Prepared) -> prepared.Body:
    return _text(
        ''.join(
            f'{name}\n'
            for what, name in _NAMES.items()
            if what in found.bodies
        )
    )


def _text(content: str) -> prepared.Body:
    return prepared.Body(forms.TEXT_TYPE, content.encode('ascii'))
