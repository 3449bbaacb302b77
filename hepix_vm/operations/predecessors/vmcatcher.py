# SPDX-License-Identifier: Apache-2.0
"""What vmcatcher keeps: one SQLite database.

Facts of its schema (``vmcatcher/databaseDefinition.py``, releases 0.2 to
0.6): ``subscription`` holds what is followed, with transport credentials in
clear since 0.4; ``subscriptionAuth`` says which ``endorser`` may sign it,
``endorserPrincible`` (so spelt) has the DNs of an endorser;
``imageListInstance`` has one row for every list that was accepted, with its
version and its dates in UTC; ``ImageDefinition`` has the images that were
accepted, with ``cache`` 1 where they were wanted.
"""

from __future__ import annotations

import datetime
from pathlib import Path
import sqlite3

from hepix_vm import errors
from hepix_vm import imagelist
from hepix_vm.operations.predecessors import database
from hepix_vm.operations.predecessors import values

NAME = 'vmcatcher'

_TABLES = {
    'subscription': ('id', 'identifier', 'description', 'uri', 'authorised'),
    'endorser': ('id', 'identifier'),
    'endorserPrincible': ('id', 'hv_dn', 'hv_ca', 'endorser'),
    'subscriptionAuth': ('id', 'subscription', 'endorser', 'authorised'),
    'imageListInstance': ('id', 'sub_auth', 'created', 'version'),
    'ImageDefinition': ('id', 'identifier', 'cache', 'subscription'),
}
#: Columns that releases before 0.4 lack.
_SECRETS = ('userName', 'password')
_MODE = 'updateMode'
_TAKES_NEW = 2

_INSECURE = (
    'vmcatcher keeps the passwords of servers in its database in clear: '
    'after moving, remove the database or overwrite them, and change them '
    'where the database was readable by others.',
    'it never acts on expiry, so images of a list that ended long ago may '
    'still be in use; here they are not placed any more.',
    'it looks up who may sign by the number of a row of endorserPrincible '
    'instead of by its endorser, and never reads either column authorised: '
    'what follows is what its tables say, not what it did.',
    'an image belonged to whichever list named it last; here the list that '
    'had it first keeps it.',
)
_NO_EQUIVALENT = (
    'event handlers (VMCATCHER_*_EVENT): "hepix-vm publish" brings approved '
    'images into Glance.',
    'the directory of CAs stands in its command line or in '
    'VMCATCHER_DIR_CERT, not in the database: see option trust_anchors.',
    'trustAnchor (browser or IGTF CAs for https): see option ca_file.',
)


def read(path: Path) -> values.Predecessor:
    """Read vmcatcher's database; it is not changed.

    :raises errors.Misconfigured: it cannot be read or has another schema
    """
    with database.opened(path, _TABLES) as opened:
        rows = _Rows(opened)
        followed = []
        left_out = []
        for row in rows.subscriptions:
            label = _label(opened, row)
            try:
                followed.append(rows.followed(row, label))
            except values.Unusable as exc:
                left_out.append(values.LeftOut(label, str(exc)))
    if not followed and not left_out:
        raise errors.Misconfigured(
            f'{path}: expected subscriptions, found none in it; give the '
            'database of VMCATCHER_RDBMS'
        )
    return values.Predecessor(
        NAME, tuple(followed), tuple(left_out), _INSECURE, _NO_EQUIVALENT
    )


def _label(opened: database.Opened, row: sqlite3.Row) -> str:
    description = opened.text('subscription', row, 'description')
    return values.shown(description) or f'subscription {row["id"]}'


