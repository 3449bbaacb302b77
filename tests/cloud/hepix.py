# SPDX-License-Identifier: Apache-2.0
"""The parts of hepix_vm in a cloud, configured as the README says."""

import contextlib
import pathlib

from hepix_vm.catalogue import database
from hepix_vm.catalogue import migrations
from tests.cloud import cloud as clouds
from tests.cloud import configuration
from tests.cloud import options as opts
from tests.cloud import supervisor

CHECKOUT = supervisor.ROOT
DATABASE = 'hepix_vm'
IMPORT_PLUGINS = ('hepix_verify', 'hepix_record')
FILTER = 'hepix_vm.nova.filter.HepixApprovedImageFilter'
GLANCE_POLICY = {
    'upload_image': 'rule:context_is_admin or service_roles:service'
}


def config_file(work: pathlib.Path) -> pathlib.Path:
    """Return the path of hepix_vm.conf in a cloud's work directory."""
    return work / 'etc' / 'hepix_vm' / 'hepix_vm.conf'


def sections(connection: str) -> opts.Sections:
    """Return the content of hepix_vm.conf; changes act at once."""
    return {
        'catalogue': {
            'connection': connection,
            'refresh_interval': '0.2',
            'negative_ttl': '0',
        }
    }


def prepare(cloud: clouds.Cloud) -> None:
    """Make the catalogue's database and write hepix_vm.conf."""
    connection = cloud.add_database(DATABASE)
    with contextlib.closing(database.Database(connection)) as store:
        migrations.upgrade(store)
    path = config_file(cloud.layout.work)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(configuration.render(sections(connection)))
    path.chmod(0o640)


def hepix_cloud_options(work: pathlib.Path) -> opts.CloudOptions:
    """Return the options of a cloud that has every part of hepix_vm.

    :param work: the cloud's work directory, for files of ours in it
    """
    inside = {'hepix_vm': {'config_file': str(config_file(work))}}
    return opts.CloudOptions(
        checkout=CHECKOUT,
        import_plugins=IMPORT_PLUGINS,
        scheduler_filters=(FILTER,),
        context_app=None,
        glance_policy=GLANCE_POLICY,
        extra={'glance-api': inside, 'nova': inside},
        environment={},
        prepare=prepare,
    )
