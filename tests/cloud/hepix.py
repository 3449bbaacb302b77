# SPDX-License-Identifier: Apache-2.0
"""The parts of hepix_vm in a cloud, configured as the README says."""

from collections.abc import Mapping
import contextlib
import dataclasses
import functools
import pathlib
import types

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives import serialization

from hepix_vm.catalogue import database
from hepix_vm.catalogue import migrations
from tests.cloud import cloud as clouds
from tests.cloud import configuration
from tests.cloud import options as opts
from tests.cloud import supervisor
from tests import worker

CHECKOUT = supervisor.ROOT
DATABASE = 'hepix_vm'
IMPORT_PLUGINS = ('hepix_verify', 'hepix_record')
FILTER = 'hepix_vm.nova.filter.HepixApprovedImageFilter'
IMPORT_METHODS = '[glance-direct,web-download,copy-image,glance-download]'
GLANCE_GUARD = 'hepix_vm.glance.guard:filter_factory'
NOVA_GUARD = 'hepix_vm.nova.guard:filter_factory'
PROTECTIONS = (
    CHECKOUT / 'etc' / 'hepix_vm' / 'glance-property-protections.conf'
)
CONTEXT_APP = 'hepix_vm.context.wsgi:app_factory'
GUESTS = frozenset({'cinder', 'libvirt'})
CHAIN = frozenset({'libvirt', 'neutron'})

PROLOG = """#!/bin/sh
# Runs before the network is configured.
echo "site prolog: $1"
"""
EPILOG = """#!/bin/sh
# Runs at the very end of start-up, after the user's own scripts.
echo "site epilog: $1"
"""


RATINGS = """
ratings:
  - {host: compute-1, hs06: 640}
wall_limits:
  - {project: '*', seconds: 259200}
"""

DRAIN_GRACE = 7 * 86400
"""Seconds until servers of a withdrawn image are to have ended."""


def config_file(work: pathlib.Path) -> pathlib.Path:
    """Return the path of hepix_vm.conf in a cloud's work directory."""
    return work / 'etc' / 'hepix_vm' / 'hepix_vm.conf'


def context_directory(work: pathlib.Path) -> pathlib.Path:
    """Return the site's context directory of a cloud."""
    return work / 'etc' / 'hepix_vm' / 'context'


def signing_key(work: pathlib.Path) -> pathlib.Path:
    """Return the site's key for manifests, which tests make."""
    return work / 'etc' / 'hepix_vm' / 'manifest.pem'


def ratings_file(work: pathlib.Path) -> pathlib.Path:
    """Return the site's table of hosts and projects."""
    return work / 'etc' / 'hepix_vm' / 'ratings.yaml'


def shipped_policy(service: str = 'glance') -> Mapping[str, str]:
    """Return the policy for a service that the package ships."""
    rules = {}
    name = f'{service}-policy.yaml'
    text = (CHECKOUT / 'etc' / 'hepix_vm' / name).read_text()
    for line in text.splitlines():
        if line.startswith('"'):
            name, _, rule = line.partition('": "')
            rules[name.strip('"')] = rule.strip().strip('"')
    return rules


def sections(
    connection: str, work: pathlib.Path, account: Mapping[str, str]
) -> opts.Sections:
    """Return the content of hepix_vm.conf; changes act at once."""
    return {
        'catalogue': {
            'connection': connection,
            'refresh_interval': '0.2',
            'negative_ttl': '0',
            # A busy machine is no store that is away.
            'store_timeout': '30',
            # Small lists lose most of their images at once.
            'brake_images': '1000000',
            'brake_percent': '100',
        },
        'context': {
            'directory': str(context_directory(work)),
            'state_directory': str(work / 'var' / 'hepix_vm' / 'context'),
            'refresh_interval': '0.2',
            'behind': 'direct',
            # Nova of a busy machine is late, not away.
            'nova_timeout': '30',
        },
        # The hosts of nova's fake driver are of no kind that a list knows.
        'publish': {'rule': '* : hypervisor_type ='},
        'fetch': {'spool_directory': str(work / 'var' / 'hepix_vm' / 'spool')},
        'openstack': {
            'auth_type': 'password',
            'interface': 'public',
            'region_name': account['OS_REGION_NAME'],
            'auth_url': account['OS_AUTH_URL'],
            'username': account['OS_USERNAME'],
            'password': account['OS_PASSWORD'],
            'project_name': account['OS_PROJECT_NAME'],
            'user_domain_id': account['OS_USER_DOMAIN_ID'],
            'project_domain_id': account['OS_PROJECT_DOMAIN_ID'],
        },
    }


