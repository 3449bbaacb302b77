# SPDX-License-Identifier: Apache-2.0
"""What bytes are that pass by once and are kept nowhere."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
import dataclasses
import hashlib
import io

from hepix_vm import errors
from hepix_vm.glance import content

#: Bytes that are remembered of the beginning and of the end: where headers,
#: tables, descriptors and footers of disk formats are.
BEGINNING = 8 * 2**20
END = 2**20

# Bytes between two words about how far it is.
_STRIDE = 4 * 2**20


@dataclasses.dataclass(frozen=True, slots=True)
class Passed:
    """What passed by.

    :ivar size: bytes
    """

    sha512: str
    size: int
    content: content.Content


def read(
    pieces: Iterable[bytes],
    size: int,
    told: Callable[[int], None] = lambda done: None,
) -> Passed:
    """Read everything once.

    :param size: bytes that are expected; no more than that are read
    :param told: called now and then with the number of bytes so far
    :raises errors.NotBelieved: for more or fewer bytes than expected, and
        for headers that contradict each other
    """
    digest = hashlib.sha512()
    beginning, end = bytearray(), bytearray()
    done = said = 0
    for piece in pieces:
        done += len(piece)
        if done > size:
            raise errors.NotBelieved(
                f'expected {size} bytes, found more than that'
            )
        digest.update(piece)
        if len(beginning) < BEGINNING:
            beginning += piece[: BEGINNING - len(beginning)]
        end += piece
        if len(end) > 2 * END:
            del end[:-END]
        if done - said >= _STRIDE:
            said = done
            told(done)
    if done != size:
        raise errors.NotBelieved(f'expected {size} bytes, found {done}')
    told(done)
    ends = _Ends(bytes(beginning), bytes(end[-END:]), size)
    return Passed(
        digest.hexdigest(), size, content.of_source(io.BufferedReader(ends))
    )


class _Ends(io.RawIOBase):
    """A file of which the middle is forgotten: it reads as zeros there.

    A format that keeps something of its own there looks damaged.
    """

    def __init__(self, beginning: bytes, end: bytes, size: int) -> None:
        self._beginning = beginning
        self._end = end
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}
        self._at = max(0, base[whence] + offset)
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        count = max(0, min(len(buffer), self._size - self._at))
        start = self._size - len(self._end)
        if self._at < len(self._beginning):
            found = self._beginning[self._at : self._at + count]
        elif self._at < start:
            found = bytes(min(count, start - self._at))
        else:
            found = self._end[self._at - start : self._at - start + count]
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)
