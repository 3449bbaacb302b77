# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.demo``: a real cloud, and the story on it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
import sys
import tempfile

from tests.cloud import __main__ as shell
from tests.cloud import cloud as clouds
from tests.cloud import errors
from tests.cloud import hepix
from tests.cloud import interrupts
from tests.cloud import launch
from tests.demo import asked
from tests.demo import story
from tests.demo import told


def tell(cloud: clouds.Cloud, teller: told.Teller) -> bool:
    """Tell the story on a cloud; returns whether all was as expected."""
    with tempfile.TemporaryDirectory(
        prefix='story-', dir=cloud.layout.work
    ) as name:
        folder = Path(name)
        (folder / 'web').mkdir()
        with asked.web_server(folder / 'web') as url:
            return story.Story(cloud, teller, folder, url).run()


def main() -> int:
    """Start, tell, end; 1 when a step was not as expected."""
    parser = argparse.ArgumentParser(prog='python -m tests.demo')
    parser.add_argument('--work-dir', type=Path, required=True)
    work = parser.parse_args().work_dir
    keep = os.environ.get('KEEP', '') not in ('', '0')
    print(
        'Keystone, Glance, Placement, Nova and Neutron of a real release are '
        'started on loopback, with libvirt and Open vSwitch.',
        flush=True,
    )
    with interrupts.terminable():
        try:
            cloud = launch.start(
                hepix.chain_cloud_options(work), work, launch.reporter()
            )
        except errors.CloudError as exc:
            print(exc, file=sys.stderr)
            return 1
        try:
            well = tell(cloud, told.Teller())
        except BaseException:
            cloud.end()
            raise
        if not keep:
            cloud.end()
    if keep:
        cloud.detach()
        _how_to_look_around(cloud)
    return 0 if well else 1


def _how_to_look_around(cloud: clouds.Cloud) -> None:
    work = cloud.layout.work
    openrc = shell.openrc_of(cloud)
    config = hepix.config_file(work)
    print(
        '\nThe cloud goes on running. To look around:\n'
        f'  . {openrc}\n'
        '  openstack image list; openstack server list --all-projects\n'
        f'  hepix-vm --config-file {config} image list --all\n'
        '"make demo-down" ends it.'
    )


if __name__ == '__main__':
    sys.exit(main())
