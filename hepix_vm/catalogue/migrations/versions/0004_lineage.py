# SPDX-License-Identifier: Apache-2.0
"""Lineage of snapshots, and what of an image changes how it boots"""

from __future__ import annotations

from typing import Any

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from hepix_vm.catalogue.migrations import again

revision = '0004'
down_revision = '0003'

_KIND: dict[str, Any] = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mysql_collate': 'utf8mb4_bin',
}
_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), 'mysql')
_UUID = sa.String(length=36)


def upgrade() -> None:
    # What was recorded before does not say.
    again.add_column('glance_record', sa.Column('boot', _TEXT))
    again.add_column(
        'glance_record',
        sa.Column('parent', _UUID, nullable=False, server_default=''),
    )
    again.create_index(
        op.f('ix_glance_record_parent'), 'glance_record', ['parent']
    )
    again.add_column(
        'catalogue',
        sa.Column(
            'children',
            sa.String(length=16),
            nullable=False,
            server_default='follow',
        ),
    )
    again.create_table(
        'lineage',
        sa.Column('image_id', _UUID, nullable=False),
        sa.Column('parent', _UUID, nullable=False),
        sa.Column('server', _UUID, nullable=False),
        sa.Column('project', sa.String(length=255), nullable=False),
        sa.Column('created_at', sa.BigInteger(), nullable=False),
        sa.Column('boot', _TEXT, nullable=False),
        sa.Column('at', sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint('image_id', name=op.f('pk_lineage')),
        **_KIND,
    )
    again.create_index(op.f('ix_lineage_at'), 'lineage', ['at'])
