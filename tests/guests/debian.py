# SPDX-License-Identifier: Apache-2.0
"""Disks of real Debian machines with the agent in them.

The agent's own installer puts it into a copy of the release's directory, and
``mkfs.ext4 -d`` makes that the disk: seconds, so nothing of it is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
import shutil
import subprocess

from tests.guests import drivers
from tests.guests import initrd
from tests.guests import machine
from tests.guests import releases

INSTALLER = machine.AGENT.with_name('install-agent')
_DISK = '900M'
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


def disk(debian: releases.Debian, folder: Path) -> Path:
    """The disk of a release with the agent in it.

    :param folder: for the disk and what is needed on the way; exists
    """
    root = debian.copy(folder / 'root')
    subprocess.run(['sh', str(INSTALLER), str(root)], check=True)
    equip(root)
    made = folder / 'disk'
    releases.run(
        folder / 'mkfs.log',
        ['mkfs.ext4', '-q', '-F', '-d', str(root), str(made), _DISK],
    )
    shutil.rmtree(root)
    return made


def start(
    debian: releases.Debian, folder: Path, overlay: Mapping[str, bytes]
) -> Path:
    """The archive that a machine starts with; see :func:`initrd.image`."""
    root, cd = (
        drivers.needed(debian.root, debian.version, names)
        for names in (drivers.ROOT, drivers.CD)
    )
    made = folder / 'initrd'
    made.write_bytes(
        initrd.image(tuple(root.values()), tuple(cd.values()), overlay)
    )
    return made


def equip(root: Path) -> None:
    """What the tests need in a machine, and nothing that they do not."""
    for name, text in _TREE.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if text.startswith('#!') else 0o644)
    units = root / 'etc/systemd/system'
    for unit in _MASKED:
        _link(units / unit, '/dev/null')
    for target, wanted in _ENABLED.items():
        _link(units / f'{target}.wants' / Path(wanted).name, wanted)


def _link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
