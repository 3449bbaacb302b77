# SPDX-License-Identifier: Apache-2.0
"""Which key of which token, as RFC 7512 writes it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
import urllib.parse

from hepix_vm import errors

SCHEME = 'pkcs11:'
_TOKEN = ('token', 'serial', 'manufacturer', 'model', 'slot-id')
_KEY = ('object', 'id', 'type')
_QUERY = ('module-path', 'pin-source', 'pin-value')


@dataclasses.dataclass(frozen=True, slots=True)
class Pkcs11Uri:
    """A key in a token.

    :param module: the shared library that talks to the token
    :param token: label of the token; None for the only one
    :param serial: serial number of the token; None for any
    :param label: CKA_LABEL of the private key; None for any
    :param identifier: CKA_ID of the private key; None for any
    :param pin_file: file that holds the PIN; None if it is asked for
    """

    module: Path
    token: str | None = None
    serial: str | None = None
    label: str | None = None
    identifier: bytes | None = None
    pin_file: Path | None = None


def parse(text: str) -> Pkcs11Uri:
    """Read a PKCS #11 URI.

    :raises hepix_vm.errors.Misconfigured: it is none, names something that
        cannot be looked for, or holds the PIN itself
    """
    path, _, query = text.removeprefix(SCHEME).partition('?')
    found = _attributes(path, ';', (*_TOKEN, *_KEY))
    found |= _attributes(query, '&', _QUERY)
    if 'pin-value' in found:
        raise errors.Misconfigured(
            'a PIN has no place on a command line, where others see it; '
            'use pin-source=file:PATH or --passphrase-file, and change the '
            'PIN'
        )
    for name in ('manufacturer', 'model', 'slot-id'):
        if name in found:
            raise errors.Misconfigured(
                f'PKCS #11 URI: tokens are found by token and serial, not by '
                f'{name}'
            )
    if found.get('type', b'private') != b'private':
        raise errors.Misconfigured(
            'PKCS #11 URI: expected type=private, as lists are signed'
        )
    if 'module-path' not in found:
        raise errors.Misconfigured(
            'PKCS #11 URI: expected the library of the token, such as '
            '"pkcs11:token=NAME;object=LABEL?module-path=/usr/lib/softhsm/'
            'libsofthsm2.so"'
        )

    def text_of(name: str) -> str | None:
        return found[name].decode() if name in found else None

    return Pkcs11Uri(
        module=Path(found['module-path'].decode()),
        token=text_of('token'),
        serial=text_of('serial'),
        label=text_of('object'),
        identifier=found.get('id'),
        pin_file=_pin_file(text_of('pin-source')),
    )


def _attributes(
    text: str, separator: str, known: tuple[str, ...]
) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for piece in filter(None, text.split(separator)):
        name, equals, value = piece.partition('=')
        if not equals or name not in known or name in found:
            raise errors.Misconfigured(
                f'PKCS #11 URI: expected each of {", ".join(known)} once at '
                f'most, found {name!r}'
            )
        found[name] = urllib.parse.unquote_to_bytes(value)
        if name != 'id':
            try:
                found[name].decode()
            except UnicodeDecodeError as exc:
                raise errors.Misconfigured(
                    f'PKCS #11 URI: {name} is not UTF-8'
                ) from exc
    return found


def _pin_file(source: str | None) -> Path | None:
    if source is None:
        return None
    if source.startswith('|') or not source.removeprefix('file:'):
        raise errors.Misconfigured(
            'PKCS #11 URI: expected pin-source=file:PATH'
        )
    return Path(source.removeprefix('file://').removeprefix('file:'))
