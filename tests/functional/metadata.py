# SPDX-License-Identifier: Apache-2.0
"""Questions about a server to the metadata services of a cloud."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import dataclasses
import hashlib
import hmac
import http.client
from typing import Any
import urllib.parse

from tests import catalogue_rows
from tests.cloud import cloud as clouds
from tests.cloud import wires
from tests.functional import images as acts

#: Seconds; for what normally takes one or two on an idle machine.
LIMIT = 300.0
BUNDLE = '/context/default.tgz'

Headers = list[tuple[str, str]]


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What came back, and how; names of headers in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@contextlib.contextmanager
def server(cloud: clouds.Cloud, rows: catalogue_rows.Rows) -> Iterator[Any]:
    """A server that exists for the metadata services, if it stays."""
    data = acts.some_bytes(4096)
    rows.endorse(data)
    images = acts.Images(cloud, 'admin')
    outcome = images.imported(data)
    assert outcome.status == 'success', outcome.message
    servers = acts.Servers(cloud, 'admin')
    made = servers.boot(outcome.image['id'])
    assert made.status == 'ACTIVE', acts.fault(made)
    yield made
    if any(one.id == made.id for one in servers.client.servers.list()):
        servers.delete(made.id)
    images.client.images.delete(outcome.image['id'])


def signed(cloud: clouds.Cloud, instance: str, project: str) -> Headers:
    """The headers that neutron's metadata agent adds."""
    digest = hmac.new(
        cloud.metadata_secret.encode(), instance.encode(), hashlib.sha256
    )
    return [
        ('X-Forwarded-For', '10.0.0.5'),
        ('X-Instance-ID', instance),
        ('X-Tenant-ID', project),
        ('X-Instance-ID-Signature', digest.hexdigest()),
    ]


def ask(
    url: str,
    headers: Headers,
    path: str = BUNDLE,
    method: str = 'GET',
    content: bytes = b'',
) -> Answer:
    """One request, its headers exactly as given, also when doubled."""
    parts = urllib.parse.urlsplit(url)
    assert parts.hostname
    connection = http.client.HTTPConnection(
        parts.hostname, parts.port, timeout=LIMIT
    )
    try:
        connection.putrequest(method, path)
        for name, value in headers:
            connection.putheader(name, value)
        if content:
            connection.putheader('Content-Length', str(len(content)))
        connection.endheaders(content or None)
        answer = connection.getresponse()
        body = answer.read()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, body)
    finally:
        connection.close()


def fetch(guest: wires.Guest, path: str, *options: str) -> Answer:
    """The same by curl in a guest, through all that is in front of nova."""
    done = guest.run(
        *('curl', '--silent', '--show-error', '--include', '--path-as-is'),
        *('--max-time', f'{LIMIT:.0f}'),
        *options,
        f'http://{wires.METADATA}{path}',
    )
    assert done.returncode == 0, done.stderr
    head, _, body = done.stdout.partition(b'\r\n\r\n')
    first, *lines = head.decode('latin-1').split('\r\n')
    return Answer(int(first.split()[1]), _fields(lines), body)


def _fields(lines: Sequence[str]) -> dict[str, str]:
    found = {}
    for line in lines:
        name, _, value = line.partition(':')
        found[name.lower()] = value.strip()
    return found
