# SPDX-License-Identifier: Apache-2.0
"""libvirt and QEMU, an optional part: guests that are real machines.

``python hypervisor.py WORK COMMAND...`` starts a libvirt of its own in the
mount namespace that it runs in, then becomes nova-compute. The machine's own
libvirt, if there is one, is neither used nor disturbed. Needs nothing but the
standard library.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import time

LIMIT = 600.0
PROGRAMS = ('libvirtd', 'virtlogd', 'virsh', 'qemu-system-x86_64')
#: Debian's binding, as there are no wheels of it.
BINDING = pathlib.Path('/usr/lib/python3/dist-packages')
ETC = pathlib.Path('/etc/libvirt')
#: The account that Debian's libvirtd looks up whatever its configuration
#: says; the package that makes it would start services, too.
_ACCOUNTS = {
    'passwd': 'libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin',
    'group': 'libvirt-qemu:x:64055:',
}
_FOLDERS = ('/var/lib/libvirt', '/var/cache/libvirt', '/var/log/libvirt')
_QEMU = """
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = []
namespaces = []
"""
_LIBVIRTD = """
unix_sock_group = "root"
unix_sock_rw_perms = "0700"
auth_unix_rw = "none"
auth_unix_ro = "none"
log_outputs = "3:stderr"
ovs_timeout = 120
"""


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)


def own_folders(work: pathlib.Path) -> None:
    """Put folders of the work directory where libvirt has its own."""
    for folder in ('/run/libvirt', str(ETC)):
        pathlib.Path(folder).mkdir(exist_ok=True)
        _run('mount', '-t', 'tmpfs', 'tmpfs', folder)
    for name in _FOLDERS:
        mine = work / 'data' / 'libvirt' / name.strip('/').replace('/', '-')
        mine.mkdir(parents=True, exist_ok=True)
        pathlib.Path(name).mkdir(parents=True, exist_ok=True)
        _run('mount', '--bind', str(mine), name)
    for name, line in _ACCOUNTS.items():
        path = pathlib.Path('/etc') / name
        copy = ETC / name
        copy.write_text(f'{path.read_text().rstrip()}\n{line}\n')
        _run('mount', '--bind', str(copy), str(path))
    (ETC / 'qemu.conf').write_text(_QEMU)
    (ETC / 'libvirtd.conf').write_text(_LIBVIRTD)


def wait_for_libvirt(daemon: subprocess.Popen[bytes]) -> None:
    """Wait until libvirt answers.

    :raises SystemExit: when it ends, or does not within the limit
    """
    end = time.monotonic() + LIMIT
    while True:
        asked = subprocess.run(
            ('virsh', '-c', 'qemu:///system', 'version'),
            capture_output=True,
            stdin=subprocess.DEVNULL,
        )
        if asked.returncode == 0:
            return
        if daemon.poll() is not None or time.monotonic() > end:
            raise SystemExit(f'libvirtd does not answer: {asked.stderr!r}')
        time.sleep(0.2)


def main(work: str, *command: str) -> None:
    """Start libvirt, then become the command."""
    own_folders(pathlib.Path(work))
    # By default in /run, which other clouds have, too.
    pids = pathlib.Path('/run/libvirt')
    subprocess.Popen(
        ('virtlogd', '--pid-file', str(pids / 'virtlogd.pid')),
        stdin=subprocess.DEVNULL,
    )
    daemon = subprocess.Popen(
        (
            *('libvirtd', '--config', str(ETC / 'libvirtd.conf')),
            *('--pid-file', str(pids / 'libvirtd.pid')),
        ),
        stdin=subprocess.DEVNULL,
    )
    wait_for_libvirt(daemon)
    os.execv(command[0], command)


if __name__ == '__main__':
    main(*sys.argv[1:])
