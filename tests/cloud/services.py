# SPDX-License-Identifier: Apache-2.0
"""How each service of a cloud is started and when it is ready."""

from __future__ import annotations

from collections.abc import Iterable
import contextlib
import os
import pathlib
import pwd
import re
import shutil
import socket
import sys

import pymysql

from tests.cloud import errors
from tests.cloud import ports
from tests.cloud import site as sites
from tests.cloud import steps
from tests.cloud import supervisor

PORTS = (
    'keystone',
    'glance',
    'placement',
    'nova-api',
    'nova-metadata',
    'network',
    'rabbitmq',
    'rabbitmq-dist',
    'epmd',
)
_STATUS = re.compile(rb'HTTP/1\.[01] [234]')
# MariaDB does not run as root unless it is told that this is meant.
MARIADB_USER = f'--user={pwd.getpwuid(os.getuid()).pw_name}'
PROGRAMS = ('epmd', 'git', 'mariadb-install-db', 'mariadbd')
RABBITMQ = '/usr/lib/rabbitmq/lib'


def require_programs() -> None:
    """See that the programs of the system's packages are there.

    :raises errors.CloudError: with all that are missing
    """
    missing = [
        name
        for name in PROGRAMS
        if not shutil.which(name, path=supervisor.PATH)
    ]
    if not list(pathlib.Path(RABBITMQ).glob('*/sbin/rabbitmq-server')):
        missing.append('rabbitmq-server')
    if missing:
        raise errors.CloudError(
            f'not installed: {", ".join(missing)}; '
            'run tools/install-system-packages'
        )


