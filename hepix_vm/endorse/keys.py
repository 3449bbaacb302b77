# SPDX-License-Identifier: Apache-2.0
"""The endorser's private key: in a file, an SSH agent or a token.

=====================  ==================================================
``PATH``               a PEM file, encrypted or not
``ssh-agent:``         the agent that ``SSH_AUTH_SOCK`` names
``pkcs11:...``         a token (RFC 7512), with ``?module-path=``
=====================  ==================================================

Passphrases and PINs come from a file or from a person, never from a
command line or the environment, and are never logged.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
from pathlib import Path

from cryptography import exceptions
from cryptography.hazmat.primitives import serialization
from cryptography import x509

from hepix_vm.endorse import files
from hepix_vm.endorse import identity
from hepix_vm.endorse import pkcs11_uri
from hepix_vm.endorse import ssh_agent
from hepix_vm.endorse import token_key
from hepix_vm import errors
from hepix_vm.trust import signing

AGENT = 'ssh-agent:'


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """Where certificate and key of a signer are.

    :param certificate: PEM file; certificates behind the first one are
        embedded, too
    :param key: one of the three forms above
    :param chain: PEM file of further certificates to embed
    :param passphrase_file: holds passphrase or PIN
    :param ask: asks a person; gets a sentence, returns the secret
    :param agent: address of the SSH agent
    """

    certificate: Path
    key: str
    chain: Path | None = None
    passphrase_file: Path | None = None
    ask: Callable[[str], str] | None = dataclasses.field(
        default=None, repr=False
    )
    agent: str | None = None

    def secret(self, what: str) -> str:
        """The passphrase or PIN.

        :raises hepix_vm.errors.Misconfigured: nobody can tell it
        """
        if self.passphrase_file is not None:
            return files.read_secret(self.passphrase_file)
        if self.ask is None:
            raise errors.Misconfigured(
                f'{what}: there is no terminal to ask at; give '
                '--passphrase-file'
            )
        return self.ask(what)


@dataclasses.dataclass(frozen=True, slots=True)
class Signatory:
    """Who signs.

    :param certificate: the signer's
    :param key: its private key
    :param others: further certificates to embed
    """

    certificate: x509.Certificate
    key: signing.PrivateKey = dataclasses.field(repr=False)
    others: tuple[x509.Certificate, ...] = ()


@contextlib.contextmanager
def signatory(source: Source) -> Iterator[Signatory]:
    """Who signs, for as long as a token's session lasts.

    :raises hepix_vm.errors.Misconfigured: certificate or key cannot be
        used, or do not belong together
    """
    certificate, *others = identity.load(source.certificate)
    if source.chain is not None:
        others += identity.load(source.chain)
    with _private_key(source, certificate) as key:
        private = signing.require_key(certificate, key)
        yield Signatory(certificate, private, tuple(dict.fromkeys(others)))


@contextlib.contextmanager
def _private_key(
    source: Source, certificate: x509.Certificate
) -> Iterator[object]:
    if source.key.startswith(pkcs11_uri.SCHEME):
        uri = pkcs11_uri.parse(source.key)
        with token_key.key(uri, certificate, source.secret) as key:
            yield key
    elif source.key == AGENT:
        if not source.agent:
            raise errors.Misconfigured(
                'no SSH agent: SSH_AUTH_SOCK is not set; start one with '
                'ssh-agent and add the key with ssh-add'
            )
        yield ssh_agent.key(certificate, source.agent)
    else:
        yield from_pem(Path(source.key), source.secret)


def from_pem(path: Path, secret: Callable[[str], str]) -> object:
    """The key of a PEM file.

    :param secret: called with a sentence if the key is encrypted
    :raises hepix_vm.errors.Misconfigured: it cannot be read, the passphrase
        is wrong, or everybody may read an unencrypted key
    """
    data = files.read(path)
    try:
        try:
            key = serialization.load_pem_private_key(data, None)
        except TypeError:  # it is encrypted
            passphrase = secret(f'passphrase of {path}').encode()
            return serialization.load_pem_private_key(data, passphrase)
    except (ValueError, exceptions.UnsupportedAlgorithm) as exc:
        raise errors.Misconfigured(
            f'{path}: expected a private key in PEM and, if it is encrypted, '
            f'its right passphrase, found: {exc}'
        ) from exc
    files.require_private(path)
    return key
