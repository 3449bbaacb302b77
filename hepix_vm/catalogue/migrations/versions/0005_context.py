# SPDX-License-Identifier: Apache-2.0
"""Who fetched which context, orders to drain, and what hosts have"""

from __future__ import annotations

from typing import Any

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from hepix_vm.catalogue.migrations import again

revision = '0005'
down_revision = '0004'

_KIND: dict[str, Any] = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mysql_collate': 'utf8mb4_bin',
}
_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), 'mysql')


def upgrade() -> None:
    again.create_table(
        'context_fetches',
        sa.Column('instance', sa.String(length=36), nullable=False),
        sa.Column('what', sa.String(length=64), nullable=False),
        sa.Column('sha256', sa.String(length=64), nullable=False),
        sa.Column('serial', sa.BigInteger(), nullable=False),
        sa.Column('project', sa.String(length=255), nullable=False),
        sa.Column('first_at', sa.BigInteger(), nullable=False),
        sa.Column('last_at', sa.BigInteger(), nullable=False),
        sa.Column('times', sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            'instance', 'what', 'sha256', name=op.f('pk_context_fetches')
        ),
        **_KIND,
    )
    again.create_index(
        op.f('ix_context_fetches_last_at'), 'context_fetches', ['last_at']
    )
    again.create_table(
        'context_lost',
        sa.Column('process', sa.String(length=255), nullable=False),
        sa.Column('since', sa.BigInteger(), nullable=False),
        sa.Column('seen_at', sa.BigInteger(), nullable=False),
        sa.Column('open', sa.Boolean(), nullable=False),
        sa.Column('lost', sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint('process', name=op.f('pk_context_lost')),
        **_KIND,
    )
    again.create_table(
        'context_drains',
        sa.Column('kind', sa.String(length=16), nullable=False),
        sa.Column('name', sa.String(length=255), nullable=False),
        sa.Column('at', sa.BigInteger(), nullable=False),
        sa.Column('set_at', sa.BigInteger(), nullable=False),
        sa.Column('by', sa.String(length=255), nullable=False),
        sa.Column('forced', sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint(
            'kind', 'name', name=op.f('pk_context_drains')
        ),
        **_KIND,
    )
    again.create_table(
        'context_hosts',
        sa.Column('host', sa.String(length=255), nullable=False),
        sa.Column('total_cpu', sa.Integer()),
        sa.Column('cpu_model', _TEXT),
        sa.Column('aggregates', _TEXT, nullable=False),
        sa.Column('hypervisor_type', sa.String(length=64)),
        sa.Column('seen_at', sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint('host', name=op.f('pk_context_hosts')),
        **_KIND,
    )
