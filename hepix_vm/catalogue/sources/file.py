# SPDX-License-Identifier: Apache-2.0
"""Lists in files of this machine: ``file``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import urllib.parse

from hepix_vm.catalogue.sources import values
from hepix_vm import errors


class FileSource:
    """Reads lists; never images, whose place a list names."""

    def fetch_list(
        self,
        url: str,
        settings: values.FetchSettings,
        known: values.Validators,
    ) -> values.Fetched:
        """Read a list.

        :raises errors.TryAgain: when it cannot be read now
        :raises errors.Misconfigured: for a URL of another kind
        """
        del known
        path = _path(url)
        limit = settings.max_list_size
        try:
            with path.open('rb') as source:
                content = source.read(limit + 1)
        except (OSError, ValueError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else exc
            raise errors.TryAgain(f'file {path}: {reason}') from exc
        if len(content) > limit:
            raise errors.TryAgain(
                f'file {path}: expected at most {limit} bytes, found more'
            )
        return values.Fetched(content, values.Validators())

    def image_pieces(
        self, url: str, settings: values.FetchSettings, size: int
    ) -> Iterator[bytes]:
        """Refuse: a list must not have files of this machine read.

        :raises errors.NotBelieved: always
        """
        raise errors.NotBelieved(
            f'URL {url!r}: an image comes from a server, expected http, '
            'https or oci; tell the endorser'
        )


def _path(url: str) -> Path:
    parts = urllib.parse.urlsplit(url)
    if (
        parts.netloc not in ('', 'localhost')
        or not parts.path
        or parts.query
        or parts.fragment
    ):
        raise errors.Misconfigured(
            f'URL {url!r}: a file has no host and nothing behind its path; '
            'write file:///PATH, with %23 for "#" and %3F for "?"'
        )
    return Path(urllib.parse.unquote(parts.path))
