# SPDX-License-Identifier: Apache-2.0
"""An ISO 9660 file system of a few small files; no I/O.

Names as they are by Rock Ridge (1.09, owner 0:0) and by Joliet, and a made
up name of 8.3 characters for readers that know neither. The same members
give the same bytes: there is one fixed time and nothing of the machine or
of a library's release. (ECMA-119, IEEE P1281 and P1282, Joliet.)
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import dataclasses
import re
import stat
import struct

from hepix_vm.context import archive

#: Bytes of a sector; everything begins at one.
SECTOR = 2048
#: Levels of directories, the root included (ECMA-119, 6.8.2.1).
DEPTH = 8

_FIRST = 16  # sectors before it belong to the system
# 1980-01-01, UTC, as everywhere in a bundle.
_DAY = bytes((80, 1, 1, 0, 0, 0, 0))
_MOMENT = b'1980010100000000\0'
_NO_MOMENT = b'0000000000000000\0'

_EXTENSION = b'RRIP_1991A'
_ABOUT = (
    b'THE ROCK RIDGE INTERCHANGE PROTOCOL PROVIDES SUPPORT FOR POSIX FILE'
    b' SYSTEM SEMANTICS'
)
_CONTACT = (
    b'PLEASE CONTACT DISC PUBLISHER FOR SPECIFICATION SOURCE.  SEE PUBLISHER'
    b' IDENTIFIER IN PRIMARY VOLUME DESCRIPTOR FOR CONTACT INFORMATION.'
)


class _Node:
    """A file or directory, in both trees."""

    def __init__(self, name: str, member: archive.Member | None) -> None:
        self.name = name
        self.content = member.content if member is not None else None
        self.mode = member.mode if member is not None else 0o755
        self.children: list[_Node] = []
        self.parent = self
        self.short = b'\0'
        self.wide = b'\0'
        self.extent = 0

    @property
    def is_directory(self) -> bool:
        return self.content is None


@dataclasses.dataclass(slots=True)
class _Tree:
    """One of the two views: where its directories are and in which order.

    :param name: a node's identifier in it
    :param key: by which identifiers are sorted
    :param rock: whether records have Rock Ridge entries
    """

    name: Callable[[_Node], bytes]
    key: Callable[[_Node], object]
    rock: bool
    directories: list[_Node] = dataclasses.field(default_factory=list)
    extents: dict[int, int] = dataclasses.field(default_factory=dict)
    sizes: dict[int, int] = dataclasses.field(default_factory=dict)
    more: int = 0
    table: int = 0

    def children(self, node: _Node) -> list[_Node]:
        return sorted(node.children, key=self.key)  # type: ignore[arg-type]


def image(members: tuple[archive.Member, ...], label: str) -> bytes:
    """Make the file system.

    :param members: in order, see :func:`archive.ordered`
    :param label: of the volume, at most 16 letters, digits and _
    :raises archive.BundleRefused: directories are nested too deep
    """
    root = _grow(members)
    rock = _Tree(lambda n: n.short, lambda n: _short_key(n.short), True)
    joliet = _Tree(lambda n: n.wide, lambda n: n.wide, False)
    place = _FIRST + 3
    for tree in (rock, joliet):
        place = _lay_tables(tree, root, place)
    for tree in (rock, joliet):
        place = _lay_directories(tree, place)
    rock.more = place
    place += 1
    files = [n for n in _walk(root) if n.content]
    for node in files:
        node.extent = place
        place += _sectors(len(node.content or b''))
    pieces = [bytes(_FIRST * SECTOR)]
    pieces += [
        _descriptor(tree, root, label, place) for tree in (rock, joliet)
    ]
    pieces.append(_padded(b'\xffCD001\x01'))
    for tree in (rock, joliet):
        pieces += [_padded(_table(tree, order)) for order in '<>']
    for tree in (rock, joliet):
        pieces += [_directory(tree, node) for node in tree.directories]
    pieces.append(_padded(_extension()))
    pieces += [_padded(node.content or b'') for node in files]
    return b''.join(pieces)


def _grow(members: tuple[archive.Member, ...]) -> _Node:
    root = _Node('', None)
    nodes = {'': root}
    for member in members:
        above, _, name = member.path.rpartition('/')
        node = nodes[member.path] = _Node(name, member)
        node.parent = nodes[above]
        node.parent.children.append(node)
        if node.is_directory and member.path.count('/') + 2 > DEPTH:
            raise archive.BundleRefused(
                f'site context {member.path}: expected at most {DEPTH - 1}'
                ' directories within each other on an ISO 9660 file system,'
                ' found more; make the tree flatter'
            )
    for node in nodes.values():
        _name(node.children)
    return root


def _name(siblings: list[_Node]) -> None:
    """Give siblings the names of both trees, each once."""
    for node in siblings:
        node.short = b''
        stem, dot, end = node.name.upper().rpartition('.')
        if not dot or node.is_directory:
            stem, end = node.name.upper(), ''
        stem, end = re.sub('[^A-Z0-9_]', '_', stem), end[:3]
        end = re.sub('[^A-Z0-9_]', '_', end)
        node.short = _free(
            lambda cut, stem=stem, end=end, node=node: _short(  # type: ignore[misc]
                stem[:8] if not cut else f'{stem[: 7 - len(cut)]}_{cut}',
                end,
                node.is_directory,
            ),
            {other.short for other in siblings if other is not node},
        )
        node.wide = b''
        node.wide = _free(
            lambda cut, name=node.name: (  # type: ignore[misc]
                name[:64] if not cut else f'{name[: 63 - len(cut)]}_{cut}'
            ).encode('utf-16-be'),
            {other.wide for other in siblings if other is not node},
        )


def _short(stem: str, end: str, is_directory: bool) -> bytes:
    return (stem if is_directory else f'{stem}.{end};1').encode('ascii')


def _free(make: Callable[[str], bytes], taken: set[bytes]) -> bytes:
    """The first name that is not taken yet."""
    number, found = 0, make('')
    while found in taken:
        number += 1
        found = make(str(number))
    return found


def _short_key(name: bytes) -> tuple[bytes, bytes]:
    stem, _, end = name.partition(b'.')
    return (stem.ljust(8), end.ljust(3))


def _walk(node: _Node) -> Iterator[_Node]:
    for child in node.children:
        yield child
        yield from _walk(child)


def _lay_tables(tree: _Tree, root: _Node, place: int) -> int:
    level = [root]
    while level:
        tree.directories += level
        level = [
            child
            for node in level
            for child in tree.children(node)
            if child.is_directory
        ]
    tree.table = place
    return place + 2 * _sectors(len(_table(tree, '<')))


def _lay_directories(tree: _Tree, place: int) -> int:
    for node in tree.directories:
        tree.sizes[id(node)] = len(_directory(tree, node))
        tree.extents[id(node)] = place
        place += tree.sizes[id(node)] // SECTOR
    return place


def _table(tree: _Tree, order: str) -> bytes:
    numbers = {id(node): n for n, node in enumerate(tree.directories, 1)}
    found = b''
    for node in tree.directories:
        name = tree.name(node)
        found += struct.pack(
            f'{order}BBIH',
            *(len(name), 0, tree.extents.get(id(node), 0)),
            numbers[id(node.parent)],
        )
        found += name + bytes(len(name) % 2)
    return found


def _directory(tree: _Tree, node: _Node) -> bytes:
    records = [
        _record(tree, node, b'\0', _first(tree, node)),
        _record(tree, node.parent, b'\1', _rock(tree, node.parent, None)),
    ]
    records += [
        _record(tree, child, tree.name(child), _rock(tree, child, child.name))
        for child in tree.children(node)
    ]
    found = b''
    for record in records:
        # A record never reaches into another sector.
        if len(found) % SECTOR + len(record) > SECTOR:
            found = _padded(found)
        found += record
    return _padded(found)


def _record(tree: _Tree, node: _Node, name: bytes, system: bytes) -> bytes:
    if node.is_directory:
        extent = tree.extents.get(id(node), 0)
        size = tree.sizes.get(id(node), 0)
    else:
        extent, size = node.extent, len(node.content or b'')
    name_and_pad = name + bytes((len(name) + 1) % 2)
    system += bytes(len(system) % 2)
    length = 33 + len(name_and_pad) + len(system)
    return (
        bytes((length, 0))
        + _both(extent)
        + _both(size)
        + _DAY
        + bytes((2 if node.is_directory else 0, 0, 0))
        + _both_short(1)
        + bytes((len(name),))
        + name_and_pad
        + system
    )


def _first(tree: _Tree, node: _Node) -> bytes:
    """What stands beside ``.``; at the root it says that this is SUSP."""
    system = _rock(tree, node, None)
    if tree.rock and node.parent is node:
        system = (
            b'SP\x07\x01\xbe\xef\x00'
            + system
            + b'CE\x1c\x01'
            + _both(tree.more)
            + _both(0)
            + _both(len(_extension()))
        )
    return system


def _rock(tree: _Tree, node: _Node, name: str | None) -> bytes:
    if not tree.rock:
        return b''
    kind = stat.S_IFDIR if node.is_directory else stat.S_IFREG
    links = 1
    if node.is_directory:
        links = 2 + sum(child.is_directory for child in node.children)
    # Which entries there are: mode and owner, times, maybe the name.
    found = b'RR\x05\x01' + bytes((0x81 if name is None else 0x89,))
    found += b'PX\x24\x01' + b''.join(
        _both(value) for value in (kind | node.mode, links, 0, 0)
    )
    found += b'TF\x1a\x01\x0e' + 3 * _DAY
    if name is not None:
        found += b'NM' + bytes((5 + len(name), 1, 0)) + name.encode('ascii')
    return found


def _extension() -> bytes:
    sizes = bytes((len(_EXTENSION), len(_ABOUT), len(_CONTACT), 1))
    text = sizes + _EXTENSION + _ABOUT + _CONTACT
    return b'ER' + bytes((4 + len(text), 1)) + text


def _descriptor(tree: _Tree, root: _Node, label: str, sectors: int) -> bytes:
    size = len(_table(tree, '<'))

    def text(value: str, length: int) -> bytes:
        if tree.rock:
            return value.ljust(length).encode('ascii')
        return (
            value.ljust(length // 2).encode('utf-16-be').ljust(length, b'\0')
        )

    return _padded(
        bytes((1 if tree.rock else 2,))
        + b'CD001\x01\0'
        + text('', 32)
        + text(label, 32)
        + bytes(8)
        + _both(sectors)
        + (b'' if tree.rock else b'%/E').ljust(32, b'\0')
        + 2 * _both_short(1)
        + _both_short(SECTOR)
        + _both(size)
        + struct.pack('<II', tree.table, 0)
        + struct.pack('>II', tree.table + _sectors(size), 0)
        + _record(tree, root, b'\0', b'')
        + b''.join(
            text('', length) for length in (*(4 * (128,)), *(3 * (37,)))
        )
        + 2 * _MOMENT
        + 2 * _NO_MOMENT
        + b'\x01\0'
    )


def _both(value: int) -> bytes:
    return struct.pack('<I', value) + struct.pack('>I', value)


def _both_short(value: int) -> bytes:
    return struct.pack('<H', value) + struct.pack('>H', value)


def _sectors(size: int) -> int:
    return -(-size // SECTOR)


def _padded(content: bytes) -> bytes:
    return content.ljust(_sectors(len(content)) * SECTOR, b'\0')
