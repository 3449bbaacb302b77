# SPDX-License-Identifier: Apache-2.0
"""Members of a bundle and their one form as a tar archive; no I/O.

The same members give the same bytes on any machine: sorted by name, USTAR
headers, owner 0:0 without names, one fixed time, mode 0755 for directories
and programs and 0644 for everything else.
"""

from __future__ import annotations

import dataclasses
import io
import re
import stat
import tarfile

from hepix_vm import errors

#: What a guest runs; always stored as programs.
SCRIPTS = ('prolog.sh', 'epilog.sh')

#: 1980-01-01T00:00:00Z. Time 0 makes GNU tar warn, a time of today would be
#: in the future of a guest whose clock has not been set yet, and 1980 is the
#: first year that every archive format can hold.
MEMBER_TIME = 315532800

_PART = re.compile(r'[A-Za-z0-9_][A-Za-z0-9._+@=,-]*')


class BundleRefused(errors.Misconfigured):
    """A site directory or bundle file cannot be served; the text says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """A regular file, or a directory when ``content`` is None.

    :param path: name inside the archive, ``/`` between its parts
    :param executable: as its owner has it; directories always are
    """

    path: str
    executable: bool
    content: bytes | None = dataclasses.field(repr=False)

    @property
    def mode(self) -> int:
        """0o755 or 0o644."""
        if self.executable or self.path in SCRIPTS:
            return 0o755
        return 0o644


def ordered(members: list[Member], source: str) -> tuple[Member, ...]:
    """Sort the members of any archive and check that they make a tree.

    The order is by the parts of each name, so that a directory comes before
    what is in it whatever the locale and the file system.

    :param source: where the members come from, for the error
    :raises BundleRefused: a name is unusual, doubled or without its
        directory
    """
    directories = {''} | {m.path for m in members if m.content is None}
    files = {m.path for m in members if m.content is not None}
    for member in members:
        check_name(member.path, source)
        if member.path.rpartition('/')[0] not in directories:
            raise BundleRefused(
                f'site context {source}: {member.path} stands in a directory'
                ' that is not in the archive'
            )
    if len(directories) - 1 + len(files - directories) != len(members):
        raise BundleRefused(f'site context {source}: a name appears twice')
    return tuple(sorted(members, key=lambda member: member.path.split('/')))


def check_name(path: str, source: str) -> None:
    """Refuse what could surprise a shell, an archiver or a reader.

    Hidden files are most often an editor's or a version control system's.

    :raises BundleRefused: a part of ``path`` is not a plain name
    """
    if not all(_PART.fullmatch(part) for part in path.split('/')):
        raise BundleRefused(
            f'site context {source}: name {path!a} refused; use letters,'
            ' digits and ._+@=,- and begin with a letter, a digit or _'
        )


def pack(members: tuple[Member, ...], source: str) -> bytes:
    """Make the tar archive of members that :func:`ordered` returned.

    :raises BundleRefused: a name does not fit a USTAR header
    """
    packed = io.BytesIO()
    with tarfile.open(
        fileobj=packed, mode='w', format=tarfile.USTAR_FORMAT
    ) as archive:
        for member in members:
            header = tarfile.TarInfo(member.path)
            header.mtime = MEMBER_TIME
            header.mode = member.mode
            if member.content is None:
                header.type = tarfile.DIRTYPE
            else:
                header.size = len(member.content)
            try:
                archive.addfile(header, io.BytesIO(member.content or b''))
            except ValueError as error:
                raise BundleRefused(
                    f'site context {source}: {member.path}: the name is too'
                    ' long for a tar header; shorten it'
                ) from error
    return packed.getvalue()


def unpack(tar: bytes, most: int, source: str) -> list[Member]:
    """Read the members of an archive, unchecked but for their kind.

    :param most: how many members there may be
    :raises BundleRefused: not a tar archive, or with links, devices or more
        members
    """
    members: list[Member] = []
    try:
        with tarfile.open(fileobj=io.BytesIO(tar), mode='r:') as archive:
            for header in archive:
                if len(members) >= most:
                    raise BundleRefused(
                        f'site context {source}: expected at most {most}'
                        ' members, found more'
                    )
                members.append(_member(archive, header, source))
    except tarfile.TarError as error:
        raise BundleRefused(
            f'site context {source}: not a tar archive ({error})'
        ) from error
    return members


def _member(
    archive: tarfile.TarFile, header: tarfile.TarInfo, source: str
) -> Member:
    if header.isdir():
        return Member(header.name, True, None)
    if not header.isreg() or header.issparse():
        raise BundleRefused(
            f'site context {source}: {header.name!a} is neither a'
            ' regular file nor a directory'
        )
    stream = archive.extractfile(header)
    content = stream.read() if stream else b''
    return Member(header.name, bool(header.mode & stat.S_IXUSR), content)
