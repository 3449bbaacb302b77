# SPDX-License-Identifier: Apache-2.0
"""Keys in a token: a smart card, a USB key or a hardware module (PKCS #11).

Needs the extra ``pkcs11`` of this package.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import hashlib
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric import utils
from cryptography import x509

from hepix_vm.endorse import files
from hepix_vm.endorse import pkcs11_uri
from hepix_vm.endorse import remote_key
from hepix_vm import errors


@contextlib.contextmanager
def key(
    uri: pkcs11_uri.Pkcs11Uri,
    certificate: x509.Certificate,
    ask_pin: Callable[[str], str],
) -> Iterator[remote_key.RemoteRsaKey | remote_key.RemoteEcKey]:
    """A token's private key, for as long as the session lasts.

    That it belongs to the certificate is seen when it signs: what was
    signed is verified before it is used.

    :param ask_pin: gets a sentence that names the token, returns its PIN
    :raises hepix_vm.errors.Misconfigured: there is no such token or key,
        or the token refuses
    """
    pkcs11 = _library()
    try:
        token = _token(pkcs11, uri)
        label = str(token.label).strip()
        if uri.pin_file is not None:
            pin = files.read_secret(uri.pin_file)
        else:
            pin = ask_pin(f'PIN of the token {label!r}')
        with token.open(user_pin=pin) as session:
            public = certificate.public_key()
            private = _private_key(pkcs11, session, uri, label, public)
            yield remote_key.remote_key(
                public, _signer(pkcs11, private, public, pin)
            )
    except pkcs11.exceptions.PKCS11Error as exc:
        raise errors.Misconfigured(
            f'the token refuses: {_meaning(exc)}'
        ) from exc


def _library() -> Any:
    try:
        import pkcs11
        import pkcs11.exceptions
    except ImportError as exc:
        raise errors.Misconfigured(
            'keys in tokens need python-pkcs11; run "pip install '
            "'hepix_vm[pkcs11]'\""
        ) from exc
    return pkcs11


def _meaning(exc: Exception) -> str:
    """The library's errors often have no text but their type."""
    name = type(exc).__name__
    if name in ('PinIncorrect', 'PinInvalid', 'PinLenRange'):
        return 'the PIN is wrong; few tries are left before it locks itself'
    return f'{name}: {exc}' if str(exc) else name


def _token(pkcs11: Any, uri: pkcs11_uri.Pkcs11Uri) -> Any:
    try:
        library = pkcs11.lib(str(uri.module))
    except (RuntimeError, OSError) as exc:
        raise errors.Misconfigured(
            f'{uri.module}: expected a PKCS #11 library, found: '
            f'{_meaning(exc)}'
        ) from exc
    ready = pkcs11.TokenFlag.TOKEN_INITIALIZED
    tokens = [t for t in library.get_tokens() if ready in t.flags]
    fitting = [
        token
        for token in tokens
        if uri.token in (None, str(token.label).strip())
        and uri.serial
        in (None, bytes(token.serial).decode('utf-8', 'replace').strip())
    ]
    if len(fitting) == 1:
        return fitting[0]
    shown = ', '.join(sorted(repr(str(t.label).strip()) for t in tokens))
    raise errors.Misconfigured(
        f'expected one token as the PKCS #11 URI names it, found '
        f'{len(fitting)} among: {shown or "no token"}'
    )


def _private_key(
    pkcs11: Any,
    session: Any,
    uri: pkcs11_uri.Pkcs11Uri,
    token: str,
    public: object,
) -> Any:
    kind = 'RSA' if isinstance(public, rsa.RSAPublicKey) else 'EC'
    template: dict[Any, Any] = {
        pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY,
        pkcs11.Attribute.KEY_TYPE: getattr(pkcs11.KeyType, kind),
    }
    if uri.label is not None:
        template[pkcs11.Attribute.LABEL] = uri.label
    if uri.identifier is not None:
        template[pkcs11.Attribute.ID] = uri.identifier
    found = list(session.get_objects(template))
    if len(found) == 1:
        return found[0]
    shown = ', '.join(sorted(repr(str(one.label)) for one in found))
    raise errors.Misconfigured(
        f'token {token!r}: expected one private {kind} key as the PKCS #11 '
        f'URI names it, found {shown or "none"}; give object=LABEL or id=%NN'
    )


def _signer(
    pkcs11: Any, private: Any, public: object, pin: str
) -> remote_key.Sign:
    more: dict[str, Any] = {}
    with contextlib.suppress(pkcs11.exceptions.AttributeTypeInvalid):
        if private[pkcs11.Attribute.ALWAYS_AUTHENTICATE]:
            # Signature keys of PIV cards ask at each use.
            more['pin'] = pin

    def sign(data: bytes, digest: str) -> bytes:
        if isinstance(public, rsa.RSAPublicKey):
            mechanism = getattr(pkcs11.Mechanism, f'{digest.upper()}_RSA_PKCS')
            return bytes(private.sign(data, mechanism=mechanism, **more))
        # Hashed here: few tokens hash for ECDSA.
        raw = private.sign(
            hashlib.new(digest, data).digest(),
            mechanism=pkcs11.Mechanism.ECDSA,
            **more,
        )
        half = len(raw) // 2
        return utils.encode_dss_signature(
            int.from_bytes(raw[:half], 'big'),
            int.from_bytes(raw[half:], 'big'),
        )

    return sign
