# SPDX-License-Identifier: Apache-2.0
"""Modules of a kernel, and what they need."""

from __future__ import annotations

from collections.abc import Sequence
import lzma
from pathlib import Path
import subprocess

ROOT = ('virtio_pci', 'virtio_blk')
CD = ('ata_piix', 'sr_mod', 'isofs')
#: What QEMU's machine has, and file systems of CDs and config drives.
ALL = (*ROOT, *CD, 'virtio_net', 'vfat', 'nls_ascii', 'nls_cp437', 'nls_utf8')


def needed(
    tree: Path, version: str, names: Sequence[str]
) -> dict[Path, bytes]:
    """Modules with those that they need, in the order of loading.

    :param tree: with ``lib/modules/VERSION``, of which ``depmod`` was run
    :returns: what is to be loaded by its path below the tree
    """
    found = {}
    for name in names:
        said = subprocess.run(
            [
                *('modprobe', '--dirname', str(tree)),
                *('--set-version', version, '--show-depends', name),
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for line in said.splitlines():
            action, path = line.split()[:2]
            if action == 'insmod':
                module = Path(path)
                content = module.read_bytes()
                if module.suffix == '.xz':
                    content = lzma.decompress(content)
                found[module.relative_to(tree)] = content
    return found
