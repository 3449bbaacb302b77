# SPDX-License-Identifier: Apache-2.0
"""What the people of the story ask of the cloud, with the real answers."""

from __future__ import annotations

import base64
from collections.abc import Iterator
import contextlib
import functools
import hashlib
import hmac
import http.server
import json
from pathlib import Path
import subprocess
import threading
import time
from typing import Any

from tests.cloud import cloud as clouds
from tests.demo import told

#: Seconds that Glance and Nova may take on a busy machine.
PATIENCE = 600


@contextlib.contextmanager
def web_server(directory: Path) -> Iterator[str]:
    """Serve a directory on loopback; gives its URL."""
    handler = functools.partial(_Quiet, directory=str(directory))
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f'http://127.0.0.1:{server.server_port}'
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing: the story has its own words."""


def base64_of(text: str) -> str:
    """Return a text as nova takes user data."""
    return base64.b64encode(text.encode()).decode()


class Person:
    """Somebody with an account: asks Glance and Nova, shows the answers."""

    def __init__(
        self, cloud: clouds.Cloud, teller: told.Teller, user: str
    ) -> None:
        self.user = user
        self._session = cloud.session(user)
        self._teller = teller

    @property
    def project(self) -> str:
        """Id of the person's project."""
        return str(self._session.get_project_id())

    def ask(
        self,
        service: str,
        method: str,
        path: str,
        show: bool = True,
        **arguments: Any,
    ) -> Any:
        """One request; the answer is shown and returned."""
        headers = arguments.pop('headers', {})
        if service == 'compute':
            headers['OpenStack-API-Version'] = 'compute 2.96'
        answer = self._session.request(
            path,
            method,
            endpoint_filter={'service_type': service},
            raise_exc=False,
            headers=headers,
            **arguments,
        )
        if show:
            self._teller.asked(f'{self.user}: {method} {path}')
            self._teller.answered(
                f'{answer.status_code} {answer.text[:700]}'.strip()
            )
        return answer

    def upload(self, name: str, data: bytes, disk_format: str) -> str:
        """Stage and import; returns the image id, the import is running."""
        created = self.ask(
            'image',
            'POST',
            '/v2/images',
            show=False,
            json={
                'name': name,
                'disk_format': disk_format,
                'container_format': 'bare',
            },
        )
        image_id = str(created.json()['id'])
        staged = self.ask(
            'image',
            'PUT',
            f'/v2/images/{image_id}/stage',
            show=False,
            data=data,
            headers={'Content-Type': 'application/octet-stream'},
        )
        imported = self.ask(
            'image',
            'POST',
            f'/v2/images/{image_id}/import',
            show=False,
            json={'method': {'name': 'glance-direct'}},
        )
        self._teller.asked(
            f'{self.user}: stage {len(data)} bytes as "{name}" '
            f'({staged.status_code}), import ({imported.status_code})'
        )
        return image_id

    def imported(self, image_id: str) -> tuple[str, str]:
        """Wait for the import to end.

        :returns: the image's status and what the task says
        """
        end = time.monotonic() + PATIENCE
        while True:
            tasks = self.ask(
                'image', 'GET', f'/v2/images/{image_id}/tasks', show=False
            ).json()['tasks']
            status = self.ask(
                'image', 'GET', f'/v2/images/{image_id}', show=False
            ).json()['status']
            if tasks and tasks[-1]['status'] in ('success', 'failure'):
                break
            if time.monotonic() > end:
                raise told.NotAsExpectedError(
                    f'the import of {image_id} did not end within '
                    f'{PATIENCE} s: image {status}, tasks {tasks}'
                )
            time.sleep(0.3)
        message = str(tasks[-1]['message'])
        self._teller.asked(f'{self.user}: GET /v2/images/{image_id}/tasks')
        self._teller.answered(f'{tasks[-1]["status"]}: {message}')
        return status, message

    def boot(self, name: str, image_id: str, **more: Any) -> Any:
        """Ask for a server; gives the first answer.

        :param more: what it has other than the smallest ones
        """
        flavors = self.ask('compute', 'GET', '/flavors', show=False).json()[
            'flavors'
        ]
        flavor = next(f['id'] for f in flavors if f['name'] == clouds.FLAVOR)
        answer = self.ask(
            'compute',
            'POST',
            '/servers',
            show=False,
            json={
                'server': {
                    'name': name,
                    'imageRef': image_id,
                    'flavorRef': flavor,
                    'networks': 'none',
                    **more,
                }
            },
        )
        self._teller.asked(
            f'{self.user}: POST /servers (image {image_id}): '
            f'{answer.status_code}'
        )
        if answer.status_code >= 300:
            self._teller.answered(answer.text[:700])
        return answer

    def booted(self, answer: Any) -> tuple[str, str, str]:
        """Wait for a server to come up or fail.

        :returns: its id, its status, and the fault that the user reads
        """
        if answer.status_code != 202:
            raise told.NotAsExpectedError(
                f'POST /servers: expected 202, found {answer.status_code} '
                f'{answer.text[:300]}'
            )
        server_id = str(answer.json()['server']['id'])
        end = time.monotonic() + PATIENCE
        while True:
            server = self.ask(
                'compute', 'GET', f'/servers/{server_id}', show=False
            ).json()['server']
            # Nova writes down why a moment after the status.
            if server['status'] == 'ACTIVE' or 'fault' in server:
                break
            if time.monotonic() > end:
                raise told.NotAsExpectedError(
                    f'server {server_id} was {server["status"]} for '
                    f'{PATIENCE} s'
                )
            time.sleep(0.3)
        fault = str(server.get('fault', {}).get('message', ''))
        self._teller.asked(f'{self.user}: GET /servers/{server_id}')
        self._teller.answered(f'{server["status"]} {fault}'.strip())
        return server_id, server['status'], fault


