# SPDX-License-Identifier: Apache-2.0
"""Records and endorsements of a large catalogue in little memory.

As objects of Python, 100 000 images take more than 100 MB in each process
that decides. Here each is an entry of fixed size in one of many byte strings,
about 300 bytes an image; those that are asked for stay unpacked for a while.
What does not fit an entry is kept as it is.

Values are never changed: what has changed is another mapping, which shares
the byte strings that stayed the same. The standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
import re
import struct
from typing import TypeVar
import uuid

from hepix_vm.catalogue import believed

#: Byte strings of a mapping; with 100 000 images each has about 5 kB.
_BUCKETS = 4096
#: Values that stay unpacked at most.
_AT_HAND = 2048

_UUID = re.compile(r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}')
_SHA512 = re.compile(r'[0-9a-f]{128}')

_V = TypeVar('_V')


class Texts:
    """Texts that many values share, by number. It only grows."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._texts: list[str] = []

    def number(self, text: str) -> int:
        """The number of a text; for one writer at a time."""
        known = self._numbers.get(text)
        if known is None:
            known = len(self._texts)
            # Readers may know a number as soon as it is told.
            self._texts.append(text)
            self._numbers[text] = known
        return known

    def text(self, number: int) -> str:
        """The text of a number."""
        return self._texts[number]


def uuid_bytes(text: str) -> bytes | None:
    """The 16 bytes of an identifier; None if it is no UUID as we write it."""
    if _UUID.fullmatch(text) is None:
        return None
    return bytes.fromhex(text.replace('-', ''))


def sha512_bytes(text: str) -> bytes | None:
    """The 64 bytes of a digest; None if it is none as we write it."""
    return bytes.fromhex(text) if _SHA512.fullmatch(text) else None


class _Buckets:
    """Entries of one size, found by the bytes that they begin with.

    :param size: bytes of an entry
    :param identity: of these, what two entries may not have in common
    """

    __slots__ = ('_buckets', '_identity', '_size')

    def __init__(
        self,
        size: int,
        identity: int,
        buckets: tuple[bytes, ...] = (b'',) * _BUCKETS,
    ) -> None:
        self._size = size
        self._identity = identity
        self._buckets = buckets

    def found(self, key: bytes) -> list[bytes]:
        """The entries of a key, in the order in which they came."""
        bucket = self._buckets[hash(key) % _BUCKETS]
        size = self._size
        return [bucket[at : at + size] for at in _places(bucket, key, size)]

    def __len__(self) -> int:
        return sum(map(len, self._buckets)) // self._size

    def entries(self) -> Iterator[bytes]:
        """All entries."""
        for bucket in self._buckets:
            for at in range(0, len(bucket), self._size):
                yield bucket[at : at + self._size]

    def changed(
        self, entries: Iterable[tuple[bytes, bytes | None]]
    ) -> _Buckets:
        """With other entries.

        :param entries: keys and entries, which come last and replace those
            of the same identity; None: no entry of that key
        """
        changed: dict[int, bytearray] = {}
        for key, entry in entries:
            number = hash(key) % _BUCKETS
            bucket = changed.get(number)
            if bucket is None:
                bucket = bytearray(self._buckets[number])
                changed[number] = bucket
            same = key if entry is None else entry[: self._identity]
            for at in reversed(list(_places(bucket, same, self._size))):
                del bucket[at : at + self._size]
            if entry is not None:
                bucket += entry
        if not changed:
            return self
        buckets = list(self._buckets)
        while changed:
            # One by one: both together would be twice the memory.
            number, bucket = changed.popitem()
            buckets[number] = bytes(bucket)
        return _Buckets(self._size, self._identity, tuple(buckets))


def _places(
    bucket: bytes | bytearray, begin: bytes, size: int
) -> Iterator[int]:
    at = bucket.find(begin)
    while at != -1:
        if at % size == 0:
            yield at
            at = bucket.find(begin, at + size)
        else:
            at = bucket.find(begin, at + 1)


_RECORD = struct.Struct('>16sB64sq64sqqII')
_ENDORSEMENT = struct.Struct('>64sqI16sIqqqIB')
#: A time or a text that there is none of.
_NO_TIME, _NO_TEXT = -(2**63), 2**32 - 1
_APPROVED, _WITHDRAWN, _HELD, _NAMED = 1, 2, 4, 8
_STATES = tuple(believed.RecordState)


