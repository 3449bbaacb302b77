# SPDX-License-Identifier: Apache-2.0
"""What a user and a site have in a machine, in the tests of its boots."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import dataclasses
import os
from pathlib import Path
import tempfile

from hepix_vm.context import facts
from hepix_vm.context import source as source_
from hepix_vm.operations import context
from tests.guests import cloud
from tests.guests import initrd
from tests.guests import qemu
from tests.guests import releases
from tests.guests import site

#: Releases of Debian that are booted.
NUMBERS = tuple(os.environ.get('HEPIX_VM_DEBIAN', '12').split(','))

_SITE = f"""\
#!/bin/sh
# Leaves marks: its name, what it is called with, the interfaces that are up.
{qemu.NOTE}
up=
for one in /sys/class/net/*; do
    name=${{one##*/}}
    [ "$name" = lo ] || [ $(($(cat "$one/flags") & 1)) = 0 ] || up="$up $name"
done
name=${{0##*/}}
note "${{name%.sh}} $1 up:$up"
"""
_PROLOG = 'hepix-context-prolog.service'
_USER = f"""\
#!/bin/sh
{qemu.NOTE}
note user begins
%s
note user ends
"""
#: A machine that is emulated on a busy one takes its time for everything.
_CONFIGURATION = """\
cd_wait = 1200
timeout = 120
features_pause = 0
signature = required
"""
_SLOW = """\
[Service]
TimeoutStartSec=infinity
"""


def user(more: str = '') -> bytes:
    """A script of a user, with more between its two marks."""
    return (_USER % more).encode()


@dataclasses.dataclass
class Boot:
    """A machine, and who it talks to."""

    guest: qemu.Guest
    cloud: cloud.Cloud
    sha256: str


class Bench:
    """A release with the agent in it, for several machines.

    :param folder: for what machines write
    """

    def __init__(self, number: str, folder: Path) -> None:
        self.release = releases.made(number)
        self.key = site.Key()
        self._folder = folder
        self._site = folder / 'site'
        self._site.mkdir()
        for name in ('prolog.sh', 'epilog.sh'):
            (self._site / name).write_text(_SITE)
        (self._site / 'empty').mkdir()

    @contextlib.contextmanager
    def booting(
        self,
        user_data: bytes,
        *,
        cd: str = 'context',
        arguments: str = '',
    ) -> Iterator[Boot]:
        """A machine that boots.

        :param cd: ``context``, that of the site; ``drive``, Nova's
        """
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        answering = cloud.Cloud(self._site, self.key, user_data)
        sha256 = self._iso(folder / 'cd')
        if cd == 'drive':
            (folder / 'cd').write_bytes(answering.drive())
            arguments += f' {initrd.EARLY_CD}'
        files = {
            'etc/hepix-context.pem': self.key.public,
            'etc/hepix-context.conf': _CONFIGURATION.encode(),
            f'etc/systemd/system/{_PROLOG}.d/slow.conf': _SLOW.encode(),
        }
        with (
            cloud.serving(answering) as holder,
            qemu.running(
                folder,
                self.release,
                holder,
                files=files,
                cd=folder / 'cd',
                arguments=arguments,
            ) as guest,
        ):
            yield Boot(guest, answering, sha256)

    def _iso(self, path: Path) -> str:
        """Write the site's CD, as "hepix-vm context iso" does."""
        source = source_.Source(self._site, self._site, published=False)
        made, _ = context.iso(
            context.read(source),
            facts.Facts('', ''),
            source,
            path,
            self.key.private,
        )
        assert made.bundle.sha256_tar
        return made.bundle.sha256_tar
