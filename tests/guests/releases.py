# SPDX-License-Identifier: Apache-2.0
"""Releases of Debian as directories and disks, made without a mount or a boot.

``mmdebstrap`` makes one. Its kernel is taken out of its package, with the
drivers of QEMU's machine, and stands beside it, as does a disk of the same
(``mkfs.ext4 -d``). All is kept between runs under the digest of this recipe.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import hashlib
import os
from pathlib import Path
import shutil
import subprocess

from tests.cloud import cache
from tests.guests import drivers

PACKAGES = (
    *('systemd-sysv', 'udev', 'dbus', 'kmod', 'iproute2', 'netbase'),
    *('e2fsprogs', 'cloud-init'),
)
_DISK = '900M'
_UNWANTED = ('doc', 'info', 'locale', 'man')
#: Inside: the kernel's package wants tools that make another initrd.
_KERNEL = r"""
cd /tmp
name=$(apt-cache depends linux-image-cloud-amd64 |
    sed -n 's/^.*Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1)
apt-get -q download "$name"
mkdir /kernel
dpkg -x "$name"_*.deb /kernel
rm "$name"_*.deb
"""


@dataclasses.dataclass(frozen=True)
class Release:
    """One of Debian.

    :param packages: beside those that all have
    """

    name: str
    packages: tuple[str, ...] = ()


RELEASES = {
    '12': Release('bookworm', ('isc-dhcp-client',)),
    '13': Release('trixie'),
}


@dataclasses.dataclass(frozen=True)
class Debian:
    """A release without the agent; read only, since it is kept.

    :param folder: with ``root``, ``vmlinuz`` and ``disk``
    """

    number: str
    folder: Path

    @property
    def root(self) -> Path:
        """Its root directory."""
        return self.folder / 'root'

    @property
    def kernel(self) -> Path:
        """What QEMU boots."""
        return self.folder / 'vmlinuz'

    @property
    def disk(self) -> Path:
        """The root directory as a disk."""
        return self.folder / 'disk'

    @property
    def version(self) -> str:
        """Of the kernel."""
        (modules,) = (self.root / 'usr/lib/modules').iterdir()
        return modules.name

    def copy(self, to: Path) -> Path:
        """A root directory that may be changed."""
        subprocess.run(['cp', '-a', str(self.root), str(to)], check=True)
        return to


def made(number: str) -> Debian:
    """A release, made now unless it is kept from an earlier run.

    It needs root, and what apt needs: a way to Debian's archive.
    """
    release = RELEASES[number]
    recipe = hashlib.sha256()
    for module in (__file__, drivers.__file__):
        recipe.update(Path(module).read_bytes())
    name = f'debian-{number}-{recipe.hexdigest()[:16]}'
    folder = cache.built(
        cache.root() / 'guests' / name,
        lambda target: _build(release, target),
        print,
    )
    return Debian(number, folder)


def _build(release: Release, folder: Path) -> None:
    if os.geteuid() != 0:
        raise PermissionError('a Debian machine is made by root: run as root')
    folder.mkdir()
    root = folder / 'root'
    _run(
        folder / 'mmdebstrap.log',
        [
            *('mmdebstrap', '--variant=apt', '--format=directory'),
            '--include=' + ','.join((*PACKAGES, *release.packages)),
            '--aptopt=APT::Install-Recommends "false"',
            '--dpkgopt=force-unsafe-io',
            *(f'--dpkgopt=path-exclude=/usr/share/{x}/*' for x in _UNWANTED),
            f'--customize-hook=chroot "$1" sh -euc {_quoted(_KERNEL)}',
            *(release.name, str(root)),
        ],
    )
    _put_kernel(root, folder)
    _run(
        folder / 'mkfs.log',
        [
            *('mkfs.ext4', '-q', '-F', '-d', str(root)),
            *(str(folder / 'disk'), _DISK),
        ],
    )


def _put_kernel(root: Path, folder: Path) -> None:
    """Put the kernel beside the root and the drivers wanted into it."""
    kernel = root / 'kernel'
    if (kernel / 'usr/lib/modules').exists():
        (kernel / 'lib').symlink_to('usr/lib')
    (modules,) = (kernel / 'lib/modules').iterdir()
    version = modules.name
    shutil.copy(kernel / f'boot/vmlinuz-{version}', folder / 'vmlinuz')
    log = folder / 'depmod.log'
    _run(log, ['depmod', '--basedir', str(kernel), version])
    for path, content in drivers.needed(kernel, version, drivers.ALL).items():
        target = root / 'usr' / path.with_suffix('').with_suffix('.ko')
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    for name in ('modules.builtin', 'modules.order'):
        shutil.copy(modules / name, root / 'usr/lib/modules' / version)
    _run(log, ['depmod', '--basedir', str(root), version])
    shutil.rmtree(kernel)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _run(log: Path, command: Sequence[str]) -> None:
    """Run a program; a failure shows what it said last."""
    with log.open('ab') as out:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    if done.returncode:
        said = log.read_text(errors='replace').splitlines()[-25:]
        raise RuntimeError('\n'.join([f'{command[0]} failed:', *said]))
