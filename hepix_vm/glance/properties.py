# SPDX-License-Identifier: Apache-2.0
"""What a published image says of itself in Glance.

None of it is ever believed: who may boot the image is decided by the
catalogue's record. It is there for people, for Nova's other filters and for
accounting and information systems, which read AppDB's URI and the list's own
words under the names that earlier tools gave them.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
import datetime
import json
import re
from typing import Any

from hepix_vm.catalogue import store
from hepix_vm.glance import hardware
from hepix_vm.glance import template

#: Attributes of an image that Glance itself gives or takes under their own
#: names, and those that it refuses as reserved.
ATTRIBUTES = frozenset(
    {
        'checksum',
        'container_format',
        'created_at',
        'deleted',
        'deleted_at',
        'direct_url',
        'disk_format',
        'file',
        'id',
        'image_id',
        'is_public',
        'location',
        'locations',
        'members',
        'metadata',
        'min_disk',
        'min_ram',
        'name',
        'os_hash_algo',
        'os_hash_value',
        'os_hidden',
        'owner',
        'properties',
        'protected',
        'schema',
        'self',
        'size',
        'status',
        'stores',
        'tags',
        'updated_at',
        'virtual_size',
        'visibility',
    }
)

#: Properties that make Nova boot something else than the endorsed bytes, or
#: these in another way.
BOOTING = frozenset(
    {
        'bdm_v2',
        'block_device_mapping',
        'img_bdm_v2',
        'img_block_device_mapping',
        'img_mappings',
        'img_root_device_name',
        'kernel_id',
        'mappings',
        'os_command_line',
        'ramdisk_id',
        'root_device_name',
    }
)

#: Beside them: properties that demand of Nova and Cinder what an image of a
#: list does not have, or say that it is something else. Nobody sets any of
#: them here, not even the site's own rules.
NEVER = BOOTING | frozenset(
    {
        'base_image_ref',
        'hw_ephemeral_encryption_secret_uuid',
        'image_location',
        'image_state',
        'image_type',
        'img_owner_id',
        'instance_uuid',
        'owner_id',
        'signature_verified',
    }
)
# Glance's own; the hash pinned by it; Nova's demand for a signature made with
# Barbican; keys that Cinder deletes together with the image; and what
# cloudkeeper-os deletes images by.
_NEVER_BEGINNING = (
    'os_glance',
    'os_hash_',
    'img_signature',
    'cinder_encryption_key',
    'cloudkeeper_',
)
# Neither "/" nor "~": they mean something in a JSON pointer (RFC 6901), by
# which properties are changed.
_NAME = re.compile(r'[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}', re.ASCII)

#: Characters of ``APPLIANCE_ATTRIBUTES`` at most.
ATTRIBUTES_LENGTH = 8192
_MIB = 2**20


def refused(name: str) -> str:
    """Why a property of that name is never set; '' when it may be."""
    lower = name.lower()
    if not _NAME.fullmatch(name):
        return 'is no name of a property (letters, digits, "_", ".", ":", "-")'
    if lower in ATTRIBUTES:
        return 'is an attribute of the image, not a property'
    if lower in NEVER:
        return 'changes what boots, or whose it is'
    if lower.startswith(_NEVER_BEGINNING):
        return 'is reserved by Glance, Nova, Cinder or an older tool'
    return ''


def variables(image: store.Image) -> dict[str, str]:
    """What the places of a template are filled with, each on one line."""
    entry = image.entry
    distro, version = hardware.distribution(
        _text(entry.get('os')),
        _text(entry.get('os_name')) or None,
        _text(entry.get('os_version')),
    )
    said = _text(entry.get('arch'))
    values = {
        'title': image.title,
        'identifier': image.identifier,
        'version': image.version,
        'subscription': image.subscription,
        'vo': image.vo or '',
        'os': entry.get('os'),
        'os_name': entry.get('os_name'),
        'os_distro': distro,
        'os_version': version,
        'arch': hardware.architecture(said) or said,
        'format': entry.get('format'),
    }
    return {
        name: template.clean(_text(value)) for name, value in values.items()
    }


def described(
    image: store.Image, hypervisor_type: str | None = None
) -> dict[str, str]:
    """Every property that the list's own words give an image."""
    entry = image.entry
    words = variables(image)
    found = {
        'architecture': hardware.architecture(_text(entry.get('arch'))),
        'hypervisor_type': hypervisor_type,
        'os_type': hardware.os_type(_text(entry.get('os'))),
        'os_distro': words['os_distro'],
        'os_version': words['os_version'],
        'hepix_image_identifier': image.identifier,
        'hepix_image_version': words['version'],
        'hepix_subscription': image.subscription,
        'hepix_hypervisors': ','.join(_names(entry.get('hypervisors'))),
        'hepix_vo': words['vo'],
        # The names of vmcatcher's events, which cASO and cloud-info-provider
        # read; a URI that is cut would account for another image.
        'vmcatcher_event_ad_mpuri': _uncut(entry.get('mpuri')),
        'vmcatcher_event_dc_description': entry.get('description'),
        'vmcatcher_event_dc_identifier': image.identifier,
        'vmcatcher_event_dc_title': words['title'],
        'vmcatcher_event_hv_version': words['version'],
        # atrope's.
        'appdb_id': image.identifier,
        'image_list': image.subscription,
    } | dict(_egi(entry))
    kept = {
        name: template.clean(_text(value)) for name, value in found.items()
    }
    kept['APPLIANCE_ATTRIBUTES'] = appliance_attributes(image)
    return {name: value for name, value in kept.items() if value}


