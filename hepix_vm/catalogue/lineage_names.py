# SPDX-License-Identifier: Apache-2.0
"""Names by which Nova says where a snapshot comes from.

Nova's ``createImage`` and ``createBackup`` let the metadata of the request
override what Nova itself says (``create_image`` and
``initialize_instance_snapshot_metadata`` in ``nova/compute/utils.py``; read
in Nova 31 to 34). Runs inside Glance and Nova; the standard library only.
"""

from __future__ import annotations

from hepix_vm.catalogue import boot

#: The image that the server was made of, the server, and what was made.
PARENT = 'base_image_ref'
SERVER = 'instance_uuid'
KIND = 'image_type'

#: What stands there for a snapshot or shelved image, and for a back-up.
KINDS = frozenset({'snapshot', 'backup'})

#: Metadata that nobody but Nova may give an image of a server: where it comes
#: from, and what would change how it boots.
NOVAS_OWN = frozenset(
    {
        PARENT,
        SERVER,
        KIND,
        'instance_owner',
        *boot.NAMES,
        *(f'img_{name}' for name in boot.TWICE),
    }
)
