# SPDX-License-Identifier: Apache-2.0
"""An endorser of disks, and the site of a cloud that follows its list."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import datetime
import json
import pathlib
import shutil
import subprocess
from typing import Any
import uuid

from hepix_vm import imagelist
from tests.cloud import cloud as clouds
from tests.cloud import configuration
from tests.cloud import hepix
from tests.demo import asked
from tests import endorser as endorsers

NAME = 'chain'
_LIMIT = 600.0


class Site:
    """The two of them; made by :func:`site`.

    :ivar images: by title, in Glance
    """

    def __init__(
        self, cloud: clouds.Cloud, folder: pathlib.Path, url: str
    ) -> None:
        self.images: dict[str, str] = {}
        self._cloud = cloud
        self._web = folder / 'web'
        self._url = url
        self._endorser = endorsers.Endorser.create()
        self._list_id = str(uuid.uuid4())
        self._version = 0
        self._entries: dict[str, imagelist.ImageEntry] = {}
        self._config = folder / 'subscription.conf'
        self._subscribe(folder / 'anchors')

    def _subscribe(self, anchors: pathlib.Path) -> None:
        self._endorser.write_trust_anchors(anchors)
        wanted = {
            f'subscription:{NAME}': {
                'url': f'{self._url}/images.smime',
                'list_identifier': self._list_id,
                'endorser_subject': self._endorser.subject,
                'endorser_issuer': self._endorser.issuer,
                'trust_anchors': str(anchors),
                'approval': 'listed',
            }
        }
        self._config.write_text(configuration.render(wanted))
        self._config.chmod(0o640)

    def endorse(self, title: str, disk: pathlib.Path) -> None:
        """Put an image into the list to come."""
        copy = self._web / f'{title}.qcow2'
        shutil.copy(disk, copy)
        self._entries[title] = endorsers.make_image(
            copy.read_bytes(),
            uri=f'{self._url}/{copy.name}',
            title=title,
            format='qcow2',
        )

    def withdraw(self, title: str) -> None:
        """Sign a list without an image."""
        del self._entries[title]
        self.sign()

    def sign(self) -> None:
        """Sign the list as it is now, and put it where it is fetched."""
        self._version += 1
        message = self._endorser.signed_list(
            self._list_id, str(self._version), *self._entries.values()
        )
        fresh = self._web / 'images.new'
        fresh.write_bytes(message)
        fresh.replace(self._web / 'images.smime')

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run ``hepix-vm`` as the operator does."""
        files = (hepix.config_file(self._cloud.layout.work), self._config)
        options = [word for path in files for word in ('--config-file', path)]
        return self._cloud.run(
            'hepix-vm', *map(str, options), *words, limit=_LIMIT
        )

    def well(self, *words: str) -> str:
        """The same, which ends well; what it printed."""
        done = self.run(*words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def read(self, *words: str) -> Any:
        """The same as values."""
        return json.loads(self.well(*words, '-f', 'json'))

    def approve(self, title: str) -> None:
        """Approve an image and have it in Glance."""
        identifier = self._entries[title].identifier
        self.well('image', 'approve', identifier, '--reason', 'tried it')
        results = {one['identifier']: one for one in self.read('publish')}
        assert results[identifier]['outcome'] == 'published', results
        self.images[title] = results[identifier]['image_id']


@contextlib.contextmanager
def site(cloud: clouds.Cloud, folder: pathlib.Path) -> Iterator[Site]:
    """Have both, and the endorser's web server, for a while.

    :param folder: an empty one
    """
    web = folder / 'web'
    web.mkdir()
    with asked.web_server(web) as url:
        yield Site(cloud, folder, url)


def seconds(shown: str) -> int:
    """UNIX seconds of a time as the commands show it."""
    return int(datetime.datetime.fromisoformat(shown).timestamp())
