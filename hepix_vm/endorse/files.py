# SPDX-License-Identifier: Apache-2.0
"""Drafts and messages in files: read with a limit, written whole or not."""

from __future__ import annotations

import os
from pathlib import Path
import stat
import tempfile

from hepix_vm import errors
from hepix_vm import imagelist

LARGEST = 64 * 1024 * 1024
_LARGEST_SECRET = 64 * 1024


def read(path: Path, limit: int = LARGEST) -> bytes:
    """A file, whole.

    :raises hepix_vm.errors.Misconfigured: it cannot be read or is too large
    """
    try:
        with path.open('rb') as source:
            content = source.read(limit + 1)
    except OSError as exc:
        raise errors.Misconfigured(
            f'{path}: expected a readable file, found: {exc.strerror}'
        ) from exc
    if len(content) > limit:
        raise errors.Misconfigured(
            f'{path}: expected at most {limit} bytes, found more'
        )
    return content


def read_secret(path: Path) -> str:
    """The first line of a file that nobody else may read.

    :raises hepix_vm.errors.Misconfigured: it is empty, unreadable, or open
        to everybody
    """
    require_private(path)
    content = read(path, _LARGEST_SECRET)
    try:
        secret = content.decode().split('\n', 1)[0].removesuffix('\r')
    except UnicodeDecodeError:
        secret = ''
    if not secret:
        raise errors.Misconfigured(
            f'{path}: expected a secret as its first line of UTF-8, found none'
        )
    return secret


def require_private(path: Path) -> None:
    """Refuse a secret's file that every user of the machine may read.

    :raises hepix_vm.errors.Misconfigured: it is, or is not there
    """
    try:
        mode = path.stat().st_mode
    except OSError as exc:
        raise errors.Misconfigured(
            f'{path}: expected a readable file, found: {exc.strerror}'
        ) from exc
    if stat.S_ISREG(mode) and mode & 0o007:
        raise errors.Misconfigured(
            f'{path}: expected a secret that others cannot read, found mode '
            f'{stat.S_IMODE(mode):04o}; run "chmod o= {path}" and, if others '
            'use this machine, replace the secret'
        )


def write(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file whole or not at all, durably.

    An existing file keeps its mode.

    :raises hepix_vm.errors.Misconfigured: it cannot be written
    """
    try:
        if path.exists():
            mode = stat.S_IMODE(path.stat().st_mode)
        handle, name = tempfile.mkstemp(
            prefix=f'.{path.name}.', dir=path.parent
        )
        try:
            with os.fdopen(handle, 'wb') as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            Path(name).chmod(mode)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        sync_directory(path.parent)
    except OSError as exc:
        raise errors.Misconfigured(
            f'{path}: cannot be written: {exc.strerror}'
        ) from exc


def write_output(path: Path, content: bytes) -> None:
    """Write what a person asked for where they said.

    A device or a pipe is written to as it is: /dev/null and /dev/stdout must
    stay what they are. Nobody waits for the reader of a pipe that somebody
    else put into a directory of lists: those are written by :func:`write`.

    :raises hepix_vm.errors.Misconfigured: it cannot be written
    """
    if path.is_file() or not path.exists():
        write(path, content)
        return
    try:
        path.write_bytes(content)
    except OSError as exc:
        raise errors.Misconfigured(
            f'{path}: cannot be written: {exc.strerror}'
        ) from exc


def sync_directory(directory: Path) -> None:
    """Make renames in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_draft(path: Path) -> imagelist.ImageList:
    """The list of a draft; nothing in it is dropped or guessed.

    :raises hepix_vm.errors.Misconfigured: it is no draft, or broken
    """
    content = read(path)
    if content.lstrip()[:1] != b'{':
        raise errors.Misconfigured(
            f'{path}: expected a draft, which is unsigned JSON; a signed '
            'message becomes a draft by "hepix-vm list new --from"'
        )
    try:
        draft = imagelist.parse(content)
    except errors.InvalidList as exc:
        raise errors.Misconfigured(f'{path}: {exc}; edit the draft') from exc
    for problem in draft.problems:
        raise errors.Misconfigured(f'{path}: {problem}; edit the draft')
    return draft


def write_draft(path: Path, draft: imagelist.ImageList) -> None:
    """Write a draft, if subscribers would read it as it is meant.

    :raises hepix_vm.errors.Misconfigured: they would not, or the file
        cannot be written
    """
    write(path, render(draft))


def render(
    draft: imagelist.ImageList, dialect: imagelist.Dialect | None = None
) -> bytes:
    """The list's bytes.

    :raises hepix_vm.errors.Misconfigured: subscribers would refuse it
    """
    try:
        return imagelist.render(draft, dialect)
    except (errors.InvalidList, ValueError) as exc:
        raise errors.Misconfigured(
            f'subscribers would refuse this list: {exc}'
        ) from exc
