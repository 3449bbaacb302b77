# SPDX-License-Identifier: Apache-2.0
"""Lease, back-off, waiting withdrawals, run-anyway and a chained history"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

revision = '0002'
down_revision = '0001'

_KIND: dict[str, Any] = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mysql_collate': 'utf8mb4_bin',
}
_GENESIS = '0' * 64


def upgrade() -> None:
    op.create_table(
        'lease',
        sa.Column('name', sa.String(length=64), nullable=False),
        sa.Column('holder', sa.String(length=255), nullable=False),
        sa.Column('fence', sa.BigInteger(), nullable=False),
        sa.Column('beat', sa.BigInteger(), nullable=False),
        sa.Column('at', sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint('name', name=op.f('pk_lease')),
        **_KIND,
    )
    op.create_table(
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
    op.create_index(
        op.f('ix_run_anyway_revision'),
        'run_anyway',
        ['revision'],
        unique=False,
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
        ('history', sa.Column('sha256', sa.String(length=64))),
        ('catalogue', sa.Column('history_sha256', sa.String(length=64))),
        ('catalogue', sa.Column('history_length', sa.BigInteger())),
    ):
        op.add_column(table, column)
    _chain(op.get_bind())
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


def _chain(connection: sa.Connection) -> None:
    """Give the rows that are there their digests, oldest first."""
    history = sa.table(
        'history',
        sa.column('id', sa.BigInteger),
        *(
            sa.column(name)
            for name in ('at', 'who', 'event', 'subject', 'detail', 'sha256')
        ),
    )
    head = _GENESIS
    length = last = 0
    while True:
        rows = connection.execute(
            sa.select(history)
            .where(history.c.id > last)
            .order_by(history.c.id)
            .limit(1000)
        ).all()
        if not rows:
            break
        for row in rows:
            text = json.dumps(
                [head, row.at, row.who, row.event, row.subject, row.detail],
                separators=(',', ':'),
            )
            head = hashlib.sha256(text.encode('ascii')).hexdigest()
            connection.execute(
                history.update()
                .where(history.c.id == row.id)
                .values(sha256=head)
            )
        length += len(rows)
        last = rows[-1].id
    catalogue = sa.table(
        'catalogue',
        sa.column('history_sha256', sa.String),
        sa.column('history_length', sa.BigInteger),
    )
    connection.execute(
        catalogue.update().values(history_sha256=head, history_length=length)
    )
