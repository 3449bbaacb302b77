# SPDX-License-Identifier: Apache-2.0
"""Putting a signed list and its images where subscribers fetch them.

New images come first and the list last, so that no subscriber ever sees a
list whose images are not there. Before the first byte is sent everything
that can be checked here has been.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import datetime
import enum
from pathlib import Path
import posixpath
import urllib.parse

from hepix_vm.endorse import draft as drafts
from hepix_vm.endorse import recognise
from hepix_vm.endorse import sealing
from hepix_vm.endorse import targets
from hepix_vm import errors
from hepix_vm import imagelist

#: Called with a title, a step, the bytes done and the bytes in all.
Told = Callable[[str, str, int, int], None]


class Outcome(enum.StrEnum):
    """What became of an image or list."""

    UPLOADED = 'uploaded'
    PRESENT = 'present'
    ELSEWHERE = 'elsewhere'
    PLANNED = 'would upload'


@dataclasses.dataclass(frozen=True, slots=True)
class Placed:
    """One file and what became of it.

    :param subject: identifier of the image or list
    :param title: its title
    :param uri: where subscribers find it
    :param size: bytes
    :param outcome: what was done
    """

    subject: str
    title: str
    uri: str
    size: int
    outcome: Outcome


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What publishing will do; everything in it has been checked.

    :param sealed: the signed list
    :param name: where the list goes
    :param present: images that are there
    :param elsewhere: images whose URI the target does not serve
    :param uploads: images to upload, with the files that are these images
    :param list_present: the same message is there already
    """

    sealed: sealing.Sealed
    name: str
    present: tuple[Located, ...]
    elsewhere: tuple[imagelist.ImageEntry, ...]
    uploads: tuple[tuple[Located, Path], ...]
    list_present: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Located:
    """An image and its name at the target."""

    image: imagelist.ImageEntry
    name: str


def base_of(image_list: imagelist.ImageList) -> str:
    """Where the list says it lies: the folder of its ``hv:uri``."""
    return urllib.parse.urljoin(image_list.uri, '.')


def plan(
    message: bytes,
    target: targets.Target,
    files: Sequence[Path],
    now: datetime.datetime,
    name: str | None = None,
    told: Told = lambda *_args: None,
) -> Plan:
    """Check everything and say what is to be done.

    :param files: images; each is hashed once if the target lacks it
    :param name: of the list at the target; default: as its ``hv:uri`` says
    :raises hepix_vm.errors.Misconfigured: subscribers would refuse the list
        alone or after the one that is there, signatures are missing, a file
        is missing, or another image is at an image's address
    """
    sealed = sealing.inspect(message, now)
    if sealed.missing:
        raise errors.Misconfigured(
            'the list is not complete: not yet signed by '
            f'{" and ".join(str(one[0]) for one in sealed.missing)}'
        )
    name = _list_name(sealed.image_list, target, name)
    list_present = _require_follows(sealed, target.read_list(name), name)
    present: list[Located] = []
    absent: list[Located] = []
    elsewhere: list[imagelist.ImageEntry] = []
    for image in sealed.image_list.images:
        found = target.locate(image.uri)
        if found is None:
            elsewhere.append(image)
            continue
        size = target.size(found)
        _require_free(image, size)
        (absent if size is None else present).append(Located(image, found))
    return Plan(
        sealed,
        name,
        tuple(present),
        tuple(elsewhere),
        tuple(_matched(absent, files, told)),
        list_present,
    )


def _list_name(
    image_list: imagelist.ImageList,
    target: targets.Target,
    name: str | None,
) -> str:
    found = (
        name
        or target.locate(image_list.uri)
        or posixpath.basename(urllib.parse.urlsplit(image_list.uri).path)
    )
    if not found:
        raise errors.Misconfigured(
            f'hv:uri {image_list.uri} has no file name; give --name'
        )
    return found


def _require_follows(
    sealed: sealing.Sealed, there: bytes | None, name: str
) -> bool:
    """Whether the message is there already; refuse to go backwards."""
    if there is None or there == sealed.message:
        return there is not None
    try:
        before = sealing.read(there)
    except errors.Misconfigured as exc:
        raise errors.Misconfigured(
            f'{name}: something else than a signed list is there ({exc}); '
            'remove it, or choose another place'
        ) from exc
    # The same list with a further signature goes forward, too.
    if before != sealed.image_list:
        drafts.require_forward(before, sealed.image_list)
    return False


