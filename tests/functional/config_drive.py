# SPDX-License-Identifier: Apache-2.0
"""Nova's own config drive of a server, as files instead of a disk.

``python config_drive.py NOVA_CONF SERVER FOLDER``, run by the Python of nova.
The fake driver of virtual machines writes none itself.
"""

from nova import monkey_patch  # isort: skip

monkey_patch.patch(backend='threading')

import pathlib  # noqa: E402
import sys  # noqa: E402

from nova.api.metadata import base  # noqa: E402
from nova import config  # noqa: E402
from nova import context  # noqa: E402
from nova import objects  # noqa: E402

_NEEDED = [
    'ec2_ids',
    'flavor',
    'info_cache',
    'metadata',
    'system_metadata',
    'security_groups',
    'keypairs',
    'device_metadata',
    'numa_topology',
]


def main(conf: str, server: str, folder: str) -> None:
    """Write what nova-compute would have put onto the drive."""
    config.parse_args(['config_drive', '--config-file', conf])
    objects.register_all()
    admin = context.get_admin_context()
    mapping = objects.InstanceMapping.get_by_instance_uuid(admin, server)
    with context.target_cell(admin, mapping.cell_mapping) as cell:
        instance = objects.Instance.get_by_uuid(
            cell, server, expected_attrs=_NEEDED
        )
        made = base.InstanceMetadata(instance)
    for path, content in made.metadata_for_config_drive():
        file = pathlib.Path(folder) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        data = content.encode() if isinstance(content, str) else content
        file.write_bytes(data)


if __name__ == '__main__':
    main(*sys.argv[1:])
