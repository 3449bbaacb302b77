# SPDX-License-Identifier: Apache-2.0
"""Real database servers for tests: MariaDB, PostgreSQL and Galera.

Each is ours alone, in a folder of its own that goes with it, and ends with
the thread that started it, also when the tests are killed. Nothing is
flushed: what must last beyond the machine is no matter of these tests.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator
import contextlib
import functools
import itertools
import os
from pathlib import Path
import pwd
import random
import shutil
import signal
import subprocess
import tempfile
from typing import Any

import pymysql
import sqlalchemy as sa

from tests.cloud import cache
from tests.cloud import ports
from tests.cloud import processes
from tests.cloud import services
from tests.cloud import supervisor
from tests.cloud import waits

#: Seconds: the machine may be busy.
SOON = 120

_POSTGRESQL = '/usr/lib/postgresql/*/bin'
_GALERA = Path('/usr/lib/galera/libgalera_smm.so')


def program(name: str) -> str:
    """The path of a server's program.

    :raises AssertionError: when its package is not installed
    """
    path = supervisor.PATH
    for folder in sorted(Path('/').glob(_POSTGRESQL[1:]), reverse=True):
        path += f':{folder}'
    found = shutil.which(name, path=path)
    assert found, f'{name}: run tools/install-system-packages'
    return found


class Server(abc.ABC):
    """A server on a socket, which can be ended, frozen and started again.

    :ivar folder: its files; short, for sockets have short names
    :ivar log: what it says
    """

    #: The account of those that cannot run as root, used by root alone.
    account: str | None = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / 'log'
        self._process: subprocess.Popen[bytes] | None = None
        self._leader: processes.Leader | None = None
        self._names = itertools.count()

    @abc.abstractmethod
    def _command(self) -> list[str]:
        """What runs it."""

    @abc.abstractmethod
    def _accepts(self) -> bool:
        """Whether it is ready for use."""

    @abc.abstractmethod
    def _create(self, name: str) -> None:
        """Make an empty database."""

    @abc.abstractmethod
    def url_of(self, name: str) -> str:
        """The SQLAlchemy URL of a database."""

    def url(self) -> str:
        """The URL of a new, empty database."""
        name = f'catalogue{next(self._names)}'
        self._create(name)
        return self.url_of(name)

    def start(self) -> None:
        """Start it and wait until it accepts."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Start it without waiting."""
        assert self._process is None, 'it runs'
        with self.log.open('ab') as log:
            self._process = subprocess.Popen(
                _as_account(self.account, self._command()),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={'PATH': supervisor.PATH, 'LC_ALL': 'C.UTF-8'},
            )
        found = processes.look(self._process.pid)
        self._leader = processes.Leader(
            self._process.pid, found.started if found else 0
        )

    def wait(self) -> None:
        """Wait until it accepts."""
        process = self._process
        assert process is not None
        waits.until(
            f'{type(self).__name__} to accept',
            self._accepts,
            SOON,
            log=self.log,
            alive=lambda: process.poll() is None,
            interval=0.05,
        )

    def _members(self) -> set[int]:
        if self._leader is None:
            return set()
        return processes.belonging(processes.table(), [self._leader], None)

    def kill(self) -> None:
        """End it at once, as a failure would."""
        if self._process is None:
            return
        # Frozen, none of them starts another.
        self.freeze()
        known = self._known()
        processes.send([one.pid for one in known], signal.SIGKILL)
        self._gone(known)

    def end(self) -> None:
        """End it in good order; open connections are cut."""
        if self._process is None:
            return
        known = self._known()
        self._process.send_signal(signal.SIGTERM)
        self._gone(known)

    def _known(self) -> list[processes.Leader]:
        """All of it as it is now.

        Children of PostgreSQL lead sessions of their own: once their parent
        is gone nothing tells whose they are, and what they hold still keeps
        the next server from starting.
        """
        table = processes.table()
        return [
            processes.Leader(pid, table[pid].started)
            for pid in self._members() & table.keys()
        ]

    def _gone(self, known: list[processes.Leader]) -> None:
        """Wait until it has ended, and these with it."""
        process, self._process = self._process, None
        assert process is not None
        process.wait(SOON)
        # Children that found out by themselves take a moment.
        waits.until(
            'the server to be gone',
            lambda: (
                not self._members()
                and not any(map(processes.is_running, known))
            ),
            SOON,
            interval=0.02,
        )
        self._leader = None

    def freeze(self) -> None:
        """From now on it accepts connections and says nothing."""

        def frozen() -> bool:
            # Again and again: the last one may just have started another,
            # which is seen only after that one stands.
            members = self._members()
            processes.send(members, signal.SIGSTOP)
            return all(map(_stopped, members)) and self._members() <= members

        # A busy machine takes a moment to stop the last of its threads.
        waits.until('the server to be frozen', frozen, SOON, interval=0.01)

    def resume(self) -> None:
        """Go on after :meth:`freeze`."""
        processes.send(self._members(), signal.SIGCONT)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """It says nothing meanwhile, like a hanging host."""
        self.freeze()
        try:
            yield
        finally:
            self.resume()


