# SPDX-License-Identifier: Apache-2.0
"""A machine with the agent in it, as directories and a few programs."""

from __future__ import annotations

from collections.abc import Iterable
import dataclasses
import os
from pathlib import Path
import shutil
import subprocess
from typing import IO
from typing import Protocol

from tests.guests import site

AGENT = (
    Path(__file__).parents[2] / 'hepix_vm' / 'guest' / 'hepix-context'
).resolve()
#: All shells that guests have; those that are here are tested.
SHELLS = tuple(
    name for name in ('dash', 'bash', 'busybox') if shutil.which(name)
)
#: Those whose machines have other programs: where bash is, the tools are those
#: of dash.
SYSTEMS = tuple(name for name in SHELLS if name != 'bash')
SYSTEM = '/usr/sbin:/usr/bin:/sbin:/bin'

#: A device is a directory here; what is beside it says its file system.
_MOUNT = """#!/bin/sh
while [ "$#" -gt 2 ]; do
    case $1 in
        -t) type=$2 ;;
        -o) case $2 in *ro,nosuid,nodev*) ;; *) exit 9 ;; esac ;;
    esac
    shift 2
done
[ -d "$1" ] && [ "$type" = "$(cat "$1.type" 2> /dev/null)" ] || exit 32
cp -a "$1/." "$2/"
"""
_UMOUNT = """#!/bin/sh
rm -rf "$1"/* "$1"/.[!.]*
"""
_NOTHING = """#!/bin/sh
exit 2
"""
_STANDINS = {
    'mount': _MOUNT,
    'umount': _UMOUNT,
    'blkid': _NOTHING,
    'logger': _NOTHING,
}


def tools(top: Path, shell: str) -> str:
    """Make a directory of programs; return the PATH of a guest.

    :param shell: with busybox nothing else is there, but openssl
    """
    top.mkdir()
    path = f'{top}:{SYSTEM}'
    program = str(shutil.which(shell))
    if shell == 'busybox':
        path = str(top)
        applets = subprocess.run(
            [program, '--list'], capture_output=True, text=True, check=True
        ).stdout.split()
        for applet in applets:
            (top / applet).symlink_to(program)
        (top / 'openssl').symlink_to(str(shutil.which('openssl')))
    else:
        (top / 'sh').symlink_to(program)
    for name, text in _STANDINS.items():
        (top / name).unlink(missing_ok=True)
        (top / name).write_text(text)
        (top / name).chmod(0o755)
    return path


def without(top: Path, path: str, missing: Iterable[str]) -> str:
    """Copy a PATH into one directory and leave programs out."""
    top.mkdir()
    left_out = set(missing)
    for folder in path.split(':'):
        for program in Path(folder).iterdir():
            target = top / program.name
            if program.name not in left_out and not target.is_symlink():
                target.symlink_to(program)
    return str(top)


def inside(network: Network) -> tuple[str, ...]:
    """What a command begins with that runs in a network."""
    root = () if os.geteuid() == 0 else ('-U', '--preserve-credentials')
    return ('/usr/bin/nsenter', '-t', str(network.holder), '-n', *root)


class Network(Protocol):
    """What a machine is connected to."""

    @property
    def holder(self) -> int:
        """The process whose network it is."""


@dataclasses.dataclass
class Machine:
    """One virtual machine in one life.

    :param top: for all of its files
    :param path: where it finds programs
    :param server: of the site
    """

    top: Path
    path: str
    server: Network
    options: dict[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ('cds', 'etc'):
            (self.top / name).mkdir()
        self.identity('8d3c9a0e-0000-4000-8000-000000000001')
        self.options = {
            'state': str(self.state),
            'run': str(self.run_directory),
            'etc': str(self.top / 'etc'),
            'site_key': str(self.top / 'site.pem'),
            'instance_file': str(self.top / 'uuid'),
            'devices': str(self.top / 'cds' / 'none'),
            'cd_wait': '0',
            'tries': '1',
            'pause': '0',
            'timeout': '120',
            'features_pause': '0',
        } | self.options

    @property
    def state(self) -> Path:
        """What outlives a boot."""
        return self.top / 'state'

    @property
    def run_directory(self) -> Path:
        """What does not."""
        return self.top / 'run'

    @property
    def calls(self) -> list[str]:
        """What the site's scripts noted, without the directory."""
        noted = self.top / 'calls'
        lines = noted.read_text().splitlines() if noted.exists() else []
        place = f' in {self.state}/context'
        assert all(line.endswith(place) for line in lines), lines
        return [line.removesuffix(place) for line in lines]

    def identity(self, uuid: str) -> None:
        """The firmware says who this is."""
        (self.top / 'uuid').write_text(f'{uuid}\n')

    def trusts(self, key: site.Key) -> None:
        """The image has the site's key in it."""
        (self.top / 'site.pem').write_bytes(key.public)

    def boots(self) -> None:
        """What does not outlive a boot is gone."""
        shutil.rmtree(self.run_directory, ignore_errors=True)

    def cd(self, files: dict[str, bytes], kind: str = 'iso9660') -> Path:
        """Attach a CD, the newest last; return its directory."""
        number = len(list((self.top / 'cds').glob('*.type')))
        folder = self.top / 'cds' / str(number)
        for name, content in files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        folder.with_suffix('.type').write_text(kind)
        self.options['devices'] += f' {folder}'
        return folder

    def agent(self) -> Path:
        """The agent; for busybox, one that calls stand-ins by their place.

        That shell runs its own mount whatever PATH has.
        """
        if ':' in self.path:
            return AGENT
        text = AGENT.read_text()
        for program in ('if mount -t', ' umount "', 'logger -t'):
            assert text.count(program) == 1, program
            name = program.strip().removeprefix('if ')
            text = text.replace(
                program, program.replace(name, f'{self.path}/{name}')
            )
        copy = self.top / 'etc' / 'agent'
        copy.write_text(text)
        return copy

    def configure(self) -> Path:
        """Write the configuration file."""
        conf = self.top / 'agent.conf'
        conf.write_text(
            ''.join(
                f'{key} = {value}\n' for key, value in self.options.items()
            )
        )
        return conf

    def run(
        self,
        command: str,
        conf: Path | None = None,
        console: int | IO[str] = subprocess.PIPE,
    ) -> subprocess.CompletedProcess[str]:
        """Run the agent; its whole output is in ``stderr``.

        :param console: where that goes instead
        """
        conf = conf or self.configure()
        agent = self.agent()
        return subprocess.run(
            [
                *inside(self.server),
                *('sh', str(agent), '--conf', str(conf), command),
            ],
            env={
                'PATH': self.path,
                'CALLS': str(self.top / 'calls'),
                # What the agent does not heed.
                'http_proxy': 'http://127.0.0.1:9/',
            },
            stdout=subprocess.DEVNULL,
            stderr=console,
            text=True,
            timeout=600,
            check=False,
        )
