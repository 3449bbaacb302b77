# SPDX-License-Identifier: Apache-2.0
"""What a guest starts with: drivers, its root, and files of the test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
import stat

#: On the kernel's command line: CD drives are there before the root is.
EARLY_CD = 'early_cd'

_BUSYBOX = Path('/bin/busybox')
_INIT = f"""\
#!/bin/busybox sh
bb=/bin/busybox
$bb mount -t proc proc /proc
$bb mount -t sysfs sysfs /sys
$bb mount -t devtmpfs devtmpfs /dev
for one in /root-drivers/*; do
    $bb insmod "$one"
done
if $bb grep -q -w {EARLY_CD} /proc/cmdline; then
    for one in /cd-drivers/*; do
        $bb insmod "$one"
    done
    until [ -e /dev/sr0 ]; do
        $bb sleep 1
    done
fi
until [ -e /dev/vda ]; do
    $bb sleep 1
done
$bb mount -t ext4 -o rw /dev/vda /root
$bb cp -af /overlay/. /root/
$bb mount --move /dev /root/dev
$bb umount /sys
$bb umount /proc
exec $bb switch_root /root /sbin/init
"""


def image(
    early: Sequence[bytes],
    cd: Sequence[bytes],
    overlay: Path,
) -> bytes:
    """Make the archive that the kernel unpacks.

    :param early: drivers of the root
    :param cd: drivers of CDs, which are loaded when asked for
    :param overlay: a directory that is put over the root before that is used
    """
    made = _Archive()
    for name in ('proc', 'sys', 'dev', 'root', 'overlay'):
        made.directory(name)
    made.file('bin/busybox', _BUSYBOX.read_bytes(), 0o755)
    made.file('init', _INIT.encode(), 0o755)
    for folder, modules in (('root-drivers', early), ('cd-drivers', cd)):
        for number, content in enumerate(modules):
            made.file(f'{folder}/{number:02}', content, 0o644)
    for path in sorted(overlay.rglob('*')):
        name = f'overlay/{path.relative_to(overlay)}'
        if path.is_symlink():
            made.link(name, str(path.readlink()))
        elif path.is_file():
            made.file(name, path.read_bytes(), path.stat().st_mode & 0o777)
    return made.whole()


class _Archive:
    """Writes the format "newc" of cpio."""

    def __init__(self) -> None:
        self._content = bytearray()
        self._directories: set[str] = set()
        self._count = 0

    def directory(self, name: str) -> None:
        """Add a directory, after those above it."""
        if name in self._directories or name in ('', '.'):
            return
        self.directory(str(Path(name).parent))
        self._directories.add(name)
        self._add(name, b'', stat.S_IFDIR | 0o755)

    def file(self, name: str, content: bytes, mode: int) -> None:
        """Add a file and the directories that it needs."""
        self.directory(str(Path(name).parent))
        self._add(name, content, stat.S_IFREG | mode)

    def link(self, name: str, to: str) -> None:
        """Add a symbolic link and the directories that it needs."""
        self.directory(str(Path(name).parent))
        self._add(name, to.encode(), stat.S_IFLNK | 0o777)

    def whole(self) -> bytes:
        """All of it."""
        self._add('TRAILER!!!', b'', 0)
        return bytes(self._content)

    def _add(self, name: str, content: bytes, mode: int) -> None:
        self._count += 1
        encoded = name.encode() + b'\0'
        numbers = (
            *(self._count, mode, 0, 0, 1, 0, len(content)),
            *(0, 0, 0, 0, len(encoded), 0),
        )
        self._content += b'070701'
        self._content += ''.join(f'{one:08x}' for one in numbers).encode()
        self._content += encoded
        self._pad()
        self._content += content
        self._pad()

    def _pad(self) -> None:
        self._content += bytes(-len(self._content) % 4)
