# SPDX-License-Identifier: Apache-2.0
"""Requests to a real nova-api without the help of a client."""

from collections.abc import Iterator
import contextlib
import dataclasses
import http.client
import json
from typing import Any
import urllib.parse

from hepix_vm.catalogue import model
from tests.cloud import cloud as clouds


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What a server sent back."""

    status: int
    headers: dict[str, str]
    text: str


class Raw:
    """Requests to nova-api as they are, without a client's help."""

    def __init__(self, cloud: clouds.Cloud, user: str = 'demo') -> None:
        session = cloud.session(user)
        self.project = session.get_project_id() or ''
        self._token = session.get_token() or ''
        parts = urllib.parse.urlsplit(cloud.endpoints['nova-api'])
        self._host, self._port = parts.hostname or '', parts.port
        self._prefix = parts.path.rpartition('/v2.1')[0]

    def send(
        self,
        method: str,
        path: str,
        body: bytes | str | Iterator[bytes] | Any = b'',
        version: str = '2.96',
        **headers: str,
    ) -> Answer:
        """One request; a body that is no bytes is sent as JSON.

        :param path: from ``/v2.1`` on
        """
        if not isinstance(body, bytes | str | Iterator):
            body = json.dumps(body)
        given = {
            'X-Auth-Token': self._token,
            'Content-Type': 'application/json',
            'OpenStack-API-Version': f'compute {version}',
            'Accept': 'application/json',
        } | {name.replace('_', '-'): text for name, text in headers.items()}
        connection = http.client.HTTPConnection(
            self._host, self._port, timeout=180
        )
        with contextlib.closing(connection):
            # A server may answer, and hang up, before it has the whole body:
            # the answer can be read all the same.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(
                    method,
                    self._prefix + path,
                    body,
                    {name: text for name, text in given.items() if text},
                    encode_chunked=isinstance(body, Iterator),
                )
            answer = connection.getresponse()
            return Answer(
                answer.status,
                dict(answer.getheaders()),
                answer.read().decode(),
            )

    def action(self, server: str, body: Any, **more: Any) -> Answer:
        """An action of a server."""
        return self.send(
            'POST', f'/v2.1/servers/{server}/action', body, **more
        )


def refused(answer: Answer, *codes: str) -> str:
    """The sentence of a refusal for these reasons, in Nova's own form."""
    assert answer.status == 403, answer
    assert answer.headers['Content-Type'].startswith('application/json')
    found = json.loads(answer.text)['forbidden']
    assert found['code'] == 403
    text = str(found['message'])
    for code in codes:
        assert f'is refused ({code}): ' in text
        assert model.SENTENCES[model.Reason(code)] in text
    return text


def a_server(name: str, image: str, flavor: str, version: str = '') -> Any:
    """The smallest body of a new server."""
    server = {'name': name, 'imageRef': image, 'flavorRef': flavor}
    # Not before 2.37 can a server be asked for that has no network; there is
    # no network to be had in this cloud.
    if version not in ('2.1', '2.19', '2.32', '2.33'):
        server['networks'] = 'none'
    return {'server': server}
