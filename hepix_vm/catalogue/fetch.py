# SPDX-License-Identifier: Apache-2.0
"""Fetching lists and images: bounded in size and time, never trusted.

What arrives here is judged elsewhere: a list by its signature, an image by
its digest. So the transport only has to end, to stay within its limits and
to say clearly why it failed.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import dataclasses
import os
from pathlib import Path
import socket
import threading
from typing import Any
import urllib.parse

import requests

from hepix_vm import errors

_PIECE = 64 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class FetchSettings:
    """Limits; times in seconds, sizes in bytes."""

    timeout: float = 30
    list_deadline: float = 300
    max_list_size: int = 16 * 1024 * 1024
    parallel: int = 4
    ca_file: str | None = None
    spool_directory: str = '/var/lib/hepix_vm/spool'
    image_deadline: float = 14400


@dataclasses.dataclass(frozen=True, slots=True)
class Validators:
    """What a server said of the version that we have."""

    etag: str | None = None
    last_modified: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Fetched:
    """The bytes of a list, and how to ask for a newer one."""

    content: bytes
    validators: Validators


@dataclasses.dataclass(frozen=True, slots=True)
class NotModified:
    """The server still has what we have."""


def fetch_list(
    url: str, settings: FetchSettings, known: Validators
) -> Fetched | NotModified:
    """Get a signed list.

    :raises errors.TryAgain: when it cannot be had now
    :raises errors.Misconfigured: for a URL of another kind
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == 'file':
        return _read_file(parts.path, settings.max_list_size)
    headers = {}
    if known.etag:
        headers['If-None-Match'] = known.etag
    if known.last_modified:
        headers['If-Modified-Since'] = known.last_modified
    with _get(url, settings, headers, settings.list_deadline) as response:
        if response.status_code == 304 and headers:
            return NotModified()
        _expect_ok(url, response)
        content = b''.join(_pieces(url, response, settings.max_list_size))
        return Fetched(
            content,
            Validators(
                _short(response.headers.get('ETag')),
                _short(response.headers.get('Last-Modified')),
            ),
        )


def image_pieces(
    url: str, settings: FetchSettings, size: int
) -> Iterator[bytes]:
    """The bytes of an image, ``size`` at most, piece by piece.

    :raises errors.TryAgain: when they cannot be had now
    :raises errors.Misconfigured: for a URL of another kind
    """
    headers = {'Accept-Encoding': 'identity'}
    with _get(url, settings, headers, settings.image_deadline) as response:
        _expect_ok(url, response)
        yield from _pieces(url, response, size)


@contextlib.contextmanager
def _get(
    url: str,
    settings: FetchSettings,
    headers: dict[str, str],
    seconds: float,
) -> Iterator[requests.Response]:
    """An open answer that is cut off when its time is over."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ('http', 'https') or not parts.hostname:
        raise errors.Misconfigured(
            f'URL {url!r}: expected http, https or file with a host or path; '
            'edit the option or tell the endorser'
        )
    try:
        response = requests.get(
            url,
            headers=headers,
            stream=True,
            timeout=settings.timeout,
            allow_redirects=False,
            verify=settings.ca_file or True,
        )
    except (requests.RequestException, OSError, ValueError) as exc:
        raise _away(url, exc) from exc
    expired = threading.Event()
    watchdog = threading.Timer(seconds, _cut, [response, expired])
    watchdog.daemon = True
    watchdog.start()
    try:
        yield response
    finally:
        watchdog.cancel()
        response.close()
    if expired.is_set():
        raise errors.TryAgain(
            f'{url}: not finished within {seconds:g} s; see the deadlines in '
            'group [fetch]'
        )


def _cut(response: Any, expired: threading.Event) -> None:
    """End a read that a slow server keeps waiting.

    A read returns only when its whole piece is there, so a server that
    sends a byte now and then would never be noticed by a look at the clock.
    """
    expired.set()
    raw = response.raw
    if hasattr(raw, 'shutdown'):  # urllib3 >= 2.3
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            raw.shutdown()
        return
    with contextlib.suppress(AttributeError, OSError):
        raw._fp.fp.raw._sock.shutdown(socket.SHUT_RDWR)


def _expect_ok(url: str, response: requests.Response) -> None:
    if response.is_redirect:
        raise errors.TryAgain(
            f'{url}: the server redirects elsewhere, which is not followed; '
            'give the final address'
        )
    if response.status_code != 200:
        raise errors.TryAgain(
            f'{url}: expected status 200, found {response.status_code}'
        )


def _pieces(url: str, response: Any, limit: int) -> Iterator[bytes]:
    """The body, checked against its limit and its length."""
    received = 0
    declared = response.headers.get('Content-Length', '')
    try:
        for piece in response.iter_content(_PIECE):
            received += len(piece)
            if received > limit:
                raise errors.TryAgain(
                    f'{url}: expected at most {limit} bytes, found more'
                )
            yield piece
    except (requests.RequestException, OSError) as exc:
        raise _away(url, exc) from exc
    encoded = 'Content-Encoding' in response.headers
    if declared.isdigit() and not encoded and received != int(declared):
        raise errors.TryAgain(
            f'{url}: expected {declared} bytes, the connection ended after '
            f'{received}'
        )


def _read_file(path: str, limit: int) -> Fetched:
    try:
        with Path(urllib.parse.unquote(path)).open('rb') as source:
            content = source.read(limit + 1)
    except OSError as exc:
        raise errors.TryAgain(f'file {path}: {exc.strerror}') from exc
    if len(content) > limit:
        raise errors.TryAgain(
            f'file {path}: expected at most {limit} bytes, found more'
        )
    return Fetched(content, Validators())


def _short(header: str | None) -> str | None:
    """A validator worth keeping: printable and not longer than its column."""
    if header and len(header) <= 255 and header.isprintable():
        return header
    return None


def _away(url: str, exc: Exception) -> errors.TryAgain:
    reason = ' '.join(str(exc).split())[:300] or os.strerror(0)
    return errors.TryAgain(f'{url}: {type(exc).__name__}: {reason}')
