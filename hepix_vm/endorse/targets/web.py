# SPDX-License-Identifier: Apache-2.0
"""Web servers: WebDAV, where files appear whole, and plain HTTP PUT."""

from __future__ import annotations

from collections.abc import Sequence
import secrets
from typing import Any
import urllib.parse

import requests

from hepix_vm.endorse.targets import interface
from hepix_vm import errors

_WRITTEN = frozenset({200, 201, 204})


class _Bearer(requests.auth.AuthBase):
    """A token at each request, which ~/.netrc does not replace."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(
        self, request: requests.PreparedRequest
    ) -> requests.PreparedRequest:
        request.headers['Authorization'] = f'Bearer {self._token}'
        return request


class Put:
    """Plain HTTP PUT (RFC 9110): the server decides what readers see.

    :param url: of the folder, ends in a slash
    :param base: URI under which readers find it
    """

    def __init__(self, url: str, base: str, access: interface.Access) -> None:
        self._url = url
        self._base = base
        self._timeout = access.timeout
        self._session = requests.Session()
        if access.user is not None and access.password is not None:
            self._session.auth = requests.auth.HTTPBasicAuth(
                access.user, access.password
            )
        elif access.token is not None:
            self._session.auth = _Bearer(access.token)
        # Given with each request: else the environment's would go first.
        self._verify = str(access.ca_file) if access.ca_file else True
        if access.client_certificate is not None:
            self._session.cert = (
                str(access.client_certificate),
                str(access.client_key or access.client_certificate),
            )

    def locate(self, uri: str) -> str | None:
        """See the interface."""
        return interface.below(self._base, uri)

    def size(self, name: str) -> int | None:
        """See the interface."""
        answer = self._ask(
            'HEAD', name, {200, 404}, headers={'Accept-Encoding': 'identity'}
        )
        if answer.status_code == 404:
            return None
        length = answer.headers.get('Content-Length', '')
        if not length.isdigit():
            raise errors.Misconfigured(
                f'{self._at(name)}: the server does not say the size'
            )
        return int(length)

    def read_list(self, name: str) -> bytes | None:
        """See the interface."""
        answer = self._ask('GET', name, {200, 404}, stream=True)
        if answer.status_code == 404:
            return None
        content = b''
        try:
            for piece in answer.iter_content(interface.BLOCK):
                content += piece
                if len(content) > interface.LARGEST_LIST:
                    raise errors.Misconfigured(
                        f'{self._at(name)}: expected a list, found more than '
                        f'{interface.LARGEST_LIST} bytes'
                    )
        except (requests.RequestException, OSError) as exc:
            raise interface.away(self._at(name), exc) from exc
        finally:
            answer.close()
        return content

    def put_image(self, name: str, upload: interface.Upload) -> None:
        """See the interface."""
        self._put(name, upload)

    def put_list(
        self, name: str, message: bytes, layers: Sequence[interface.Layer]
    ) -> None:
        """See the interface."""
        self._put(name, message)

    def close(self) -> None:
        """See the interface."""
        self._session.close()

    def _put(self, name: str, data: Any) -> None:
        self._ask(
            'PUT',
            name,
            _WRITTEN,
            data=data,
            headers={'Content-Type': 'application/octet-stream'},
        )

    def _require_size(self, name: str, size: int) -> None:
        found = self.size(name)
        if found != size:
            raise errors.TryAgain(
                f'{self._at(name)}: {size} bytes were sent, the server has '
                f'{found}'
            )

    def _at(self, name: str) -> str:
        return self._url + urllib.parse.quote(name)

    def _ask(
        self,
        method: str,
        name: str,
        expected: set[int] | frozenset[int],
        **more: Any,
    ) -> requests.Response:
        url = self._at(name)
        try:
            answer = self._session.request(
                method,
                url,
                timeout=self._timeout,
                verify=self._verify,
                **more,
            )
        except (requests.RequestException, OSError) as exc:
            raise interface.away(url, exc) from exc
        if answer.status_code in expected:
            return answer
        answer.close()
        said = f'{method} {url}: the server answers {answer.status_code}'
        if answer.status_code in (401, 403):
            raise errors.Misconfigured(
                f'{said}; give --token-file or --client-certificate of an '
                'account that may write'
            )
        if answer.status_code == 429 or answer.status_code >= 500:
            raise errors.TryAgain(said)
        raise errors.Misconfigured(
            f'{said}; it has to take {method} at this address'
        )


class WebDav(Put):
    """WebDAV (RFC 4918): files are written aside and moved into place."""

    def put_image(self, name: str, upload: interface.Upload) -> None:
        """See the interface."""
        self._place(name, upload, upload.size)

    def put_list(
        self, name: str, message: bytes, layers: Sequence[interface.Layer]
    ) -> None:
        """See the interface."""
        self._place(name, message, len(message))

    def _place(self, name: str, data: Any, size: int) -> None:
        self._make_folders(name)
        aside = f'{name}.uploading-{secrets.token_hex(8)}'
        try:
            self._put(aside, data)
            self._require_size(aside, size)
            self._ask(
                'MOVE',
                aside,
                _WRITTEN,
                headers={'Destination': self._at(name), 'Overwrite': 'T'},
            )
        except BaseException:
            self._forget(aside)
            raise

    def _make_folders(self, name: str) -> None:
        parts = name.split('/')[:-1]
        for number in range(len(parts)):
            folder = '/'.join(parts[: number + 1]) + '/'
            # 405 says that it is there.
            self._ask('MKCOL', folder, {201, 405})

    def _forget(self, name: str) -> None:
        try:
            self._ask('DELETE', name, {200, 202, 204, 404})
        except errors.HepixError:
            return  # the cause of the failure is what counts
