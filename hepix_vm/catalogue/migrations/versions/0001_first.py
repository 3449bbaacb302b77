# SPDX-License-Identifier: Apache-2.0
"""The first schema"""

from typing import Any
import uuid

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from hepix_vm.catalogue.migrations import again

revision = '0001'
down_revision = None

_KIND: dict[str, Any] = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mysql_collate': 'utf8mb4_bin',
}


def upgrade() -> None:
    again.create_table(
        'approval',
        sa.Column(
            'id',
            sa.BigInteger().with_variant(sa.Integer(), 'sqlite'),
            nullable=False,
        ),
        sa.Column('subscription', sa.String(length=64), nullable=False),
        sa.Column('identifier', sa.String(length=36), nullable=False),
        sa.Column('sha512', sa.String(length=128), nullable=False),
        sa.Column('at', sa.BigInteger(), nullable=False),
        sa.Column('who', sa.String(length=255), nullable=False),
        sa.Column(
            'reason',
            sa.Text().with_variant(mysql.LONGTEXT(), 'mysql'),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_approval')),
        sa.UniqueConstraint(
            'subscription',
            'identifier',
            name=op.f('uq_approval_subscription_identifier'),
        ),
        **_KIND,
    )
    again.create_table(
        'block',
        sa.Column('target', sa.String(length=128), nullable=False),
        sa.Column('revision', sa.BigInteger(), nullable=False),
        sa.Column('active', sa.Boolean(), nullable=False),
        sa.Column('at', sa.BigInteger(), nullable=False),
        sa.Column('who', sa.String(length=255), nullable=False),
        sa.Column(
            'reason',
            sa.Text().with_variant(mysql.LONGTEXT(), 'mysql'),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint('target', name=op.f('pk_block')),
        **_KIND,
    )
    again.create_index(op.f('ix_block_revision'), 'block', ['revision'])
    again.create_table(
        'catalogue',
        sa.Column('id', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('store', sa.String(length=36), nullable=False),
        sa.Column('number', sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_catalogue')),
        **_KIND,
    )
    again.create_table(
        'crl',
        sa.Column('directory_sha256', sa.String(length=64), nullable=False),
        sa.Column('sha256', sa.String(length=64), nullable=False),
        sa.Column(
            'der',
            sa.LargeBinary().with_variant(mysql.LONGBLOB(), 'mysql'),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint(
            'directory_sha256', 'sha256', name=op.f('pk_crl')
        ),
        **_KIND,
    )
    again.create_table(
        'endorsement',
        sa.Column(
            'id',
            sa.BigInteger().with_variant(sa.Integer(), 'sqlite'),
            nullable=False,
        ),
        sa.Column('revision', sa.BigInteger(), nullable=False),
        sa.Column('subscription', sa.String(length=64), nullable=False),
        sa.Column('identifier', sa.String(length=36), nullable=False),
        sa.Column('version', sa.String(length=255), nullable=False),
        sa.Column('sha512', sa.String(length=128), nullable=False),
        sa.Column('size', sa.BigInteger(), nullable=False),
        sa.Column('expires', sa.BigInteger(), nullable=True),
        sa.Column('approved', sa.Boolean(), nullable=False),
        sa.Column('withdrawn', sa.Boolean(), nullable=False),
        sa.Column(
            'proven',
            sa.Boolean(),
            nullable=False,
            server_default=sa.false(),
        ),
        sa.Column('first_seen', sa.BigInteger(), nullable=False),
        sa.Column('vo', sa.String(length=255), nullable=True),
        sa.Column(
            'title',
            sa.Text().with_variant(mysql.LONGTEXT(), 'mysql'),
            nullable=False,
        ),
        sa.Column(
            'uri',
            sa.Text().with_variant(mysql.LONGTEXT(), 'mysql'),
            nullable=False,
        ),
        sa.Column(
            'entry',
            sa.Text().with_variant(mysql.LONGTEXT(), 'mysql'),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_endorsement')),
        **_KIND,
    )
    again.create_index(
        op.f('ix_endorsement_identifier'), 'endorsement', ['identifier']
    )
    again.create_index(
        op.f('ix_endorsement_revision'), 'endorsement', ['revision']
    )
    again.create_index(
        op.f('ix_endorsement_sha512'), 'endorsement', ['sha512']
    )
    again.create_index(
        'ix_endorsement_subscription_identifier',
        'endorsement',
        ['subscription', 'identifier'],
    )
    again.create_table(
        'glance_record',
        sa.Column('image_id', sa.String(length=36), nullable=False),
        sa.Column('revision', sa.BigInteger(), nullable=False),
        sa.Column('state', sa.String(length=16), nullable=False),
        sa.Column('task_id', sa.String(length=36), nullable=False),
        sa.Column('project', sa.String(length=255), nullable=False),
        sa.Column('sha512', sa.String(length=128), nullable=False),
        sa.Column('size', sa.BigInteger(), nullable=False),
        sa.Column('final_sha512', sa.String(length=128), nullable=False),
        sa.Column('final_size', sa.BigInteger(), nullable=False),
        sa.Column('created_at', sa.BigInteger(), nullable=False),
        sa.Column('recorded_at', sa.BigInteger(), nullable=False),
        sa.Column('reason', sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint('image_id', name=op.f('pk_glance_record')),
        **_KIND,
    )
    again.create_index(
        op.f('ix_glance_record_revision'), 'glance_record', ['revision']
    )
    again.create_index(
        op.f('ix_glance_record_sha512'), 'glance_record', ['sha512']
    )
    again.create_index(
        op.f('ix_glance_record_state'), 'glance_record', ['state']
    )
    again.create_table(
        'history',
        sa.Column(
            'id',
            sa.BigInteger().with_variant(sa.Integer(), 'sqlite'),
            nullable=False,
        ),
        sa.Column('at', sa.BigInteger(), nullable=False),
        sa.Column('who', sa.String(length=255), nullable=False),
        sa.Column('event', sa.String(length=64), nullable=False),
        sa.Column('subject', sa.String(length=255), nullable=False),
        sa.Column(
            'detail',
            sa.Text().with_variant(mysql.LONGTEXT(), 'mysql'),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_history')),
        **_KIND,
    )
    again.create_index(op.f('ix_history_subject'), 'history', ['subject'])
    again.create_table(
        'list_seen',
        sa.Column(
            'id',
            sa.BigInteger().with_variant(sa.Integer(), 'sqlite'),
            nullable=False,
        ),
        sa.Column('subscription', sa.String(length=64), nullable=False),
        sa.Column('seen_at', sa.BigInteger(), nullable=False),
        sa.Column('verdict', sa.String(length=16), nullable=False),
        sa.Column('code', sa.String(length=64), nullable=False),
        sa.Column(
            'detail',
            sa.Text().with_variant(mysql.LONGTEXT(), 'mysql'),
            nullable=True,
        ),
        sa.Column('message_sha256', sa.String(length=64), nullable=False),
        sa.Column(
            'message',
            sa.LargeBinary().with_variant(mysql.LONGBLOB(), 'mysql'),
            nullable=False,
        ),
        sa.Column('list_identifier', sa.String(length=36), nullable=True),
        sa.Column('list_version', sa.String(length=255), nullable=True),
        sa.Column(
            'signers',
            sa.Text().with_variant(mysql.LONGTEXT(), 'mysql'),
            nullable=True,
        ),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_list_seen')),
        **_KIND,
    )
    again.create_index(
        op.f('ix_list_seen_message_sha256'), 'list_seen', ['message_sha256']
    )
    again.create_index(
        op.f('ix_list_seen_subscription'), 'list_seen', ['subscription']
    )
    again.create_table(
        'publication',
        sa.Column('image_id', sa.String(length=36), nullable=False),
        sa.Column('subscription', sa.String(length=64), nullable=False),
        sa.Column('identifier', sa.String(length=36), nullable=False),
        sa.Column('version', sa.String(length=255), nullable=False),
        sa.Column('sha512', sa.String(length=128), nullable=False),
        sa.Column('state', sa.String(length=16), nullable=False),
        sa.Column('at', sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint('image_id', name=op.f('pk_publication')),
        **_KIND,
    )
    again.create_index('ix_publication_sha512', 'publication', ['sha512'])
    again.create_table(
        'subscription',
        sa.Column('name', sa.String(length=64), nullable=False),
        sa.Column('revision', sa.BigInteger(), nullable=False),
        sa.Column('configured', sa.Boolean(), nullable=False),
        sa.Column('list_identifier', sa.String(length=36), nullable=True),
        sa.Column('list_version', sa.String(length=255), nullable=True),
        sa.Column('created', sa.BigInteger(), nullable=True),
        sa.Column('expires', sa.BigInteger(), nullable=True),
        sa.Column('payload_sha256', sa.String(length=64), nullable=True),
        sa.Column(
            'list_id',
            sa.BigInteger().with_variant(sa.Integer(), 'sqlite'),
            nullable=True,
        ),
        sa.Column('standing', sa.String(length=16), nullable=False),
        sa.Column('verified_at', sa.BigInteger(), nullable=True),
        sa.Column('max_age', sa.BigInteger(), nullable=False),
        sa.Column(
            'projects',
            sa.Text().with_variant(mysql.LONGTEXT(), 'mysql'),
            nullable=True,
        ),
        sa.Column('last_attempt', sa.BigInteger(), nullable=True),
        sa.Column('last_code', sa.String(length=64), nullable=True),
        sa.Column(
            'last_detail',
            sa.Text().with_variant(mysql.LONGTEXT(), 'mysql'),
            nullable=True,
        ),
        sa.Column('etag', sa.String(length=255), nullable=True),
        sa.Column('last_modified', sa.String(length=255), nullable=True),
        sa.Column('reset_at', sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint('name', name=op.f('pk_subscription')),
        **_KIND,
    )
    again.create_index(
        op.f('ix_subscription_revision'), 'subscription', ['revision']
    )
    catalogue = sa.table(
        'catalogue',
        sa.column('id', sa.Integer),
        sa.column('store', sa.String),
        sa.column('number', sa.BigInteger),
    )
    if op.get_bind().execute(sa.select(catalogue.c.id)).first() is None:
        op.bulk_insert(
            catalogue, [{'id': 1, 'store': str(uuid.uuid4()), 'number': 0}]
        )
