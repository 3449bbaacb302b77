# SPDX-License-Identifier: Apache-2.0
"""What was published, whole, under serials that never go back.

The state directory::

    generations/7/site.tar          the site directory, reproducible
    generations/7/generation.json   serial, times, digest, comment
    current -> generations/7        what is served
    serial                          the newest serial ever given
    lock                            held while one publishes

A process that is killed between any two steps leaves what was current
before, or what is current now, never a part of it; the serial that it took
is not given again.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import re
import shutil
import tempfile
from typing import Any

from hepix_vm.context import archive
from hepix_vm.context import bundle
from hepix_vm.context import directory
from hepix_vm.context import manifest
from hepix_vm.context import site as site_
from hepix_vm import errors

_CURRENT = 'current'
_FOLDER = 'generations'
_TAR = 'site.tar'
_ABOUT = 'generation.json'
_SERIAL = re.compile(r'[1-9][0-9]{0,17}')
#: Names that no serial has: what is being made or removed.
_UNFINISHED = '.unfinished-'
_ABOUT_LIMIT = 64 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Generation:
    """One published site directory.

    :param serial: 1 or more
    :param published_at: UNIX seconds
    :param expires_at: UNIX seconds; None: never
    :param sha256: of the site directory as a tar
    :param origin: serial under which this content was published first;
        another than ``serial`` after going back to it
    :param by: who published it
    :param comment: one line of theirs
    """

    serial: int
    published_at: int
    expires_at: int | None
    sha256: str
    origin: int
    by: str
    comment: str


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """What is said with a publication.

    :param now: UNIX seconds
    :param expires_at: UNIX seconds; None: never
    :param by: who publishes
    :param comment: one line
    :param keep: how many generations stay, the newest ones
    """

    now: int
    expires_at: int | None
    by: str
    comment: str
    keep: int


def publish(
    state: pathlib.Path, tar: bytes, order: Order, origin: int | None = None
) -> Generation:
    """Make a site directory current, under a new serial.

    :param tar: see :func:`site.packed`; checked by the caller
    :param origin: serial of the generation that this content is of
    :raises errors.TryAgain: another process publishes
    :raises errors.LocalFault: the file system refused; what was current
        still is
    """
    with _publishing(state):
        serial = newest(state) + 1
        made = Generation(
            serial=serial,
            published_at=order.now,
            expires_at=order.expires_at,
            sha256=hashlib.sha256(tar).hexdigest(),
            origin=serial if origin is None else origin,
            by=order.by,
            comment=order.comment,
        )
        # First of all: whoever comes next takes another serial.
        directory.write_atomically(state / 'serial', b'%d\n' % serial)
        _store(state / _FOLDER, made, tar)
        _switch(state, serial)
        _prune(state, order.keep)
    return made


def newest(state: pathlib.Path) -> int:
    """The newest serial that was ever given; 0: none.

    :raises errors.LocalFault: what says so cannot be read
    """
    try:
        text = (state / 'serial').read_text('ascii', 'replace').strip()
    except FileNotFoundError:
        text = '0'
    except OSError as error:
        raise _fault(state, error) from error
    if text != '0' and not _SERIAL.fullmatch(text):
        raise errors.LocalFault(
            f'site context {state / "serial"}: expected the newest serial,'
            f' found {text[:40]!a}; write a number there that is not below'
            ' any serial that guests have seen'
        )
    return max(int(text), *serials(state), 0)


def serials(state: pathlib.Path) -> tuple[int, ...]:
    """The serials that are kept, in their order.

    :raises errors.LocalFault: they cannot be looked at
    """
    try:
        names = [path.name for path in (state / _FOLDER).iterdir()]
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise _fault(state, error) from error
    return tuple(sorted(int(n) for n in names if _SERIAL.fullmatch(n)))


def current(state: pathlib.Path) -> int | None:
    """The serial that is served; None: nothing was published.

    :raises archive.BundleRefused: it cannot be told
    """
    link = state / _CURRENT
    try:
        target = str(link.readlink())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise directory.unreadable(link, error) from error
    folder, _, name = target.partition('/')
    if folder != _FOLDER or not _SERIAL.fullmatch(name):
        raise archive.BundleRefused(
            f'site context {link}: expected a link to a generation, found'
            f' one to {target[:80]!a}; publish again'
        )
    return int(name)


def before(state: pathlib.Path, generation: Generation) -> int | None:
    """The serial whose content was current before this content was.

    Content that was published more than once is one.

    :raises archive.BundleRefused: it cannot be told
    """
    for serial in reversed(serials(state)):
        if serial < generation.origin and (
            describe(state, serial).sha256 != generation.sha256
        ):
            return serial
    return None


def describe(state: pathlib.Path, serial: int) -> Generation:
    """What is known of a generation that is kept.

    :raises archive.BundleRefused: it is not there, or damaged
    """
    path = state / _FOLDER / str(serial) / _ABOUT
    if not path.parent.is_dir():
        raise archive.BundleRefused(
            f'site context {state}: there is no publication {serial}; see'
            ' "hepix-vm context show"'
        )
    try:
        found = _read(path, _ABOUT_LIMIT)
        if len(found) > _ABOUT_LIMIT:
            raise _damaged(path)
        made = Generation(**json.loads(found))
    except (ValueError, TypeError, RecursionError) as error:
        raise _damaged(path) from error
    if not _is_sound(made) or made.serial != serial:
        raise _damaged(path)
    return made


def read(
    state: pathlib.Path,
    serial: int,
    limits: bundle.Limits = bundle.DEFAULT_LIMITS,
) -> site_.Site:
    """Read a generation.

    :raises archive.BundleRefused: it is not there, damaged, or cannot be
        served any more
    """
    about = describe(state, serial)
    path = state / _FOLDER / str(serial) / _TAR
    tar = content(state, about, limits)
    members = archive.ordered(
        archive.unpack(tar, limits.members, str(path)), str(path)
    )
    if site_.packed(members, limits, str(path)) != tar:
        raise _damaged(path)
    return site_.of_members(
        members,
        tar,
        str(path),
        serial=serial,
        published_at=about.published_at,
        expires_at=about.expires_at,
    )


def content(
    state: pathlib.Path,
    about: Generation,
    limits: bundle.Limits = bundle.DEFAULT_LIMITS,
) -> bytes:
    """The site directory of a generation as a tar.

    :raises archive.BundleRefused: it is not there, damaged, or larger than
        ``limits``
    """
    path = state / _FOLDER / str(about.serial) / _TAR
    tar = _read(path, limits.unpacked)
    bundle.within(len(tar), limits.unpacked, 'max_unpacked_size', str(path))
    if hashlib.sha256(tar).hexdigest() != about.sha256:
        raise _damaged(path)
    return tar


@contextlib.contextmanager
def _publishing(state: pathlib.Path) -> Iterator[None]:
    """Hold the lock; what a process before us left half done goes."""
    try:
        _make(state / _FOLDER)
        descriptor = os.open(
            state / 'lock', os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644
        )
    except OSError as error:
        raise _fault(state, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for left in (state / _FOLDER).glob(f'{_UNFINISHED}*'):
            shutil.rmtree(left)
        (state / f'{_UNFINISHED}{_CURRENT}').unlink(missing_ok=True)
        yield
    except BlockingIOError as error:
        raise errors.TryAgain(
            f'site context {state}: another process publishes; wait for it'
            ' and look with "hepix-vm context show" what it has published'
        ) from error
    except OSError as error:
        raise _fault(state, error) from error
    finally:
        os.close(descriptor)


def _make(folder: pathlib.Path) -> None:
    """Make a directory that other accounts may read, whatever the umask."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        path.chmod(0o755)
        # Without its name all that is in it would be lost, the serial too.
        directory.sync(path.parent)


