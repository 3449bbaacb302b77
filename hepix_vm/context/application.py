# SPDX-License-Identifier: Apache-2.0
"""The site's context over HTTP: one small WSGI application.

It answers what :mod:`hepix_vm.context.asking` reads in a path, to an
instance that is who it says to be, wherever it is mounted: in nova's metadata
service, or in a process of its own behind a rule of a proxy.

What all answers have in common is in :mod:`hepix_vm.context.answering`.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import math
import time
from typing import Protocol
from wsgiref import types

from hepix_vm.catalogue import refreshing
from hepix_vm.context import answering
from hepix_vm.context import asking
from hepix_vm.context import facts as facts_
from hepix_vm.context import forms
from hepix_vm.context import identities
from hepix_vm.context import identity
from hepix_vm.context import noted
from hepix_vm.context import prepared
from hepix_vm.context import telling

What = asking.What

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
    :param bound: of requests at work at once, whoever asks
    :param refusal: body of refusals, nothing that anybody takes for a value
    """

    identify: identity.Identify
    facts_of: Callable[[identity.Instance, float, float], identities.Answer]
    variant_of: Callable[
        [facts_.Facts, float], prepared.Prepared | identity.Refusal
    ]
    features_of: FeaturesOf
    audit: Note
    bound: answering.Bound = dataclasses.field(default_factory=answering.Bound)
    refusal: bytes = b''


class Application:
    """Serves the context of a site.

    :param clock: seconds of a clock that never goes back
    """

    def __init__(
        self, parts: Parts, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._parts = parts
        self._telling = telling.Telling()
        self._wsgi = answering.Answering(
            self._admitted, self._telling, parts.refusal, clock
        )
        self._lock = refreshing.threads().Lock()
        self._reports: collections.OrderedDict[str, set[asking.Wanted]] = (
            collections.OrderedDict()
        )

    def __call__(
        self,
        environ: types.WSGIEnvironment,
        start_response: types.StartResponse,
    ) -> Iterable[bytes]:
        """Answer one request; never raises into the service around it."""
        return self._wsgi(environ, start_response)

    def _admitted(
        self, environ: types.WSGIEnvironment, now: float
    ) -> answering.Answer:
        wanted = _readable(environ)
        if isinstance(wanted, identity.Refusal):
            return wanted
        return self._parts.bound.within(
            lambda: self._answer(wanted, environ, now)
        )

    def _answer(
        self,
        wanted: asking.Wanted,
        environ: types.WSGIEnvironment,
        now: float,
    ) -> answering.Answer:
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
        if environ.get('REQUEST_METHOD') == 'HEAD':
            # It carries nothing, so nobody has fetched anything.
            return body
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
    ) -> answering.Answer:
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
    ) -> answering.Answer:
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
