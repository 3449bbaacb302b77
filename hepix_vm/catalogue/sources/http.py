# SPDX-License-Identifier: Apache-2.0
"""Lists and images on web servers: ``http`` and ``https``."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib

from hepix_vm.catalogue.sources import credentials
from hepix_vm.catalogue.sources import ranges
from hepix_vm.catalogue.sources import values
from hepix_vm.catalogue.sources import web

_SCHEMES = ('http', 'https')


class HttpSource:
    """Conditional requests for lists, ranges of images."""

    def fetch_list(
        self,
        url: str,
        settings: values.FetchSettings,
        known: values.Validators,
    ) -> values.Fetched | values.NotModified:
        """Get a list, if it is another than the known one.

        :raises errors.TryAgain: when it cannot be had now
        :raises errors.Misconfigured: for a URL of another kind, or an
            unusable secret
        """
        web.split(url, _SCHEMES)
        headers = {}
        if known.etag:
            headers['If-None-Match'] = known.etag
        if known.last_modified:
            headers['If-Modified-Since'] = known.last_modified
        with (
            web.connected(url, settings, settings.list_deadline) as server,
            server.get(
                url, headers, _authorization(settings, url)
            ) as response,
        ):
            if response.status_code == 304 and headers:
                return values.NotModified()
            web.expect_ok(url, response)
            content = server.body(url, response, settings.max_list_size)
            return values.Fetched(
                content,
                values.Validators(
                    web.validator(response.headers.get('ETag')),
                    web.validator(response.headers.get('Last-Modified')),
                ),
            )

    def image_pieces(
        self, url: str, settings: values.FetchSettings, size: int
    ) -> Iterator[bytes]:
        """The bytes of an image as the server has them, not compressed.

        :raises errors.TryAgain: when they cannot be had now
        :raises errors.Misconfigured: for a URL of another kind, or an
            unusable secret
        """
        with _images(url, settings) as (server, ask), ask(web.WHOLE) as got:
            web.expect_ok(url, got)
            yield from server.pieces(url, got, size, decoded=False)

    def image_from(
        self,
        url: str,
        settings: values.FetchSettings,
        size: int,
        held: values.Held,
    ) -> Iterator[values.Begun | bytes]:
        """The same, from where it was cut off if the server goes on there.

        :raises errors.TryAgain: when they cannot be had now
        :raises errors.NotBelieved: the server's image has another size
        :raises errors.Misconfigured: for a URL of another kind, or an
            unusable secret
        """
        with _images(url, settings) as (server, ask):
            yield from ranges.received(url, server, ask, size, held)


@contextlib.contextmanager
def _images(
    url: str, settings: values.FetchSettings
) -> Iterator[tuple[web.Web, ranges.Ask]]:
    web.split(url, _SCHEMES)
    with web.connected(url, settings, settings.image_deadline) as server:
        yield (
            server,
            lambda headers: server.get(
                url, headers, _authorization(settings, url)
            ),
        )


def _authorization(settings: values.FetchSettings, url: str) -> str | None:
    found = credentials.read(settings.access, url)
    return None if found is None else found.header