class Records(Mapping[str, believed.GlanceRecord]):
    """Glance records by the image's id."""

    def __init__(self) -> None:
        self._texts = Texts()
        self._buckets = _Buckets(_RECORD.size, 16)
        self._others: dict[str, believed.GlanceRecord] = {}
        self._hand: dict[str, believed.GlanceRecord] = {}

    def changed(self, records: Iterable[believed.GlanceRecord]) -> Records:
        """With these instead of those of the same images."""
        made = Records()
        made._texts = self._texts
        made._others = dict(self._others)
        made._buckets = self._buckets.changed(made._entries(records))
        return made

    def _entries(
        self, records: Iterable[believed.GlanceRecord]
    ) -> Iterator[tuple[bytes, bytes | None]]:
        for record in records:
            key = uuid_bytes(record.image_id)
            entry = None if key is None else self._packed(key, record)
            if entry is None:
                self._others[record.image_id] = record
            else:
                self._others.pop(record.image_id, None)
            if key is not None:
                yield key, entry

    def _packed(
        self, key: bytes, record: believed.GlanceRecord
    ) -> bytes | None:
        sha512 = sha512_bytes(record.sha512)
        final = sha512_bytes(record.final_sha512)
        if sha512 is None or final is None:
            return None
        boot, number = record.boot, self._texts.number
        return _RECORD.pack(
            key,
            _STATES.index(record.state),
            sha512,
            record.size,
            final,
            record.final_size,
            record.created_at,
            _NO_TEXT if boot is None else number(boot),
            number(record.parent),
        )

    def _unpacked(self, entry: bytes) -> believed.GlanceRecord:
        key, state, sha512, size, final, *numbers = _RECORD.unpack(entry)
        final_size, created, boot, parent = numbers
        text = self._texts.text
        return believed.GlanceRecord(
            image_id=str(uuid.UUID(bytes=key)),
            state=_STATES[state],
            sha512=sha512.hex(),
            size=size,
            final_sha512=final.hex(),
            final_size=final_size,
            created_at=created,
            boot=None if boot == _NO_TEXT else text(boot),
            parent=text(parent),
        )

    def __getitem__(self, image_id: str) -> believed.GlanceRecord:
        known = self._hand.get(image_id)
        if known is None:
            known = self._others.get(image_id)
        if known is not None:
            return known
        key = uuid_bytes(image_id)
        entries = [] if key is None else self._buckets.found(key)
        if not entries:
            raise KeyError(image_id)
        found = self._unpacked(entries[0])
        _keep(self._hand, image_id, found)
        return found

    def __iter__(self) -> Iterator[str]:
        yield from self._others
        for entry in self._buckets.entries():
            yield str(uuid.UUID(bytes=entry[:16]))

    def __len__(self) -> int:
        return len(self._others) + len(self._buckets)


class Endorsements(Mapping[str, tuple[believed.Endorsement, ...]]):
    """Endorsements by the SHA-512 of their bytes."""

    def __init__(self) -> None:
        self._texts = Texts()
        self._buckets = _Buckets(_ENDORSEMENT.size, 72)
        self._others: dict[str, tuple[believed.Endorsement, ...]] = {}
        self._hand: dict[str, tuple[believed.Endorsement, ...]] = {}

    def changed(
        self, endorsements: Iterable[believed.Endorsement]
    ) -> Endorsements:
        """With these instead of those of the same rows and bytes."""
        made = Endorsements()
        made._texts = self._texts
        made._others = dict(self._others)
        made._buckets = self._buckets.changed(made._entries(endorsements))
        return made

    def _entries(
        self, endorsements: Iterable[believed.Endorsement]
    ) -> Iterator[tuple[bytes, bytes | None]]:
        for one in endorsements:
            key = sha512_bytes(one.sha512)
            if key is not None:
                yield key, self._packed(key, one)
                continue
            self._others[one.sha512] = (
                *(
                    other
                    for other in self._others.get(one.sha512, ())
                    if other.row != one.row
                ),
                one,
            )

    def _packed(self, key: bytes, one: believed.Endorsement) -> bytes:
        number = self._texts.number
        identifier = uuid_bytes(one.identifier)
        flags = (
            _APPROVED * one.approved
            | _WITHDRAWN * one.withdrawn
            | _HELD * one.held
            | _NAMED * (identifier is None)
        )
        if identifier is None:
            identifier = number(one.identifier).to_bytes(16, 'big')
        return _ENDORSEMENT.pack(
            key,
            one.row,
            number(one.subscription),
            identifier,
            number(one.version),
            one.size,
            _NO_TIME if one.expires is None else one.expires,
            _NO_TIME if one.replaced_until is None else one.replaced_until,
            number(one.vo),
            flags,
        )

    def _unpacked(self, entry: bytes) -> believed.Endorsement:
        sha512, row, subscription, identifier, version, *numbers, flags = (
            _ENDORSEMENT.unpack(entry)
        )
        size, expires, replaced, vo = numbers
        text = self._texts.text
        return believed.Endorsement(
            row=row,
            subscription=text(subscription),
            identifier=text(int.from_bytes(identifier, 'big'))
            if flags & _NAMED
            else str(uuid.UUID(bytes=identifier)),
            version=text(version),
            sha512=sha512.hex(),
            size=size,
            expires=None if expires == _NO_TIME else expires,
            approved=bool(flags & _APPROVED),
            withdrawn=bool(flags & _WITHDRAWN),
            held=bool(flags & _HELD),
            replaced_until=None if replaced == _NO_TIME else replaced,
            vo=text(vo),
        )

    def __getitem__(self, sha512: str) -> tuple[believed.Endorsement, ...]:
        known = self._hand.get(sha512)
        if known is None:
            known = self._others.get(sha512)
        if known is not None:
            return known
        key = sha512_bytes(sha512)
        entries = [] if key is None else self._buckets.found(key)
        if not entries:
            raise KeyError(sha512)
        found = tuple(map(self._unpacked, entries))
        _keep(self._hand, sha512, found)
        return found

    def __iter__(self) -> Iterator[str]:
        yield from self._others
        seen: set[bytes] = set()
        for entry in self._buckets.entries():
            if entry[:64] not in seen:
                seen.add(entry[:64])
                yield entry[:64].hex()

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _keep(hand: dict[str, _V], key: str, value: _V) -> None:
    # Threads may overtake each other here, which costs an unpacking.
    if len(hand) >= _AT_HAND:
        hand.clear()
    hand[key] = value
