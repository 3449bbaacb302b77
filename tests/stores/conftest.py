# SPDX-License-Identifier: Apache-2.0
"""One cloud whose Glance has five stores, and whose volumes are in Ceph."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import json
import pathlib
import random
import sys

from keystoneauth1 import adapter
import pytest

from tests import catalogue_rows
from tests.cloud import cache
from tests.cloud import cloud as clouds
from tests.cloud import configuration
from tests.cloud import environment
from tests.cloud import hepix
from tests.cloud import launch
from tests.cloud import options as opts
from tests.cloud import ports
from tests.cloud import site as sites
from tests.cloud import steps
from tests.functional.conftest import pytest_runtest_makereport
from tests.functional import places
from tests.stores import ceph

#: Shows logs beside a failure here, too.
_HOOKS = (pytest_runtest_makereport,)
STORES = ('local', 'local2', 'swift', 's3', 'rbd')
#: Stores behind which there is nothing.
AWAY = ('noswift', 'nos3', 'norbd')
#: Of Glance's drivers for Swift and S3, which the services' environment has
#: not; none brings more than these.
DRIVERS = (
    'boto3',
    'botocore',
    'jmespath',
    'python-dateutil>=2.1,<3',
    'python-swiftclient',
    's3transfer',
)
#: Servers behind a proxy of Swift.
BACKENDS = ('object', 'container', 'account')
#: Nobody listens there.
NOWHERE = f'http://{ports.ADDRESS}:9'
_ACCOUNT = f'{places.USER}:{places.USER}'


def _drivers() -> pathlib.Path:
    """A folder with the drivers' packages, in the cache."""

    def build(folder: pathlib.Path) -> None:
        environment.install(
            pathlib.Path(sys.executable),
            ['--target', str(folder), '--no-deps', *DRIVERS],
            print,
        )

    return cache.built(cache.root() / 'venv' / 'store-drivers-1', build, print)


def _glance(work: pathlib.Path, at: dict[str, int]) -> opts.Sections:
    url = f'http://{ports.ADDRESS}:{at["s3"]}'
    swift: dict[str, opts.Value] = {
        'swift_store_config_file': str(_swift_conf(work)),
        'default_swift_reference': 'here',
        'swift_store_container': 'images',
        'swift_store_create_container_on_put': True,
    }
    s3: dict[str, opts.Value] = {
        's3_store_host': url,
        's3_store_access_key': _ACCOUNT,
        's3_store_secret_key': places.SECRET,
        's3_store_bucket': 'images',
        's3_store_create_bucket_on_put': True,
        's3_store_bucket_url_format': 'path',
        's3_store_region_name': 'us-east-1',
    }
    rbd: dict[str, opts.Value] = {
        'rbd_store_pool': 'images',
        'rbd_store_ceph_conf': str(_ceph_conf(work)),
        'rbd_store_user': 'admin',
        'rados_connect_timeout': '20',
    }
    return {
        'DEFAULT': {
            'enabled_backends': (
                'local:file,local2:file,swift:swift,s3:s3,rbd:rbd,'
                'noswift:swift,nos3:s3,norbd:rbd'
            ),
        },
        'swift': swift,
        's3': s3,
        'rbd': rbd,
        'noswift': {**swift, 'default_swift_reference': 'nowhere'},
        'nos3': {**s3, 's3_store_host': NOWHERE},
        'norbd': {**rbd, 'rbd_store_pool': 'absent'},
    }


def _swift_conf(work: pathlib.Path) -> pathlib.Path:
    return work / 'etc' / 'glance' / 'swift.conf'


def _write_swift_conf(site: sites.Site) -> None:
    """Where Glance logs in for Swift: version 3 of Keystone, nothing else."""
    path = _swift_conf(site.layout.work)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        configuration.render(
            {
                name: {
                    'auth_version': '3',
                    'auth_address': f'{address}/v3',
                    'user': 'service:glance',
                    'key': site.password,
                    'user_domain_id': 'default',
                    'project_domain_id': 'default',
                }
                for name, address in (
                    ('here', site.url('keystone')),
                    ('nowhere', NOWHERE),
                )
            }
        )
    )


def _ceph_conf(work: pathlib.Path) -> pathlib.Path:
    return work / 'data' / 'ceph' / 'ceph.conf'


def _cinder(work: pathlib.Path) -> opts.Sections:
    return {
        'DEFAULT': {'enabled_backends': 'rbd', 'default_volume_type': None},
        'rbd': {
            'volume_driver': 'cinder.volume.drivers.rbd.RBDDriver',
            'volume_backend_name': 'rbd',
            'rbd_pool': 'volumes',
            'rbd_ceph_conf': str(_ceph_conf(work)),
            'rbd_user': 'admin',
            'rados_connect_timeout': '20',
        },
    }


