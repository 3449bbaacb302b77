# SPDX-License-Identifier: Apache-2.0
"""What alembic runs: migrations over the connection it is given."""

from alembic import context

from hepix_vm.catalogue import schema

connection = context.config.attributes['connection']
context.configure(
    connection=connection,
    target_metadata=schema.metadata,
    render_as_batch=connection.dialect.name == 'sqlite',
)
with context.begin_transaction():
    context.run_migrations()
