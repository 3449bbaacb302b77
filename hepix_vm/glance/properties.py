# SPDX-License-Identifier: Apache-2.0
"""What a published image says of itself in Glance.

None of it is ever believed: who may boot the image is decided by the
catalogue's record. It is there for people, for Nova's other filters and for
accounting and information systems, which read AppDB's URI under the names
that earlier tools gave it.
"""

from __future__ import annotations

from collections.abc import Mapping
import re
from typing import Any

from hepix_vm.catalogue import store

#: What Nova boots as it is, by the names that lists use.
DISK_FORMATS: Mapping[str, str] = {
    'raw': 'raw',
    'img': 'raw',
    'qcow2': 'qcow2',
    'vmdk': 'vmdk',
    'vhd': 'vhd',
    'vhdx': 'vhdx',
    'vdi': 'vdi',
    'iso': 'iso',
}

_MIB = 2**20


def disk_format(declared: str | None, recognised: str) -> str | None:
    """The ``disk_format`` for Glance; None when Nova cannot boot it.

    :param declared: what the list says, if it says anything
    :param recognised: what oslo.utils' format inspector finds in the bytes
    """
    found = {'gpt': 'raw', 'mbr': 'raw'}.get(recognised, recognised)
    if declared is None:
        return DISK_FORMATS.get(found)
    wanted = DISK_FORMATS.get(declared.lower())
    return wanted if wanted == DISK_FORMATS.get(found) else None


def creation(
    image: store.Image, format_: str, visibility: str
) -> dict[str, Any]:
    """The body that creates the image in Glance."""
    entry = image.entry
    values: dict[str, Any] = {
        'name': image.title[:255] or image.identifier,
        'disk_format': format_,
        'container_format': 'bare',
        'visibility': visibility,
        'architecture': entry.get('arch'),
        'os_distro': _distribution(entry.get('os_name') or entry.get('os')),
        'os_version': entry.get('os_version'),
        'hepix_image_identifier': image.identifier,
        'hepix_image_version': image.version,
        'hepix_subscription': image.subscription,
        'hepix_hypervisors': ','.join(entry.get('hypervisors') or []),
        'hepix_vo': image.vo,
        'vmcatcher_event_ad_mpuri': entry.get('mpuri'),
        'vmcatcher_event_dc_description': entry.get('description'),
    }
    ram = entry.get('ram_minimum')
    if ram:
        values['min_ram'] = -(-int(ram) // _MIB)
    return {
        name: value[:255] if name.startswith('vmcatcher_') else value
        for name, value in values.items()
        if value not in (None, '')
    }


def _distribution(name: str | None) -> str:
    """A distribution as libosinfo spells it: ``Scientific Linux`` too."""
    return re.sub('[^a-z0-9.]', '', (name or '').lower())
