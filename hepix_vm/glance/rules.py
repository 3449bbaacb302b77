# SPDX-License-Identifier: Apache-2.0
"""The site's own say about its images: ``CONDITION : KEY = VALUE, ...``.

What the condition may ask is what approval may ask (``expression``). What
follows are properties for Glance, and a few attributes by their own names.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import re
import shlex

from oslo_utils import strutils

from hepix_vm.catalogue import expression
from hepix_vm import errors
from hepix_vm.glance import hardware
from hepix_vm.glance import properties
from hepix_vm.glance import template

VISIBILITIES = ('auto', 'public', 'private', 'shared', 'community')

#: Attributes that a rule sets, and no property of that name.
SETTABLE = ('visibility', 'owner', 'protected', 'min_disk', 'min_ram')

# The most that a column of Glance holds.
_LARGEST = 2**31 - 1
_PROJECT = re.compile(r'[A-Za-z0-9_.-]{1,64}', re.ASCII)

#: The values that Nova knows of some properties (``nova.objects.fields``,
#: 2025.1); an image with another one does not boot.
VALUES: Mapping[str, frozenset[str]] = {
    'architecture': hardware.ARCHITECTURES,
    'hw_architecture': hardware.ARCHITECTURES,
    'hypervisor_type': hardware.HYPERVISORS,
    'img_hv_type': hardware.HYPERVISORS,
    'os_type': frozenset({'linux', 'windows'}),
    'hw_firmware_type': frozenset({'bios', 'uefi'}),
    'hw_input_bus': frozenset({'usb', 'virtio'}),
    'hw_rng_model': frozenset({'virtio'}),
    'hw_vm_mode': frozenset({'exe', 'hvm', 'uml', 'xen'}),
    'vm_mode': frozenset({'exe', 'hvm', 'uml', 'xen'}),
    'img_config_drive': frozenset({'mandatory', 'optional'}),
    'os_secure_boot': frozenset({'disabled', 'optional', 'required'}),
    'hw_tpm_model': frozenset({'tpm-crb', 'tpm-tis'}),
    'hw_tpm_version': frozenset({'1.2', '2.0'}),
    'hw_watchdog_action': frozenset(
        {'disabled', 'none', 'pause', 'poweroff', 'reset'}
    ),
    'hw_scsi_model': frozenset(
        {
            'buslogic',
            'ibmvscsi',
            'lsilogic',
            'lsisas1068',
            'lsisas1078',
            'virtio-scsi',
            'vmpvscsi',
        }
    ),
    'hw_video_model': frozenset(
        {
            'bochs',
            'cirrus',
            'gop',
            'none',
            'qxl',
            'vga',
            'virtio',
            'vmvga',
            'xen',
        }
    ),
    'hw_vif_model': frozenset(
        {
            'e1000',
            'e1000e',
            'igb',
            'lan9118',
            'ne2k_pci',
            'netfront',
            'pcnet',
            'rtl8139',
            'spapr-vlan',
            'sriov',
            'virtio',
            'vmxnet',
            'vmxnet3',
        }
    ),
} | dict.fromkeys(
    ('hw_disk_bus', 'hw_cdrom_bus', 'hw_floppy_bus', 'hw_rescue_bus'),
    frozenset(
        {'fdc', 'ide', 'lxc', 'sata', 'scsi', 'uml', 'usb', 'virtio', 'xen'}
    ),
)
#: Those that Nova takes for true or false.
BOOLEANS = frozenset(
    {
        'hw_boot_menu',
        'hw_firmware_stateless',
        'hw_ipxe_boot',
        'hw_locked_memory',
        'hw_mem_encryption',
        'hw_pmu',
        'hw_qemu_guest_agent',
        'hw_time_hpet',
        'hw_vif_multiqueue_enabled',
        'hw_virtio_packed_ring',
        'img_hide_hypervisor_id',
        'os_require_quiesce',
    }
)


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """What holds of images of which a condition holds.

    :ivar condition: None: every image
    :ivar attributes: those of :data:`SETTABLE` that it sets, as checked text
    :ivar properties: templates by property; an empty one takes the property
        away
    """

    condition: expression.Conjunction | None
    attributes: Mapping[str, str] = dataclasses.field(hash=False)
    properties: Mapping[str, template.Template] = dataclasses.field(hash=False)

    def holds(self, facts: expression.Facts) -> bool:
        """Whether it is about that image; never raises."""
        return self.condition is None or self.condition.holds(facts)


def parse(text: str) -> Rule:
    """Read one rule.

    :raises errors.Misconfigured: what was expected, and what was found
    """
    colon = _colon(text)
    if colon is None:
        raise errors.Misconfigured(
            f'{text!r}: expected CONDITION : KEY = VALUE, ..., found no colon'
        )
    condition, assignments = text[:colon].strip(), text[colon + 1 :]
    attributes: dict[str, str] = {}
    wanted: dict[str, template.Template] = {}
    for part in _parts(assignments):
        name, equals, value = (piece.strip() for piece in part.partition('='))
        if not name or not equals:
            raise errors.Misconfigured(
                f'{text!r}: expected KEY = VALUE, found {part!r}'
            )
        if name in attributes or name in wanted:
            raise errors.Misconfigured(
                f'{text!r}: expected {name} once, found it again'
            )
        if name in SETTABLE:
            attributes[name] = _attribute(name, value)
        else:
            wanted[name] = _property(name, value)
    if not attributes and not wanted:
        raise errors.Misconfigured(
            f'{text!r}: expected KEY = VALUE behind the colon, found nothing'
        )
    return Rule(
        None if condition == '*' else expression.parse(condition),
        attributes,
        wanted,
    )


def _colon(text: str) -> int | None:
    """Where the condition ends: at the first colon outside of quotes."""
    quote = ''
    for index, char in enumerate(text):
        if quote:
            quote = '' if char == quote else quote
        elif char in '"\'':
            quote = char
        elif char == ':':
            return index
    return None


def _parts(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace = ','
    lexer.whitespace_split = True
    lexer.commenters = ''
    try:
        return [part for part in lexer if part.strip()]
    except ValueError as exc:
        raise errors.Misconfigured(f'{text!r}: {exc}') from exc


def _attribute(name: str, value: str) -> str:
    if name == 'visibility':
        _one_of(name, value, VISIBILITIES)
        return value
    if name == 'protected':
        return str(_boolean(name, value))
    if name == 'owner':
        return project(name, value)
    if not value.isascii() or not value.isdigit() or int(value) > _LARGEST:
        raise errors.Misconfigured(
            f'{name}: expected a whole number from 0 to {_LARGEST}, found '
            f'{value!r}'
        )
    return value


def _property(name: str, value: str) -> template.Template:
    reason = properties.refused(name)
    if reason:
        raise errors.Misconfigured(
            f'{name!r}: expected a property that a site may set, but this '
            f'{reason}'
        )
    found = template.parse(value)
    if value and name in VALUES:
        _one_of(name, value, sorted(VALUES[name]))
    elif value and name in BOOLEANS:
        _boolean(name, value)
    return found


def project(name: str, value: str) -> str:
    """The id of a project.

    :raises errors.Misconfigured: for what cannot be one
    """
    if not _PROJECT.fullmatch(value):
        raise errors.Misconfigured(
            f'{name}: expected the id of a project, found {value!r}'
        )
    return value


def _boolean(name: str, value: str) -> bool:
    try:
        return bool(strutils.bool_from_string(value, strict=True))
    except ValueError as exc:
        raise errors.Misconfigured(
            f'{name}: expected true or false, found {value!r}'
        ) from exc


def _one_of(name: str, value: str, known: object) -> None:
    names = [str(item) for item in known]  # type: ignore[attr-defined]
    if value not in names:
        raise errors.Misconfigured(
            f'{name}: expected one of {", ".join(names)}, found {value!r}'
        )
