# SPDX-License-Identifier: Apache-2.0
"""How the last run of each job ended, for people who look at the status."""

from __future__ import annotations

import dataclasses

import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import schema


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """One run; times in UNIX seconds.

    :ivar name: the job: ``sync``, ``publish``
    :ivar detail: what an operator reads of it, or ''
    """

    name: str
    started_at: int
    ended_at: int
    ok: bool
    detail: str


def remember(transaction: database.Transaction, run: Run) -> None:
    """Note a run, in place of the job's one before."""
    transaction.put(
        schema.run,
        {'name': run.name},
        {
            'started_at': run.started_at,
            'ended_at': run.ended_at,
            'ok': run.ok,
            'detail': run.detail,
        },
    )


def last(connection: sa.Connection) -> dict[str, Run]:
    """The last run of each job, by its name."""
    table = schema.run
    rows = connection.execute(sa.select(table).order_by(table.c.name))
    return {
        row.name: Run(
            row.name,
            int(row.started_at),
            int(row.ended_at),
            bool(row.ok),
            str(row.detail),
        )
        for row in rows
    }
