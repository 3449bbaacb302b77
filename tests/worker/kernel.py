# SPDX-License-Identifier: Apache-2.0
"""Debian's kernel for clouds, and which modules need which.

Its package is downloaded and unpacked, not installed: the kernels of the
machine that the tests run on are its own.
"""

from __future__ import annotations

from collections.abc import Iterable
import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import tempfile

from tests.cloud import cache
from tests.cloud import environment
from tests.cloud import errors

PACKAGE = 'linux-image-cloud-amd64'
_IMAGE = 'vmlinuz'
_MODULES = 'modules'
_NEEDS = re.compile(rb'\0depends=([a-z0-9_,-]*)\0', re.IGNORECASE)


@dataclasses.dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel and its modules.

    :ivar modules: the file of each by its name
    """

    image: pathlib.Path
    modules: dict[str, pathlib.Path]

    def with_needed(self, names: Iterable[str]) -> list[pathlib.Path]:
        """Return the files of modules, each after those that it needs.

        :raises errors.CloudError: when there is no such module
        """
        found: dict[str, pathlib.Path] = {}

        def add(name: str) -> None:
            if name in found:
                return
            if name not in self.modules:
                raise errors.CloudError(
                    f'{self.image}: expected a module {name}, found none'
                )
            for one in needs(self.modules[name].read_bytes()):
                add(one)
            found[name] = self.modules[name]

        for name in names:
            add(name)
        return list(found.values())


def needs(module: bytes) -> list[str]:
    """Return the names of the modules that one says it needs."""
    said = _NEEDS.search(module)
    return said[1].decode().split(',') if said and said[1] else []


def _download(folder: pathlib.Path) -> pathlib.Path:
    """Have the package that Debian's name for the newest one stands for."""
    said = environment.call(['apt-cache', 'depends', PACKAGE], {'LC_ALL': 'C'})
    names = re.findall(r'Depends: (linux-image-[0-9]\S+)', said)
    if not names:
        raise errors.CloudError(
            f'{PACKAGE}: expected a package that it depends on, found none; '
            'run apt-get update'
        )
    environment.call(
        ['sh', '-c', 'cd "$0" && apt-get download "$1"', str(folder), names[0]]
    )
    (package,) = folder.glob('*.deb')
    return package


def _refreshed(folder: pathlib.Path) -> pathlib.Path:
    """Download it, with lists of packages that may be old or missing."""
    try:
        return _download(folder)
    except errors.CloudError:
        if os.geteuid() != 0:
            raise
        # A source that is not Debian's may fail, and is not wanted.
        with contextlib.suppress(errors.CloudError):
            environment.call(['apt-get', 'update'])
        return _download(folder)


def kept() -> Kernel:
    """Return the kernel, downloaded when it is not in the cache.

    :raises errors.CloudError: when that fails
    """

    def build(folder: pathlib.Path) -> None:
        folder.mkdir()
        with tempfile.TemporaryDirectory(dir=folder) as name:
            work = pathlib.Path(name)
            package = _refreshed(work)
            environment.call(['dpkg-deb', '-x', str(package), str(work)])
            (image,) = (work / 'boot').glob('vmlinuz-*')
            shutil.copy(image, folder / _IMAGE)
            shutil.move(work / 'lib' / 'modules', folder / _MODULES)

    folder = cache.built(cache.root() / 'worker' / 'kernel-1', build, print)
    modules = {
        path.stem.replace('-', '_'): path
        for path in (folder / _MODULES).rglob('*.ko')
    }
    return Kernel(folder / _IMAGE, modules)
