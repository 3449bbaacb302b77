# SPDX-License-Identifier: Apache-2.0
"""A site's context directory on disk: read, noticed to change, written."""

from __future__ import annotations

import os
import pathlib
import stat
import tempfile

from hepix_vm.context import archive
from hepix_vm import errors

#: Levels of directories; a site's few scripts need two or three.
DEPTH = 16


def members(top: pathlib.Path, most: int, room: int) -> list[archive.Member]:
    """Read the tree below ``top``.

    ``top`` itself may be a symbolic link: switching one replaces the whole
    content at once. Nothing below it may be.

    :param most: how many files and directories there may be
    :param room: bytes that all files together may have
    :raises archive.BundleRefused: unreadable, too large, or holding
        anything but regular files and directories with plain names
    """
    walk = _Walk(top, most, room)
    try:
        descriptor = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise unreadable(top, error) from error
    try:
        walk.enter(descriptor, '', 1)
    finally:
        os.close(descriptor)
    return walk.members


def fingerprint(path: pathlib.Path, most: int) -> tuple[object, ...]:
    """Give a value that changes when the file or the tree changes.

    Looks at names and inodes only, never at content, and at about ``most``
    names. Never raises: what cannot be seen is part of the value.
    """
    seen: list[object] = []
    try:
        found = path.stat()
        seen.append(_identity(found))
        if stat.S_ISDIR(found.st_mode):
            _look(path, most, DEPTH, seen)
    except OSError as error:
        seen.append((error.errno, str(error.filename)))
    return tuple(seen)


def unreadable(path: pathlib.Path, error: OSError) -> archive.BundleRefused:
    """Say that ``path`` cannot be read and for whom it must be."""
    return archive.BundleRefused(
        f'site context {ascii(str(path))[1:-1]}: {error.strerror or error};'
        ' it must be readable for the account that builds or serves it'
    )


def write_atomically(target: pathlib.Path, content: bytes) -> None:
    """Write a file (0644): readers see the old one or the new one.

    A device or a pipe is written to as it is.

    :raises errors.LocalFault: the file system refused; nothing is left
    """
    temporary: pathlib.Path | None = None
    try:
        if target.exists() and not target.is_file():
            # What is not a file must stay what it is, /dev/null above all.
            target.write_bytes(content)
            return
        descriptor, name = tempfile.mkstemp(
            prefix=f'.{target.name}.', dir=target.parent
        )
        temporary = pathlib.Path(name)
        with os.fdopen(descriptor, 'wb') as stream:
            stream.write(content)
            os.fchmod(stream.fileno(), 0o644)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
        temporary = None
        sync(target.parent)
    except OSError as error:
        raise errors.LocalFault(
            f'cannot write {target}: {error.strerror or error}; check the'
            ' directory and its disk'
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def sync(folder: pathlib.Path) -> None:
    """Have the names in a directory survive a loss of power.

    :raises OSError: the file system refused
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Walk:
    """Collects the members of one tree."""

    def __init__(self, top: pathlib.Path, most: int, room: int) -> None:
        self.members: list[archive.Member] = []
        self._top = top
        self._most = most
        self._allowed = room
        self._room = room

    def enter(self, directory: int, prefix: str, depth: int) -> None:
        if depth > DEPTH:
            raise self._refused(prefix, f'more than {DEPTH} levels deep')
        try:
            names = sorted(os.listdir(directory))
        except OSError as error:
            raise unreadable(self._top / prefix, error) from error
        for name in names:
            path = prefix + name
            archive.check_name(path, str(self._top))
            if len(self.members) >= self._most:
                raise archive.BundleRefused(
                    f'site context {self._top}: expected at most'
                    f' {self._most} files and directories, found more;'
                    ' remove some or raise [context] max_files'
                )
            try:
                self._take(directory, name, path, depth)
            except OSError as error:
                raise unreadable(self._top / path, error) from error

    def _take(self, directory: int, name: str, path: str, depth: int) -> None:
        kind = os.lstat(name, dir_fd=directory).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            raise self._refused(
                path, f'is a {_kind(kind)}; put a regular file there'
            )
        # What was looked at may be replaced before it is opened: no link is
        # followed, no FIFO waited for, and the open file is looked at again.
        descriptor = os.open(
            name,
            os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK,
            dir_fd=directory,
        )
        try:
            found = os.fstat(descriptor).st_mode
            if stat.S_ISDIR(found):
                self.members.append(archive.Member(path, True, None))
                self.enter(descriptor, path + '/', depth + 1)
            elif stat.S_ISREG(found):
                content = self._content(descriptor, path)
                executable = bool(found & stat.S_IXUSR)
                self.members.append(archive.Member(path, executable, content))
            else:
                raise self._refused(path, 'was replaced while it was read')
        finally:
            os.close(descriptor)

    def _content(self, descriptor: int, path: str) -> bytes:
        with open(descriptor, 'rb', closefd=False) as stream:
            content = stream.read(self._room + 1)
        if len(content) > self._room:
            raise self._refused(
                path,
                f'takes the bundle over {self._allowed} bytes; leave large'
                ' files to the network or raise [context] max_unpacked_size',
            )
        self._room -= len(content)
        return content

    def _refused(self, path: str, problem: str) -> archive.BundleRefused:
        return archive.BundleRefused(
            f'site context {self._top / path}: {problem}'
        )


def _kind(mode: int) -> str:
    for test, word in (
        (stat.S_ISLNK, 'symbolic link'),
        (stat.S_ISFIFO, 'FIFO'),
        (stat.S_ISSOCK, 'socket'),
        (stat.S_ISCHR, 'character device'),
        (stat.S_ISBLK, 'block device'),
    ):
        if test(mode):
            return word
    return 'special file'


def _look(
    directory: pathlib.Path, most: int, depth: int, seen: list[object]
) -> None:
    with os.scandir(directory) as found:
        listing = sorted(found, key=lambda entry: os.fsencode(entry.name))
    for entry in listing:
        if len(seen) > most + 1:
            return
        status = entry.stat(follow_symlinks=False)
        seen.append((os.fsencode(entry.path), *_identity(status)))
        if stat.S_ISDIR(status.st_mode) and depth:
            _look(pathlib.Path(entry.path), most, depth - 1, seen)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return (
        status.st_dev,
        status.st_ino,
        status.st_mode,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
