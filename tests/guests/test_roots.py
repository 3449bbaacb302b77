# SPDX-License-Identifier: Apache-2.0
"""The agent in root directories of Debian, of which nothing is booted."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from pathlib import Path
import re
import shutil
import stat
import subprocess
import tempfile

import pytest

from tests.guests import boots
from tests.guests import debian
from tests.guests import machine
from tests.guests import releases

pytestmark = pytest.mark.timeout(3600)

_BUILD = machine.AGENT.parent / 'packages/build-deb'
#: What dpkg keeps for itself.
_DPKG = ('var/lib/dpkg/', 'var/log/', 'var/cache/')


@pytest.fixture(scope='module', params=boots.NUMBERS)
def release(request: pytest.FixtureRequest) -> releases.Debian:
    """One without the agent."""
    return releases.made(request.param)


@pytest.fixture(scope='module')
def installed(release: releases.Debian) -> Iterator[Path]:
    """A root into which the installer has put the agent."""
    with _copied(release) as root:
        subprocess.run(['sh', str(debian.INSTALLER), str(root)], check=True)
        yield root


@pytest.fixture
def root(release: releases.Debian) -> Iterator[Path]:
    """A root that a test may change."""
    with _copied(release) as copied:
        yield copied


@contextlib.contextmanager
def _copied(release: releases.Debian) -> Iterator[Path]:
    # pytest would keep its own directories, and this is large.
    with tempfile.TemporaryDirectory(prefix='hepix-root-') as folder:
        yield release.copy(Path(folder) / 'root')


def _inside(root: Path, *command: str) -> str:
    done = subprocess.run(
        ['chroot', str(root), *command],
        env={'PATH': machine.SYSTEM, 'LC_ALL': 'C.UTF-8'},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def _more(root: Path, before: Path) -> dict[str, tuple[int, bytes]]:
    """Files and links of a root that another one has not: mode, content."""
    found = {}
    for path in root.rglob('*'):
        name = str(path.relative_to(root))
        if not name.startswith(_DPKG):
            said = _about(path)
            if said is not None and said != _about(before / name):
                found[name] = said
    return found


def _about(path: Path) -> tuple[int, bytes] | None:
    if path.is_symlink():
        return (0, bytes(path.readlink()))
    if not path.is_file():
        return None
    return (stat.S_IMODE(path.stat().st_mode), path.read_bytes())


def test_the_package_and_the_installer_do_the_same(
    release, installed, root, tmp_path
):
    subprocess.run(['sh', str(_BUILD), '1.2.0', str(tmp_path)], check=True)
    (package,) = tmp_path.glob('*.deb')
    shutil.copy(package, root)
    said = _inside(root, 'dpkg', '--install', f'/{package.name}')
    assert 'Setting up hepix-context (1.2.0)' in said
    (root / package.name).unlink()
    found = _more(root, release.root)
    assert found == _more(installed, release.root)
    assert 'usr/sbin/hepix-context' in found
    # and it goes as it came, but for what the administrator may have changed
    _inside(root, 'dpkg', '--purge', 'hepix-context')
    assert _more(root, release.root) == {}


def test_machines_get_by_their_initrd_what_the_installer_does(
    release, installed, root, tmp_path
):
    made = debian.start(release, tmp_path, {'etc/more': b'1\n'})
    unpacked = tmp_path / 'unpacked'
    unpacked.mkdir()
    with made.open('rb') as archive:
        subprocess.run(
            ['busybox', 'cpio', '-idm'],
            cwd=unpacked,
            stdin=archive,
            stderr=subprocess.DEVNULL,
            check=True,
        )
    over = unpacked / 'overlay'
    subprocess.run(['busybox', 'cp', '-af', f'{over}/.', root], check=True)
    found = _more(root, release.root)
    assert _more(installed, release.root).items() <= found.items()
    assert found['etc/more'] == (0o644, b'1\n')
    for name in ('', 'etc', 'usr', 'usr/lib', 'usr/sbin'):
        # or nobody but root could do anything in there
        assert (root / name).stat().st_mode & 0o777 == 0o755, name


def test_systemd_knows_the_units_and_which_are_enabled(installed):
    listed = _inside(
        installed,
        *('systemctl', '--root=/', 'list-unit-files', '--no-legend'),
        'hepix-context-*',
    )
    # Some also say that there is no /proc in here.
    assert set(re.findall('^hepix-context-[^ ]*', listed, re.MULTILINE)) == {
        path.name for path in (machine.AGENT.parent / 'systemd').iterdir()
    }
    for target, unit in (
        ('sysinit.target', 'hepix-context-prolog.service'),
        ('multi-user.target', 'hepix-context-epilog.service'),
        ('multi-user.target', 'hepix-context-stop.service'),
        ('timers.target', 'hepix-context-deadline.timer'),
        ('timers.target', 'hepix-context-features.timer'),
    ):
        wants = installed / f'usr/lib/systemd/system/{target}.wants' / unit
        assert wants.resolve().is_file(), unit


def test_a_base_system_has_what_the_agent_needs(installed):
    said = _inside(installed, 'hepix-context', 'check')
    assert 'missing' not in said
    assert 'client=' in said
