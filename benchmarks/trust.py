# SPDX-License-Identifier: Apache-2.0
"""What it costs to believe a list, and to hash an image."""

from __future__ import annotations

from collections.abc import Iterator
import datetime
import hashlib
import os
import pathlib
import tempfile

from benchmarks import beside
from benchmarks import lists
from benchmarks import measuring
from benchmarks import peers
from benchmarks import pki
from benchmarks import rows
from hepix_vm import hashing
from hepix_vm import trust
from hepix_vm.trust import mime

_MILLISECONDS = 1e3
_GIB = 2**30
#: Images that make the signed list 35 kB.
_IMAGES = 35


def measure(
    anchors: int = pki.ANCHORS,
    images: int = 10_000,
    size: int = _GIB,
    rounds: int = 40,
    hanko: pathlib.Path | None = None,
) -> Iterator[rows.Row]:
    """All rows of the group.

    :param anchors: authorities of the trust anchor directory
    :param images: of the large list
    :param size: bytes of the image that is hashed, whole MiB
    :param rounds: of the quick measurements; slow ones take fewer
    :param hanko: a Python that has pyHanko; None if there is none
    """
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    with tempfile.TemporaryDirectory(prefix='hepix-vm-bench-') as name:
        folder = pathlib.Path(name)
        directory = folder / 'anchors'
        directory.mkdir()
        endorser = pki.make(directory, now, anchors)
        yield from _verify(folder, endorser, now, rounds)
        yield _verify_beside_hanko(folder, endorser, now, rounds, hanko)
        yield _verify_large(endorser, now, images, max(1, rounds // 8))
        yield _load(endorser, max(1, rounds // 4))
        yield from _hash(folder / 'image', size, max(1, rounds // 8))


def _verify(
    folder: pathlib.Path,
    endorser: pki.Endorser,
    now: datetime.datetime,
    rounds: int,
) -> Iterator[rows.Row]:
    """Anchors and CRLs are loaded beforehand, as a running sync has them.

    The peer is a process that reads of the directory what it needs.
    """
    anchors = trust.load(endorser.folder)
    message = lists.signed(endorser, now, _IMAGES)
    path = folder / 'list.smime'
    path.write_bytes(message)
    peer = measuring.program(
        'openssl',
        'cms',
        '-verify',
        '-in',
        str(path),
        '-CApath',
        str(endorser.folder),
        '-crl_check_all',
        '-purpose',
        'any',
        '-out',
        os.devnull,
    )
    yield from beside.rows_of(
        'verify a list of 35 kB',
        lambda: trust.verify(message, anchors, trust.Policy(), now),
        'openssl cms -verify (a process)',
        peer,
        rounds,
    )


def _verify_beside_hanko(
    folder: pathlib.Path,
    endorser: pki.Endorser,
    now: datetime.datetime,
    rounds: int,
    python: pathlib.Path | None,
) -> rows.Row:
    """Both have read anchors and CRLs; the peer the MIME parts, too."""
    name = 'verify a list of 35 kB, beside pyHanko'
    anchors = trust.load(endorser.folder)
    message = lists.signed(endorser, now, _IMAGES)

    def call() -> object:
        return trust.verify(message, anchors, trust.Policy(), now)

    if python is None:
        times = measuring.alone(call, rounds)
        figure = times.median * _MILLISECONDS
        return rows.Row(name, figure, 'ms', 'pyHanko: not installed')
    envelope = mime.open_envelope(message, trust.Limits())
    content, signature = folder / 'content', folder / 'signature'
    content.write_bytes(next(iter(envelope.candidates())))
    signature.write_bytes(envelope.signature)
    argv = (
        str(python),
        str(pathlib.Path(__file__).with_name('hanko.py')),
        str(endorser.folder),
        str(content),
        str(signature),
        now.isoformat(),
    )
    with peers.answering(argv) as peer:
        times, beside = measuring.in_turn(call, peer, rounds)
    return rows.Row(
        name,
        times.median * _MILLISECONDS,
        'ms',
        'pyHanko (a process that waits)',
        beside.median * _MILLISECONDS,
    )


def _verify_large(
    endorser: pki.Endorser, now: datetime.datetime, images: int, rounds: int
) -> rows.Row:
    anchors = trust.load(endorser.folder)
    message = lists.signed(endorser, now, images)
    times = measuring.alone(
        lambda: trust.verify(message, anchors, trust.Policy(), now), rounds
    )
    return rows.Row(
        'verify a list of 10 000 images',
        times.median * _MILLISECONDS,
        'ms',
        f'none ({len(message) / 1e6:.1f} MB)',
    )


def _load(endorser: pki.Endorser, rounds: int) -> rows.Row:
    times = measuring.alone(lambda: trust.load(endorser.folder), rounds)
    return rows.Row(
        'load 88 anchors and their CRLs',
        times.median * _MILLISECONDS,
        'ms',
        'none',
    )


def _hash(path: pathlib.Path, size: int, rounds: int) -> Iterator[rows.Row]:
    """A sparse file: both read pages that are in memory."""
    with path.open('wb') as image:
        image.truncate(size)
    expected = hashlib.sha512()
    for _ in range(0, size, 2**20):
        expected.update(bytes(2**20))

    def call() -> None:
        with path.open('rb', buffering=0) as image:
            hashes = hashing.hash_file(image, ['sha512'])
        if hashes.digests['sha512'] != expected.hexdigest():
            raise RuntimeError('the digest is wrong')

    peer = measuring.program('openssl', 'dgst', '-sha512', str(path))
    name = 'hash 1 GiB (SHA-512)'
    yield from beside.rows_of(name, call, 'openssl dgst -sha512', peer, rounds)
