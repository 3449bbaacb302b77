# SPDX-License-Identifier: Apache-2.0
"""The context bundle: a site directory as one reproducible tarball.

Guests fetch the bundle as ``default.tgz``, unpack it with ``tar -zxf`` over
a directory of their own and run ``prolog.sh`` early and ``epilog.sh`` late
in their start-up; so both stand at the root of the archive.

The same directory content gives the same tar on any machine. The bytes of
the gzip wrapper depend on the zlib in use, so the digest that names a
bundle is the SHA-256 of the tar.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
import tempfile
import zlib

from hepix_vm.context import archive
from hepix_vm.context import directory
from hepix_vm.context import forms
from hepix_vm import errors

BundleRefused = archive.BundleRefused

#: Bytes; guests reach us through proxies that answer from memory, so a
#: whole answer (headers included) stays below 1 MiB.
ANSWER_LIMIT = 1024 * 1024 - 4096

#: Bytes of a compressed bundle: in base64, with its line ends, it still is
#: within :data:`ANSWER_LIMIT`.
COMPRESSED_LIMIT = 755 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """How much a bundle may hold.

    :param members: files and directories together
    :param unpacked: bytes of the tar
    :param answer: bytes of the compressed bundle, at most
        :data:`COMPRESSED_LIMIT`
    """

    members: int = 500
    unpacked: int = 8 * 1024 * 1024
    answer: int = COMPRESSED_LIMIT


DEFAULT_LIMITS = Limits()


@dataclasses.dataclass(frozen=True, slots=True)
class BundleFile:
    """One regular file of a bundle.

    :param path: name inside the archive, ``/`` between its parts
    :param mode: 0o644 or 0o755
    :param size: bytes
    :param sha256: hexadecimal digest of the content
    """

    path: str
    mode: int
    size: int
    sha256: str


@dataclasses.dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle, ready to be written or served.

    :param tar: the reproducible archive
    :param tgz: the same, compressed
    :param sha256_tar: hexadecimal digest of ``tar``; names the bundle
    :param files: the regular files, sorted by name
    """

    tar: bytes = dataclasses.field(repr=False)
    tgz: bytes = dataclasses.field(repr=False)
    sha256_tar: str
    files: tuple[BundleFile, ...]


def build(
    site_directory: pathlib.Path, limits: Limits = DEFAULT_LIMITS
) -> Bundle:
    """Make the bundle of a site directory.

    :raises BundleRefused: the directory cannot be read, lacks one of
        :data:`archive.SCRIPTS`, holds anything but regular files and
        directories with plain names, or is larger than ``limits``
    """
    members = directory.members(
        site_directory, limits.members, limits.unpacked
    )
    return assemble(members, str(site_directory), limits)


def read(bundle_file: pathlib.Path, limits: Limits = DEFAULT_LIMITS) -> Bundle:
    """Load a bundle that :func:`write_atomically` has written.

    The archive must be, byte for byte, what :func:`build` makes of its
    content: whatever packed it otherwise did not check it either.

    :raises BundleRefused: unreadable, too large or not such an archive
    """
    source = str(bundle_file)
    try:
        with bundle_file.open('rb') as stream:
            tgz = stream.read(limits.answer + 1)
    except OSError as error:
        raise directory.unreadable(bundle_file, error) from error
    within(len(tgz), limits.answer, 'max_answer_size', source)
    tar = _gunzip(tgz, limits, source)
    members = archive.unpack(tar, limits.members, source)
    bundle = assemble(members, source, limits)
    if bundle.tar != tar:
        raise BundleRefused(
            f'site context {source}: not in the reproducible form; make it'
            ' with "hepix-vm context build"'
        )
    return dataclasses.replace(bundle, tgz=tgz)


def write_atomically(bundle: Bundle, target: pathlib.Path) -> None:
    """Write the compressed bundle (0644): readers see the old or the new.

    :raises errors.LocalFault: the file system refused; nothing is left
    """
    temporary: pathlib.Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(
            prefix=f'.{target.name}.', dir=target.parent
        )
        temporary = pathlib.Path(name)
        with os.fdopen(descriptor, 'wb') as stream:
            stream.write(bundle.tgz)
            os.fchmod(stream.fileno(), 0o644)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
        temporary = None
        _sync(target.parent)
    except OSError as error:
        raise errors.LocalFault(
            f'cannot write context bundle {target}:'
            f' {error.strerror or error}; check the directory and its disk'
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def assemble(
    members: list[archive.Member], source: str, limits: Limits
) -> Bundle:
    """Make the bundle of these members.

    :param source: where they come from, for the error
    :raises BundleRefused: see :func:`build`
    """
    ordered = archive.checked(members, source)
    tar = archive.pack(ordered, source)
    within(len(tar), limits.unpacked, 'max_unpacked_size', source)
    tgz = forms.gzip(tar)
    within(len(tgz), limits.answer, 'max_answer_size', source)
    files = tuple(
        BundleFile(
            member.path,
            member.mode,
            len(member.content),
            hashlib.sha256(member.content).hexdigest(),
        )
        for member in ordered
        if member.content is not None
    )
    return Bundle(tar, tgz, hashlib.sha256(tar).hexdigest(), files)


def within(found: int, limit: int, option: str, source: str) -> None:
    """Hold something against its limit.

    :param found: bytes
    :param limit: bytes
    :param option: of the group ``[context]``, that sets the limit
    :raises BundleRefused: it is larger
    """
    if found > limit:
        raise BundleRefused(
            f'site context {source}: expected at most {limit} bytes, found'
            f' {found} or more; leave large files to the network or raise'
            f' [context] {option}'
        )


def _gunzip(tgz: bytes, limits: Limits, source: str) -> bytes:
    """Unpack one gzip member, never more than the limit allows."""
    decompressor = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        tar = decompressor.decompress(tgz, limits.unpacked + 1)
    except zlib.error as error:
        raise BundleRefused(
            f'site context {source}: not a gzip file ({error})'
        ) from error
    within(len(tar), limits.unpacked, 'max_unpacked_size', source)
    if not decompressor.eof or decompressor.unused_data:
        raise BundleRefused(
            f'site context {source}: the gzip data ends too early or is'
            ' followed by something else'
        )
    return tar


def _sync(folder: pathlib.Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
