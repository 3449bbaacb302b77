# SPDX-License-Identifier: Apache-2.0
"""What predecessors leave on a disk, written anew for each test.

The tables and columns are those of vmcatcher 0.6.3, as SQLAlchemy made them.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
import sqlite3
from typing import Any
import uuid

_SCHEMA = """
CREATE TABLE endorser (
    id INTEGER NOT NULL PRIMARY KEY,
    identifier VARCHAR(50) NOT NULL UNIQUE);
CREATE TABLE "endorserPrincible" (
    id INTEGER NOT NULL PRIMARY KEY,
    hv_dn VARCHAR(50) NOT NULL UNIQUE, hv_ca VARCHAR(50) NOT NULL,
    endorser INTEGER REFERENCES endorser (id));
CREATE TABLE subscription (
    id INTEGER NOT NULL PRIMARY KEY,
    identifier VARCHAR(50) NOT NULL UNIQUE, description VARCHAR(200),
    uri VARCHAR(200) NOT NULL UNIQUE, authorised BOOLEAN NOT NULL,
    imagelist_latest INTEGER, updated DATETIME{later});
CREATE TABLE "subscriptionAuth" (
    id INTEGER NOT NULL PRIMARY KEY,
    subscription INTEGER REFERENCES subscription (id),
    endorser INTEGER REFERENCES endorser (id),
    authorised BOOLEAN NOT NULL);
CREATE TABLE "ImageDefinition" (
    id INTEGER NOT NULL PRIMARY KEY,
    identifier VARCHAR(50) NOT NULL UNIQUE, latest INTEGER,
    cache INTEGER NOT NULL,
    subscription INTEGER REFERENCES subscription (id));
CREATE TABLE "imageListInstance" (
    id INTEGER NOT NULL PRIMARY KEY,
    data BLOB NOT NULL, data_hash VARCHAR(128) NOT NULL, expired DATETIME,
    sub_auth INTEGER REFERENCES "subscriptionAuth" (id),
    imported DATETIME NOT NULL, created DATETIME NOT NULL,
    expires DATETIME NOT NULL, version VARCHAR(50) NOT NULL);
"""
_LATER = """,
    "trustAnchor" INTEGER NOT NULL DEFAULT 0, "userName" VARCHAR(200),
    password VARCHAR(200), "updateMode" INTEGER NOT NULL DEFAULT 0"""

IDENTIFIER = '0b5e9f8a-3a5c-4a55-9d0b-6f6a2c5f1d11'
SUBJECT = '/C=CH/O=Example/CN=Jane Doe'
ISSUER = '/C=CH/O=Example/CN=Example CA'
URL = 'https://lists.example.org/store/vo/grid.example.org/image.list'


class VmCatcher:
    """A database of vmcatcher.

    :param early: as of a release before 0.4
    """

    def __init__(self, path: Path, early: bool = False) -> None:
        self.path = path
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.executescript(
                _SCHEMA.format(later='' if early else _LATER)
            )

    def run(self, statement: str, *values: Any) -> int:
        """Run a statement; returns the number of its new row."""
        with (
            contextlib.closing(sqlite3.connect(self.path)) as connection,
            connection,
        ):
            connection.execute('PRAGMA synchronous = OFF')
            return connection.execute(statement, values).lastrowid or 0

    def endorser(self, subject: str = SUBJECT, issuer: str = ISSUER) -> int:
        """An endorser with one pair of DNs."""
        row = self.run(
            'INSERT INTO endorser (identifier) VALUES (?)', str(uuid.uuid4())
        )
        self.run(
            'INSERT INTO endorserPrincible (hv_dn, hv_ca, endorser) '
            'VALUES (?, ?, ?)',
            subject,
            issuer,
            row,
        )
        return row

    def subscription(self, uri: str = URL, **columns: Any) -> int:
        """A followed list."""
        values = {
            'identifier': IDENTIFIER,
            'description': 'images for a test',
            'uri': uri,
            'authorised': 1,
        } | columns
        return self.run(
            f'INSERT INTO subscription ({", ".join(values)}) '  # noqa: S608
            f'VALUES ({", ".join("?" * len(values))})',
            *values.values(),
        )

    def authorise(
        self, subscription: int, endorser: int, authorised: int = 1
    ) -> int:
        """Let an endorser sign a list."""
        return self.run(
            'INSERT INTO subscriptionAuth (subscription, endorser, '
            'authorised) VALUES (?, ?, ?)',
            subscription,
            endorser,
            authorised,
        )

    def accepted(
        self,
        authorisation: int,
        version: Any = '1',
        created: Any = '2015-06-18 21:14:00.000000',
    ) -> int:
        """A list that vmcatcher took."""
        return self.run(
            'INSERT INTO imageListInstance (data, data_hash, sub_auth, '
            'imported, created, expires, version) VALUES '
            "(zeroblob(200000), 'x', ?, ?, ?, ?, ?)",
            authorisation,
            created,
            created,
            created,
            version,
        )

    def image(self, subscription: int, identifier: str, cache: int) -> int:
        """An image of a list, wanted or not."""
        return self.run(
            'INSERT INTO ImageDefinition (identifier, latest, cache, '
            'subscription) VALUES (?, 0, ?, ?)',
            identifier,
            cache,
            subscription,
        )

    @classmethod
    def usual(cls, path: Path, **columns: Any) -> VmCatcher:
        """One list with its endorser, accepted once as version 5."""
        made = cls(path)
        row = made.subscription(**columns)
        made.accepted(made.authorise(row, made.endorser()), '5')
        return made
