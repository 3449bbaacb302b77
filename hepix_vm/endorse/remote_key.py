# SPDX-License-Identifier: Apache-2.0
"""Private keys that stay where they are and sign there.

They are what the CMS builder of cryptography takes for a private key; all
that they can do is to sign, in the two ways that image lists are signed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from typing import NoReturn

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric import padding as paddings
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives import hashes

from hepix_vm import errors

#: Signs bytes, hashed with the named digest (``sha256`` ...): PKCS #1 v1.5
#: with an RSA key, a DER signature with an EC key.
Sign = Callable[[bytes, str], bytes]


def remote_key(public: object, sign: Sign) -> RemoteRsaKey | RemoteEcKey:
    """A private key that signs by calling.

    :param public: the public key of the certificate
    :raises hepix_vm.errors.Misconfigured: it is neither RSA nor EC
    """
    if isinstance(public, rsa.RSAPublicKey):
        return RemoteRsaKey(public, sign)
    if isinstance(public, ec.EllipticCurvePublicKey):
        return RemoteEcKey(public, sign)
    raise errors.Misconfigured(
        f'a key of kind {type(public).__name__} cannot sign image lists; '
        'RSA or EC is needed'
    )


def _stays() -> NoReturn:
    raise errors.Misconfigured('this key signs and does nothing else')


class RemoteRsaKey(rsa.RSAPrivateKey):
    """An RSA key elsewhere."""

    def __init__(self, public: rsa.RSAPublicKey, sign: Sign) -> None:
        self._public = public
        self._sign = sign

    @property
    def key_size(self) -> int:
        """Bits of the modulus."""
        return self._public.key_size

    def public_key(self) -> rsa.RSAPublicKey:
        """The public key."""
        return self._public

    def sign(
        self,
        data: Any,
        padding: paddings.AsymmetricPadding,
        algorithm: Any,
    ) -> bytes:
        """A PKCS #1 v1.5 signature."""
        if not isinstance(padding, paddings.PKCS1v15) or not isinstance(
            algorithm, hashes.HashAlgorithm
        ):
            _stays()
        return self._sign(bytes(data), algorithm.name)

    def decrypt(self, *_args: Any) -> NoReturn:
        """Refused."""
        _stays()

    def private_numbers(self) -> NoReturn:
        """Refused."""
        _stays()

    def private_bytes(self, *_args: Any) -> NoReturn:
        """Refused."""
        _stays()

    def __copy__(self) -> RemoteRsaKey:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> RemoteRsaKey:
        return self


class RemoteEcKey(ec.EllipticCurvePrivateKey):
    """An EC key elsewhere."""

    def __init__(self, public: ec.EllipticCurvePublicKey, sign: Sign) -> None:
        self._public = public
        self._sign = sign

    @property
    def curve(self) -> ec.EllipticCurve:
        """The curve."""
        return self._public.curve

    @property
    def key_size(self) -> int:
        """Bits of the key."""
        return self._public.key_size

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The public key."""
        return self._public

    def sign(
        self,
        data: Any,
        signature_algorithm: ec.EllipticCurveSignatureAlgorithm,
    ) -> bytes:
        """An ECDSA signature, DER."""
        algorithm = signature_algorithm.algorithm
        if not isinstance(signature_algorithm, ec.ECDSA) or not isinstance(
            algorithm, hashes.HashAlgorithm
        ):
            _stays()
        return self._sign(bytes(data), algorithm.name)

    def exchange(self, *_args: Any) -> NoReturn:
        """Refused."""
        _stays()

    def private_numbers(self) -> NoReturn:
        """Refused."""
        _stays()

    def private_bytes(self, *_args: Any) -> NoReturn:
        """Refused."""
        _stays()

    def __copy__(self) -> RemoteEcKey:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> RemoteEcKey:
        return self
