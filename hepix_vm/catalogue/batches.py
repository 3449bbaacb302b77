# SPDX-License-Identifier: Apache-2.0
"""What several subscriptions leave behind, written in one transaction.

When it fails, each is written by itself, so that what breaks with one stays
with it.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import time

from oslo_log import log
import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import examining
from hepix_vm.catalogue import model
from hepix_vm.catalogue.reports import Outcome
from hepix_vm.catalogue.reports import Report
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import store
from hepix_vm import errors
from hepix_vm import trust

LOG = log.getLogger(__name__)

#: Subscriptions in one transaction at most (count).
MOST = 500

#: Bytes of messages in one transaction, beyond which no other is added.
MOST_BYTES = 1024 * 1024

#: Seconds that a result waits for company at most.
LONGEST_WAIT = 1.0

Result = examining.Refreshed | examining.Work


class Batch:
    """Collects results and writes them.

    :param before: states as the run found them, for what cannot be written
    """

    def __init__(
        self,
        database_: database.Database,
        before: Callable[[str], store.SubscriptionState | None],
        now: int,
    ) -> None:
        self._database = database_
        self._before = before
        self._now = now
        self._results: list[Result] = []
        self._size = 0
        self._began = 0.0

    def add(self, result: Result) -> None:
        """Have a result written with the next ones."""
        if not self._results:
            self._began = time.monotonic()
        self._results.append(result)
        if isinstance(result, examining.Work):
            self._size += result.size

    @property
    def is_full(self) -> bool:
        """Whether it is time to write."""
        return bool(self._results) and (
            len(self._results) >= MOST
            or self._size >= MOST_BYTES
            or time.monotonic() - self._began >= LONGEST_WAIT
        )

    def write(self) -> Iterator[Report]:
        """Write what was collected; gives what there is to tell.

        :raises errors.LeaseLost: nothing may be written any more
        :raises hepix_vm.catalogue.database.FAILURES: the store is away
        """
        results, self._results, self._size = self._results, [], 0
        if not results:
            return
        try:
            told = self._together(results)
        except errors.LeaseLost:
            raise
        except Exception as exc:  # noqa: BLE001 - of one result: told below
            if len(results) > 1:
                LOG.debug('written one by one: %s', database.cause(exc))
                for result in results:
                    yield from self._alone(result)
                return
            told = [self._broken(results[0], exc)]
        yield from told

    def _together(self, results: Sequence[Result]) -> list[Report]:
        return self._database.transact(
            lambda transaction: _written(transaction, results, self._now)
        )

    def _alone(self, result: Result) -> list[Report]:
        try:
            return self._together([result])
        except errors.LeaseLost:
            raise
        except Exception as exc:  # noqa: BLE001 - told as its report
            return [self._broken(result, exc)]

    def _broken(self, result: Result, exc: Exception) -> Report:
        name = _name(result)
        return broken(self._database, name, exc, self._before(name))


def broken(
    database_: database.Database,
    name: str,
    exc: Exception,
    before: store.SubscriptionState | None,
) -> Report:
    """What is told of a subscription that could not be judged or written.

    :raises hepix_vm.catalogue.database.FAILURES: nothing can be written
    """
    if isinstance(exc, database.FAILURES):
        # Else each of thousands would wait for a server that is away.
        database_.transact(lambda transaction: None)
        code = 'store'
        detail = f'cannot be stored: {database.cause(exc)}'
    else:
        LOG.error('sync of %s', name, exc_info=exc)
        code, detail = 'internal-error', f'{type(exc).__name__}: {exc}'
    return failure(name, code, detail, before)


def failure(
    name: str,
    code: str,
    detail: str,
    before: store.SubscriptionState | None,
    outcome: Outcome = Outcome.FAILED,
) -> Report:
    """What is told of a subscription of which nothing was written."""
    return Report(
        name,
        outcome,
        code,
        detail,
        before.standing if before else model.Standing.DISTRUSTED,
        before.list_version if before else None,
    )


def _name(result: Result) -> str:
    if isinstance(result, examining.Work):
        return result.name
    return result.state.name


def _written(
    transaction: database.Transaction, results: Sequence[Result], now: int
) -> list[Report]:
    refreshed = [r for r in results if isinstance(r, examining.Refreshed)]
    if refreshed:
        _refresh(transaction, refreshed, now)
    told: list[Report | None] = [
        Report(
            result.state.name,
            Outcome.UNCHANGED,
            str(trust.Code.OK),
            '',
            result.state.standing,
            result.state.list_version,
        )
        if isinstance(result, examining.Refreshed)
        else result.do(transaction)
        for result in results
    ]
    return [report for report in told if report is not None]


def _refresh(
    transaction: database.Transaction,
    refreshed: Sequence[examining.Refreshed],
    now: int,
) -> None:
    """All in one statement; a list that has changed since is left alone."""
    table = schema.subscription
    transaction.connection.execute(
        table.update()
        .where(
            table.c.name == sa.bindparam('of'),
            table.c.list_id == sa.bindparam('of_list'),
            table.c.judged_by == sa.bindparam('of_mark'),
            table.c.standing == model.Standing.TRUSTED.value,
            table.c.configured == sa.true(),
        )
        .values(
            revision=transaction.revision,
            verified_at=now,
            last_attempt=now,
            last_code=str(trust.Code.OK),
            last_detail='',
            failures=0,
            next_attempt=sa.bindparam('then'),
        ),
        [
            {
                'of': result.state.name,
                'of_list': result.state.list_id,
                'of_mark': result.state.judged_by,
                'then': result.next_attempt,
            }
            for result in refreshed
        ],
    )
