# SPDX-License-Identifier: Apache-2.0
"""Exactly the file that Glance itself staged, and no other.

Which bytes a plugin gets to read is a path in a request. Here it has to be
the file of this image's id in Glance's staging directory: no symbolic link,
no device, no pipe. It is read through one descriptor.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import dataclasses
import os
import pathlib
import re
import stat
from typing import Any

from hepix_vm import errors

_SCHEME = 'file://'


@dataclasses.dataclass(frozen=True, slots=True)
class StagedFile:
    """An open staged file.

    :ivar descriptor: positioned at the beginning
    :ivar size: bytes, as the file system says
    """

    descriptor: int
    size: int


def directory(glance: Any) -> str:
    """Where this Glance stages, with one store or several.

    :param glance: Glance's own configuration
    :raises errors.Misconfigured: when it is no local directory
    """
    if glance.enabled_backends:
        place = glance.os_glance_staging_store.filesystem_store_datadir
    else:
        place = str(glance.node_staging_uri or '')
        if not place.startswith(_SCHEME + '/'):
            raise errors.Misconfigured(
                'option node_staging_uri of Glance: expected '
                f'file:///DIRECTORY, found {place!r}'
            )
        place = place[len(_SCHEME) :]
    if not place:
        raise errors.Misconfigured('Glance has no staging directory')
    return str(place)


@contextlib.contextmanager
def opened(
    place: str, file_path: str, image_id: str, converted: bool = False
) -> Iterator[StagedFile]:
    """The staged file of an image, open for reading.

    :param place: Glance's staging directory
    :param file_path: the location that Glance's flow names, ``file://...``
    :param converted: accept ``ID.EXTENSION`` too, where converting plugins
        put their result
    :raises errors.NotBelieved: when the location is not what Glance stages
        for this image, or holds no regular file
    """
    name = _name(place, file_path, image_id, converted)
    with _directory(place) as folder:
        try:
            descriptor = os.open(name, _FLAGS, dir_fd=folder)
        except OSError as exc:
            raise errors.NotBelieved(
                f'the staged data cannot be read ({exc.strerror}); stage it '
                'again'
            ) from exc
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise errors.NotBelieved('the staged data is no regular file')
        yield StagedFile(descriptor, found.st_size)
    finally:
        os.close(descriptor)


def remove(place: str, image_id: str) -> bool:
    """Delete the staged file of an image, and nothing else.

    :returns: whether there was one
    :raises OSError: when it is there and cannot be deleted
    """
    if not _ID.fullmatch(image_id):
        return False
    try:
        with _directory(place) as folder:
            os.unlink(image_id, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True


# A pipe in the file's place would block the open without O_NONBLOCK.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ID = re.compile(r'[0-9A-Za-z-]{1,64}')
_CONVERTED = re.compile(r'\.[0-9a-z]{1,16}')


def _name(place: str, file_path: str, image_id: str, converted: bool) -> str:
    if file_path.startswith(_SCHEME + '/') and _ID.fullmatch(image_id):
        path = pathlib.Path(file_path[len(_SCHEME) :])
        extension = path.name.removeprefix(image_id)
        known = extension == '' or (
            converted and _CONVERTED.fullmatch(extension) is not None
        )
        ours = pathlib.Path(place).resolve()
        if (
            path.name.startswith(image_id)
            and known
            and path.parent.resolve() == ours
        ):
            return path.name
    raise errors.NotBelieved(
        'the import names another file than the one that was staged for this '
        'image; stage the data and import it again'
    )


@contextlib.contextmanager
def _directory(place: str) -> Iterator[int]:
    folder = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield folder
    finally:
        os.close(folder)