def _store(folder: pathlib.Path, made: Generation, tar: bytes) -> None:
    unfinished = pathlib.Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder))
    about = json.dumps(dataclasses.asdict(made), indent=2, sort_keys=True)
    directory.write_atomically(unfinished / _TAR, tar)
    directory.write_atomically(unfinished / _ABOUT, f'{about}\n'.encode())
    unfinished.chmod(0o755)
    unfinished.rename(folder / str(made.serial))
    directory.sync(folder)


def _switch(state: pathlib.Path, serial: int) -> None:
    link = state / f'{_UNFINISHED}{_CURRENT}'
    link.symlink_to(f'{_FOLDER}/{serial}')
    link.replace(state / _CURRENT)
    directory.sync(state)


def _prune(state: pathlib.Path, keep: int) -> None:
    """Remove the oldest; the newest, which is current, always stays."""
    for serial in serials(state)[: -max(keep, 1)]:
        old = state / _FOLDER / str(serial)
        # Half a generation must never have the name of a whole one.
        gone = old.rename(old.with_name(f'{_UNFINISHED}{serial}'))
        shutil.rmtree(gone)


def _read(path: pathlib.Path, limit: int) -> bytes:
    """The content; one byte more than ``limit`` if there is more."""
    try:
        with path.open('rb') as stream:
            return stream.read(limit + 1)
    except OSError as error:
        raise directory.unreadable(path, error) from error


def _is_sound(made: Generation) -> bool:
    numbers: tuple[Any, ...] = (made.serial, made.origin)
    times: tuple[Any, ...] = (made.published_at,)
    if made.expires_at is not None:
        times = (*times, made.expires_at)
    return (
        all(type(n) is int and n >= 0 for n in numbers)
        and all(type(n) is int and 0 <= n <= manifest.LAST for n in times)
        and all(
            isinstance(text, str)
            for text in (made.sha256, made.by, made.comment)
        )
    )


def _damaged(path: pathlib.Path) -> archive.BundleRefused:
    return archive.BundleRefused(
        f'site context {path}: damaged, it is not what was published; go'
        ' back to another generation with "hepix-vm context rollback SERIAL"'
    )


def _fault(state: pathlib.Path, error: OSError) -> errors.LocalFault:
    return errors.LocalFault(
        f'site context {error.filename or state}:'
        f' {error.strerror or error}; [context] state_directory must be'
        ' writable for whom publishes'
    )
