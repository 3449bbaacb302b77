# SPDX-License-Identifier: Apache-2.0
"""The CRLs that were in use, so that none goes back between two runs.

An old CRL put in the place of a newer one would bring a revoked endorser
back. So the newest ones are kept in the store, and a directory that offers
an older one is read with the newer.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography import x509
import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import schema
from hepix_vm import errors
from hepix_vm import trust
from hepix_vm.trust import anchors


def load(store: database.Database, directory: str) -> trust.TrustAnchors:
    """The trust anchors of a directory, with CRLs that never go back.

    :raises errors.Misconfigured: when the directory cannot be used
    :raises errors.LocalFault: when what was kept cannot be read
    """
    with store.reading() as connection:
        known = _known(connection, directory)
    loaded = trust.load(Path(directory), _anchors(directory, known))
    found = {
        crl.sha256: crl.x509.public_bytes(serialization.Encoding.DER)
        for crl in loaded.crls
        if crl.flaw is None
    }
    if found.keys() != known.keys():
        _keep(store, directory, found)
    return loaded


def _known(connection: sa.Connection, directory: str) -> dict[str, bytes]:
    table = schema.crl
    rows = connection.execute(
        sa.select(table.c.sha256, table.c.der).where(
            table.c.directory_sha256 == _key(directory)
        )
    )
    return {row.sha256: bytes(row.der) for row in rows}


def _key(directory: str) -> str:
    return hashlib.sha256(directory.encode(errors='replace')).hexdigest()


def _anchors(directory: str, known: dict[str, bytes]) -> trust.TrustAnchors:
    try:
        crls = [x509.load_der_x509_crl(der) for der in known.values()]
    except ValueError as exc:
        raise errors.LocalFault(
            f'the catalogue holds a damaged CRL of directory {directory}: '
            f'{exc}; restore its database, or delete the rows of table crl '
            'if the directory is known to be right'
        ) from exc
    return anchors.from_certificates((), crls)


def _keep(
    store: database.Database, directory: str, found: dict[str, bytes]
) -> None:
    table = schema.crl
    with store.writing() as transaction:
        transaction.execute(
            table.delete().where(table.c.directory_sha256 == _key(directory))
        )
        if found:
            transaction.connection.execute(
                table.insert(),
                [
                    {
                        'directory_sha256': _key(directory),
                        'sha256': sha256,
                        'der': der,
                    }
                    for sha256, der in sorted(found.items())
                ],
            )
