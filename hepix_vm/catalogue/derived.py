# SPDX-License-Identifier: Apache-2.0
"""Which bytes this site has made of which endorsed ones."""

from __future__ import annotations

import dataclasses

import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import schema


@dataclasses.dataclass(frozen=True, slots=True)
class Made:
    """One conversion.

    :ivar sha512: of the bytes that were made, with :ivar:`size`
    :ivar origin_sha512: of the endorsed ones, with :ivar:`origin_size`
    :ivar step: what was done, such as ``gunzip+vdi-to-qcow2``
    :ivar at: UNIX seconds
    """

    sha512: str
    size: int
    origin_sha512: str
    origin_size: int
    step: str
    at: int


def remember(
    transaction: database.Transaction,
    now: int,
    sha512: str,
    size: int,
    origin_sha512: str,
    origin_size: int,
    step: str,
) -> None:
    """Note a conversion, so that Glance takes in what came of it.

    Has to be written before the bytes are staged.

    :param now: UNIX seconds
    """
    values = {'size': size, 'origin_size': origin_size, 'step': step}
    table = schema.derived
    known = transaction.execute(
        sa.select(*(table.c[name] for name in values)).where(
            table.c.sha512 == sha512, table.c.origin_sha512 == origin_sha512
        )
    ).first()
    if known is not None and dict(known._mapping) == values:
        return
    transaction.put(
        table,
        {'sha512': sha512, 'origin_sha512': origin_sha512},
        values | {'at': now},
    )
    transaction.remember(
        now,
        'publish',
        'image-converted',
        origin_sha512,
        f'{step}: sha512 {sha512}, {size} bytes',
    )


def find(
    connection: sa.Connection, origin_sha512: str | None = None
) -> tuple[Made, ...]:
    """Conversions, the newest first.

    :param origin_sha512: of these endorsed bytes alone
    """
    table = schema.derived
    statement = sa.select(table).order_by(
        table.c.at.desc(), table.c.sha512, table.c.origin_sha512
    )
    if origin_sha512 is not None:
        statement = statement.where(table.c.origin_sha512 == origin_sha512)
    return tuple(
        Made(
            sha512=row.sha512,
            size=int(row.size),
            origin_sha512=row.origin_sha512,
            origin_size=int(row.origin_size),
            step=row.step,
            at=int(row.at),
        )
        for row in connection.execute(statement)
    )
