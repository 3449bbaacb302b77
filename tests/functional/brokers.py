# SPDX-License-Identifier: Apache-2.0
"""A real RabbitMQ on loopback, and who takes notifications from it."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import dataclasses
import os
from pathlib import Path
import signal
import socket
import subprocess
from typing import Any

from oslo_config import cfg
import oslo_messaging

from tests.cloud import services
from tests.cloud import waits
from tests.functional import places

USER, SECRET = 'hepix', 'hush-hush'
LIMIT = 300


@dataclasses.dataclass
class Broker:
    """RabbitMQ, and an Erlang port mapper of its own."""

    folder: Path
    port: int
    mapper: int
    between: int
    processes: list[subprocess.Popen[bytes]] = dataclasses.field(
        default_factory=list
    )

    @property
    def url(self) -> str:
        """As oslo.messaging takes it."""
        return f'rabbit://{USER}:{SECRET}@127.0.0.1:{self.port}/'

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder / 'log'

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / 'rabbitmq.conf').write_text(
            f'listeners.tcp.1 = 127.0.0.1:{self.port}\n'
            f'default_user = {USER}\ndefault_pass = {SECRET}\n'
            'disk_free_limit.absolute = 50MB\n'
            'log.console = true\nlog.file = false\n'
        )
        self._run('epmd', '-address', '127.0.0.1', '-port', str(self.mapper))
        waits.until('epmd', lambda: _answers(self.mapper), LIMIT)
        programs = Path(services.RABBITMQ).glob('*/sbin/rabbitmq-server')
        self._run(str(max(programs)))
        waits.until(
            'RabbitMQ',
            lambda: _answers(self.port),
            LIMIT,
            log=self.log,
            alive=lambda: all(p.poll() is None for p in self.processes),
        )

    def _run(self, *argv: str) -> None:
        home = str(self.folder)
        with self.log.open('ab') as log:
            self.processes.append(
                subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    env=os.environ
                    | {
                        'HOME': home,
                        'ERL_EPMD_ADDRESS': '127.0.0.1',
                        'ERL_EPMD_PORT': str(self.mapper),
                        'RABBITMQ_DIST_PORT': str(self.between),
                        'RABBITMQ_NODENAME': f'hepix-{self.port}@localhost',
                        'RABBITMQ_MNESIA_BASE': home,
                        'RABBITMQ_LOG_BASE': home,
                        'RABBITMQ_LOGS': '-',
                        'RABBITMQ_CONFIG_FILE': f'{home}/rabbitmq.conf',
                        'RABBITMQ_ENABLED_PLUGINS_FILE': f'{home}/plugins',
                        'RABBITMQ_PID_FILE': f'{home}/pid',
                        'RABBITMQ_CONF_ENV_FILE': '/dev/null',
                        'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS': (
                            '+S 2:2 +sbwt none -kernel '
                            'inet_dist_use_interface {127,0,0,1}'
                        ),
                    },
                )
            )

    def send(self, number: signal.Signals) -> None:
        """Send the broker's processes a signal."""
        for process in self.processes:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)

    def stop(self) -> None:
        """It is gone; what it was to keep, it keeps."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        for process in reversed(self.processes):
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                self.send(signal.SIGKILL)
                process.wait(LIMIT)
        self.processes.clear()

    def taken(self, count: int, topic: str = 'hepix_vm') -> list[Any]:
        """Take notifications as other services do: ``(type, message)``."""
        options = cfg.ConfigOpts()
        options([], default_config_files=[], default_config_dirs=[])
        transport = oslo_messaging.get_notification_transport(
            options, url=self.url
        )
        found: list[Any] = []

        class Endpoint:
            def info(
                self, context: Any, publisher: str, kind: str,
                payload: Any, metadata: Any,
            ) -> None:  # fmt: skip
                found.append((publisher, kind, payload, metadata))

        listener = oslo_messaging.get_notification_listener(
            transport,
            [oslo_messaging.Target(topic=topic)],
            [Endpoint()],
            executor='threading',
        )
        # In their order: of two threads the second may be the first to tell.
        listener.start(override_pool_size=1)
        try:
            waits.until(
                f'{count} notifications', lambda: len(found) >= count, LIMIT
            )
        finally:
            listener.stop()
            listener.wait()
            transport.cleanup()
        return found


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(('127.0.0.1', port), 5).close()
        return True
    return False


@contextlib.contextmanager
def rabbitmq(folder: Path) -> Iterator[Broker]:
    """A broker that runs."""
    with places.reserved('port', 'mapper', 'between') as ports:
        made = Broker(folder, **ports)
        try:
            made.start()
            yield made
        finally:
            made.stop()