def _require_free(image: imagelist.ImageEntry, size: int | None) -> None:
    if size is not None and size != image.size:
        raise errors.Misconfigured(
            f'image {image.identifier} ({image.title!r}): at {image.uri} are '
            f'{size} bytes, the list says {image.size}; other bytes need '
            'another address, since subscribers still fetch the former ones'
        )


def _matched(
    absent: Sequence[Located], files: Sequence[Path], told: Told
) -> Iterator[tuple[Located, Path]]:
    """Each absent image with the file that is it, by its digest."""
    sizes = {located.image.size for located in absent}
    by_digest: dict[str, Path] = {}
    for path in files:
        if _size(path) in sizes:
            by_digest[_sha512(path, told)] = path
    missing = [
        f'{located.image.title!r} ({located.image.uri})'
        for located in absent
        if located.image.sha512 not in by_digest
    ]
    if missing:
        raise errors.Misconfigured(
            f'no file is given that is image {", ".join(missing)}; nothing '
            'was published'
        )
    for located in absent:
        yield located, by_digest[located.image.sha512]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as exc:
        raise errors.Misconfigured(
            f'{path}: expected a readable image, found: {exc.strerror}'
        ) from exc


def _sha512(path: Path, told: Told) -> str:
    def progress(done: int, size: int) -> None:
        told(path.name, 'hashing', done, size)

    return recognise.examine(path, progress=progress).digests['sha512']


def planned(found: Plan) -> Iterator[Placed]:
    """What publishing would do."""
    yield from _settled(found)
    for located, _path in found.uploads:
        yield _placed(located.image, Outcome.PLANNED)
    outcome = Outcome.PRESENT if found.list_present else Outcome.PLANNED
    yield _list_placed(found, outcome)


def publish(
    found: Plan,
    target: targets.Target,
    told: Told = lambda *_args: None,
) -> Iterator[Placed]:
    """Upload images, then the list, which is read back.

    :raises hepix_vm.errors.TryAgain: the target is away, or gives back
        something else than was put there
    :raises hepix_vm.errors.Misconfigured: the target refuses, or a file
        changes meanwhile
    """
    yield from _settled(found)
    for located, path in found.uploads:
        _upload(located, path, target, told)
        yield _placed(located.image, Outcome.UPLOADED)
    if found.list_present:
        yield _list_placed(found, Outcome.PRESENT)
        return
    message = found.sealed.message
    target.put_list(found.name, message, tuple(_layers(found)))
    if target.read_list(found.name) != message:
        raise errors.TryAgain(
            f'{found.name}: the list that is there now is not the one that '
            'was put there; look at the server, then publish again'
        )
    yield _list_placed(found, Outcome.UPLOADED)


def _upload(
    located: Located, path: Path, target: targets.Target, told: Told
) -> None:
    image = located.image

    def progress(done: int) -> None:
        told(image.title, 'uploading', done, image.size)

    try:
        with path.open('rb') as source:
            target.put_image(
                located.name, targets.Upload(path, source, image, progress)
            )
    except OSError as exc:
        raise errors.Misconfigured(
            f'{path}: expected a readable image, found: {exc.strerror}'
        ) from exc
    there = target.size(located.name)
    if there != image.size:
        raise errors.TryAgain(
            f'{image.uri}: {image.size} bytes were put there, found {there}; '
            'publish again'
        )


def _layers(found: Plan) -> Iterator[targets.Layer]:
    located = [*found.present, *(one for one, _path in found.uploads)]
    for one in located:
        yield targets.Layer(one.name, one.image.title, one.image.size)


def _settled(found: Plan) -> Iterator[Placed]:
    for image in found.elsewhere:
        yield _placed(image, Outcome.ELSEWHERE)
    for located in found.present:
        yield _placed(located.image, Outcome.PRESENT)


def _placed(image: imagelist.ImageEntry, outcome: Outcome) -> Placed:
    return Placed(
        image.identifier, image.title, image.uri, image.size, outcome
    )


def _list_placed(found: Plan, outcome: Outcome) -> Placed:
    image_list = found.sealed.image_list
    return Placed(
        image_list.identifier,
        image_list.title,
        image_list.uri,
        len(found.sealed.message),
        outcome,
    )
