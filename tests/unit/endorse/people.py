# SPDX-License-Identifier: Apache-2.0
"""Endorsers with keys of each kind, all of one CA, living today."""

from __future__ import annotations

import dataclasses
import datetime
import functools
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography import x509
from cryptography.x509 import oid

from hepix_vm.endorse import identity
from hepix_vm.endorse import keys
from hepix_vm import imagelist
from hepix_vm import trust
from hepix_vm.trust import anchors
from tests.assets import pki

DAY = pki.DAY


def now() -> datetime.datetime:
    """This moment in whole seconds: signing carries the real time."""
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


@functools.cache
def authority() -> pki.Holder:
    """A CA that is valid today."""
    start = now() - 10 * DAY
    return pki.root(
        'C=DE/O=Grid/CN=Endorsing CA',
        'ec endorsing ca',
        start=start,
        end=start + 4000 * DAY,
    )


@functools.cache
def holder(
    subject: str | x509.Name = 'C=DE/O=Grid/CN=Jo',
    label: str = 'ec jo',
    days: int = 100,
    email: str | None = 'jo@example.org',
    start: int = -9,
) -> pki.Holder:
    """Somebody with a certificate of that CA."""
    extensions = list(pki.endorser_extensions(label))
    if email is not None:
        names = x509.SubjectAlternativeName([x509.RFC822Name(email)])
        extensions.append((names, False))
    return authority().issue(
        subject,
        label,
        extensions,
        start=now() + start * DAY,
        end=now() + days * DAY,
    )


def other() -> pki.Holder:
    """A second endorser."""
    return holder('C=DE/O=Grid/CN=Al', 'p384 al', email='al@example.org')


def ambiguous() -> pki.Holder:
    """Somebody whose name has no one-line form that reads one way."""
    common_name = x509.NameAttribute(oid.NameOID.COMMON_NAME, 'a/b=c')
    return holder(x509.Name([common_name]), 'ec odd')


def signatory(one: pki.Holder, *others: pki.Holder) -> keys.Signatory:
    """Who signs with a key in memory."""
    return keys.Signatory(
        one.certificate, one.key, tuple(o.certificate for o in others)
    )


def trust_anchors(*revoked: pki.Holder) -> trust.TrustAnchors:
    """What a site trusts: the CA and its CRL of today."""
    crl = authority().crl(revoked, start=now() - DAY, end=now() + 30 * DAY)
    return anchors.from_certificates([authority().certificate], [crl])


def draft(
    *who: pki.Holder,
    images: tuple[imagelist.ImageEntry, ...] = (),
    **more: Any,
) -> imagelist.ImageList:
    """A list that these endorse, by default Jo."""
    values: dict[str, Any] = {
        'identifier': '5b7f0c1e-6a0c-4f5e-9d55-0c52b6f6a001',
        'title': 'Worker nodes',
        'description': 'for tests',
        'created': now(),
        'expires': now() + 28 * DAY,
        'source': 'tests',
        'version': '1',
        'uri': 'https://lists.example.org/worker.signed',
        'endorsers': tuple(
            identity.endorser(one.certificate) for one in who or (holder(),)
        ),
        'images': images,
    }
    return imagelist.ImageList(**(values | more))


def later(image_list: imagelist.ImageList, **more: Any) -> imagelist.ImageList:
    """The list with other values."""
    return dataclasses.replace(image_list, **more)


def write(
    directory: Path, one: pki.Holder, passphrase: str | None = None
) -> tuple[Path, Path]:
    """Files of certificate and key."""
    certificate, key = directory / 'cert.pem', directory / 'key.pem'
    certificate.write_bytes(one.pem)
    key.touch(0o600)
    key.write_bytes(
        one.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(passphrase.encode())
            if passphrase
            else serialization.NoEncryption(),
        )
    )
    return certificate, key


def write_anchors(directory: Path, *revoked: pki.Holder) -> Path:
    """A directory of trust anchors."""
    directory.mkdir()
    crl = authority().crl(revoked, start=now() - DAY, end=now() + 30 * DAY)
    (directory / 'ca.pem').write_bytes(
        authority().pem + crl.public_bytes(serialization.Encoding.PEM)
    )
    return directory
