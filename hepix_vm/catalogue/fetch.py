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
from pathlib import Path
import threading
from typing import Any
import urllib.parse

import requests

from hepix_vm.catalogue import cuttable
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
    parts = _split(url, ('http', 'https', 'file'))
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
    _split(url, ('http', 'https'))
    adapter = cuttable.Adapter()
    watchdog = threading.Timer(seconds, adapter.cut)
    watchdog.daemon = True
    watchdog.start()
    try:
        with requests.Session() as session:
            session.mount('http://', adapter)
            session.mount('https://', adapter)
            with session.get(
                url,
                headers=headers,
                stream=True,
                timeout=settings.timeout,
                allow_redirects=False,
                verify=settings.ca_file or True,
            ) as response:
                yield response
    except (
        errors.TryAgain,
        requests.RequestException,
        OSError,
        ValueError,
    ) as exc:
        if adapter.is_cut:
            raise _late(url, seconds) from exc
        if isinstance(exc, errors.TryAgain):
            raise
        raise _away(url, exc) from exc
    finally:
        watchdog.cancel()
        adapter.forget()
    if adapter.is_cut:
        raise _late(url, seconds)


def _split(url: str, schemes: tuple[str, ...]) -> urllib.parse.SplitResult:
    try:
        parts = urllib.parse.urlsplit(url)
        whole = parts.hostname or parts.scheme == 'file'
    except ValueError:
        whole = False
    if not whole or parts.scheme not in schemes:
        raise errors.Misconfigured(
            f'URL {url!r}: expected {" or ".join(schemes)} with a host or '
            'path; edit the option or tell the endorser'
        )
    if parts.scheme == 'file' and parts.netloc not in ('', 'localhost'):
        raise errors.Misconfigured(
            f'URL {url!r}: a file has no host; write file:///PATH'
        )
    return parts


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
    reason = ' '.join(str(exc).split())[:300]
    return errors.TryAgain(
        f'{url}: {type(exc).__name__}{": " if reason else ""}{reason}'
    )


def _late(url: str, seconds: float) -> errors.TryAgain:
    return errors.TryAgain(
        f'{url}: not finished within {seconds:g} s; see the deadlines in '
        'group [fetch]'
    )
