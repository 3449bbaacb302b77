# SPDX-License-Identifier: Apache-2.0
"""Fetching lists and images: bounded in size and time, never trusted.

What arrives here is judged elsewhere: a list by its signature, an image by
its digest. So the transport only has to end, to stay within its limits and
to say clearly why it failed. How each kind of URL is fetched is for its
driver, see :mod:`hepix_vm.catalogue.sources`.
"""

from __future__ import annotations

from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Iterator
import contextlib
import dataclasses

from hepix_vm.catalogue import sources
from hepix_vm.catalogue.sources import lines
from hepix_vm.catalogue.sources.values import Access
from hepix_vm.catalogue.sources.values import Begun
from hepix_vm.catalogue.sources.values import Fetched
from hepix_vm.catalogue.sources.values import FetchSettings
from hepix_vm.catalogue.sources.values import Held
from hepix_vm.catalogue.sources.values import NotModified
from hepix_vm.catalogue.sources.values import Validators
from hepix_vm import errors

__all__ = [
    'Access',
    'Begun',
    'FetchSettings',
    'Fetched',
    'Held',
    'Image',
    'NotModified',
    'Validators',
    'connections_kept',
    'fetch_list',
    'image_from',
    'image_pieces',
]


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """An image on its way.

    :ivar offset: of the first byte that comes
    :ivar validators: with which its rest can be asked for later; none where
        it can only be had as a whole
    :ivar pieces: its bytes; closing it ends the connection
    """

    offset: int
    validators: Validators
    pieces: Generator[bytes]


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
    with _fault_of(url):
        yield from sources.source(url).image_pieces(url, settings, size)


def image_from(
    url: str, settings: FetchSettings, size: int, held: Held
) -> Image:
    """An image, from where it was cut off if its source goes on there.

    :param size: bytes of the whole image, exactly
    :param held: what is here already
    :raises errors.TryAgain: when it cannot be had now
    :raises errors.NotBelieved: for a URL that cannot be fetched, or an image
        of another size
    """
    with _fault_of(url):
        driver = sources.source(url)
        if not isinstance(driver, sources.Resuming):
            pieces = driver.image_pieces(url, settings, size)
            return Image(0, Validators(), _bytes(url, pieces))
        answer = driver.image_from(url, settings, size, held)
        begun = next(answer, None)
    if not isinstance(begun, Begun) or begun.offset not in (0, held.offset):
        raise errors.TryAgain(
            f'{url}: expected its source to go on at byte {held.offset} or '
            f'0, found {begun!r:.100}; see the package that brings it'
        )
    return Image(begun.offset, begun.validators, _bytes(url, answer))


def _bytes(url: str, pieces: Iterable[Begun | bytes]) -> Generator[bytes]:
    with _fault_of(url):
        try:
            for piece in pieces:
                if not isinstance(piece, Begun):
                    yield piece
        finally:
            # Where it holds a connection, that ends now.
            if isinstance(pieces, Generator):
                pieces.close()


@contextlib.contextmanager
def _fault_of(url: str) -> Iterator[None]:
    """What the operator cannot edit is the fault of the image."""
    try:
        yield
    except errors.Misconfigured as exc:
        raise errors.NotBelieved(f'image at {url!r}: {exc}') from exc