def _write_key(path: pathlib.Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def prepare(cloud: clouds.Cloud, more: opts.Sections) -> None:
    """Make the catalogue's database, hepix_vm.conf and the site context.

    :param more: what hepix_vm.conf has besides :func:`sections`
    """
    work = cloud.layout.work
    connection = cloud.add_database(DATABASE)
    with contextlib.closing(database.Database(connection)) as store:
        migrations.upgrade(store)
    context = context_directory(work)
    context.mkdir(parents=True, exist_ok=True)
    (context / 'prolog.sh').write_text(PROLOG)
    (context / 'epilog.sh').write_text(EPILOG)
    if 'signing_key' in more.get('context', {}):
        _write_key(signing_key(work))
        ratings_file(work).write_text(RATINGS)
    path = config_file(work)
    content = configuration.merge(
        sections(connection, work, cloud.environment()),
        {'context': {'metadata_proxy_shared_secret': cloud.metadata_secret}},
    )
    if cloud.site.options.vendordata is not None:
        tokens = {'keystone_authtoken': cloud.site.token('nova')}
        content = configuration.merge(content, tokens)
    path.write_text(configuration.render(configuration.merge(content, more)))
    path.chmod(0o640)


def guests_cloud_options(work: pathlib.Path) -> opts.CloudOptions:
    """Return the same of a cloud with real machines and real volumes.

    New servers may boot from volumes of approved images there.
    """
    return hepix_cloud_options(
        work, opts.ALL | GUESTS, {'nova': {'volume_boot': 'endorsed'}}
    )


def neutron_cloud_options(
    work: pathlib.Path,
    parts: frozenset[str] = frozenset({'neutron'}),
    more: opts.Sections = types.MappingProxyType({}),
) -> opts.CloudOptions:
    """Return the same of a cloud with networks, in front of the metadata."""
    context = {
        'context': {
            'behind': 'neutron',
            'signing_key': str(signing_key(work)),
            'ratings_file': str(ratings_file(work)),
        }
    }
    return hepix_cloud_options(work, opts.ALL | parts, {**context, **more})


def chain_cloud_options(
    work: pathlib.Path, vendordata: str | None = None
) -> opts.CloudOptions:
    """Return the same of a cloud with networks and real machines in them.

    Servers of a withdrawn image are told to end.

    :param vendordata: as in the options; config drives have the context with
        it, once its own process runs
    """
    kvm = worker.boots_with_kvm()
    return dataclasses.replace(
        neutron_cloud_options(
            work, CHAIN, {'withdraw': {'drain_grace': str(DRAIN_GRACE)}}
        ),
        vendordata=vendordata,
        virt_type='kvm' if kvm else 'qemu',
    )


def hepix_cloud_options(
    work: pathlib.Path,
    parts: frozenset[str] = opts.ALL,
    more: opts.Sections = types.MappingProxyType({}),
) -> opts.CloudOptions:
    """Return the options of a cloud that has every part of hepix_vm.

    :param work: the cloud's work directory, for files of ours in it
    :param more: of hepix_vm.conf
    """
    inside = {'hepix_vm': {'config_file': str(config_file(work))}}
    return opts.CloudOptions(
        parts=parts,
        checkout=CHECKOUT,
        import_plugins=IMPORT_PLUGINS,
        scheduler_filters=(FILTER,),
        context_app=CONTEXT_APP,
        nova_guard=NOVA_GUARD,
        glance_guard=GLANCE_GUARD,
        glance_policy=shipped_policy(),
        cinder_policy=shipped_policy('cinder'),
        extra={
            'glance-api': {
                **inside,
                'DEFAULT': {
                    'enabled_import_methods': IMPORT_METHODS,
                    'property_protection_file': str(PROTECTIONS),
                },
            },
            'nova': {
                **inside,
                # There is one host only to move to.
                'DEFAULT': {'allow_resize_to_same_host': True},
            },
        },
        environment={},
        prepare=functools.partial(prepare, more=more),
    )