def appliance_attributes(image: store.Image) -> str:
    """The image's entry as its list has it: JSON of ASCII, always whole.

    Readers of this property take a text that ends in the middle of an object
    for a failure of their own, so values are left out, never cut.
    """
    entry = image.entry
    written: dict[str, Any] = {
        'dc:identifier': image.identifier,
        'ad:mpuri': entry.get('mpuri'),
        'dc:title': image.title,
        'hv:version': image.version,
        'hv:uri': image.uri,
        'hv:size': image.size,
        'sl:checksum:sha512': image.sha512,
        'sl:arch': entry.get('arch'),
        'sl:os': entry.get('os'),
        'sl:osname': entry.get('os_name'),
        'sl:osversion': entry.get('os_version'),
        'hv:hypervisor': ','.join(_names(entry.get('hypervisors'))),
        'hv:format': entry.get('format'),
        'hv:core_minimum': entry.get('core_minimum'),
        'hv:ram_minimum': entry.get('ram_minimum'),
        'dc:date:expires': _moment(image.expires),
        **_extra(entry),
        'dc:description': entry.get('description'),
        'sl:comments': entry.get('comments'),
    }
    kept: dict[str, Any] = {}
    left = ATTRIBUTES_LENGTH - len('{}')
    for name, value in written.items():
        if value in (None, ''):
            continue
        cost = len(json.dumps({name: value})) - len('{}') + len(', ')
        if cost <= left:
            kept[name] = value
            left -= cost
    return json.dumps(kept)


def min_ram(image: store.Image) -> int:
    """MiB that the list demands; 0 when it says nothing."""
    written = image.entry.get('ram_minimum')
    return -(-written // _MIB) if isinstance(written, int) else 0


def _egi(entry: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Keys of EGI's newer lists that are properties by their own names."""
    for name, value in _extra(entry).items():
        if name.startswith('eu.egi.cloud.') and not refused(name):
            yield name, value


def _extra(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    found = entry.get('extra')
    return found if isinstance(found, Mapping) else {}


def _names(found: Any) -> list[str]:
    return [str(name) for name in found or ()]


def _text(value: Any) -> str:
    return '' if value is None else str(value)


def _uncut(value: Any) -> str:
    text = _text(value)
    return text if len(text) <= template.LENGTH else ''


def _moment(seconds: int | None) -> str | None:
    if seconds is None:
        return None
    found = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return found.strftime('%Y-%m-%dT%H:%M:%SZ')
