# SPDX-License-Identifier: Apache-2.0
"""Publishing into several clouds: quarantine, derived bytes, notices, runs"""

from __future__ import annotations

from typing import Any

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from hepix_vm.catalogue.migrations import again

revision = '0003'
down_revision = '0002'

_KIND: dict[str, Any] = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mysql_collate': 'utf8mb4_bin',
}
_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), 'mysql')
_ROW = sa.BigInteger().with_variant(sa.Integer, 'sqlite')


def upgrade() -> None:
    for table, column in (
        ('endorsement', sa.Column('replaced_until', sa.BigInteger())),
        (
            'glance_record',
            sa.Column(
                'step', sa.String(length=64), nullable=False, server_default=''
            ),
        ),
        (
            'publication',
            sa.Column(
                'cloud',
                sa.String(length=64),
                nullable=False,
                server_default='default',
            ),
        ),
        ('publication', sa.Column('published_at', sa.BigInteger())),
        ('publication', sa.Column('retired_at', sa.BigInteger())),
        (
            'publication',
            sa.Column(
                'quarantine',
                sa.String(length=16),
                nullable=False,
                server_default='',
            ),
        ),
        ('publication', sa.Column('quarantine_detail', _TEXT)),
        ('publication', sa.Column('members_at', sa.BigInteger())),
        ('publication', sa.Column('members_sha256', sa.String(length=64))),
    ):
        again.add_column(table, column)
    again.create_index(
        op.f('ix_publication_cloud_subscription_identifier'),
        'publication',
        ['cloud', 'subscription', 'identifier'],
    )
    # What was active before was released when it was made.
    publication = sa.table(
        'publication',
        sa.column('state', sa.String),
        sa.column('at', sa.BigInteger),
        sa.column('published_at', sa.BigInteger),
    )
    op.get_bind().execute(
        publication.update()
        .where(
            publication.c.state == 'active',
            publication.c.published_at.is_(None),
        )
        .values(published_at=publication.c.at)
    )
    again.create_table(
        'publication_problem',
        sa.Column('cloud', sa.String(length=64), nullable=False),
        sa.Column('subscription', sa.String(length=64), nullable=False),
        sa.Column('identifier', sa.String(length=36), nullable=False),
        sa.Column('version', sa.String(length=255), nullable=False),
        sa.Column('at', sa.BigInteger(), nullable=False),
        sa.Column('detail', _TEXT, nullable=False),
        sa.PrimaryKeyConstraint(
            'cloud',
            'subscription',
            'identifier',
            name=op.f('pk_publication_problem'),
        ),
        **_KIND,
    )
    again.create_table(
        'derived',
        sa.Column('sha512', sa.String(length=128), nullable=False),
        sa.Column('origin_sha512', sa.String(length=128), nullable=False),
        sa.Column('revision', sa.BigInteger(), nullable=False),
        sa.Column('size', sa.BigInteger(), nullable=False),
        sa.Column('origin_size', sa.BigInteger(), nullable=False),
        sa.Column('step', sa.String(length=64), nullable=False),
        sa.Column('at', sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            'sha512', 'origin_sha512', name=op.f('pk_derived')
        ),
        **_KIND,
    )
    for name in ('revision', 'origin_sha512'):
        again.create_index(op.f(f'ix_derived_{name}'), 'derived', [name])
    again.create_table(
        'quarantine',
        sa.Column('image_id', sa.String(length=36), nullable=False),
        sa.Column('revision', sa.BigInteger(), nullable=False),
        sa.Column('cloud', sa.String(length=64), nullable=False),
        sa.Column('project', sa.String(length=255), nullable=False),
        sa.Column('held', sa.Boolean(), nullable=False),
        sa.Column(
            'server', sa.String(length=64), nullable=False, server_default=''
        ),
        sa.Column('at', sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint('image_id', name=op.f('pk_quarantine')),
        **_KIND,
    )
    again.create_index(
        op.f('ix_quarantine_revision'), 'quarantine', ['revision']
    )
    again.create_table(
        'withdrawn_use',
        sa.Column('cloud', sa.String(length=64), nullable=False),
        sa.Column('image_id', sa.String(length=36), nullable=False),
        sa.Column('at', sa.BigInteger(), nullable=False),
        sa.Column('servers', _TEXT, nullable=False),
        sa.PrimaryKeyConstraint(
            'cloud', 'image_id', name=op.f('pk_withdrawn_use')
        ),
        **_KIND,
    )
    again.create_table(
        'precached',
        sa.Column('cloud', sa.String(length=64), nullable=False),
        sa.Column('aggregate', sa.String(length=255), nullable=False),
        sa.Column('image_id', sa.String(length=36), nullable=False),
        sa.Column('at', sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            'cloud', 'aggregate', 'image_id', name=op.f('pk_precached')
        ),
        **_KIND,
    )
    again.create_table(
        'notice',
        sa.Column('id', _ROW, nullable=False),
        sa.Column('at', sa.BigInteger(), nullable=False),
        sa.Column('kind', sa.String(length=64), nullable=False),
        sa.Column('subject', sa.String(length=255), nullable=False),
        sa.Column('payload', _TEXT, nullable=False),
        sa.Column('hook_at', sa.BigInteger()),
        sa.Column('message_at', sa.BigInteger()),
        sa.Column('mail_at', sa.BigInteger()),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_notice')),
        **_KIND,
    )
    for name in ('at', 'hook_at', 'message_at', 'mail_at'):
        again.create_index(op.f(f'ix_notice_{name}'), 'notice', [name])
    again.create_table(
        'channel',
        sa.Column('name', sa.String(length=64), nullable=False),
        sa.Column('failures', sa.Integer(), nullable=False),
        sa.Column('problem', _TEXT, nullable=False),
        sa.Column('next_attempt', sa.BigInteger()),
        sa.Column('told_at', sa.BigInteger()),
        sa.Column('given_up', sa.BigInteger(), nullable=False),
        sa.Column('given_up_at', sa.BigInteger()),
        sa.Column('claim', sa.String(length=36)),
        sa.Column('claimed_until', sa.BigInteger()),
        sa.PrimaryKeyConstraint('name', name=op.f('pk_channel')),
        **_KIND,
    )
    again.create_table(
        'run',
        sa.Column('name', sa.String(length=64), nullable=False),
        sa.Column('started_at', sa.BigInteger(), nullable=False),
        sa.Column('ended_at', sa.BigInteger(), nullable=False),
        sa.Column('ok', sa.Boolean(), nullable=False),
        sa.Column('detail', _TEXT, nullable=False),
        sa.PrimaryKeyConstraint('name', name=op.f('pk_run')),
        **_KIND,
    )
