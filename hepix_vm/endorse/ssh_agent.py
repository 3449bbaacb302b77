# SPDX-License-Identifier: Apache-2.0
"""Keys that an SSH agent holds.

``ssh-add`` takes the PEM key of a certificate, asks for its passphrase once
and signs for as long as the agent lives. The protocol is the one of
draft-ietf-sshm-ssh-agent; signatures are those of RFC 8332 and RFC 5656.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import struct

from cryptography import exceptions
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric import utils
from cryptography.hazmat.primitives import serialization
from cryptography import x509

from hepix_vm.endorse import remote_key
from hepix_vm import errors

# The agent may ask a person before it signs.
PATIENCE = 300.0
_LARGEST = 256 * 1024
_REQUEST_IDENTITIES, _IDENTITIES = 11, 12
_SIGN_REQUEST, _SIGN_RESPONSE = 13, 14
# Flags of a request and the name of the signature that it gives.
_RSA = {'sha256': (2, b'rsa-sha2-256'), 'sha512': (4, b'rsa-sha2-512')}
_EC = {
    'sha256': b'ecdsa-sha2-nistp256',
    'sha384': b'ecdsa-sha2-nistp384',
    'sha512': b'ecdsa-sha2-nistp521',
}


def key(
    certificate: x509.Certificate, address: str
) -> remote_key.RemoteRsaKey | remote_key.RemoteEcKey:
    """The agent's key that belongs to a certificate.

    :param address: path of the agent's socket
    :raises hepix_vm.errors.Misconfigured: there is no agent, or it has no
        such key
    """
    public = certificate.public_key()
    wanted = _spki(public)
    for blob in _blobs(_ask(address, _REQUEST_IDENTITIES, b'', _IDENTITIES)):
        if _spki_of_blob(blob) == wanted:
            break
    else:
        raise errors.Misconfigured(
            'the SSH agent holds no key of the certificate of '
            f'{certificate.subject.rfc4514_string()}; add it with ssh-add'
        )

    def sign(data: bytes, digest: str) -> bytes:
        flags, name = _RSA.get(digest, (0, b''))
        if isinstance(public, ec.EllipticCurvePublicKey):
            flags, name = 0, _EC.get(digest, b'')
        request = _string(blob) + _string(data) + struct.pack('>I', flags)
        answer = _ask(address, _SIGN_REQUEST, request, _SIGN_RESPONSE)
        signature = _Fields(_Fields(answer).string())
        if signature.string() != name:
            raise _garbage()
        return _signature(public, signature.string())

    return remote_key.remote_key(public, sign)


def _signature(public: object, blob: bytes) -> bytes:
    if isinstance(public, rsa.RSAPublicKey):
        return blob.rjust(public.key_size // 8, b'\0')
    numbers = _Fields(blob)
    first, second = numbers.string(), numbers.string()
    return utils.encode_dss_signature(
        int.from_bytes(first, 'big'), int.from_bytes(second, 'big')
    )


def _spki(public: object) -> bytes:
    if isinstance(public, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        return public.public_bytes(
            serialization.Encoding.DER,
            serialization.PublicFormat.SubjectPublicKeyInfo,
        )
    return b''


def _spki_of_blob(blob: bytes) -> bytes | None:
    """The key of an agent's identity; None for kinds of no interest."""
    with contextlib.suppress(ValueError, exceptions.UnsupportedAlgorithm):
        kind = _Fields(blob).string()
        return _spki(
            serialization.load_ssh_public_key(
                kind + b' ' + base64.b64encode(blob)
            )
        )
    return None


def _blobs(answer: bytes) -> list[bytes]:
    fields = _Fields(answer)
    found = []
    for _ in range(fields.number()):
        found.append(fields.string())
        fields.string()  # the comment
    return found


class _Fields:
    """The fields of a message, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self) -> int:
        return int.from_bytes(self._take(4), 'big')

    def string(self) -> bytes:
        return self._take(self.number())

    def _take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) != size:
            raise _garbage()
        self._at += size
        return taken


def _string(data: bytes) -> bytes:
    return struct.pack('>I', len(data)) + data


def _ask(address: str, kind: int, body: bytes, expected: int) -> bytes:
    """One request to the agent and the body of its answer."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(address)
            connection.sendall(_string(bytes([kind]) + body))
            size = int.from_bytes(_receive(connection, 4), 'big')
            if not 1 <= size <= _LARGEST:
                raise _garbage()
            answer = _receive(connection, size)
    except OSError as exc:
        raise errors.Misconfigured(
            f'the SSH agent at {address!r} does not answer: {exc}; start one '
            'and set SSH_AUTH_SOCK'
        ) from exc
    if answer[0] != expected:
        raise errors.Misconfigured(
            'the SSH agent refuses to sign; unlock it, or confirm the use of '
            'the key'
        )
    return answer[1:]


def _receive(connection: socket.socket, size: int) -> bytes:
    received = b''
    while len(received) < size:
        piece = connection.recv(size - len(received))
        if not piece:
            raise _garbage()
        received += piece
    return received


def _garbage() -> errors.Misconfigured:
    return errors.Misconfigured(
        'the SSH agent answers something else than the protocol says'
    )
