# SPDX-License-Identifier: Apache-2.0
"""What compute hosts have, as Nova and Placement said it last.

Virtual machines are told of it as machine features. It is looked at where
nobody may wait for these services, so it is kept here.
"""

from __future__ import annotations

from collections.abc import Iterable
import dataclasses
import json

import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import schema


@dataclasses.dataclass(frozen=True, slots=True)
class Host:
    """A compute host; None is what was not told.

    :ivar host: its name, as servers have it
    :ivar total_cpu: processors that servers may have, all together
    :ivar cpu_model: as its hypervisor names it
    :ivar aggregates: names of the host aggregates that it is in, sorted
    :ivar hypervisor_type: such as ``QEMU``
    :ivar seen_at: when this was asked for, UNIX seconds
    """

    host: str
    total_cpu: int | None
    cpu_model: str | None
    aggregates: tuple[str, ...]
    hypervisor_type: str | None
    seen_at: int


def hosts(connection: sa.Connection) -> tuple[Host, ...]:
    """All hosts, by name."""
    table = schema.context_hosts
    rows = connection.execute(sa.select(table).order_by(table.c.host))
    return tuple(
        Host(
            row.host,
            None if row.total_cpu is None else int(row.total_cpu),
            row.cpu_model,
            tuple(json.loads(row.aggregates)),
            row.hypervisor_type,
            int(row.seen_at),
        )
        for row in rows
    )


def put(transaction: database.Transaction, found: Iterable[Host]) -> None:
    """Write hosts, in place of what was known of them."""
    rows = [
        {
            'host': one.host,
            'total_cpu': one.total_cpu,
            'cpu_model': one.cpu_model,
            'aggregates': json.dumps(list(one.aggregates)),
            'hypervisor_type': one.hypervisor_type,
            'seen_at': one.seen_at,
        }
        for one in found
    ]
    forget(transaction, [str(row['host']) for row in rows])
    if rows:
        transaction.connection.execute(schema.context_hosts.insert(), rows)


def forget(transaction: database.Transaction, names: Iterable[str]) -> None:
    """Delete hosts that are no more."""
    table = schema.context_hosts
    gone = list(names)
    if gone:
        transaction.execute(table.delete().where(table.c.host.in_(gone)))
