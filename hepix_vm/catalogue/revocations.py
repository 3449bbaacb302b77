# SPDX-License-Identifier: Apache-2.0
"""The trust anchors of a run, and the CRLs that were in use before it.

An old CRL put in the place of a newer one would bring a revoked endorser
back. So the newest ones are kept in the store, and a directory that offers
an older one is read with the newer.
"""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import datetime
import hashlib
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography import x509
from oslo_log import log
import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import schema
from hepix_vm import errors
from hepix_vm import trust
from hepix_vm.trust import anchors

LOG = log.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Anchored:
    """The trust anchors of a directory.

    :ivar sha256: of all that is in them; see ``judging``
    :ivar moments: UNIX seconds at which a certificate or CRL begins or ends
    """

    anchors: trust.TrustAnchors
    sha256: str
    moments: tuple[int, ...]


class Directories:
    """Anchor directories, each loaded once a run."""

    def __init__(self, store: database.Database) -> None:
        self._store = store
        self._loaded: dict[str, Anchored | errors.HepixError] = {}

    def of(self, directory: str) -> Anchored:
        """The anchors of a directory.

        :raises errors.Misconfigured: when the directory cannot be used
        :raises errors.LocalFault: when what was kept cannot be read
        """
        if directory not in self._loaded:
            self._loaded[directory] = self._load(directory)
        loaded = self._loaded[directory]
        if isinstance(loaded, errors.HepixError):
            raise loaded
        return loaded

    def _load(self, directory: str) -> Anchored | errors.HepixError:
        try:
            fresh = load(self._store, directory)
        except errors.LeaseLost:
            raise
        except errors.HepixError as exc:
            return exc
        for problem in fresh.problems:
            LOG.warning('%s: %s', directory, problem)
        return Anchored(fresh, digest(fresh), tuple(_moments(fresh)))


def digest(loaded: trust.TrustAnchors) -> str:
    """SHA-256 (hex) over certificates, signing policies and CRLs."""
    contents = sorted(
        [
            *(
                f'anchor {anchor.certificate.sha256} {anchor.patterns!r}'
                for anchor in loaded.anchors
            ),
            *(f'crl {crl.sha256}' for crl in loaded.crls),
        ]
    )
    return hashlib.sha256('\n'.join(contents).encode()).hexdigest()


def _moments(loaded: trust.TrustAnchors) -> Iterator[int]:
    for anchor in loaded.anchors:
        certificate = anchor.certificate.x509
        yield from around(certificate.not_valid_before_utc)
        yield from around(certificate.not_valid_after_utc)
    for crl in loaded.crls:
        yield from around(crl.this_update)
        if crl.next_update is not None:
            yield from around(crl.next_update)


def around(moment: datetime.datetime) -> tuple[int, int]:
    """UNIX seconds of a moment and of just after: some ends are included."""
    seconds = int(moment.timestamp())
    return seconds, seconds + 1


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
    key = _key(directory)
    rows = [
        {'directory_sha256': key, 'sha256': sha256, 'der': der}
        for sha256, der in sorted(found.items())
    ]

    def work(transaction: database.Transaction) -> None:
        transaction.execute(
            table.delete().where(table.c.directory_sha256 == key)
        )
        if rows:
            transaction.connection.execute(table.insert(), rows)

    store.transact(work)
