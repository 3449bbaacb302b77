# SPDX-License-Identifier: Apache-2.0
"""Where lists and images come from: one driver for each scheme of URLs.

A driver is a class without arguments that implements :class:`Source`,
registered in the namespace ``hepix_vm.sources`` under the scheme that it
serves. It only carries bytes and is never trusted: a list is believed for
its signature, an image for its digest. ``doc/source/contributor/sources.rst``
tells how to write one.
"""

from __future__ import annotations

from collections.abc import Iterator
import functools
from typing import Protocol
from typing import runtime_checkable
import urllib.parse

from hepix_vm.catalogue import drivers
from hepix_vm.catalogue.sources import values
from hepix_vm import errors

NAMESPACE = 'hepix_vm.sources'


class Source(Protocol):
    """Carries bytes from a server.

    Each call ends within the deadlines of its settings, keeps to their
    sizes, and raises nothing but these:

    * :class:`hepix_vm.errors.TryAgain`: it cannot be had now
    * :class:`hepix_vm.errors.NotBelieved`: what is there can be no list or
      image, whoever asks
    * :class:`hepix_vm.errors.Misconfigured`: the operator has to edit the
      URL or an option

    Calls come from several threads at once.
    """

    def fetch_list(
        self,
        url: str,
        settings: values.FetchSettings,
        known: values.Validators,
    ) -> values.Fetched | values.NotModified:
        """Get a signed list, whole.

        :param known: what this source said of the list that is stored
        """

    def image_pieces(
        self, url: str, settings: values.FetchSettings, size: int
    ) -> Iterator[bytes]:
        """The bytes of an image, piece by piece, ``size`` at most."""


@runtime_checkable
class Resuming(Source, Protocol):
    """A source that can go on where an image was cut off.

    One that cannot is asked by :meth:`Source.image_pieces`, each time from
    the beginning.
    """

    def image_from(
        self,
        url: str,
        settings: values.FetchSettings,
        size: int,
        held: values.Held,
    ) -> Iterator[values.Begun | bytes]:
        """Where the answer begins, once; then its bytes, piece by piece.

        :param size: bytes of the image, exactly
        :param held: what is here already; the answer goes on behind it if
            the source knows that it has the same bytes, else it begins
            again at 0
        """


def source(url: str) -> Source:
    """The driver for a URL, by its scheme.

    :raises errors.Misconfigured: there is none, or it cannot be loaded
    """
    try:
        scheme = urllib.parse.urlsplit(url).scheme
    except ValueError:
        scheme = ''
    if not scheme:
        raise errors.Misconfigured(
            f'URL {url!r}: expected a URL, such as https://HOST/PATH; edit '
            'the option'
        )
    return _driver(scheme)


@functools.cache
def _driver(scheme: str) -> Source:
    made: Source = drivers.load(NAMESPACE, scheme)()
    return made
