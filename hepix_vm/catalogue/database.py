# SPDX-License-Identifier: Apache-2.0
"""Connections to the catalogue's database.

Shared by the site's own commands and by the code inside Glance and Nova:
only SQLAlchemy and oslo.db, and every wait for a server is bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import copy
import re
import time
from typing import Any
from typing import TypeVar
import uuid

from oslo_db import api as db_api
from oslo_db import exception as db_exc
from oslo_db.sqlalchemy import enginefacade
import sqlalchemy as sa
from sqlalchemy import exc as sa_exc

from hepix_vm.catalogue import chain
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import silence
from hepix_vm import errors

#: What a database that is away, locked or without tables raises.
FAILURES = (sa_exc.SQLAlchemyError, db_exc.DBError, OSError)

#: How often a transaction is begun again that a server has given up for the
#: sake of another: a deadlock, or a certification failure of Galera. The
#: time-out ends it earlier: while others write at another node all the time,
#: most attempts fail.
RETRIES = 1000

# At least so many revisions back, a reader that lagged behind need not begin
# afresh.
_MARKS = 10_000

#: Seconds after which a server ends a transaction that wrote and went silent.
#: Its locks would keep out everybody else, and nothing but silence tells of a
#: host that is gone.
SILENCE = 60

_Result = TypeVar('_Result')

# Statement, parameters and a link: of no use to an operator.
_NOISE = re.compile(
    r'\[SQL: .*|\(Background on this error at: \S+\)', re.DOTALL
)
_SERVERS = ('mysql', 'postgresql')


def cause(exc: BaseException) -> str:
    """What a database failed with, as a part of a sentence."""
    text = ' '.join(_NOISE.sub('', str(exc)).split())[:500]
    return text or type(exc).__name__


def bounded_url(connection: str, timeout: float) -> str:
    """The connection URL with time-outs for server databases.

    :param connection: SQLAlchemy URL
    :param timeout: seconds for connecting and for each answer
    :raises errors.Misconfigured: when it is no URL
    """
    try:
        url = sa.make_url(connection)
    except (sa_exc.ArgumentError, ValueError) as exc:
        raise errors.Misconfigured(
            'option [catalogue] connection: expected a database URL such as '
            'sqlite:////var/lib/hepix_vm/catalogue.sqlite, found something '
            'else; edit hepix_vm.conf'
        ) from exc
    if url.get_backend_name() == 'mariadb':
        # One dialect for both: column types and events are bound to it.
        url = url.set(drivername=url.drivername.replace('mariadb', 'mysql'))
    if url.drivername == 'postgresql':
        # What this stood for before SQLAlchemy 2.1, and what we install.
        url = url.set(drivername='postgresql+psycopg2')
    whole = str(max(1, round(timeout)))
    wanted: dict[str, str] = {}
    if url.get_backend_name() == 'mysql':
        wanted = dict.fromkeys(
            ('connect_timeout', 'read_timeout', 'write_timeout'), whole
        )
        # oslo.db would take utf8, which is not all of UTF-8 there.
        wanted['charset'] = 'utf8mb4'
    elif url.get_backend_name() == 'postgresql':
        wanted = {
            'connect_timeout': whole,
            'options': f'-c statement_timeout={whole}s',
        }
    elif url.get_backend_name() == 'sqlite':
        wanted = {'timeout': whole}
    missing = {k: v for k, v in wanted.items() if k not in url.query}
    return url.update_query_dict(missing).render_as_string(hide_password=False)


class Database:
    """One lazily opened engine; not to be shared across a fork.

    :param connection: SQLAlchemy URL
    :param timeout: seconds for connecting and for each answer of a server
    """

    def __init__(self, connection: str, timeout: float = 30) -> None:
        self._connection = connection
        self._timeout = timeout
        self._engine: sa.Engine | None = None
        self._fence: tuple[str, int] | None = None

    def fenced(self, lease: str, fence: int) -> Database:
        """This database for the holder of a lease.

        Every transaction of what is returned ends with
        :exc:`errors.LeaseLost` once somebody else holds the lease.

        :param lease: its name
        :param fence: its number when it was taken
        """
        self.engine()
        mine = copy.copy(self)
        mine._fence = (lease, fence)
        return mine

    def engine(self) -> sa.Engine:
        """The engine, made at the first call.

        :raises errors.Misconfigured: when the URL is unusable
        """
        if self._engine is None:
            facade = enginefacade.transaction_context()
            facade.configure(
                connection=bounded_url(self._connection, self._timeout),
                sqlite_fk=True,
                max_retries=0,
                retry_interval=1,
                max_pool_size=4,
                mysql_sql_mode='TRADITIONAL',
            )
            try:
                engine = facade.writer.get_engine()
                _listen(engine, self._timeout)
            except (ImportError, sa_exc.ArgumentError) as exc:
                raise errors.Misconfigured(
                    'option [catalogue] connection: the database driver '
                    f'cannot be used ({exc}); install it or edit the option'
                ) from exc
            self._engine = engine
        return self._engine

    def patient(self, timeout: float) -> Database:
        """The same database, with more time for each answer.

        To be closed by itself.
        """
        return Database(self._connection, timeout)

    def close(self) -> None:
        """Give the connections back."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection for one consistent look.

        All its statements see the store as of the first one, whatever the
        server's own default is; SQLite has no other way.
        """
        engine = self.engine()
        if engine.dialect.name in _SERVERS:
            engine = engine.execution_options(
                isolation_level='REPEATABLE READ'
            )
        with _lost(engine), engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Transaction]:
        """One transaction: all of it is stored, or nothing.

        Its revision is taken first, which makes other writers wait. Use
        :meth:`transact` where the work can be done again.

        :raises errors.LeaseLost: see :meth:`fenced`
        """
        with self._beginning() as connection:
            table = schema.catalogue
            connection.execute(
                table.update()
                .where(table.c.id == 1)
                .values(number=table.c.number + 1)
            )
            row = connection.execute(
                sa.select(table.c.number, table.c.history_sha256).where(
                    table.c.id == 1
                )
            ).one()
            if self._fence is not None:
                _require_lease(connection, *self._fence)
            _mark(connection, int(row.number))
            yield Transaction(connection, int(row.number), row.history_sha256)

    def transact(self, work: Callable[[Transaction], _Result]) -> _Result:
        """Do all of some work, or nothing; returns what it returns.

        A server that runs several writers at once (Galera) may refuse a
        transaction as late as at its end. The work is done again then, so it
        must have no other effect than on the transaction. No attempt begins
        later than the time-out after the first.
        """

        def once() -> _Result:
            with self.writing() as transaction:
                return work(transaction)

        return self._until_done(once)

    def beside(self, work: Callable[[sa.Connection], _Result]) -> _Result:
        """Do all of some work that no decision rests on, or nothing.

        It gets no revision: no reader looks anew because of it, and no other
        writer stands in line for it. As with :meth:`transact`, the work may
        be done again.
        """

        def once() -> _Result:
            with self._beginning() as connection:
                return work(connection)

        return self._until_done(once)

    @contextlib.contextmanager
    def _beginning(self) -> Iterator[sa.Connection]:
        engine = self.engine()
        if engine.dialect.name != 'postgresql':
            with _lost(engine), engine.begin() as connection:
                yield connection
            return
        # A stricter default would refuse whoever had to wait in line.
        engine = engine.execution_options(isolation_level='READ COMMITTED')
        with _lost(engine), engine.begin() as connection:
            connection.exec_driver_sql(
                f"SET LOCAL idle_in_transaction_session_timeout = '{SILENCE}s'"
            )
            yield connection

    def _until_done(self, once: Callable[[], _Result]) -> _Result:
        end = time.monotonic() + self._timeout

        def attempt() -> _Result:
            try:
                return once()
            except db_exc.DBDeadlock as exc:
                if time.monotonic() >= end:
                    raise db_exc.DBError(exc) from exc
                raise

        again = db_api.wrap_db_retry(
            max_retries=RETRIES,
            retry_interval=0.05,
            inc_retry_interval=True,
            max_retry_interval=2,
            retry_on_deadlock=True,
            jitter=True,
        )
        result: _Result = again(attempt)()
        return result


@contextlib.contextmanager
def _lost(engine: sa.Engine) -> Iterator[None]:
    """Tell what only the driver says as what it is, one of ``FAILURES``.

    SQLAlchemy passes on as they are the errors of a server that goes away
    while a connection gets its isolation level, or gives it back.
    """
    try:
        yield
    except engine.dialect.loaded_dbapi.Error as exc:
        raise db_exc.DBConnectionError(exc) from exc


def _mark(connection: sa.Connection, revision: int) -> None:
    """Tell this revision from one that another past has led to."""
    table = schema.mark
    connection.execute(
        table.insert().values(number=revision, value=str(uuid.uuid4()))
    )
    if revision % _MARKS == 0:
        connection.execute(
            table.delete().where(table.c.number <= revision - _MARKS)
        )


def _listen(engine: sa.Engine, timeout: float) -> None:
    """Prepare each connection as it is made."""
    if engine.dialect.name == 'mysql':
        sa.event.listen(engine, 'connect', _see_all_nodes)
        sa.event.listen(engine, 'connect', _end_in_silence)
    elif engine.dialect.driver == 'psycopg2':
        factory = silence.connections(max(1.0, timeout))

        def bound(dialect: Any, record: Any, args: Any, kwargs: Any) -> None:
            kwargs['connection_factory'] = factory

        sa.event.listen(engine, 'do_connect', bound)


def _see_all_nodes(connection: Any, record: Any) -> None:
    """On Galera, see what any node has committed before one asks.

    Else a reader whose next connection leads to another node may go back
    in time, and a writer is refused at its end for what it could have seen
    at its beginning.
    """
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute("SHOW SESSION VARIABLES LIKE 'wsrep_on'")
        row = cursor.fetchone()
        if row is not None and str(row[1]).upper() == 'ON':
            # Before reading (1), UPDATE and DELETE (2), INSERT (4).
            cursor.execute('SET SESSION wsrep_sync_wait = 7')


def _end_in_silence(connection: Any, record: Any) -> None:
    """Have MariaDB end what wrote and went silent; MySQL cannot."""
    with contextlib.closing(connection.cursor()) as cursor:
        name = 'idle_write_transaction_timeout'
        cursor.execute(f"SHOW SESSION VARIABLES LIKE '{name}'")
        if cursor.fetchone() is not None:
            cursor.execute(f'SET SESSION {name} = {SILENCE}')


def _require_lease(connection: sa.Connection, name: str, fence: int) -> None:
    table = schema.lease
    held = connection.execute(
        sa.select(table.c.fence, table.c.holder).where(table.c.name == name)
    ).first()
    if held is None or held.fence != fence:
        raise errors.LeaseLost(
            f'the lease "{name}" was taken over'
            f'{f" by {held.holder}" if held is not None else ""} (number '
            f'{held.fence if held is not None else "none"}, ours was '
            f'{fence}); nothing was written'
        )


class Transaction:
    """A writing transaction and the revision that its rows carry."""

    def __init__(
        self, connection: sa.Connection, revision: int, history: str
    ) -> None:
        self.connection = connection
        self.revision = revision
        self._history = history

    def execute(self, statement: Any) -> sa.CursorResult[Any]:
        """Run one statement."""
        result: sa.CursorResult[Any] = self.connection.execute(statement)
        return result

    def put(
        self, table: sa.Table, key: dict[str, Any], values: dict[str, Any]
    ) -> None:
        """Insert or update the row with that key, with our revision."""
        if 'revision' in table.c:
            values = values | {'revision': self.revision}
        condition = sa.and_(*(table.c[k] == v for k, v in key.items()))
        found = self.connection.execute(
            sa.select(sa.literal(1)).select_from(table).where(condition)
        ).first()
        if found is None:
            self.connection.execute(table.insert().values(**key, **values))
        else:
            self.connection.execute(
                table.update().where(condition).values(**values)
            )

    def remember(
        self, at: int, who: str, event: str, subject: str, detail: str
    ) -> None:
        """Append one line to the history."""
        who, subject = chain.text(who)[:255], chain.text(subject)[:255]
        detail = chain.text(detail)
        self._history = chain.digest(
            self._history, at, who, event, subject, detail
        )
        self.connection.execute(
            schema.history.insert().values(
                at=at,
                who=who,
                event=event,
                subject=subject,
                detail=detail,
                sha256=self._history,
            )
        )
        table = schema.catalogue
        self.connection.execute(
            table.update()
            .where(table.c.id == 1)
            .values(
                history_sha256=self._history,
                history_length=table.c.history_length + 1,
            )
        )
