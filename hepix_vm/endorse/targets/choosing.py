# SPDX-License-Identifier: Apache-2.0
"""From the address of a place to what publishes there."""

from __future__ import annotations

import ipaddress
from pathlib import Path
import urllib.parse

from hepix_vm.endorse.targets import directory
from hepix_vm.endorse.targets import interface
from hepix_vm.endorse.targets import object_store
from hepix_vm.endorse.targets import registry
from hepix_vm.endorse.targets import web
from hepix_vm import errors

_TRANSPORTS = {'dav': 'http', 'davs': 'https'}
_FORMS = (
    'a directory, davs://HOST/PATH, https://HOST/PATH, s3://BUCKET/PREFIX or '
    'oci://HOST/REPOSITORY:TAG'
)


def choose(
    address: str, base: str, access: interface.Access
) -> interface.Target:
    """What publishes at an address.

    :param address: in one of the forms of :mod:`hepix_vm.endorse.targets`
    :param base: URI under which subscribers find what is published there;
        a registry has its own
    :raises hepix_vm.errors.Misconfigured: it has another form, holds a
        secret, or would send one in clear
    """
    if '://' not in address:
        return directory.Directory(Path(address).absolute(), _folder(base))
    parts = _split(address)
    _require_shielded(parts, access)
    if parts.scheme == 'file':
        path = Path(urllib.parse.unquote(parts.path))
        return directory.Directory(path, _folder(base))
    if not parts.netloc:
        raise errors.Misconfigured(f'{address!r}: expected {_FORMS}')
    if parts.scheme in ('oci', 'oci+http'):
        return registry.Registry(address, access)
    if parts.scheme == 's3':
        prefix = _folder(parts.path.lstrip('/')) if parts.path else ''
        return object_store.ObjectStore(
            parts.netloc, prefix.lstrip('/'), _folder(base), access
        )
    transport = _TRANSPORTS.get(parts.scheme, parts.scheme)
    if transport in ('http', 'https'):
        url = _folder(f'{transport}://{parts.netloc}{parts.path}')
        kind = web.WebDav if parts.scheme in _TRANSPORTS else web.Put
        return kind(url, _folder(base), access)
    raise errors.Misconfigured(f'{address!r}: expected {_FORMS}')


def _split(address: str) -> urllib.parse.SplitResult:
    try:
        parts = urllib.parse.urlsplit(address)
        _ = parts.port
    except ValueError as exc:
        raise errors.Misconfigured(f'{address!r}: {exc}') from exc
    if '@' in parts.netloc:
        raise errors.Misconfigured(
            'a secret has no place in an address, where others see it; use '
            '--token-file, and change the secret'
        )
    if parts.query or parts.fragment:
        raise errors.Misconfigured(f'{address!r}: expected {_FORMS}')
    return parts


def _require_shielded(
    parts: urllib.parse.SplitResult, access: interface.Access
) -> None:
    """Refuse to send a password or token in clear to another machine."""
    if parts.scheme not in ('http', 'dav', 'oci+http'):
        return
    if not access.has_secret or _is_here(parts.hostname or ''):
        return
    raise errors.Misconfigured(
        f'{parts.scheme}://{parts.netloc}: everybody on the way could read '
        'the secret; use https'
    )


def _is_here(host: str) -> bool:
    if host == 'localhost':
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _folder(url: str) -> str:
    return url if url.endswith('/') else f'{url}/'