class HttpAnswer:
    """Says whether a port of loopback has answered a request, never waiting.

    uWSGI listens long before its application is loaded; one request stays
    open until then.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def __call__(self) -> bool:
        """Return true once there was an answer other than a server error."""
        try:
            if self._socket is None:
                self._socket = socket.create_connection(
                    (ports.ADDRESS, self._port), timeout=5
                )
                self._socket.sendall(b'GET / HTTP/1.0\r\n\r\n')
            line = self._socket.recv(64, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            line = b''
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        return _STATUS.match(line) is not None


def _mariadb_accepts(site: sites.Site) -> bool:
    if not site.layout.socket.exists():
        return False
    try:
        _connect(site).close()
    except pymysql.err.OperationalError:
        return False
    return True


def _connect(
    site: sites.Site,
) -> pymysql.connections.Connection[pymysql.cursors.Cursor]:
    return pymysql.connect(
        unix_socket=str(site.layout.socket),
        user='root',
        connect_timeout=30,
        autocommit=True,
    )


def create_databases(site: sites.Site, names: Iterable[str]) -> None:
    """Create databases in the cloud's MariaDB, unless they exist.

    :raises ValueError: on a name that is not a plain word
    """
    with (
        contextlib.closing(_connect(site)) as connection,
        connection.cursor() as cursor,
    ):
        for name in names:
            if not name.isidentifier():
                raise ValueError(f'not the name of a database: {name!r}')
            cursor.execute(f'CREATE DATABASE IF NOT EXISTS `{name}`')


def mariadb(site: sites.Site, needs: tuple[str, ...] = ()) -> steps.Service:
    """Return MariaDB on a socket: nothing is flushed, nothing must last."""
    return steps.Service(
        'mariadb',
        (
            'mariadbd',
            '--no-defaults',
            MARIADB_USER,
            f'--datadir={site.layout.data / "mariadb"}',
            f'--socket={site.layout.socket}',
            f'--pid-file={site.layout.socket.with_suffix(".pid")}',
            '--skip-networking',
            '--skip-log-bin',
            '--skip-name-resolve',
            '--innodb-flush-log-at-trx-commit=0',
            '--innodb-flush-method=nosync',
            '--innodb-doublewrite=0',
            '--innodb-log-file-size=32M',
            '--innodb-buffer-pool-size=128M',
            '--max-connections=400',
            '--character-set-server=utf8mb4',
        ),
        lambda: _mariadb_accepts(site),
        needs,
    )


def foundation(site: sites.Site) -> list[steps.Step]:
    """Return what other services need: messages and databases."""
    found: list[steps.Step] = []
    if 'rabbitmq' in site.options.parts:
        found += messaging(site)
    if 'mariadb' in site.options.parts:
        found.append(mariadb(site))
    return found


def messaging(site: sites.Site) -> list[steps.Step]:
    """Return RabbitMQ and an Erlang port mapper of its own."""
    found = pathlib.Path(RABBITMQ).glob('*/sbin/rabbitmq-server')
    program = max(found, default=pathlib.Path('rabbitmq-server'))
    home = site.layout.data / 'rabbitmq'
    environment = {
        'HOME': str(home),
        'ERL_EPMD_ADDRESS': ports.ADDRESS,
        'ERL_EPMD_PORT': str(site.ports['epmd']),
        'RABBITMQ_DIST_PORT': str(site.ports['rabbitmq-dist']),
        'RABBITMQ_NODENAME': f'cloud-{site.ports["rabbitmq"]}@localhost',
        'RABBITMQ_MNESIA_BASE': str(home),
        'RABBITMQ_LOG_BASE': str(home),
        'RABBITMQ_LOGS': '-',
        'RABBITMQ_CONFIG_FILE': str(site.etc('rabbitmq') / 'rabbitmq.conf'),
        'RABBITMQ_ENABLED_PLUGINS_FILE': str(home / 'enabled_plugins'),
        'RABBITMQ_PID_FILE': str(home / 'pid'),
        'RABBITMQ_CONF_ENV_FILE': '/dev/null',
        'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS': (
            '+S 2:2 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}'
        ),
    }
    epmd = (
        'epmd',
        '-address',
        ports.ADDRESS,
        '-port',
        environment['ERL_EPMD_PORT'],
    )
    return [
        steps.Service(
            'epmd',
            epmd,
            lambda: ports.answers(site.ports['epmd']),
            environment={'HOME': str(home)},
            port=site.ports['epmd'],
        ),
        steps.Service(
            'rabbitmq',
            (str(program),),
            lambda: ports.answers(site.ports['rabbitmq']),
            ('epmd',),
            environment,
            site.ports['rabbitmq'],
        ),
    ]


def _wsgi(
    site: sites.Site,
    name: str,
    module: str,
    environment: dict[str, str],
    needs: tuple[str, ...],
    threads: int,
) -> steps.Service:
    port = site.ports[name]
    argv = (
        site.program('uwsgi'),
        '--http-socket',
        f'{ports.ADDRESS}:{port}',
        '--module',
        f'{module}:application',
        '--virtualenv',
        str(site.venv),
        '--master',
        '--die-on-term',
        '--need-app',
        '--lazy-apps',
        '--processes',
        '1',
        '--threads',
        str(threads),
        '--enable-threads',
        '--buffer-size',
        '65535',
        '--disable-logging',
        '--procname-prefix',
        f'{name} ',
        '--worker-reload-mercy',
        '2',
        # Else clients that keep a connection see it reset.
        '--add-header',
        'Connection: close',
        # Else chunked uploads in pieces of 1 MiB are answered with 500.
        '--chunked-input-limit',
        '67108864',
        '--chunked-input-timeout',
        '60',
    )
    return steps.Service(
        name,
        argv,
        HttpAnswer(port),
        needs,
        {**environment, **site.options.environment},
        port,
    )


class Reported:
    """Says whether a process of nova has reported itself since the first call.

    Nova writes a report a few seconds after a process has begun to take
    messages (``services.report_count`` in its database).
    """

    def __init__(self, site: sites.Site, binary: str) -> None:
        self._site = site
        self._binary = binary
        self._before: int | None = None

    def __call__(self) -> bool:
        """Return true once the count of reports has grown."""
        count = self._count()
        if self._before is None:
            self._before = count
        return count > self._before

    def _count(self) -> int:
        query = (
            'SELECT SUM(report_count) FROM nova.services WHERE `binary` = %s'
        )
        with (
            contextlib.closing(_connect(self._site)) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(query, (self._binary,))
            row = cursor.fetchone()
        return int(row[0] or 0) if row else 0


def _nova(
    site: sites.Site, name: str, needs: tuple[str, ...]
) -> steps.Service:
    configuration = str(site.etc('nova') / 'nova.conf')
    return steps.Service(
        name,
        (site.program(name), '--config-file', configuration),
        Reported(site, name),
        ('rabbitmq', 'mariadb', 'package', 'prepare', *needs),
        dict(site.options.environment),
    )


def apis(site: sites.Site) -> list[steps.Step]:
    """Return the services that answer HTTP, as uWSGI processes."""
    base = ('mariadb', 'package', 'prepare')

    def wsgi(
        name: str, part: str, module: str, threads: int, *needs: str
    ) -> steps.Service:
        variable = f'OS_{part.upper()}_CONFIG_DIR'
        return _wsgi(
            site,
            name,
            module,
            {variable: str(site.etc(part))},
            base + needs,
            threads,
        )

    found: list[steps.Step] = []
    if 'keystone' in site.options.parts:
        found.append(wsgi('keystone', 'keystone', 'keystone.wsgi.api', 4))
    if 'glance' in site.options.parts:
        found.append(wsgi('glance', 'glance', 'glance.wsgi.api', 8))
    if 'placement' in site.options.parts:
        found.append(wsgi('placement', 'placement', 'placement.wsgi.api', 4))
    if 'nova' in site.options.parts:
        found.append(
            wsgi('nova-api', 'nova', 'nova.wsgi.osapi_compute', 8, 'rabbitmq')
        )
        found.append(
            wsgi('nova-metadata', 'nova', 'nova.wsgi.metadata', 4, 'rabbitmq')
        )
    return found


def nova(site: sites.Site) -> list[steps.Step]:
    """Return nova's plain processes and the stand-in for neutron."""
    return [
        steps.Service(
            'network',
            (
                sys.executable,
                str(supervisor.ROOT / 'tests/cloud/network.py'),
                ports.ADDRESS,
                str(site.ports['network']),
            ),
            lambda: ports.answers(site.ports['network']),
            port=site.ports['network'],
        ),
        # These log in to placement at their start, and a refusal ends them.
        _nova(site, 'nova-conductor', ('identity',)),
        _nova(site, 'nova-scheduler', ('identity',)),
        _nova(site, 'nova-compute', ('network', 'placement', 'identity')),
    ]
