# SPDX-License-Identifier: Apache-2.0
"""One pass over a file for all its digests, reading while hashing.

SHA-512 is bound by the processor, so the digests are computed in threads
(``hashlib`` lets go of the interpreter lock) while the next block is read
into the other of two buffers. Files are read, never mapped: a file that is
truncated while mapped ends the process with SIGBUS. This module runs inside
Glance and needs the standard library alone.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent import futures
import contextlib
import dataclasses
import hashlib
from typing import Protocol

BLOCK = 2**20


class Readable(Protocol):
    """What is read: a binary file object, best without a buffer."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill the buffer; return the bytes read, 0 at the end."""


@dataclasses.dataclass(frozen=True, slots=True)
class Hashes:
    """What a pass over a file gave.

    :param size: bytes that were read
    :param digests: lower-case hexadecimal digits by algorithm
    """

    size: int
    digests: Mapping[str, str] = dataclasses.field(hash=False)


def hash_file(
    source: int | Readable,
    algorithms: Sequence[str],
    progress: Callable[[int], None] | None = None,
    block: int = BLOCK,
) -> Hashes:
    """Read from where the source stands to its end, once, and hash it.

    :param source: file descriptor, which stays open, or binary file object
    :param algorithms: names that ``hashlib`` knows, at least one
    :param progress: called after each block with the bytes read so far, in
        the caller's thread; what it raises ends the pass
    :param block: bytes read at once
    :raises ValueError: no algorithm, an unknown one, or a block of
        nothing; nothing was read
    :raises OSError: the source cannot be read, or would block
    """
    if not algorithms:
        raise ValueError('at least one algorithm is needed')
    if block < 1:
        raise ValueError('a block has at least one byte')
    hashers = {name: hashlib.new(name) for name in algorithms}
    with contextlib.ExitStack() as stack:
        if isinstance(source, int):
            source = stack.enter_context(
                open(source, 'rb', buffering=0, closefd=False)
            )
        pool = stack.enter_context(futures.ThreadPoolExecutor(len(hashers)))
        size = 0
        running: list[futures.Future[None]] = []
        filling, waiting = (memoryview(bytearray(block)) for _ in range(2))
        while count := _fill(source, filling):
            size += count
            _finish(running)
            running = [
                pool.submit(hasher.update, filling[:count])
                for hasher in hashers.values()
            ]
            filling, waiting = waiting, filling
            if progress is not None:
                progress(size)
        _finish(running)
    return Hashes(
        size, {name: hasher.hexdigest() for name, hasher in hashers.items()}
    )


def _fill(source: Readable, buffer: memoryview) -> int:
    count = source.readinto(buffer)
    if count is None:
        raise BlockingIOError('the source has no data yet')
    return count


def _finish(running: list[futures.Future[None]]) -> None:
    for update in running:
        update.result()
