# SPDX-License-Identifier: Apache-2.0
"""Which instance asks: signed headers.

Neutron's metadata agent (or whatever stands for it) names the instance in
``X-Instance-ID`` and its project in ``X-Tenant-ID`` and signs the first with
HMAC-SHA256 over the secret that it shares with nova. The signature says
nothing about the project and nothing about whether the instance exists: that
is Nova's word, see :mod:`hepix_vm.context.identities`.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import enum
import hashlib
import hmac
import re
from wsgiref import types

_INSTANCE_ID = re.compile(
    r'[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}'
)
_PROJECT_ID = re.compile(r'[A-Za-z0-9_.-]{1,64}')
_SIGNATURE = re.compile(r'[0-9a-f]{64}')


class Reason(enum.StrEnum):
    """Why an answer was given; stable, for logs and tests."""

    NAME_UNKNOWN = 'name-unknown'
    METHOD_REFUSED = 'method-refused'
    HEADER_MISSING = 'header-missing'
    HEADER_MALFORMED = 'header-malformed'
    SIGNATURE_WRONG = 'signature-wrong'
    INSTANCE_UNKNOWN = 'instance-unknown'
    PROJECT_WRONG = 'project-wrong'
    NOVA_FAILED = 'nova-failed'
    CATALOGUE_AWAY = 'catalogue-away'
    HOST_UNKNOWN = 'host-unknown'
    NO_BUNDLE = 'no-bundle'
    VARIANT_REFUSED = 'variant-refused'
    NOT_SIGNED = 'not-signed'
    FEATURE_UNKNOWN = 'feature-unknown'
    FEATURES_NOT_READ = 'features-not-read'
    REPORTS_TOO_MANY = 'reports-too-many'
    BUSY = 'busy'
    ROLE_MISSING = 'role-missing'
    BODY_REFUSED = 'body-refused'
    INTERNAL = 'internal'


@dataclasses.dataclass(frozen=True, slots=True)
class Instance:
    """Who a signed request is from, in the project that it names."""

    uuid: str
    project_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """No answer but a status.

    :param status: 403, 404 or 503
    :param detail: for the log; the guest reads nothing
    """

    status: int
    reason: Reason
    detail: str


Identify = Callable[[types.WSGIEnvironment], Instance | Refusal]


@dataclasses.dataclass(frozen=True, slots=True)
class SignedIdentity:
    """Believes what is signed.

    :param shared_secret: ``metadata_proxy_shared_secret``, as neutron's
        metadata agent has it; must not be empty, since anybody can sign with
        an empty one
    """

    shared_secret: bytes = dataclasses.field(repr=False)
    _keyed: hmac.HMAC = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.shared_secret:
            raise ValueError('the shared secret is empty')
        keyed = hmac.new(self.shared_secret, digestmod=hashlib.sha256)
        object.__setattr__(self, '_keyed', keyed)

    def identify(self, environ: types.WSGIEnvironment) -> Instance | Refusal:
        """Prove who asks.

        :returns: the instance, or why there is none: 403 for headers that
            prove nothing
        """
        claim = _claim(environ)
        if isinstance(claim, Refusal):
            return claim
        # Not hmac.digest: that lets other threads go first, and the request
        # waits until they let it go on.
        keyed = self._keyed.copy()
        keyed.update(claim.uuid.encode())
        signature = environ['HTTP_X_INSTANCE_ID_SIGNATURE']
        if not hmac.compare_digest(keyed.hexdigest(), signature):
            return Refusal(
                403,
                Reason.SIGNATURE_WRONG,
                f'instance {claim.uuid}: not signed with the secret that'
                ' nova and the metadata proxy share',
            )
        return claim


#: Each header, where servers put it, and its one form.
_HEADERS = (
    ('X-Instance-ID', 'HTTP_X_INSTANCE_ID', _INSTANCE_ID),
    ('X-Tenant-ID', 'HTTP_X_TENANT_ID', _PROJECT_ID),
    (
        'X-Instance-ID-Signature',
        'HTTP_X_INSTANCE_ID_SIGNATURE',
        _SIGNATURE,
    ),
)


def _claim(environ: types.WSGIEnvironment) -> Instance | Refusal:
    """Read the headers.

    One that was sent twice, with "-" or "_" in its name, arrives joined by
    most servers and has no such form; see the guide for what each does.
    """
    for header, variable, form in _HEADERS:
        value = environ.get(variable)
        if not value:
            return Refusal(403, Reason.HEADER_MISSING, f'{header} is missing')
        if not form.fullmatch(value):
            return Refusal(
                403,
                Reason.HEADER_MALFORMED,
                f'{header} has an unexpected form: {value[:80]!a}',
            )
    return Instance(environ['HTTP_X_INSTANCE_ID'], environ['HTTP_X_TENANT_ID'])
