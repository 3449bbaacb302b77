# SPDX-License-Identifier: Apache-2.0
"""A site that publishes into a real Glance, seen from outside.

The endorser, the list, the image files and the catalogue are its own, so
that what is approved is known here, and what Glance has can be held against
it. All that the site asks of others goes through a proxy.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import dataclasses
import hashlib
import io
import json
from pathlib import Path
import re
from typing import Any
import uuid

from glanceclient.v2 import client as glance_client
import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import migrations
from hepix_vm.catalogue import schema
from hepix_vm import imagelist
from tests.cloud import actions
from tests.cloud import cloud as clouds
from tests.cloud import configuration
from tests.cloud import hepix
from tests.cloud import options as opts
from tests.demo import asked
from tests import endorser as endorsers
from tests import faulty
from tests.functional import further
from tests import misbehaving

NAME = 'followed'
#: Of a published image; enough for a disk with a partition table.
SIZE = 2**16
#: What differs between any two images.
_OWN = frozenset(
    (
        'checksum',
        'created_at',
        'direct_url',
        'file',
        'id',
        'locations',
        'os_hash_value',
        'schema',
        'self',
        'updated_at',
    )
)


def disk(mark: str) -> bytes:
    """A raw disk that says its mark; another mark makes other bytes."""
    sector = bytearray(512)
    # One partition of the rest, so that format inspectors see a disk.
    sector[446:462] = bytes.fromhex('80000200830021000100000' + '07f000000')
    sector[510:] = b'\x55\xaa'
    return bytes(sector) + mark.encode().ljust(SIZE - 512, b'\0')


def nova_reads_again(cloud: clouds.Cloud) -> None:
    """Its filter and its guard read the configuration when they start."""
    cloud.restart('nova-api', 'nova-scheduler')


@dataclasses.dataclass(frozen=True, slots=True)
class Listed:
    """One image as it is endorsed now."""

    title: str
    version: str
    entry: imagelist.ImageEntry


class Place:
    """One site; made by :func:`place`.

    :param glance: where its images go
    :param run: runs ``hepix-vm`` in processes of its own
    :ivar listed: what the endorser endorses, by title
    """

    def __init__(
        self,
        cloud: clouds.Cloud,
        glance: further.Glance,
        folder: Path,
        run: faulty.Runner,
        proxy: misbehaving.Proxy,
        endorser: endorsers.Endorser | None = None,
    ) -> None:
        self.cloud = cloud
        self.glance = glance
        self.folder = folder
        self.run = run
        self.proxy = proxy
        self.endorser = endorser or endorsers.Endorser.create()
        self.anchors = folder / 'anchors'
        self.endorser.write_trust_anchors(self.anchors)
        self.web = folder / 'web'
        self.web.mkdir(exist_ok=True)
        self.list_file = self.web / 'images.smime'
        self.list_id = str(uuid.uuid5(uuid.NAMESPACE_DNS, folder.name))
        self.list_version = 0
        self.listed: dict[str, Listed] = {}
        self.connection = f'sqlite:///{folder / "catalogue.sqlite"}'
        self.database = database.Database(self.connection, 60)
        migrations.upgrade(self.database)
        self.sections: dict[str, dict[str, Any]] = {
            section: dict(values)
            for section, values in hepix.sections(
                self.connection, folder, cloud.environment()
            ).items()
        }
        self.sections['openstack'] |= {
            'auth_url': proxy.urls['keystone'] + '/v3'
        }
        self.sections[f'subscription:{NAME}'] = {
            'url': self.list_file.as_uri(),
            'list_identifier': self.list_id,
            'endorser_subject': self.endorser.subject,
            'endorser_issuer': self.endorser.issuer,
            'trust_anchors': str(self.anchors),
            'approval': 'all',
        }
        self.configure()

    @property
    def client(self) -> glance_client.Client:
        """Its Glance, past the proxy, as the administrator sees it."""
        return glance_client.Client(
            session=self.cloud.session(),
            endpoint_override=self.glance.url,
            service_type='image',
        )

    def configure(
        self, changes: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """Write hepix_vm.conf, for the site and its Glance.

        :param changes: options by section, kept from now on
        """
        for section, options in (changes or {}).items():
            self.sections.setdefault(section, {}).update(options)
        fresh = self.glance.config_file.with_suffix('.new')
        fresh.write_text(configuration.render(self.sections))
        fresh.chmod(0o640)
        fresh.replace(self.glance.config_file)

    # The endorser

    def endorse(self, title: str, version: str, **changes: Any) -> Listed:
        """Put an image, or a new version of it, into the list to come."""
        data = disk(f'{title} {version}')
        name = re.sub(r'[^\w.-]', '_', f'{title}-{version}')
        (self.web / name).write_bytes(data)
        made = Listed(
            title,
            version,
            endorsers.make_image(
                data,
                uri=f'{self.proxy.urls["web"]}/{name}',
                identifier=str(uuid.uuid5(uuid.UUID(self.list_id), title)),
                version=version,
                title=title,
                format='raw',
                **changes,
            ),
        )
        self.listed[title] = made
        return made

    def file(self, listed: Listed) -> Path:
        """Where the bytes of an image are served."""
        return self.web / listed.entry.uri.rpartition('/')[2]

    def sign(self, **changes: Any) -> None:
        """Sign the list as it is now, and put it where it is fetched."""
        self.list_version += 1
        message = self.endorser.signed_list(
            self.list_id,
            str(self.list_version),
            *(one.entry for one in self.listed.values()),
            **changes,
        )
        fresh = self.list_file.with_suffix('.new')
        fresh.write_bytes(message)
        fresh.replace(self.list_file)

    # The site

    def hepix(self, *words: object, **fault: int | str) -> faulty.Ran:
        """Run a command with its configuration."""
        return self.run(
            ['--config-file', self.glance.config_file, *words], **fault
        )

    def begin(self, *words: object, **fault: int | str) -> None:
        """Run a command; :meth:`faulty.Runner.end` waits for it."""
        self.run.begin(
            ['--config-file', self.glance.config_file, *words], **fault
        )

    def well(self, *words: object) -> Any:
        """Run a command that has to go well; what it prints, as JSON."""
        ran = self.hepix(*words, '-f', 'json')
        assert ran.status == 0, f'{words}: {ran}'
        return json.loads(ran.out)

    def follow(self) -> None:
        """Sign, and have the site believe it."""
        self.sign()
        self.well('sync')

    def publications(self) -> list[Any]:
        """What the catalogue says is ours."""
        with self.database.reading() as connection:
            return list(connection.execute(sa.select(schema.publication)))

    # What Glance has

    def images(self) -> dict[str, dict[str, Any]]:
        """All images, hidden ones and those of others too, by id."""
        client = self.client
        return {
            image['id']: without_lock(image)
            for hidden in ('false', 'true')
            for image in client.images.list(
                filters={'visibility': 'all', 'os_hidden': hidden}
            )
        }

    def foreign(
        self, name: str, size: int | None = None, **properties: Any
    ) -> str:
        """An image of somebody else: nothing that publishing may touch.

        It belongs to the project that publishes, too.
        """
        client = self.client
        made = client.images.create(
            name=name,
            disk_format='raw',
            container_format='bare',
            **properties,
        )
        data = disk(f'foreign {uuid.uuid4()}')
        data = data if size is None else bytes(size)
        client.images.upload(made['id'], io.BytesIO(data))
        return str(made['id'])


def without_lock(image: Mapping[str, Any]) -> dict[str, Any]:
    """An image without what Glance takes away when it has imported it."""
    return {key: image[key] for key in image if key != actions.LOCK}


def compared(image: Mapping[str, Any], listed: Listed) -> dict[str, Any]:
    """An image without what is its own: equal for equally made images."""
    entry = listed.entry
    shown = json.dumps(
        {key: value for key, value in image.items() if key not in _OWN},
        sort_keys=True,
    )
    for value, name in (
        (entry.identifier, 'IDENTIFIER'),
        (entry.sha512, 'SHA512'),
        (entry.uri, 'URI'),
        (listed.title, 'TITLE'),
        # Quoted, so that it is not part of something else.
        (f'"{listed.version}"', '"VERSION"'),
        (f'"{listed.version}\\"', '"VERSION\\"'),
    ):
        shown = shown.replace(str(value), name)
    found: dict[str, Any] = json.loads(shown)
    return found


def sha512_of(listed: Listed) -> str:
    """Of the endorsed bytes."""
    return str(listed.entry.sha512)


@contextlib.contextmanager
def fronts(
    cloud: clouds.Cloud, glance: further.Glance, web: Path
) -> Iterator[misbehaving.Proxy]:
    """A proxy before a further Glance, the cloud, and a web server."""
    web.mkdir(exist_ok=True, parents=True)
    known = cloud.endpoints
    named = {
        front: known[name]
        for front, name in (
            ('keystone', 'keystone'),
            ('glance', 'glance'),
            ('nova', 'nova-api'),
            ('cinder', 'cinder-api'),
        )
        if name in known
    }
    with (
        asked.web_server(web) as url,
        misbehaving.before(
            {**named, 'web': url}, {'glance': glance.url}
        ) as proxy,
    ):
        yield proxy


@contextlib.contextmanager
def place(
    cloud: clouds.Cloud,
    name: str,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    options: Mapping[str, opts.Value] | None = None,
) -> Iterator[Place]:
    """Have a site with a Glance of its own, as :func:`further.glance`."""
    with (
        further.glance(cloud, name, environment, options) as glance,
        fronts(cloud, glance, folder / 'web') as proxy,
        faulty.runner() as run,
    ):
        made = Place(cloud, glance, folder, run, proxy)
        try:
            yield made
        finally:
            made.database.close()


def contents(images: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many of these images have each content."""
    found: dict[str, int] = {}
    for image in images:
        sha512 = str(image.get('os_hash_value'))
        found[sha512] = found.get(sha512, 0) + 1
    return found


def digest(data: bytes) -> str:
    """SHA-512 as Glance shows it."""
    return hashlib.sha512(data).hexdigest()
