# SPDX-License-Identifier: Apache-2.0
"""What is kept outside the tree between runs, and the locks on it."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import fcntl
import os
import pathlib
import shutil

COMPLETE = '.complete'


def root() -> pathlib.Path:
    """Return the folder of everything kept between runs; it exists then.

    ``$HEPIX_VM_CACHE``, else ``hepix-vm`` under ``$XDG_CACHE_HOME`` or
    ``~/.cache``.
    """
    named = os.environ.get('HEPIX_VM_CACHE')
    if named:
        path = pathlib.Path(named).absolute()
    else:
        base = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
        path = pathlib.Path(base).expanduser().absolute() / 'hepix-vm'
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


@contextlib.contextmanager
def locked(path: pathlib.Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold an exclusive lock; ``waiting`` is called when another has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('w') as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def built(
    folder: pathlib.Path,
    build: Callable[[pathlib.Path], None],
    report: Callable[[str], None],
) -> pathlib.Path:
    """Return ``folder``, built first unless a complete one is there.

    ``build`` gets the folder's final path, since environments of Python are
    not relocatable; a marker written last says that it is complete, and one
    without the marker is removed. One process builds, others wait for it.
    """
    marker = folder / COMPLETE
    if marker.is_file():
        return folder
    lock = folder.parent / f'.{folder.name}.lock'
    with locked(lock, lambda: report(f'another run prepares {folder.name}')):
        if not marker.is_file():
            if folder.exists():
                shutil.rmtree(folder)
            folder.parent.mkdir(parents=True, exist_ok=True)
            build(folder)
            marker.touch()
    return folder
