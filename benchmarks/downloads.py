# SPDX-License-Identifier: Apache-2.0
"""What it takes to bring an image to disk, its bytes verified."""

from __future__ import annotations

from collections.abc import Iterator
import hashlib
import pathlib
import shutil
import subprocess
import tempfile

from benchmarks import beside
from benchmarks import processes
from benchmarks import rows
from hepix_vm.catalogue import fetch
from hepix_vm.glance import spool

_LABEL = 'curl | tee | openssl dgst -sha512'


def measure(size: int = 2**30, rounds: int = 5) -> Iterator[rows.Row]:
    """Download one image from loopback, in turn with its peer.

    :param size: bytes of the image
    """
    with tempfile.TemporaryDirectory(prefix='hepix-downloads-') as name:
        folder = pathlib.Path(name)
        sha512 = _sparse(folder / 'image', size)
        with processes.serving(
            'benchmarks.image_server', folder / 'image'
        ) as base:
            yield from _rows(folder, f'{base}/image', sha512, size, rounds)


def _rows(
    folder: pathlib.Path, url: str, sha512: str, size: int, rounds: int
) -> Iterator[rows.Row]:
    settings = fetch.FetchSettings(spool_directory=str(folder / 'spool'))
    copy = folder / 'copy'

    def call() -> None:
        with spool.downloaded(url, sha512, size, settings) as path:
            if path.stat().st_size != size:
                raise RuntimeError('the size is wrong')

    def peer() -> None:
        found = _piped(url, copy)
        copy.unlink()
        if sha512 not in found:
            raise RuntimeError(f'the digest is wrong: {found}')

    tools = all(map(shutil.which, ('curl', 'tee', 'openssl')))
    name = 'bring 1 GiB to disk, verified'
    yield from beside.rows_of(
        name, call, _LABEL, peer if tools else None, rounds
    )


def _piped(url: str, copy: pathlib.Path) -> str:
    """What openssl says of what curl got and tee wrote."""
    get = subprocess.Popen(
        ['curl', '--silent', '--fail', url], stdout=subprocess.PIPE
    )
    tee = subprocess.Popen(
        ['tee', str(copy)], stdin=get.stdout, stdout=subprocess.PIPE
    )
    done = subprocess.run(
        ['openssl', 'dgst', '-sha512'],
        stdin=tee.stdout,
        capture_output=True,
        text=True,
        check=True,
    )
    for one in (get, tee):
        if one.stdout is not None:
            one.stdout.close()
        if one.wait(60):
            raise RuntimeError(f'{one.args!r} failed')
    return done.stdout


def _sparse(path: pathlib.Path, size: int) -> str:
    """Make a file whose pages cost no disk; returns its SHA-512."""
    with path.open('wb') as image:
        image.truncate(size)
    digest = hashlib.sha512()
    block = bytes(2**20)
    for _ in range(size // len(block)):
        digest.update(block)
    digest.update(bytes(size % len(block)))
    return digest.hexdigest()
