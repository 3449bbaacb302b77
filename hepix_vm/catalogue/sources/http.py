# SPDX-License-Identifier: Apache-2.0
"""Lists and images on web servers: ``http`` and ``https``."""

from __future__ import annotations

from collections.abc import Iterator

from hepix_vm.catalogue.sources import credentials
from hepix_vm.catalogue.sources import values
from hepix_vm.catalogue.sources import web

_SCHEMES = ('http', 'https')


class HttpSource:
    """Conditional requests for lists, plain ones for images."""

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
        web.split(url, _SCHEMES)
        headers = {'Accept-Encoding': 'identity'}
        with (
            web.connected(url, settings, settings.image_deadline) as server,
            server.get(
                url, headers, _authorization(settings, url)
            ) as response,
        ):
            web.expect_ok(url, response)
            yield from server.pieces(url, response, size)


def _authorization(settings: values.FetchSettings, url: str) -> str | None:
    found = credentials.read(settings.access, url)
    return None if found is None else found.header
