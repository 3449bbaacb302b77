# SPDX-License-Identifier: Apache-2.0
"""Fetching lists and images: bounded in size and time, never trusted.

What arrives here is judged elsewhere: a list by its signature, an image by
its digest. So the transport only has to end, to stay within its limits and
to say clearly why it failed. How each kind of URL is fetched is for its
driver, see :mod:`hepix_vm.catalogue.sources`.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib

from hepix_vm.catalogue import sources
from hepix_vm.catalogue.sources import lines
from hepix_vm.catalogue.sources.values import Access
from hepix_vm.catalogue.sources.values import Fetched
from hepix_vm.catalogue.sources.values import FetchSettings
from hepix_vm.catalogue.sources.values import NotModified
from hepix_vm.catalogue.sources.values import Validators
from hepix_vm import errors

__all__ = [
    'Access',
    'FetchSettings',
    'Fetched',
    'NotModified',
    'Validators',
    'connections_kept',
    'fetch_list',
    'image_pieces',
]


def fetch_list(
    url: str, settings: FetchSettings, known: Validators
) -> Fetched | NotModified:
    """Get a signed list.

    :raises errors.TryAgain: when it cannot be had now
    :raises errors.NotBelieved: when what is there can be no list
    :raises errors.Misconfigured: for a URL that no driver serves, or an
        unusable option
    """
    return sources.source(url).fetch_list(url, settings, known)


def connections_kept() -> contextlib.AbstractContextManager[None]:
    """Fetches of this thread share connections where they ask alike."""
    return lines.kept()


def image_pieces(
    url: str, settings: FetchSettings, size: int
) -> Iterator[bytes]:
    """The bytes of an image, ``size`` at most, piece by piece.

    The URL is the word of a list: one that cannot be used is the fault of
    this one image, not of the configuration.

    :raises errors.TryAgain: when they cannot be had now
    :raises errors.NotBelieved: for a URL that cannot be fetched
    """
    try:
        yield from sources.source(url).image_pieces(url, settings, size)
    except errors.Misconfigured as exc:
        raise errors.NotBelieved(f'image at {url!r}: {exc}') from exc