class _Rows:
    """The rows of a database, by subscription."""

    def __init__(self, opened: database.Opened) -> None:
        self._opened = opened
        has = opened.columns['subscription']
        secret = ' OR '.join(
            f"coalesce({name}, '') != ''" for name in _SECRETS if name in has
        )
        mode = _MODE if _MODE in has else '0'
        # Whether there is a secret leaves the database, the secret does not.
        self.subscriptions = opened.rows(
            'SELECT id, identifier, description, uri, authorised, '  # noqa: S608 - names of ours
            f'{mode} AS mode, {secret or "0"} AS secret FROM subscription'
        )
        self._signers = _grouped(
            opened.rows(
                'SELECT a.subscription AS owner, a.endorser AS endorser, '
                'a.authorised AS authorised, p.id AS id, p.hv_dn AS hv_dn, '
                'p.hv_ca AS hv_ca FROM subscriptionAuth a '
                'JOIN endorserPrincible p ON p.endorser = a.endorser '
                'ORDER BY p.id'
            )
        )
        self._lists = _grouped(
            opened.rows(
                'SELECT a.subscription AS owner, a.endorser AS endorser, '
                'i.id AS id, i.version AS version, i.created AS created '
                'FROM imageListInstance i '
                'JOIN subscriptionAuth a ON a.id = i.sub_auth'
            )
        )
        self._images = _grouped(
            opened.rows(
                'SELECT subscription AS owner, id, identifier, cache '
                'FROM ImageDefinition ORDER BY id'
            )
        )

    def followed(self, row: sqlite3.Row, label: str) -> values.Followed:
        """One subscription.

        :raises values.Unusable: it cannot be followed
        """
        text = self._opened.text
        identifier = values.list_identifier(
            text('subscription', row, 'identifier')
        )
        found = values.location(text('subscription', row, 'uri'))
        notes = list(values.emptied_note(found))
        seen, signer = self._seen(row['id'], notes)
        images = tuple(
            text('ImageDefinition', image, 'identifier')
            for image in self._images.get(row['id'], ())
            if image['cache'] == 1
        )
        secret = None
        if row['secret'] == 1 or found.had_user:
            secret = values.Secret(
                f'columns userName and password of row {row["id"]} of table '
                'subscription, or its URL'
            )
        mode = row['mode']
        return values.Followed(
            label=label,
            url=found.url,
            list_identifier=identifier,
            endorsers=self._endorsers(row['id'], signer, notes),
            images=images,
            takes_all=isinstance(mode, int) and bool(mode & _TAKES_NEW),
            secret=secret,
            seen=seen,
            notes=tuple(notes),
        )

    def _endorsers(
        self, owner: int, latest: int | None, notes: list[str]
    ) -> tuple[values.Endorser, ...]:
        """Who may sign, the latest signer first."""
        text = self._opened.text
        found = []
        rows = self._signers.get(owner, [])
        for row in sorted(rows, key=lambda row: row['endorser'] != latest):
            endorser = values.Endorser(
                text('endorserPrincible', row, 'hv_dn'),
                text('endorserPrincible', row, 'hv_ca'),
            )
            if row['authorised'] != 1:
                notes.append(
                    'an endorser of it is marked as not authorised and left '
                    f'out: {endorser.subject}'
                )
                continue
            problems = values.readable(endorser.subject, endorser.issuer)
            notes += problems
            if not problems:
                found.append(endorser)
        return tuple(found)

    def _seen(
        self, owner: int, notes: list[str]
    ) -> tuple[values.Seen | None, int | None]:
        """The highest list that was accepted, and its endorser's row."""
        best = None
        for row in self._lists.get(owner, ()):
            version = self._opened.text('imageListInstance', row, 'version')
            try:
                key = imagelist.version_key(version)
            except ValueError as exc:
                notes.append(
                    f'a list that vmcatcher had accepted has version '
                    f'{version[:64]!r}, which is passed over: {exc}'
                )
                continue
            seen = values.Seen(version, self._created(row))
            if best is None or (key, seen.created) > best[0]:
                best = (key, seen.created), seen, row['endorser']
        return (None, None) if best is None else (best[1], best[2])

    def _created(self, row: sqlite3.Row) -> datetime.datetime:
        """As SQLAlchemy writes it: without a zone, and meant as UTC."""
        text = self._opened.text('imageListInstance', row, 'created')
        try:
            return datetime.datetime.fromisoformat(text).replace(
                tzinfo=datetime.UTC
            )
        except ValueError as exc:
            raise self._opened.unexpected(
                'imageListInstance', row, 'created', 'a date and time'
            ) from exc


def _grouped(rows: list[sqlite3.Row]) -> dict[int, list[sqlite3.Row]]:
    found: dict[int, list[sqlite3.Row]] = {}
    for row in rows:
        found.setdefault(row['owner'], []).append(row)
    return found
