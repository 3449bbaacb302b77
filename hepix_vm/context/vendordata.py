# SPDX-License-Identifier: Apache-2.0
"""The site's context as dynamic vendordata of nova.

Nova asks for it when a guest does and when it writes a config drive, which
is the way to guests that have no network yet: six times a drive, without
remembering an answer, so what makes one is kept by the parts. It asks with a
token of its own account; :mod:`keystonemiddleware` stands in front and has
checked it.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
import dataclasses
import json
import re
import time
from typing import Any
from wsgiref import types

from hepix_vm.context import answering
from hepix_vm.context import application
from hepix_vm.context import asking
from hepix_vm.context import identities
from hepix_vm.context import identity
from hepix_vm.context import noted
from hepix_vm.context import prepared
from hepix_vm.context import telling

#: Where it is asked for.
PATH = '/vendordata'
#: What the audit calls it.
WHAT = 'vendordata'
#: Bytes of a question: user data and metadata come with it.
LARGEST = 1024 * 1024
TYPE = 'application/json'

_UUID = re.compile(
    r'[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}'
)
_PROJECT = re.compile(r'[A-Za-z0-9_.-]{1,64}')


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """Who may ask, and what guests are told.

    :param roles: of which who asks has one
    :param url: under which guests reach their features
    """

    roles: frozenset[str]
    url: str


class Vendordata:
    """Answers nova.

    :param clock: seconds of a clock that never goes back
    """

    def __init__(
        self,
        parts: application.Parts,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts = parts
        self._settings = settings
        self._telling = telling.Telling()
        self._wsgi = answering.Answering(
            self._admitted, self._telling, clock=clock
        )

    def __call__(
        self,
        environ: types.WSGIEnvironment,
        start_response: types.StartResponse,
    ) -> Iterable[bytes]:
        """Answer one request; never raises."""
        return self._wsgi(environ, start_response)

    def _admitted(
        self, environ: types.WSGIEnvironment, now: float
    ) -> answering.Answer:
        refusal = self._refused(environ)
        if refusal is not None:
            return refusal
        return self._parts.bound.within(lambda: self._answer(environ, now))

    def _answer(
        self, environ: types.WSGIEnvironment, now: float
    ) -> answering.Answer:
        instance = _instance(environ)
        if isinstance(instance, identity.Refusal):
            return instance
        facts = self._parts.facts_of(instance, now, identities.SOON)
        if isinstance(facts, identity.Refusal):
            return facts
        found = self._parts.variant_of(facts, now)
        if isinstance(found, identity.Refusal):
            return found
        content = _json(found, self._settings.url)
        self._parts.audit.note(
            noted.Fetch(
                instance.uuid,
                instance.project_id,
                WHAT,
                found.sha256,
                found.serial,
            )
        )
        self._telling.served(instance, WHAT, found.sha256, len(content), now)
        return prepared.Body(TYPE, content)

    def _refused(
        self, environ: types.WSGIEnvironment
    ) -> identity.Refusal | None:
        """Refuse what needs no look at the question."""
        if asking.path_of(environ) != PATH:
            return _refusal(404, identity.Reason.NAME_UNKNOWN, 'no such path')
        if environ.get('REQUEST_METHOD') != 'POST':
            return _refusal(403, identity.Reason.METHOD_REFUSED, 'not POST')
        roles = {
            role.strip() for role in environ.get('HTTP_X_ROLES', '').split(',')
        }
        if environ.get(
            'HTTP_X_IDENTITY_STATUS'
        ) != 'Confirmed' or not self._settings.roles.intersection(roles):
            return _refusal(
                403,
                identity.Reason.ROLE_MISSING,
                'the account has none of the roles in [context]'
                ' vendordata_roles',
            )
        return None


def _instance(
    environ: types.WSGIEnvironment,
) -> identity.Instance | identity.Refusal:
    """Read the question, of which only two names are used."""
    length = environ.get('CONTENT_LENGTH') or ''
    if not (length.isascii() and length.isdigit()) or len(length) > 9:
        return _refusal(403, identity.Reason.BODY_REFUSED, 'no length')
    if int(length) > LARGEST:
        return _refusal(403, identity.Reason.BODY_REFUSED, 'too large')
    try:
        question: Any = json.loads(environ['wsgi.input'].read(int(length)))
        uuid, project = question['instance-id'], question['project-id']
        known = _UUID.fullmatch(uuid) and _PROJECT.fullmatch(project)
    except (ValueError, LookupError, TypeError, RecursionError):
        known = None
    if not known:
        return _refusal(
            403,
            identity.Reason.BODY_REFUSED,
            'expected JSON with instance-id and project-id',
        )
    return identity.Instance(uuid, project)


def _json(found: prepared.Prepared, url: str) -> bytes:
    def text(what: asking.What) -> str:
        body = found.bodies.get(what)
        return '' if body is None else body.content.decode('ascii')

    return json.dumps(
        {
            'serial': found.serial,
            'sha256_tar': found.sha256,
            'manifest': text(asking.What.MANIFEST),
            'signature': text(asking.What.SIGNATURE),
            'tgz_base64': text(asking.What.BASE64),
            'machinefeatures': f'{url}/{asking.What.MACHINE}',
            'jobfeatures': f'{url}/{asking.What.JOB}',
        }
    ).encode('ascii')


def _refusal(
    status: int, reason: identity.Reason, detail: str
) -> identity.Refusal:
    return identity.Refusal(status, reason, f'vendordata: {detail}')
