# SPDX-License-Identifier: Apache-2.0
"""A real machine under QEMU, which emulates the processor.

Its first serial port is the console. On the second, scripts leave marks, a
line each, with the time since the boot. On the third a shell answers.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import dataclasses
from pathlib import Path
import socket
import subprocess

from tests.cloud import waits
from tests.guests import cloud
from tests.guests import debian
from tests.guests import releases

#: Seconds, for what takes one minute on an idle machine.
LIMIT = 1800
#: Shell: ``note WORD...`` leaves a mark.
NOTE = """\
note() {
    read -r uptime _ < /proc/uptime
    read -r boot < /proc/sys/kernel/random/boot_id
    echo "$boot $uptime $*" > /dev/ttyS1
}
"""
#: Without the second, kernel 6.12 dies at random while it boots.
_PROCESSOR = 'max,-cx16'
_KERNEL = (
    'root=/dev/vda rw console=ttyS0 quiet systemd.getty_auto=no'
    ' net.ifnames=0 systemd.show_status=no panic=-1 mitigations=off'
    f' systemd.default_timeout_start_sec={LIMIT}'
)


@dataclasses.dataclass(frozen=True)
class Mark:
    """What a script noted.

    :param boot: which one, as the kernel names it
    :param uptime: seconds since it began
    """

    boot: str
    uptime: float
    text: str


class Guest:
    """A machine that runs.

    :ivar console: what it wrote there
    """

    def __init__(
        self,
        folder: Path,
        process: subprocess.Popen[bytes],
        shell: socket.socket,
    ) -> None:
        self.console = folder / 'console'
        self._marks = folder / 'marks'
        self._process = process
        self._shell = shell
        self._number = 0
        self._heard = b''

    def marks(self) -> list[Mark]:
        """All, in their order."""
        found = []
        text = self._marks.read_text() if self._marks.exists() else ''
        for line in text.splitlines(keepends=True):
            if line.endswith('\n'):
                boot, uptime, said = line.strip().split(' ', 2)
                found.append(Mark(boot, float(uptime), said))
        return found

    def texts(self) -> list[str]:
        """What all marks say."""
        return [mark.text for mark in self.marks()]

    def until(self, what: str, probe: Callable[[], object]) -> None:
        """Wait while the machine runs."""
        waits.until(
            what, probe, LIMIT, log=self.console, alive=self._runs, interval=1
        )

    def until_noted(self, text: str, times: int = 1) -> None:
        """Wait for a mark that begins so."""
        self.until(
            f'the mark {text!r}',
            lambda: sum(one.startswith(text) for one in self.texts()) >= times,
        )

    def until_off(self) -> None:
        """Wait for its end."""
        waits.until(
            'the machine to switch itself off',
            lambda: not self._runs(),
            LIMIT,
            log=self.console,
        )

    def says(self, command: str) -> str:
        """What a shell command in it writes, errors too."""
        self._number += 1
        encoded = base64.b64encode(command.encode())
        self._shell.sendall(b'%d %s\n' % (self._number, encoded))
        begin = b'%d ' % self._number
        while True:
            line = self._line()
            # A shell of an earlier boot may have left the half of one.
            if line.startswith(begin):
                return base64.b64decode(line[len(begin) :]).decode().strip()

    def _line(self) -> bytes:
        while b'\n' not in self._heard:
            try:
                more = self._shell.recv(65536)
            except TimeoutError:
                more = b''
            if not more:
                raise AssertionError(
                    waits.with_log('no shell answers', self.console)
                )
            self._heard += more
        line, _, self._heard = self._heard.partition(b'\n')
        return line.rstrip(b'\r')

    def _runs(self) -> bool:
        return self._process.poll() is None


@contextlib.contextmanager
def running(
    folder: Path,
    release: releases.Debian,
    holder: int,
    *,
    files: Mapping[str, bytes],
    cd: Path | None = None,
    arguments: str = '',
) -> Iterator[Guest]:
    """A machine that boots now.

    :param folder: for what it writes
    :param holder: the process whose network it is in
    :param files: of this machine, over those of the disk, which is not changed
    :param arguments: more of the kernel's
    """
    start = debian.start(release, folder, files)
    drive = [f'file={cd},media=cdrom,if=ide,readonly=on,format=raw']
    ours, theirs = socket.socketpair()
    with ours, theirs:
        number = theirs.fileno()
        command = [
            *('nsenter', '--target', str(holder), '--net'),
            # It does not outlive the test, whatever becomes of that.
            *('setpriv', '--pdeathsig', 'KILL'),
            *('qemu-system-x86_64', '-nodefaults', '-display', 'none'),
            *('-machine', 'pc', '-accel', 'tcg', '-cpu', _PROCESSOR),
            *('-m', '768', '-smp', '1', '-uuid', cloud.UUID),
            *('-smbios', 'type=1,product=OpenStack Nova'),
            *('-kernel', str(release.kernel), '-initrd', str(start)),
            *('-append', f'{_KERNEL} {arguments}'),
            *(
                '-drive',
                f'file={release.disk},if=virtio,format=raw,snapshot=on',
            ),
            *(('-drive', *drive) if cd else ()),
            *('-netdev', 'user,id=net'),
            *('-device', f'virtio-net-pci,netdev=net,mac={cloud.MAC}'),
            *('-serial', 'file:console', '-serial', 'file:marks'),
            *('-chardev', f'socket,id=shell,fd={number}'),
            *('-serial', 'chardev:shell'),
        ]
        with (folder / 'qemu.log').open('wb') as log:
            process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[number],
            )
        theirs.close()
        ours.settimeout(LIMIT)
        try:
            yield Guest(folder, process, ours)
        finally:
            process.kill()
            process.wait()
