# SPDX-License-Identifier: Apache-2.0
"""What makes a machine for tests of a release of Debian.

The agent, put there by its own installer, and what the test needs come with
the initrd, over the root before that is used: the disk is kept as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
import subprocess

from tests.guests import drivers
from tests.guests import initrd
from tests.guests import machine
from tests.guests import releases

INSTALLER = machine.AGENT.with_name('install-agent')
#: Units that only cost time in a machine that lives for a minute.
_MASKED = (
    *('apt-daily.timer', 'apt-daily-upgrade.timer', 'dpkg-db-backup.timer'),
    *('e2scrub_all.timer', 'e2scrub_reap.service', 'fstrim.timer'),
)
#: cloud-init with the stages and the modules that run what users say. Its
#: others want programs that are not here.
_CLOUD = """\
datasource_list: [ConfigDrive, OpenStack, None]
cloud_init_modules: [bootcmd, write-files]
cloud_config_modules: [runcmd]
cloud_final_modules: [scripts-vendor, scripts-user, final-message]
"""
_NETWORK = """\
[Match]
Name=en* eth*

[Network]
DHCP=ipv4
"""
#: Runs what the test says on a serial port, and answers.
_SHELL = """\
#!/bin/sh
exec < /dev/ttyS2 > /dev/ttyS2
stty raw -echo < /dev/ttyS2
while read -r number command; do
    said=$(echo "$command" | base64 -d | sh 2>&1 | base64 -w 0)
    echo "$number $said"
done
"""
_SHELL_UNIT = """\
[Unit]
DefaultDependencies=no
After=systemd-remount-fs.service

[Service]
ExecStart=/usr/local/sbin/test-shell
Restart=always
"""
_TREE = {
    'etc/cloud/cloud.cfg.d/99_test.cfg': _CLOUD,
    'etc/systemd/network/80-test.network': _NETWORK,
    'etc/systemd/system/test-shell.service': _SHELL_UNIT,
    'usr/local/sbin/test-shell': _SHELL,
}
_ENABLED = {
    'multi-user.target': '/lib/systemd/system/systemd-networkd.service',
    'sysinit.target': '/etc/systemd/system/test-shell.service',
}


def start(
    debian: releases.Debian, folder: Path, files: Mapping[str, bytes]
) -> Path:
    """What a machine starts with; see :func:`initrd.image`.

    :param folder: for what is needed on the way; exists
    :param files: of this machine
    """
    root, cd = (
        drivers.needed(debian.root, debian.version, names)
        for names in (drivers.ROOT, drivers.CD)
    )
    over = folder / 'over'
    over.mkdir()
    subprocess.run(['sh', str(INSTALLER), str(over), 'systemd'], check=True)
    _equip(over)
    for name, content in files.items():
        _write(over / name, content)
    made = folder / 'initrd'
    made.write_bytes(
        initrd.image(tuple(root.values()), tuple(cd.values()), over)
    )
    return made


def _equip(root: Path) -> None:
    """What the tests need in a machine, and nothing that they do not."""
    for name, text in _TREE.items():
        _write(root / name, text.encode())
    units = root / 'etc/systemd/system'
    for unit in _MASKED:
        _link(units / unit, '/dev/null')
    for target, wanted in _ENABLED.items():
        _link(units / f'{target}.wants' / Path(wanted).name, wanted)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755 if content.startswith(b'#!') else 0o644)


def _link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
