# SPDX-License-Identifier: Apache-2.0
"""A worker node of a few MiB: Debian's kernel, busybox, and our agent or not.

It boots on any PC, gets an address by DHCP, runs the script in its user data
and then the site's context, and tells all of it on its first serial port. Its
root is a file system in memory, so each boot is its first one.
"""

from __future__ import annotations

import enum
import hashlib
import pathlib
import shutil
import subprocess
import tempfile
import threading

from tests.cloud import cache
from tests.cloud import errors
from tests.worker import archive
from tests.worker import disk
from tests.worker import kernel
from tests.worker import tree

_PROGRAMS = ('apt-get', 'busybox', 'dpkg-deb', 'mformat', 'syslinux')
UP = 'worker: kernel'
"""Begins the first line that it says."""
OVER = 'worker: start-up is over'
MEMORY = 256
"""MiB that it needs."""
_HERE = pathlib.Path(__file__).parent


class Kind(enum.StrEnum):
    """Which worker node.

    :cvar AGENT: with the agent, as ``install-agent`` installs it
    :cvar OLD: without it, and with what images did before there was one
    """

    AGENT = 'agent'
    OLD = 'old'


def _recipe() -> list[pathlib.Path]:
    """What a change makes other images."""
    return sorted(
        path
        for folder in (_HERE, tree.AGENT)
        for path in folder.rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    )


def _key() -> str:
    content = hashlib.sha256()
    for path in _recipe():
        content.update(f'{path.name}\0{path.stat().st_mode:o}\0'.encode())
        content.update(path.read_bytes())
    return content.hexdigest()[:12]


def image(kind: Kind) -> pathlib.Path:
    """Return the disk of a worker node, qcow2; it is kept in the cache.

    :raises errors.CloudError: when a program or a package is missing
    """

    def build(folder: pathlib.Path) -> None:
        missing = [name for name in _PROGRAMS if not shutil.which(name)]
        if missing:
            raise errors.CloudError(
                f'not installed: {", ".join(missing)}; '
                'run tools/install-system-packages worker'
            )
        folder.mkdir()
        with tempfile.TemporaryDirectory(dir=folder) as name:
            work = pathlib.Path(name)
            found = kernel.kept()
            for one in Kind:
                root = tree.make(work / one, found, old=one is Kind.OLD)
                initrd = archive.packed(root)
                disk.make(folder / f'{one}.qcow2', found.image, initrd, work)

    folder = cache.root() / 'worker' / _key()
    return cache.built(folder, build, print) / f'{kind}.qcow2'


def boots_with_kvm(seconds: float = 10.0) -> bool:
    """Say whether a worker node comes up on KVM here, and soon.

    That there is ``/dev/kvm`` proves nothing: without the processor's own
    help a kernel may go round in circles after the firmware.

    :param seconds: a second does where KVM works
    """
    flags = set(pathlib.Path('/proc/cpuinfo').read_text().split())
    if not flags & {'vmx', 'svm'} or not pathlib.Path('/dev/kvm').exists():
        return False
    command = (
        *('qemu-system-x86_64', '-accel', 'kvm', '-m', str(MEMORY)),
        *('-snapshot', '-nodefaults', '-display', 'none', '-no-reboot'),
        *('-serial', 'stdio'),
        *('-drive', f'file={image(Kind.AGENT)},if=virtio'),
    )
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        assert child.stdout is not None
        end = threading.Timer(seconds, child.kill)
        end.start()
        up = any(UP.encode() in line for line in child.stdout)
        end.cancel()
        child.kill()
    return up
