# SPDX-License-Identifier: Apache-2.0
"""Schema versions of the catalogue, by alembic."""

from __future__ import annotations

import contextlib
from pathlib import Path

from alembic import command
from alembic import config
from alembic.runtime import migration
from alembic.script import ScriptDirectory

from hepix_vm.catalogue import database
from hepix_vm import errors

#: Seconds that one step of a migration may take: large tables are copied.
PATIENCE = 6 * 3600

# What SQLite says of a file that something else has written to.
_DAMAGED = ('malformed', 'not a database')


def _config() -> config.Config:
    settings = config.Config()
    settings.set_main_option(
        'script_location', str(Path(__file__).parent).replace('%', '%%')
    )
    return settings


def head() -> str:
    """The revision that this version of the software needs."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None  # noqa: S101 - the package ships one
    return revision


def current(store: database.Database) -> str | None:
    """The revision of the database; None while it is empty."""
    with store.reading() as connection:
        return migration.MigrationContext.configure(
            connection
        ).get_current_revision()


def upgrade(store: database.Database) -> str:
    """Bring the database to the newest revision; returns it.

    What was interrupted half-way is finished by running it again.

    :raises errors.LocalFault: when the database refuses
    """
    settings = _config()
    try:
        _refuse_newer(current(store))
        with (
            contextlib.closing(store.patient(PATIENCE)) as patient,
            patient.engine().begin() as connection,
        ):
            settings.attributes['connection'] = connection
            command.upgrade(settings, 'head')
    except database.FAILURES as exc:
        raise errors.LocalFault(
            f'the catalogue cannot be brought up to date: '
            f'{database.cause(exc)}; check option [catalogue] connection, '
            'the rights of its account and the space on its disk, then run '
            '"hepix-vm db sync" again'
        ) from exc
    return head()


def _refuse_newer(found: str | None) -> None:
    """See that a revision is one of ours.

    :raises errors.LocalFault: when it is not
    """
    known = {
        script.revision
        for script in ScriptDirectory.from_config(_config()).walk_revisions()
    }
    if found is not None and found not in known:
        raise errors.LocalFault(
            f'the catalogue has schema {found}, this version of hepix_vm '
            f'knows none above {head()}: a newer version has changed it; '
            'install that version here, or restore a back-up of before'
        )


def check(store: database.Database) -> None:
    """See that the database is there and of the right revision.

    :raises errors.LocalFault: when it is not, saying what to run
    """
    try:
        found = current(store)
    except database.FAILURES as exc:
        cause = database.cause(exc)
        remedy = 'check option [catalogue] connection, then run "hepix-vm db '
        remedy += 'sync"'
        if any(word in cause for word in _DAMAGED):
            remedy = 'keep the file, and put a back-up in its place'
        raise errors.LocalFault(
            f'the catalogue cannot be opened: {cause}; {remedy}'
        ) from exc
    if found == head():
        return
    _refuse_newer(found)
    raise errors.LocalFault(
        f'the catalogue has schema {found or "none"}, this version needs '
        f'{head()}; run "hepix-vm db sync"'
    )
