# SPDX-License-Identifier: Apache-2.0
"""Of a large catalogue only what decides of some records or of some bytes."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from hepix_vm.catalogue import loading
from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema

#: Values that one statement is given at most.
_MANY = 500


def of_records(
    connection: sa.Connection, now: int, which: sa.ColumnElement[bool]
) -> model.Snapshot:
    """All that decides of some Glance records.

    :param which: condition on ``schema.glance_record``
    """
    table = schema.glance_record
    return _snapshot(
        connection, now, which, sa.select(table.c.sha512).where(which)
    )


def of_bytes(
    connection: sa.Connection, now: int, sha512: str
) -> model.Snapshot:
    """All that decides of some bytes, and the records that have them."""
    return _snapshot(
        connection, now, schema.glance_record.c.sha512 == sha512, [sha512]
    )


def _snapshot(
    connection: sa.Connection,
    now: int,
    which: sa.ColumnElement[bool],
    contents: Any,
) -> model.Snapshot:
    table = schema.endorsement
    columns = [c for c in table.c if c.name not in ('title', 'uri', 'entry')]
    index: dict[str, tuple[model.Endorsement, ...]] = {}
    for row in connection.execute(
        sa.select(*columns).where(table.c.sha512.in_(contents))
    ):
        made = loading.endorsement(row)
        index[made.sha512] = (*index.get(made.sha512, ()), made)
    records = connection.execute(sa.select(schema.glance_record).where(which))
    block, anyway = schema.block, schema.run_anyway
    quarantine, catalogue = schema.quarantine, schema.catalogue
    children = connection.execute(
        sa.select(catalogue.c.children).where(catalogue.c.id == 1)
    ).scalar_one()
    return model.Snapshot(
        subscriptions=_subscriptions(
            connection, {e.subscription for es in index.values() for e in es}
        ),
        endorsements=index,
        records={row.image_id: loading.record(row) for row in records},
        blocked=frozenset(
            connection.execute(
                sa.select(block.c.target).where(block.c.active == sa.true())
            ).scalars()
        ),
        answered_at=now,
        run_anyway={
            row.sha512: int(row.until)
            for row in connection.execute(sa.select(anyway))
        },
        quarantined={
            row.image_id: row.project
            for row in connection.execute(
                sa.select(quarantine).where(quarantine.c.held == sa.true())
            )
        },
        children=model.Children(children),
    )


def _subscriptions(
    connection: sa.Connection, names: set[str]
) -> dict[str, model.Subscribed]:
    table, lists = schema.subscription, schema.list_seen
    wanted = sorted(names)
    found = {}
    for start in range(0, len(wanted), _MANY):
        for row in connection.execute(
            sa.select(table, lists.c.signers)
            .outerjoin(lists, lists.c.id == table.c.list_id)
            .where(table.c.name.in_(wanted[start : start + _MANY]))
        ):
            value = loading.subscribed(row)
            if value is not None:
                found[row.name] = value
    return found
