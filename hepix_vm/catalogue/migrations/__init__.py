# SPDX-License-Identifier: Apache-2.0
"""Schema versions of the catalogue, by alembic."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic import config
from alembic.runtime import migration
from alembic.script import ScriptDirectory

from hepix_vm.catalogue import database
from hepix_vm import errors


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

    :raises errors.LocalFault: when the database refuses
    """
    settings = _config()
    try:
        with store.engine().begin() as connection:
            settings.attributes['connection'] = connection
            command.upgrade(settings, 'head')
    except database.FAILURES as exc:
        raise errors.LocalFault(
            f'the catalogue cannot be brought up to date: '
            f'{database.cause(exc)}; check option [catalogue] connection and '
            'the rights of its account'
        ) from exc
    return head()


def check(store: database.Database) -> None:
    """See that the database is there and of the right revision.

    :raises errors.LocalFault: when it is not, saying what to run
    """
    try:
        found = current(store)
    except database.FAILURES as exc:
        raise errors.LocalFault(
            f'the catalogue cannot be opened: {database.cause(exc)}; check '
            'option [catalogue] connection, then run "hepix-vm db sync"'
        ) from exc
    if found != head():
        raise errors.LocalFault(
            f'the catalogue has schema {found or "none"}, this version needs '
            f'{head()}; run "hepix-vm db sync"'
        )
