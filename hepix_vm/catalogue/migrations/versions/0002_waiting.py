# SPDX-License-Identifier: Apache-2.0
"""Lease, marks, back-off, waiting withdrawals, run-anyway, chained history

The history's rows of before get their digests, and each message that was
seen before gets a line of the history that it is bound by.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from hepix_vm.catalogue.migrations import again

revision = '0002'
down_revision = '0001'

_KIND: dict[str, Any] = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mysql_collate': 'utf8mb4_bin',
}
_GENESIS = '0' * 64


def upgrade() -> None:
    again.create_table(
        'lease',
        sa.Column('name', sa.String(length=64), nullable=False),
        sa.Column('holder', sa.String(length=255), nullable=False),
        sa.Column('fence', sa.BigInteger(), nullable=False),
        sa.Column('beat', sa.BigInteger(), nullable=False),
        sa.Column('at', sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint('name', name=op.f('pk_lease')),
        **_KIND,
    )
    again.create_table(
        'run_anyway',
        sa.Column('sha512', sa.String(length=128), nullable=False),
        sa.Column('revision', sa.BigInteger(), nullable=False),
        sa.Column('until', sa.BigInteger(), nullable=False),
        sa.Column('at', sa.BigInteger(), nullable=False),
        sa.Column('who', sa.String(length=255), nullable=False),
        sa.Column(
            'reason',
            sa.Text().with_variant(mysql.LONGTEXT(), 'mysql'),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint('sha512', name=op.f('pk_run_anyway')),
        **_KIND,
    )
    again.create_index(
        op.f('ix_run_anyway_revision'), 'run_anyway', ['revision']
    )
    again.create_table(
        'mark',
        sa.Column(
            'number', sa.BigInteger(), autoincrement=False, nullable=False
        ),
        sa.Column('value', sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint('number', name=op.f('pk_mark')),
        **_KIND,
    )
    for table, column in (
        (
            'subscription',
            sa.Column(
                'failures', sa.Integer(), nullable=False, server_default='0'
            ),
        ),
        ('subscription', sa.Column('next_attempt', sa.BigInteger())),
        ('subscription', sa.Column('judged_by', sa.String(length=64))),
        ('subscription', sa.Column('judged_until', sa.BigInteger())),
        ('subscription', sa.Column('rules_sha256', sa.String(length=64))),
        (
            'subscription',
            sa.Column(
                'held_run',
                sa.Boolean(),
                nullable=False,
                server_default=sa.false(),
            ),
        ),
        ('endorsement', sa.Column('held_at', sa.BigInteger())),
        (
            'glance_record',
            sa.Column(
                'was_positive',
                sa.Boolean(),
                nullable=False,
                server_default=sa.false(),
            ),
        ),
        ('glance_record', sa.Column('deactivated_at', sa.BigInteger())),
        (
            'list_seen',
            sa.Column(
                'size', sa.BigInteger(), nullable=False, server_default='0'
            ),
        ),
        (
            'list_seen',
            sa.Column(
                'kept', sa.Boolean(), nullable=False, server_default=sa.false()
            ),
        ),
        ('history', sa.Column('sha256', sa.String(length=64))),
        ('catalogue', sa.Column('history_sha256', sa.String(length=64))),
        ('catalogue', sa.Column('history_length', sa.BigInteger())),
    ):
        again.add_column(table, column)
    connection = op.get_bind()
    head, length = _chain(connection)
    head, length = _bind(connection, head, length)
    connection.execute(
        sa.table(
            'catalogue',
            sa.column('history_sha256', sa.String),
            sa.column('history_length', sa.BigInteger),
        )
        .update()
        .values(history_sha256=head, history_length=length)
    )
    again.drop_index(op.f('ix_history_subject'), 'history')
    for table_name, *columns in (
        ('history', 'at'),
        ('history', 'event', 'at'),
        ('history', 'subject', 'at'),
        ('history', 'subject', 'event', 'at'),
        ('list_seen', 'verdict', 'kept', 'seen_at'),
    ):
        again.create_index(
            op.f(f'ix_{table_name}_{"_".join(columns)}'), table_name, columns
        )
    with op.batch_alter_table('history', table_kwargs=_KIND) as batch:
        batch.alter_column(
            'sha256', existing_type=sa.String(length=64), nullable=False
        )
    with op.batch_alter_table('catalogue', table_kwargs=_KIND) as batch:
        batch.alter_column(
            'history_sha256',
            existing_type=sa.String(length=64),
            nullable=False,
        )
        batch.alter_column(
            'history_length', existing_type=sa.BigInteger(), nullable=False
        )


def _digest(*row: Any) -> str:
    text = json.dumps(row, separators=(',', ':'))
    return hashlib.sha256(text.encode('ascii')).hexdigest()


_HISTORY = sa.table(
    'history',
    sa.column('id', sa.BigInteger),
    *(
        sa.column(name)
        for name in ('at', 'who', 'event', 'subject', 'detail', 'sha256')
    ),
)
_LIST_SEEN = sa.table(
    'list_seen',
    *(
        sa.column(name)
        for name in (
            'id',
            'subscription',
            'seen_at',
            'verdict',
            'code',
            'detail',
            'message_sha256',
            'size',
            'list_identifier',
            'list_version',
            'signers',
        )
    ),
)


def _pages(connection: sa.Connection, table: sa.TableClause) -> Any:
    """All rows, oldest first, some at a time."""
    last = 0
    while True:
        rows = connection.execute(
            sa.select(table)
            .where(table.c.id > last)
            .order_by(table.c.id)
            .limit(1000)
        ).all()
        if not rows:
            return
        yield from rows
        last = rows[-1].id


def _chain(connection: sa.Connection) -> tuple[str, int]:
    """Give the rows that are there their digests, oldest first."""
    # Lines that an interrupted run has made; nothing else made any before.
    connection.execute(
        _HISTORY.delete().where(_HISTORY.c.event == 'list-seen')
    )
    head, length = _GENESIS, 0
    for row in _pages(connection, _HISTORY):
        head = _digest(
            head, row.at, row.who, row.event, row.subject, row.detail
        )
        length += 1
        connection.execute(
            _HISTORY.update()
            .where(_HISTORY.c.id == row.id)
            .values(sha256=head)
        )
    return head, length


def _bind(
    connection: sa.Connection, head: str, length: int
) -> tuple[str, int]:
    """A line of the history for each message that was seen before."""
    connection.execute(
        sa.text(
            'UPDATE list_seen SET size = LENGTH(message), '
            'kept = (LENGTH(message) > 0)'
        )
    )
    now = int(time.time())
    for row in _pages(connection, _LIST_SEEN):
        kept = '' if row.size else ', not kept'
        values = {
            'at': now,
            'who': 'db sync',
            'event': 'list-seen',
            'subject': row.message_sha256,
            'detail': f'message {row.id}: {row.verdict} as {row.code}, '
            f'{row.size} bytes{kept}, row {_digest(*row)}, of subscription '
            f'{row.subscription}',
        }
        head = _digest(head, *values.values())
        length += 1
        connection.execute(_HISTORY.insert().values(sha256=head, **values))
    return head, length
