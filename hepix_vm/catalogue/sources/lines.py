# SPDX-License-Identifier: Apache-2.0
"""Connections that stay open from one fetch of a thread to the next.

A federation's lists often lie on few servers, and a connection with TLS costs
more than a "not modified". Only what asks alike shares one: same server, same
certificates, same proxy. Cookies are not taken.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import dataclasses
from http import cookiejar
import threading
import urllib.parse

import requests

from hepix_vm.catalogue import cuttable
from hepix_vm.catalogue.sources import credentials
from hepix_vm.catalogue.sources import values
from hepix_vm import errors

#: Lines that one thread keeps (count).
MOST = 8

_threads = threading.local()


@dataclasses.dataclass(frozen=True, slots=True)
class _Alike:
    """What fetches have in common that may share a connection."""

    origin: credentials.Origin
    ca_files: tuple[str | None, str | None]
    certificate: tuple[str | None, str | None]
    proxy: str | None


class Line:
    """A session whose connections can be cut.

    :ivar is_kept: whether a connection is open from an earlier fetch, which
        its server may just be ending
    """

    def __init__(self) -> None:
        self.adapter = cuttable.Adapter()
        self.session = requests.Session()
        self.session.cookies.set_policy(
            cookiejar.DefaultCookiePolicy(allowed_domains=[])
        )
        # What the environment says is looked up here, once for each server.
        self.session.trust_env = False
        self.session.mount('http://', self.adapter)
        self.session.mount('https://', self.adapter)
        self.is_kept = False
        self._proxies: dict[str, dict[str, str]] = {}

    def proxies(self, url: str) -> dict[str, str]:
        """What ``http_proxy`` and its like say of the server of a URL."""
        server = '://'.join(urllib.parse.urlsplit(url)[:2])
        if server not in self._proxies:
            self._proxies[server] = requests.utils.get_environ_proxies(server)
        return self._proxies[server]

    def close(self) -> None:
        """End its connections."""
        self.session.close()
        self.adapter.forget()


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Keep lines of this thread; they are closed on the way out."""
    _threads.lines = {}
    try:
        yield
    finally:
        lines = _threads.lines
        del _threads.lines
        for line in lines.values():
            line.close()


@contextlib.contextmanager
def line(url: str, settings: values.FetchSettings) -> Iterator[Line]:
    """A line for one fetch, kept where this thread keeps lines.

    One that failed, was cut, or needed more than one connection (another
    server, or one that ends each) is closed.
    """
    lines: dict[_Alike, Line] | None = getattr(_threads, 'lines', None)
    alike = _alike(url, settings)
    if lines is None or alike is None:
        made = Line()
        try:
            yield made
        finally:
            made.close()
        return
    made = lines.pop(alike) if alike in lines else Line()
    try:
        yield made
    except BaseException:
        made.close()
        raise
    if made.adapter.is_cut or made.adapter.opened != 1:
        made.close()
        return
    made.is_kept = True
    lines[alike] = made
    if len(lines) > MOST:
        lines.pop(next(iter(lines))).close()


def _alike(url: str, settings: values.FetchSettings) -> _Alike | None:
    access = settings.access
    try:
        origin = credentials.origin(url)
    except errors.Misconfigured:
        return None
    return _Alike(
        origin,
        (access.ca_file, settings.ca_file),
        (access.client_certificate, access.client_key),
        access.proxy,
    )
