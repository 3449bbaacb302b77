# SPDX-License-Identifier: Apache-2.0
"""The root of a worker node, as a folder here."""

from __future__ import annotations

import pathlib
import re
import shutil

from tests.cloud import environment
from tests.cloud import errors
from tests.worker import kernel as kernels

AGENT = pathlib.Path(__file__).parents[2] / 'hepix_vm' / 'guest'
_ROOT = pathlib.Path(__file__).parent / 'root'
_FOLDERS = (
    *('bin', 'sbin', 'usr/bin', 'usr/sbin', 'etc/rcS.d', 'etc/rc2.d'),
    *('proc', 'sys', 'dev', 'run', 'tmp', 'mnt', 'modules', 'var/lib'),
)
_MODULES = ('virtio_pci', 'virtio_net', 'virtio_blk', 'ata_piix')
#: A CD is there once the disks of before have been looked for.
_LATER = ('sr_mod', 'isofs')
#: The tools of old guests: busybox's tar takes no PKZIP for gzip.
_OLD_PROGRAMS = ('curl', 'gzip', 'tar')
#: There is one guest, and it is not to wait for others.
_AGENT_OPTIONS = """# Of a test.
cd_wait = 1
pause_most = 4
features_pause = 0
"""


def _place(root: pathlib.Path, program: str, target: str) -> None:
    """Copy a program of this machine, with the libraries that it loads."""
    found = shutil.which(program)
    if found is None:
        raise errors.CloudError(
            f'{program} is missing: run tools/install-system-packages'
        )
    shutil.copy(found, root / target / program)
    said = environment.call(['sh', '-c', 'ldd "$0" 2>&1 || :', found])
    for library in re.findall(r'(/\S+) \(0x', said):
        copy = root / library.strip('/')
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, copy)


def _link(root: pathlib.Path, level: str, order: str, name: str) -> None:
    link = root / 'etc' / f'rc{level}.d' / f'S{order}{name}'
    link.symlink_to(f'../init.d/{name}')


def make(
    root: pathlib.Path, kernel: kernels.Kernel, *, old: bool
) -> pathlib.Path:
    """Make the root of a worker node and return it.

    :param old: without the agent, with what images did before it
    :raises errors.CloudError: when a program is missing
    """
    shutil.copytree(_ROOT, root)
    for name in _FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    _place(root, 'busybox', 'bin')
    (root / 'bin' / 'sh').symlink_to('busybox')
    for number, path in enumerate(kernel.with_needed(_MODULES + _LATER), 10):
        shutil.copy(path, root / 'modules' / f'{number}-{path.name}')
    _link(root, 'S', '40', 'network')
    _link(root, '2', '50', 'user')
    if old:
        for program in _OLD_PROGRAMS:
            _place(root, program, 'usr/bin')
        _link(root, '2', '99', 'old-context')
    else:
        (root / 'etc' / 'hepix-context.conf').write_text(_AGENT_OPTIONS)
        environment.call(
            ['sh', str(AGENT / 'install-agent'), str(root), 'sysv']
        )
        _link(root, '2', '99', 'watch')
    return root
