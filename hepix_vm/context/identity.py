# SPDX-License-Identifier: Apache-2.0
"""Which instance asks: signed headers, and nova's own word on them.

Neutron's metadata agent (or whatever stands for it) names the instance in
``X-Instance-ID`` and its project in ``X-Tenant-ID`` and signs the first with
HMAC-SHA256 over the secret that it shares with nova. The signature says
nothing about the project and nothing about whether the instance exists: for
that, nova's metadata application is asked for the same instance's
``meta_data.json``, with the same headers, in the same process.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
import dataclasses
import enum
import hashlib
import hmac
import io
import json
import re
from typing import Any
from wsgiref import types

#: Bytes of a ``meta_data.json`` that are read at most: user metadata, keys
#: and tags are far below.
_ANSWER_LIMIT = 4 * 1024 * 1024

_QUESTION = '/openstack/latest/meta_data.json'

_INSTANCE_ID = re.compile(
    r'[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}'
)
_PROJECT_ID = re.compile(r'[A-Za-z0-9_.-]{1,64}')
_SIGNATURE = re.compile(r'[0-9a-f]{64}')


class Reason(enum.StrEnum):
    """Why an answer was given; stable, for logs and tests."""

    SERVED = 'served'
    NAME_UNKNOWN = 'name-unknown'
    METHOD_REFUSED = 'method-refused'
    HEADER_MISSING = 'header-missing'
    HEADER_MALFORMED = 'header-malformed'
    SIGNATURE_WRONG = 'signature-wrong'
    INSTANCE_UNKNOWN = 'instance-unknown'
    INSTANCE_MISMATCH = 'instance-mismatch'
    NOVA_REFUSED = 'nova-refused'
    NOVA_FAILED = 'nova-failed'
    NO_BUNDLE = 'no-bundle'
    INTERNAL = 'internal'


@dataclasses.dataclass(frozen=True, slots=True)
class Instance:
    """A proved identity."""

    uuid: str
    project_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """No instance, therefore no context.

    :param status: 403, 404 or 503
    :param detail: for the log; the guest reads nothing
    """

    status: int
    reason: Reason
    detail: str


Identify = Callable[[types.WSGIEnvironment], Instance | Refusal]


@dataclasses.dataclass(frozen=True, slots=True)
class NovaIdentity:
    """Asks nova's metadata application of the same process.

    Fails closed also where nova itself would not look at the headers
    (``[neutron] service_metadata_proxy`` off: nova then goes by the
    sender's address): the signature is checked here first, and nova's
    answer must name the very instance and project of the headers.

    :param metadata: nova's application, as the paste file assembles it
    :param shared_secret: ``[neutron] metadata_proxy_shared_secret``; must
        not be empty, since anybody can sign with an empty one
    """

    metadata: types.WSGIApplication
    shared_secret: bytes = dataclasses.field(repr=False)

    def __post_init__(self) -> None:
        if not self.shared_secret:
            raise ValueError('the shared secret is empty')

    def identify(self, environ: types.WSGIEnvironment) -> Instance | Refusal:
        """Prove who asks.

        :returns: the instance, or why there is none: 403 for headers that
            prove nothing, 404 for an instance nova does not know in that
            project, 503 when nova could not tell
        """
        claim = _claim(environ)
        if isinstance(claim, Refusal):
            return claim
        expected = hmac.new(
            self.shared_secret, claim.uuid.encode(), hashlib.sha256
        ).hexdigest()
        signature = environ['HTTP_X_INSTANCE_ID_SIGNATURE']
        if not hmac.compare_digest(expected, signature):
            return Refusal(
                403,
                Reason.SIGNATURE_WRONG,
                f'instance {claim.uuid}: not signed with the secret that'
                ' nova and the metadata proxy share',
            )
        status, body = _ask(self.metadata, environ)
        return _judge(claim, status, body)


def _claim(environ: types.WSGIEnvironment) -> Instance | Refusal:
    """Read the headers; a doubled one arrives joined and has no such form."""
    for header, form in (
        ('X-Instance-ID', _INSTANCE_ID),
        ('X-Tenant-ID', _PROJECT_ID),
        ('X-Instance-ID-Signature', _SIGNATURE),
    ):
        value = environ.get(_variable(header))
        if not value:
            return Refusal(403, Reason.HEADER_MISSING, f'{header} is missing')
        if not form.fullmatch(value):
            return Refusal(
                403,
                Reason.HEADER_MALFORMED,
                f'{header} has an unexpected form: {value[:80]!a}',
            )
    return Instance(environ['HTTP_X_INSTANCE_ID'], environ['HTTP_X_TENANT_ID'])


def _variable(header: str) -> str:
    return 'HTTP_' + header.upper().replace('-', '_')


def _ask(
    metadata: types.WSGIApplication, environ: types.WSGIEnvironment
) -> tuple[int, bytes]:
    """Put the question to nova's application.

    Only what the server itself says and the headers that nova needs are
    handed on: anything else a guest sends (a range, a condition, another
    provider's headers) could change what is answered.
    """
    question = {
        name: value
        for name, value in environ.items()
        if name.startswith(('wsgi.', 'SERVER_', 'REMOTE_'))
    }
    for header in (
        'Host',
        'X-Forwarded-For',
        'X-Instance-ID',
        'X-Tenant-ID',
        'X-Instance-ID-Signature',
    ):
        name = _variable(header)
        if name in environ:
            question[name] = environ[name]
    question.update(
        {
            'REQUEST_METHOD': 'GET',
            'SCRIPT_NAME': '',
            'PATH_INFO': _QUESTION,
            'QUERY_STRING': '',
            'CONTENT_LENGTH': '0',
            'wsgi.input': io.BytesIO(),
        }
    )
    heard: list[str] = []
    body = bytearray()

    def start_response(
        status: str,
        headers: list[tuple[str, str]],
        exc_info: Any = None,
    ) -> Callable[[bytes], object]:
        heard.append(status)
        return body.extend

    pieces: Iterable[bytes] = metadata(question, start_response)
    try:
        for piece in pieces:
            body += piece
            if len(body) > _ANSWER_LIMIT:
                return 500, b''
    finally:
        close = getattr(pieces, 'close', None)
        if close is not None:
            close()
    return (int(heard[-1].split()[0]) if heard else 500), bytes(body)


def _judge(claim: Instance, status: int, body: bytes) -> Instance | Refusal:
    if status == 404:
        return Refusal(
            404,
            Reason.INSTANCE_UNKNOWN,
            f'nova has no instance {claim.uuid} in project {claim.project_id}',
        )
    if status in (400, 401, 403):
        return Refusal(
            403,
            Reason.NOVA_REFUSED,
            f'instance {claim.uuid}: nova answered {status}',
        )
    if status != 200:
        return Refusal(
            503,
            Reason.NOVA_FAILED,
            f'instance {claim.uuid}: nova answered {status}',
        )
    try:
        answer = json.loads(body)
        found = Instance(answer['uuid'], answer['project_id'])
    except (ValueError, KeyError, TypeError):
        return Refusal(
            503,
            Reason.NOVA_FAILED,
            f'instance {claim.uuid}: nova answered without uuid or project_id',
        )
    if found != claim:
        return Refusal(
            403,
            Reason.INSTANCE_MISMATCH,
            f'the headers name instance {claim.uuid}, nova found'
            f' {found.uuid!a}; is [neutron] service_metadata_proxy on?',
        )
    return found
