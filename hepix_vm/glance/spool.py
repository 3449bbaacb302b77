# SPDX-License-Identifier: Apache-2.0
"""Endorsed bytes on local disk, between their server and Glance."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import hashlib
import os
from pathlib import Path
import tempfile

from hepix_vm.catalogue import fetch
from hepix_vm import errors


@contextlib.contextmanager
def downloaded(
    url: str,
    sha512: str,
    size: int,
    settings: fetch.FetchSettings,
    told: Callable[[int], None] = lambda received: None,
) -> Iterator[Path]:
    """A file with exactly the endorsed bytes; gone afterwards.

    The name of the file is made here: nothing that a list says becomes a
    path.

    :param told: called with the number of bytes received so far
    :raises errors.NotBelieved: when other bytes came
    :raises errors.TryAgain: when they cannot be had now
    :raises errors.LocalFault: when they cannot be written
    """
    directory = Path(settings.spool_directory)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix='image-', dir=directory)
    except OSError as exc:
        raise _disk(directory, exc) from exc
    path = Path(name)
    try:
        digest = hashlib.sha512()
        received = 0
        # What the server does wrong is an error of ours already.
        try:
            with os.fdopen(handle, 'wb') as target:
                for piece in fetch.image_pieces(url, settings, size):
                    digest.update(piece)
                    target.write(piece)
                    received += len(piece)
                    told(received)
        except OSError as exc:
            raise _disk(directory, exc) from exc
        if received != size or digest.hexdigest() != sha512:
            raise errors.NotBelieved(
                f'{url}: expected {size} bytes with sha512 {sha512[:16]}..., '
                f'found {received} bytes with {digest.hexdigest()[:16]}...; '
                'the server does not have what was endorsed; tell the '
                'endorser'
            )
        yield path
    finally:
        path.unlink(missing_ok=True)


def _disk(directory: Path, exc: OSError) -> errors.LocalFault:
    return errors.LocalFault(
        f'spool directory {directory}: {exc.strerror}; see [fetch] '
        'spool_directory'
    )
