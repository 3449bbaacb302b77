# SPDX-License-Identifier: Apache-2.0
"""The context bundle: files of the site as one reproducible tarball.

Guests fetch the bundle as ``default.tgz``, unpack it with ``tar -zxf`` over
a directory of their own and run ``prolog.sh`` early and ``epilog.sh`` late
in their start-up; so both stand at the root of the archive.

The same content gives the same tar on any machine. The bytes of
the gzip wrapper depend on the zlib in use, so the digest that names a
bundle is the SHA-256 of the tar.
"""

from __future__ import annotations

import dataclasses
import hashlib

from hepix_vm.context import archive
from hepix_vm.context import forms

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
    :param directories: that are empty, sorted by name
    """

    tar: bytes = dataclasses.field(repr=False)
    tgz: bytes = dataclasses.field(repr=False)
    sha256_tar: str
    files: tuple[BundleFile, ...]
    directories: tuple[str, ...] = ()


def assemble(
    members: list[archive.Member], source: str, limits: Limits
) -> Bundle:
    """Make the bundle of these members.

    :param source: where they come from, for the error
    :raises BundleRefused: see :func:`archive.ordered`; or the bundle is
        larger than ``limits``
    """
    ordered = archive.ordered(members, source)
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
    holding = {member.path.rpartition('/')[0] for member in ordered}
    empty = tuple(
        member.path
        for member in ordered
        if member.content is None and member.path not in holding
    )
    return Bundle(tar, tgz, hashlib.sha256(tar).hexdigest(), files, empty)


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
