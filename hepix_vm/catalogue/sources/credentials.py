# SPDX-License-Identifier: Apache-2.0
"""Secrets from files, and whom they are shown to."""

from __future__ import annotations

import base64
import dataclasses
from pathlib import Path
import re
import stat
import urllib.parse

from hepix_vm.catalogue.sources import values
from hepix_vm import errors

#: RFC 6750, section 2.1; it has no colon, a user and a secret have one.
_BEARER = re.compile(r'[A-Za-z0-9._~+/-]+=*')
_PRINTABLE = re.compile(r'[^\x00-\x1f\x7f]+')
_LONGEST = 16 * 1024
_PORTS = {'http': 80, 'https': 443}


@dataclasses.dataclass(frozen=True, slots=True)
class Basic:
    """A user and a secret, RFC 7617."""

    user: str
    secret: str = dataclasses.field(repr=False)

    @property
    def header(self) -> str:
        """Value of an Authorization header."""
        pair = f'{self.user}:{self.secret}'.encode()
        return f'Basic {base64.b64encode(pair).decode()}'


@dataclasses.dataclass(frozen=True, slots=True)
class Bearer:
    """A token, RFC 6750."""

    token: str = dataclasses.field(repr=False)

    @property
    def header(self) -> str:
        """Value of an Authorization header."""
        return f'Bearer {self.token}'


Credentials = Basic | Bearer


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """Where a URL leads: transport (``http`` or ``https``), host, port."""

    transport: str
    host: str
    port: int


def origin(url: str) -> Origin:
    """The origin of a URL.

    ``http`` and ``https`` are their own transport, ``NAME+http`` and
    ``NAME+https`` say theirs, every other scheme stands for https.

    :raises errors.Misconfigured: it has no host
    """
    try:
        parts = urllib.parse.urlsplit(url)
        transport = parts.scheme.rpartition('+')[2]
        if transport not in _PORTS:
            transport = 'https'
        port = parts.port or _PORTS[transport]
        host = parts.hostname
    except ValueError:
        host = None
    if not host:
        raise errors.Misconfigured(f'URL {url!r}: expected one with a host')
    return Origin(transport, host, port)


def shown_to(access: values.Access, url: str) -> bool:
    """Whether the subscription's secrets are for the server of a URL."""
    return bool(access.url) and origin(access.url) == origin(url)


def read(access: values.Access, url: str) -> Credentials | None:
    """What to show to the server of a URL; None: nothing.

    :raises errors.Misconfigured: the file is unusable, or it would be
        sent in clear
    """
    if access.token_file is None or not shown_to(access, url):
        return None
    if origin(url).transport != 'https':
        raise errors.Misconfigured(
            f'option token_file: {url} is not https, everybody on the way '
            'could read the secret; use https or remove the option'
        )
    text = _secret(access.token_file)
    user, colon, secret = text.partition(':')
    if colon:
        return Basic(user, secret)
    if is_bearer(text):
        return Bearer(text)
    raise errors.Misconfigured(
        f'file {access.token_file}, option token_file: expected USER:SECRET '
        'or a bearer token (RFC 6750), found other characters'
    )


def is_bearer(text: str) -> bool:
    """Whether a text may be a token."""
    return _BEARER.fullmatch(text) is not None


def certificate(access: values.Access, url: str) -> tuple[str, str] | None:
    """Files of the certificate and key for the server of a URL.

    :raises errors.Misconfigured: a file is unusable
    """
    if access.client_certificate is None or not shown_to(access, url):
        return None
    key = access.client_key or access.client_certificate
    if not Path(access.client_certificate).is_file():
        raise errors.Misconfigured(
            f'file {access.client_certificate}, option client_certificate: '
            'expected a PEM file, found none'
        )
    _private(key, 'client_key' if access.client_key else 'client_certificate')
    return access.client_certificate, key


def _secret(name: str) -> str:
    _private(name, 'token_file')
    try:
        with Path(name).open('rb') as stream:
            text = stream.read(_LONGEST + 1).decode('utf-8').strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise errors.Misconfigured(
            f'file {name}, option token_file: cannot be read: {exc}'
        ) from exc
    if len(text) > _LONGEST or not _PRINTABLE.fullmatch(text):
        raise errors.Misconfigured(
            f'file {name}, option token_file: expected one line of at most '
            f'{_LONGEST} characters'
        )
    return text


def _private(name: str, option: str) -> None:
    try:
        mode = Path(name).stat().st_mode
    except OSError as exc:
        raise errors.Misconfigured(
            f'file {name}, option {option}: {exc.strerror}'
        ) from exc
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise errors.Misconfigured(
            f'file {name}, option {option}: it holds a secret, but everybody '
            f'may read it (mode {stat.S_IMODE(mode):o}); run "chmod o-rwx" '
            'on it'
        )
