# SPDX-License-Identifier: Apache-2.0
"""Bounded requests to servers that may be slow, broken or hostile.

What drivers over HTTP have in common: one deadline for all requests of a
fetch, limits of size and rate, redirects that are counted, and secrets that
go to the subscription's own server alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import os
import time
from typing import Any
import urllib.parse

import requests
from urllib3 import exceptions

from hepix_vm.catalogue.sources import credentials
from hepix_vm.catalogue.sources import failures
from hepix_vm.catalogue.sources import lines
from hepix_vm.catalogue.sources import pace
from hepix_vm.catalogue.sources import values
from hepix_vm.catalogue.sources import watching
from hepix_vm import errors

#: Bytes asked for at once. Small ones where they come slowly: what is cut off
#: in a piece is lost, and nobody sees how far it is.
_PIECE, _LARGEST_PIECE = 64 * 1024, 1024 * 1024
#: Seconds that a piece takes which is of a good size.
_QUICK, _SLOW = 0.05, 0.5

#: Headers with which a body comes as it is stored.
WHOLE = {'Accept-Encoding': 'identity'}


class Web:
    """Requests of one fetch; made by :func:`connected`."""

    def __init__(
        self, line: lines.Line, settings: values.FetchSettings
    ) -> None:
        self._line = line
        self._settings = settings
        # Only the first request goes over a connection of an earlier fetch.
        self._is_kept = line.is_kept

    @contextlib.contextmanager
    def get(
        self,
        url: str,
        headers: Mapping[str, str],
        authorization: str | None = None,
    ) -> Iterator[requests.Response]:
        """An open answer, of whatever status but a redirect.

        :param authorization: value of that header; it is not shown to
            another origin that a redirect leads to
        :raises errors.TryAgain: a redirect that is not followed
        :raises errors.Misconfigured: an unusable certificate
        """
        home = credentials.origin(url)
        access = self._settings.access
        for _ in range(access.redirects + 1):
            same = credentials.origin(url) == home
            with self._asked(
                url, headers, authorization if same else None
            ) as response:
                if not response.is_redirect:
                    yield response
                    return
                url = self._target(url, response.headers['Location'])
        raise errors.TryAgain(
            f'{url}: redirected more than {access.redirects} times'
        )

    def _asked(
        self, url: str, headers: Mapping[str, str], authorization: str | None
    ) -> requests.Response:
        access = self._settings.access

        def ask() -> requests.Response:
            return self._line.session.get(
                url,
                headers=dict(headers),
                auth=_Authorization(authorization),
                cert=credentials.certificate(access, url),
                stream=True,
                timeout=self._settings.timeout,
                allow_redirects=False,
                verify=access.ca_file or self._settings.ca_file or _ca_file(),
                proxies=_proxies(access.proxy) or self._line.proxies(url),
            )

        if self._is_kept:
            self._is_kept = False
            try:
                return ask()
            except requests.ConnectionError:
                if self._line.adapter.is_cut:
                    raise
        # A kept connection that its server ends just then would fail
        # a fetch that a new one does not.
        self._line.session.close()
        return ask()

    def _target(self, url: str, location: str) -> str:
        if not self._settings.access.redirects:
            raise errors.TryAgain(
                f'{url}: the server redirects elsewhere, which is not '
                'followed; give the final address, or see option redirects'
            )
        try:
            target = urllib.parse.urljoin(url, location)
            split(target, ('http', 'https'))
        except (errors.Misconfigured, ValueError) as exc:
            raise errors.TryAgain(
                f'{url}: the server redirects to something else than http'
            ) from exc
        if url.startswith('https:') and not target.startswith('https:'):
            raise errors.TryAgain(
                f'{url}: the server redirects from https to http, which is '
                'not followed'
            )
        return target

    def pieces(
        self,
        url: str,
        response: requests.Response,
        limit: int,
        decoded: bool = True,
    ) -> Iterator[bytes]:
        """The body, held to its rate, its limit and its declared length.

        :param limit: bytes
        :param decoded: without a Content-Encoding that it has; else as it is
        :raises errors.TryAgain: when it is longer or ends early
        """
        rate = pace.Pace(self._settings.access.rate_limit)
        received = 0
        declared = response.headers.get('Content-Length', '')
        try:
            for piece in (
                response.iter_content(rate.piece(_PIECE))
                if decoded
                else _undecoded(response, rate)
            ):
                received += len(piece)
                if received > limit:
                    raise errors.TryAgain(
                        f'{url}: expected at most {limit} bytes, found more'
                    )
                yield piece
                rate.received(len(piece))
        except (
            requests.RequestException,
            exceptions.HTTPError,
            OSError,
        ) as exc:
            raise _away(url, exc) from exc
        encoded = decoded and 'Content-Encoding' in response.headers
        if declared.isdigit() and not encoded and received != int(declared):
            raise errors.TryAgain(
                f'{url}: the connection ended before all of the answer was '
                f'there: {received} of {declared} bytes'
            )

    def body(self, url: str, response: requests.Response, limit: int) -> bytes:
        """The whole body, as :meth:`pieces`."""
        return b''.join(self.pieces(url, response, limit))


@contextlib.contextmanager
def connected(
    url: str, settings: values.FetchSettings, seconds: float
) -> Iterator[Web]:
    """Requests that are cut off when their time is over.

    :param url: what is fetched, for messages
    :param seconds: for everything that happens inside
    :raises errors.TryAgain: when the server is away, broken or late
    """
    is_cut = False
    try:
        with (
            lines.line(url, settings) as line,
            watching.cut_after(seconds, line.adapter) as watched,
        ):
            try:
                yield Web(line, settings)
            finally:
                watched.end()
                is_cut = line.adapter.is_cut
    except (
        errors.HepixError,
        requests.RequestException,
        OSError,
        ValueError,
    ) as exc:
        if is_cut:
            raise _late(url, seconds) from exc
        if isinstance(exc, errors.HepixError):
            raise
        raise _away(url, exc) from exc
    if is_cut:
        raise _late(url, seconds)


def split(url: str, schemes: tuple[str, ...]) -> urllib.parse.SplitResult:
    """The parts of a URL with a host and without a user.

    :raises errors.Misconfigured: another scheme, no host, or a user
    """
    try:
        parts = urllib.parse.urlsplit(url)
        whole = (
            bool(parts.hostname)
            and parts.port != 0
            and '@' not in parts.netloc
        )
    except ValueError:
        whole = False
    if not whole or parts.scheme not in schemes:
        raise errors.Misconfigured(
            f'URL {url!r}: expected {" or ".join(schemes)} with a host and '
            'without a user (see option token_file); edit the option or tell '
            'the endorser'
        )
    return parts


def expect_ok(url: str, response: requests.Response) -> None:
    """Refuse every status but 200.

    :raises errors.AskedToWait: the server says when it wants to be asked
    :raises errors.TryAgain: it does not
    """
    if response.status_code == 200:
        return
    said = f'{url}: expected status 200, found {response.status_code}'
    wait = response.headers.get('Retry-After', '')
    # A date, its other form (RFC 9110, section 10.2.3), is passed over.
    if wait.isascii() and wait.isdecimal() and len(wait) < 8:
        raise errors.AskedToWait(
            f'{said}; the server asks to wait {wait} s', int(wait)
        )
    raise errors.TryAgain(said)


def validator(header: str | None) -> str | None:
    """A validator worth keeping: printable and not longer than its column."""
    if header and len(header) <= 255 and header.isprintable():
        return header
    return None


def _undecoded(
    response: requests.Response, rate: pace.Pace
) -> Iterator[bytes]:
    size = _PIECE
    while True:
        began = time.monotonic()
        piece = response.raw.read(rate.piece(size), decode_content=False)
        took = time.monotonic() - began
        if not piece:
            return
        yield piece
        if took < _QUICK:
            size = min(2 * size, _LARGEST_PIECE)
        elif took > _SLOW:
            size = max(size // 2, _PIECE)


class _Authorization(requests.auth.AuthBase):
    """The header that we mean, and not one of a netrc file."""

    def __init__(self, header: str | None) -> None:
        self._header = header

    def __call__(self, request: Any) -> Any:
        if self._header is not None:
            request.headers['Authorization'] = self._header
        return request


def _ca_file() -> str | bool:
    """The CAs of requests, which these variables change."""
    return (
        os.environ.get('REQUESTS_CA_BUNDLE')
        or os.environ.get('CURL_CA_BUNDLE')
        or True
    )


def _proxies(proxy: str | None) -> dict[str, str] | None:
    return None if proxy is None else {'http': proxy, 'https': proxy}


def _away(url: str, exc: Exception) -> errors.TryAgain:
    return errors.TryAgain(f'{url}: {failures.told(exc)}')


def _late(url: str, seconds: float) -> errors.TryAgain:
    return errors.TryAgain(
        f'{url}: not finished within {seconds:g} s; see the deadlines in '
        'group [fetch]'
    )