def _options(work: pathlib.Path, at: dict[str, int]) -> opts.CloudOptions:
    shipped = hepix.hepix_cloud_options(
        work, opts.ALL | {'cinder'}, {'nova': {'volume_boot': 'endorsed'}}
    )
    assert shipped.prepare is not None
    ours = shipped.prepare
    glance = {
        name: dict(content)
        for name, content in shipped.extra['glance-api'].items()
    }
    for name, content in _glance(work, at).items():
        glance.setdefault(name, {}).update(content)

    def prepare(cloud: clouds.Cloud) -> None:
        ours(cloud)
        _prepare(cloud, at)

    return dataclasses.replace(
        shipped,
        extra={
            **shipped.extra,
            'glance-api': glance,
            'cinder': _cinder(work),
        },
        prepare=prepare,
    )


def _prepare(cloud: clouds.Cloud, at: dict[str, int]) -> None:
    """Start what stores, before anything that could ask for it."""
    for path in _drivers().iterdir():
        link = cloud.layout.site / path.name
        if not link.exists() and not path.name.startswith('.'):
            link.symlink_to(path)
    _write_swift_conf(cloud.site)
    ceph.bind(cloud.layout.site)
    ceph.start(cloud, at['ceph'], at['ceph-1'])
    cloud.start(_swift(cloud, at, 'swift', _keystone(cloud.site)))
    # Behind Keystone the S3 interface would not know the account.
    cloud.start(_swift(cloud, at, 's3', ''))


def _swift_environment() -> pathlib.Path:
    """An environment with a Swift that knows Keystone, in the cache."""

    def build(folder: pathlib.Path) -> None:
        environment.call(
            [environment.interpreter(), '-m', 'venv', str(folder)]
        )
        environment.install(
            folder / 'bin' / 'python',
            ['swift[keystone]>=2.35,<2.39'],
            print,
        )

    folder = cache.root() / 'venv' / 'swift-keystone-1'
    return cache.built(folder, build, print)


def _enter_swift(cloud: clouds.Cloud, port: int) -> None:
    """Have Keystone's catalogue name Swift."""
    identity = adapter.Adapter(
        cloud.session(), service_type='identity', interface='public'
    )
    service = identity.post(
        '/services',
        json={'service': {'type': 'object-store', 'name': 'swift'}},
    ).json()['service']['id']
    for interface in ('public', 'internal'):
        identity.post(
            '/endpoints',
            json={
                'endpoint': {
                    'service_id': service,
                    'region_id': sites.REGION,
                    'interface': interface,
                    'url': (
                        f'http://{ports.ADDRESS}:{port}/v1/KEY_$(project_id)s'
                    ),
                }
            },
        )


def _keystone(site: sites.Site) -> str:
    """With what Swift asks Keystone about tokens."""
    return json.dumps(
        {
            **site.credentials('glance'),
            'www_authenticate_uri': site.url('keystone'),
        }
    )


def _swift(
    cloud: clouds.Cloud, at: dict[str, int], name: str, keystone: str
) -> steps.Service:
    folder = cloud.layout.data / name
    folder.mkdir()
    backends = {kind: at[f'{name}-{kind}'] for kind in BACKENDS}
    return steps.Service(
        name,
        (
            str(_swift_environment() / 'bin' / 'python'),
            str(pathlib.Path(places.__file__).with_name('swift_server.py')),
            str(folder),
            str(at[name]),
            json.dumps(backends),
            places.USER,
            places.SECRET,
            *((keystone,) if keystone else ()),
        ),
        ports.HttpAnswer(at[name]),
        environment={'PYTHONPATH': ''},
        port=at[name],
    )


@pytest.fixture(scope='session')
def cloud() -> Iterator[clouds.Cloud]:
    """The cloud, started once."""
    ceph.require_programs()
    block = ports.reserve(
        (
            *('ceph', 'ceph-1', 'swift', 's3'),
            *(f'{one}-{kind}' for one in ('swift', 's3') for kind in BACKENDS),
        ),
        cache.root() / 'ports',
        random.SystemRandom(),
    )
    try:
        with (
            launch.work_directory() as work,
            launch.running(_options(work, block.ports), work) as running,
        ):
            _enter_swift(running, block.ports['swift'])
            yield running
    finally:
        block.release()


@pytest.fixture(scope='session')
def cluster(cloud: clouds.Cloud) -> ceph.Ceph:
    """Its Ceph."""
    return ceph.Ceph(cloud.layout.data / 'ceph')


@pytest.fixture(scope='session')
def rows(cloud: clouds.Cloud) -> Iterator[catalogue_rows.Rows]:
    """The catalogue of that cloud, with one list that tests fill."""
    one = catalogue_rows.Rows(cloud.site.database(hepix.DATABASE))
    one.subscription('trusted')
    yield one
    one.close()