class Operator:
    """Somebody at a shell with the ``hepix-vm`` command."""

    def __init__(
        self,
        cloud: clouds.Cloud,
        teller: told.Teller,
        config_files: tuple[Path, ...],
    ) -> None:
        self._cloud = cloud
        self._teller = teller
        self._files = [
            word for file in config_files for word in ('--config-file', file)
        ]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``hepix-vm``; what it prints is shown."""
        done = self._cloud.run(
            'hepix-vm', *map(str, self._files), *arguments, limit=PATIENCE * 2
        )
        self._teller.asked(f'operator: hepix-vm {" ".join(arguments)}')
        shown = done.stderr + done.stdout
        if '-f' not in arguments:
            self._teller.answered(shown)
        elif done.stderr:
            self._teller.answered(done.stderr)
        return done

    def read(self, *arguments: str) -> tuple[int, Any]:
        """Run ``hepix-vm`` with JSON output.

        :returns: exit status and what it printed, parsed
        """
        done = self.run(*arguments, '-f', 'json')
        try:
            values = json.loads(done.stdout)
        except ValueError:
            raise told.NotAsExpectedError(
                f'hepix-vm {" ".join(arguments)} printed no JSON: '
                f'{done.stdout[:200]} {done.stderr[:500]}'
            ) from None
        for row in values if isinstance(values, list) else [values]:
            self._teller.answered(
                ', '.join(f'{k}={v}' for k, v in row.items() if v != '')
            )
        return done.returncode, values


def metadata(
    cloud: clouds.Cloud,
    path: str,
    server_id: str,
    project: str,
    secret: str | None = None,
) -> tuple[int, bytes]:
    """Ask nova's metadata service with ``curl``, signed as neutron signs.

    :returns: status and body
    """
    signature = hmac.new(
        (secret or cloud.metadata_secret).encode(),
        server_id.encode(),
        hashlib.sha256,
    ).hexdigest()
    url = cloud.endpoints['nova-metadata'].rstrip('/') + path
    done = subprocess.run(
        [
            'curl',
            '--silent',
            '--show-error',
            '--noproxy',
            '*',
            '--max-time',
            '120',
            '--write-out',
            '%{stderr}%{http_code}',
            '--header',
            f'X-Instance-ID: {server_id}',
            '--header',
            f'X-Tenant-ID: {project}',
            '--header',
            f'X-Instance-ID-Signature: {signature}',
            url,
        ],
        capture_output=True,
        check=True,
    )
    return int(done.stderr[-3:]), done.stdout
