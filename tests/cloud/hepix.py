# SPDX-License-Identifier: Apache-2.0
"""The parts of hepix_vm in a cloud, configured as the README says."""

from __future__ import annotations

from collections.abc import Mapping
import pathlib

from tests.cloud import cloud as clouds
from tests.cloud import options as opts
from tests.cloud import supervisor

CHECKOUT = supervisor.ROOT
DATABASE = 'hepix_vm'

PROLOG = """#!/bin/sh
# Runs before the network is configured.
echo "site prolog: $1"
"""
EPILOG = """#!/bin/sh
# Runs at the very end of start-up, after the user's own scripts.
echo "site epilog: $1"
"""


def configuration(work: pathlib.Path) -> pathlib.Path:
    """Where hepix_vm's configuration file is in a cloud's work directory."""
    return work / 'hepix_vm' / 'hepix_vm.conf'


def hepix_cloud_options(work: pathlib.Path) -> opts.CloudOptions:
    """Return the options of a cloud that has every part of hepix_vm.

    :param work: the cloud's work directory, for files of ours in it
    """
    ours = {'hepix_vm': {'config_file': str(configuration(work))}}
    return opts.CloudOptions(
        checkout=CHECKOUT,
        import_plugins=('hepix_verify', 'hepix_record'),
        scheduler_filters=('hepix_vm.nova.filter.HepixApprovedImageFilter',),
        context_app='hepix_vm.context.wsgi:app_factory',
        glance_policy=shipped_policy(),
        extra={'glance-api': ours, 'nova': ours},
        prepare=_prepare,
    )


def shipped_policy() -> Mapping[str, str]:
    """The policy for Glance that the package ships."""
    rules = {}
    text = (CHECKOUT / 'etc' / 'hepix_vm' / 'glance-policy.yaml').read_text()
    for line in text.splitlines():
        if line.startswith('"'):
            name, _, rule = line.partition(':')
            rules[name.strip('"')] = rule.strip().strip('"')
    return rules


def _prepare(cloud: clouds.Cloud) -> None:
    """Write the configuration and make the catalogue's database."""
    work = cloud.layout.work
    context = work / 'hepix_vm' / 'context'
    context.mkdir(parents=True)
    (context / 'prolog.sh').write_text(PROLOG)
    (context / 'epilog.sh').write_text(EPILOG)
    account = cloud.environment()
    lines = [
        '[catalogue]',
        f'connection = {cloud.add_database(DATABASE)}',
        '[context]',
        f'directory = {context}',
        'refresh_interval = 0.5',
        '[fetch]',
        f'spool_directory = {work}/hepix_vm/spool',
        '[openstack]',
        'auth_type = password',
        'interface = public',
        f'auth_url = {account["OS_AUTH_URL"]}',
        f'username = {account["OS_USERNAME"]}',
        f'password = {account["OS_PASSWORD"]}',
        f'project_name = {account["OS_PROJECT_NAME"]}',
        'user_domain_id = default',
        'project_domain_id = default',
        'region_name = RegionOne',
    ]
    path = configuration(work)
    path.write_text('\n'.join(lines) + '\n')
    path.chmod(0o640)
    done = cloud.run('hepix-vm', '--config-file', str(path), 'db', 'sync')
    if done.returncode:
        raise RuntimeError(f'hepix-vm db sync: {done.stderr}')
