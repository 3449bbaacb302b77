# SPDX-License-Identifier: Apache-2.0
"""Entries of StratusLab marketplaces: ``stratuslab+https`` and ``+http``.

``stratuslab+https://HOST/metadata?email=EMAIL&tag=TAG`` (or
``identifier=ID``) follows what one endorser says of one image. The
marketplace is asked for all newest entries of that endorser, deprecated and
expired ones included, and the newest of them that is about the image is
handed on. Which one that is, is the marketplace's word; that it was not
made up, is not older than one seen before and is about that image, is
checked by the verifier.
"""

from __future__ import annotations

from collections.abc import Iterator
import hashlib
import urllib.parse

from lxml import etree

from hepix_vm.catalogue.sources import http
from hepix_vm.catalogue.sources import values
from hepix_vm import errors
from hepix_vm.imagelist import marketplace

_SCHEMES = ('stratuslab+http', 'stratuslab+https')
_WANTED = ({'email', 'tag'}, {'email', 'identifier'})


class StratusLabSource:
    """One entry of many."""

    def fetch_list(
        self,
        url: str,
        settings: values.FetchSettings,
        known: values.Validators,
    ) -> values.Fetched | values.NotModified:
        """Get the newest entry, if it is another than the known one.

        :raises errors.TryAgain: when it cannot be had now
        :raises errors.Misconfigured: for a URL of another kind, or an
            unusable secret
        """
        asked, wanted = _asked(url)
        got = http.HttpSource().fetch_list(
            asked, settings, values.Validators()
        )
        if isinstance(got, values.NotModified):
            return got
        try:
            found = _newest(got.content, wanted)
        except errors.InvalidList as exc:
            raise errors.TryAgain(
                f'{url}: expected entries of a marketplace: {exc}'
            ) from exc
        if found is None:
            raise errors.TryAgain(
                f'{url}: the marketplace has no such entry of that endorser'
            )
        digest = f'sha256:{hashlib.sha256(found).hexdigest()}'
        if digest == known.etag:
            return values.NotModified()
        return values.Fetched(found, values.Validators(digest))

    def image_pieces(
        self, url: str, settings: values.FetchSettings, size: int
    ) -> Iterator[bytes]:
        """Refuse: a marketplace has no images.

        :raises errors.NotBelieved: always
        """
        raise errors.NotBelieved(
            f'URL {url!r}: an image is not in a marketplace, expected http, '
            'https or oci; tell the endorser'
        )


def _asked(url: str) -> tuple[str, dict[str, str]]:
    """The URL to ask, and what an entry has to say."""
    try:
        parts = urllib.parse.urlsplit(url)
        pairs = urllib.parse.parse_qsl(parts.query, strict_parsing=True)
    except ValueError:
        parts, pairs = urllib.parse.urlsplit(''), []
    wanted = dict(pairs)
    if (
        parts.scheme not in _SCHEMES
        or len(wanted) != len(pairs)
        or set(wanted) not in _WANTED
        or parts.fragment
    ):
        raise errors.Misconfigured(
            f'URL {url!r}: expected stratuslab+https://HOST/metadata?'
            'email=EMAIL&tag=TAG or ...&identifier=ID; edit the option'
        )
    # "all" stands for every status; the default leaves out the deprecated.
    query = urllib.parse.urlencode(
        {'email': wanted['email'], 'status': 'all'}
        | {k: v for k, v in wanted.items() if k == 'identifier'}
    )
    transport = parts.scheme.rpartition('+')[2]
    return (
        urllib.parse.urlunsplit(
            (transport, parts.netloc, parts.path, query, '')
        ),
        wanted,
    )


def _newest(content: bytes, wanted: dict[str, str]) -> bytes | None:
    """The newest entry about that image, as a document of its own."""
    found = []
    for entry in marketplace.entries(marketplace.load(content)):
        try:
            about = marketplace.key(entry)
        except errors.InvalidList:
            # Another endorser's mistake is not this subscription's.
            continue
        if all(getattr(about, name) == wanted[name] for name in wanted):
            found.append((about.created, entry))
    if not found:
        return None
    newest = max(found, key=lambda one: one[0])[1]
    made: bytes = etree.tostring(newest, with_tail=False, encoding='utf-8')
    return made