def _stopped(pid: int) -> bool:
    """Whether no thread of a process runs (``proc(5)``, ``stat``)."""
    try:
        stats = [
            one.read_text() for one in Path(f'/proc/{pid}/task').glob('*/stat')
        ]
    except (FileNotFoundError, ProcessLookupError):
        # One has ended meanwhile.
        return False
    return all(stat.rpartition(')')[2].split()[0] in 'TtZX' for stat in stats)


def _as_account(account: str | None, command: list[str]) -> list[str]:
    """A command that ends with the thread that started it."""
    words = [program('setpriv'), '--pdeathsig=KILL']
    if account is not None and os.getuid() == 0:
        words += [f'--reuid={account}', f'--regid={account}', '--clear-groups']
    return [*words, *command]


class MariaDb(Server):
    """MariaDB, empty; its account is root without a password.

    :param options: of the server, after ours
    """

    def __init__(self, folder: Path, *options: str) -> None:
        super().__init__(folder)
        self._options = options
        self.data = folder / 'data'
        self.socket = folder / 'socket'
        shutil.copytree(_installed(), self.data)
        if self.account is not None and os.getuid() == 0:
            for path in (folder, *folder.rglob('*')):
                shutil.chown(path, self.account, self.account)

    def _command(self) -> list[str]:
        return [
            program('mariadbd'),
            '--no-defaults',
            # Said as root: that this is meant.
            *([] if self.account else [services.MARIADB_USER]),
            f'--datadir={self.data}',
            f'--socket={self.socket}',
            f'--pid-file={self.folder / "pid"}',
            '--skip-name-resolve',
            '--innodb-flush-method=nosync',
            # What was committed is with the kernel, and survives a kill.
            '--innodb-flush-log-at-trx-commit=2',
            '--innodb-buffer-pool-size=32M',
            '--innodb-log-file-size=8M',
            *self._listening(),
            *self._options,
        ]

    def _listening(self) -> list[str]:
        return ['--skip-networking']

    def connect(self) -> Any:
        """A connection of the administrator, committing at once."""
        return pymysql.connect(
            unix_socket=str(self.socket),
            user='root',
            connect_timeout=30,
            autocommit=True,
        )

    def status(self, name: str) -> str:
        """One of its status variables."""
        with (
            contextlib.closing(self.connect()) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute('SHOW GLOBAL STATUS LIKE %s', (name,))
            row = cursor.fetchone()
        return '' if row is None else str(row[1])

    def _accepts(self) -> bool:
        try:
            self.connect().close()
        except pymysql.err.OperationalError:
            return False
        return True

    def _create(self, name: str) -> None:
        with contextlib.closing(self.connect()) as connection:
            connection.cursor().execute(f'CREATE DATABASE {name}')

    def url_of(self, name: str) -> str:
        """The SQLAlchemy URL of a database."""
        return (
            f'mysql+pymysql://root@localhost/{name}?unix_socket={self.socket}'
        )


class PostgreSql(Server):
    """PostgreSQL, empty; everybody is believed to be who they say."""

    account = 'postgres'

    def __init__(self, folder: Path, *options: str) -> None:
        super().__init__(folder)
        self._options = options
        self.data = folder / 'data'
        if os.getuid() == 0:
            shutil.chown(folder, 'postgres', 'postgres')
        self._user = (
            'postgres'
            if os.getuid() == 0
            else pwd.getpwuid(os.getuid()).pw_name
        )
        subprocess.run(
            _as_account(
                self.account,
                [
                    program('initdb'),
                    '--auth=trust',
                    '--encoding=UTF8',
                    '--no-sync',
                    f'--pgdata={self.data}',
                ],
            ),
            check=True,
            cwd=folder,
            timeout=SOON,
            capture_output=True,
            env={'PATH': supervisor.PATH, 'LC_ALL': 'C.UTF-8'},
        )

    def _command(self) -> list[str]:
        words = [program('postgres'), '-D', str(self.data)]
        words += ['-k', str(self.folder), '-h', '', '-F']
        for option in ('shared_buffers=16MB', *self._options):
            words += ['-c', option]
        return words

    def _admin(self) -> sa.Engine:
        return sa.create_engine(
            self.url_of('postgres'),
            isolation_level='AUTOCOMMIT',
            poolclass=sa.NullPool,
        )

    def _accepts(self) -> bool:
        try:
            self._admin().connect().close()
        except sa.exc.OperationalError:
            return False
        return True

    def _create(self, name: str) -> None:
        with self._admin().connect() as connection:
            connection.execute(sa.text(f'CREATE DATABASE {name}'))

    def url_of(self, name: str) -> str:
        """The SQLAlchemy URL of a database."""
        return f'postgresql+psycopg2://{self._user}@/{name}?host={self.folder}'


class GaleraNode(MariaDb):
    """One node of a cluster; every node takes writes.

    :ivar founds: whether it begins the cluster when it is started next
    """

    # rsync, which brings the data to a node, leaves root by itself.
    account = 'mysql'

    def __init__(
        self, folder: Path, number: int, ports_: dict[str, int], peers: str
    ) -> None:
        self._number = number
        self._ports = ports_
        self._peers = peers
        self.founds = number == 0
        super().__init__(folder)

    def _port(self, use: str) -> int:
        return self._ports[f'{use}{self._number}']

    def _listening(self) -> list[str]:
        local = ports.ADDRESS
        words = [
            f'--bind-address={local}',
            f'--port={self._port("sql")}',
            '--binlog-format=ROW',
            '--default-storage-engine=InnoDB',
            '--innodb-autoinc-lock-mode=2',
            # At times an applier is not told that the transaction before it
            # has to give way, and both wait until the applier's time is over
            # (MariaDB 10.11.18): the default is almost a minute.
            '--innodb-lock-wait-timeout=5',
            '--wsrep-on=ON',
            f'--wsrep-provider={_GALERA}',
            '--wsrep-cluster-name=tests',
            f'--wsrep-cluster-address=gcomm://{self._peers}',
            f'--wsrep-node-name=node{self._number}',
            f'--wsrep-node-address={local}:{self._port("group")}',
            '--wsrep-sst-method=rsync',
            f'--wsrep-sst-receive-address={local}:{self._port("sst")}',
            '--wsrep-provider-options='
            f'gmcast.listen_addr=tcp://{local}:{self._port("group")};'
            f'ist.recv_addr={local}:{self._port("ist")};'
            # What is left without the second node is a majority.
            f'pc.weight={1 if self._number else 2};'
            'gcache.size=8M',
        ]
        if self.founds:
            words.append('--wsrep-new-cluster')
        return words

    def _accepts(self) -> bool:
        if not super()._accepts():
            return False
        try:
            ready = self.status('wsrep_local_state_comment') == 'Synced'
            ready = ready and self.status('wsrep_ready') == 'ON'
        except pymysql.err.MySQLError:
            return False
        if ready:
            self.founds = False
        return ready


class Galera:
    """A cluster; a database made at one node is at all of them."""

    def __init__(self, nodes: list[GaleraNode]) -> None:
        self.nodes = nodes

    def urls(self) -> list[str]:
        """The URLs of a new, empty database, one a node."""
        first = self.nodes[0].url()
        name = sa.make_url(first).database
        assert name is not None
        for node in self.nodes[1:]:
            waits.until(
                'the database to be at every node',
                functools.partial(_has, node, name),
                SOON,
                interval=0.02,
            )
        return [node.url_of(name) for node in self.nodes]


def _has(node: GaleraNode, name: str) -> bool:
    with (
        contextlib.closing(node.connect()) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute('SHOW DATABASES LIKE %s', (name,))
        return cursor.fetchone() is not None


@functools.cache
def _installed() -> Path:
    """An empty data directory of MariaDB, made once a process."""
    kept = contextlib.ExitStack()
    folder = kept.enter_context(_folder())
    # Goes with the interpreter.
    _kept.append(kept)
    subprocess.run(
        [
            program('mariadb-install-db'),
            '--no-defaults',
            services.MARIADB_USER,
            f'--datadir={folder / "data"}',
            '--rpm',
            '--auth-root-authentication-method=normal',
            '--skip-test-db',
            '--innodb-log-file-size=8M',
        ],
        check=True,
        timeout=SOON,
        capture_output=True,
    )
    return folder / 'data'


_kept: list[contextlib.ExitStack] = []


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A folder that other accounts can reach and sockets can name."""
    with tempfile.TemporaryDirectory(
        prefix='hepix-db-', ignore_cleanup_errors=True
    ) as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@contextlib.contextmanager
def mariadb(*options: str) -> Iterator[MariaDb]:
    """A running MariaDB.

    :param options: of the server, such as ``--max-allowed-packet=1M``
    """
    with _folder() as folder:
        server = MariaDb(folder, *options)
        with _running(server):
            yield server


@contextlib.contextmanager
def postgresql(*options: str) -> Iterator[PostgreSql]:
    """A running PostgreSQL.

    :param options: settings, such as ``max_connections=20``
    """
    with _folder() as folder:
        server = PostgreSql(folder, *options)
        with _running(server):
            yield server


@contextlib.contextmanager
def galera(nodes: int = 2) -> Iterator[Galera]:
    """A running cluster; the first node has the casting vote.

    So a cluster of two survives the loss of the second.
    """
    names = [
        f'{use}{number}'
        for number in range(nodes)
        for use in ('sql', 'group', 'sst', 'ist')
    ]
    with contextlib.ExitStack() as stack:
        block = ports.reserve(
            names,
            cache.root() / 'ports',
            random.Random(),
        )
        stack.callback(block.release)
        peers = ','.join(
            f'{ports.ADDRESS}:{block.ports[f"group{number}"]}'
            for number in range(nodes)
        )
        made = [
            GaleraNode(
                stack.enter_context(_folder()), number, block.ports, peers
            )
            for number in range(nodes)
        ]
        stack.enter_context(_running(made[0]))
        for node in made[1:]:
            stack.enter_context(_running(node))
        yield Galera(made)


@contextlib.contextmanager
def _running(server: Server) -> Iterator[None]:
    try:
        server.start()
        yield
    finally:
        server.resume()
        server.kill()
