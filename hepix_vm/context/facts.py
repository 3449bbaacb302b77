# SPDX-License-Identifier: Apache-2.0
"""What is known of an instance: what layers and features look at."""

from __future__ import annotations

import dataclasses

#: What layers may ask for and templates may insert.
NAMES = (
    'project',
    'availability_zone',
    'host',
    'hypervisor_type',
    'flavor',
    'image',
    'endorser',
    'list',
    'vo',
    'identifier',
)


#: Those of them that an endorsement says.
ENDORSED = ('endorser', 'list', 'vo', 'identifier')


@dataclasses.dataclass(frozen=True, slots=True)
class Endorsed:
    """The endorsement that an image came in by.

    :param endorser: distinguished name, as the catalogue has it
    :param list: identifier of the image list
    :param vo: virtual organisation that the endorsement names; '': none
    :param identifier: ``dc:identifier`` of the image
    """

    endorser: str
    list: str
    vo: str
    identifier: str


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """An instance; None is what could not be determined.

    :param uuid: of the server
    :param project: id of its project
    :param image: id of the Glance image that it booted from
    :param host: name of the compute host
    :param hypervisor_type: as Nova names it (``QEMU``, ``Xen``, ...)
    :param flavor: name
    :param launched_at: UNIX seconds
    :param vcpus: of the flavor
    :param ram: MiB
    :param swap: MiB
    :param root: GiB
    :param ephemeral: GiB
    :param extra_specs: of the flavor, as sorted pairs
    :param awaited: those of :data:`NAMES` that are not known yet, although
        the instance has them; a variant that looks at one cannot be told
    """

    uuid: str
    project: str
    name: str | None = None
    availability_zone: str | None = None
    host: str | None = None
    hypervisor_type: str | None = None
    flavor: str | None = None
    image: str | None = None
    endorsed: Endorsed | None = None
    launched_at: int | None = None
    vcpus: int | None = None
    ram: int | None = None
    swap: int | None = None
    root: int | None = None
    ephemeral: int | None = None
    extra_specs: tuple[tuple[str, str], ...] = ()
    awaited: tuple[str, ...] = ()


def known(facts: Facts) -> dict[str, str]:
    """What is known, by the names in :data:`NAMES`; nothing is empty."""
    endorsed = facts.endorsed
    values = {
        'project': facts.project,
        'availability_zone': facts.availability_zone,
        'host': facts.host,
        'hypervisor_type': facts.hypervisor_type,
        'flavor': facts.flavor,
        'image': facts.image,
    }
    if endorsed is not None:
        values |= {
            'endorser': endorsed.endorser,
            'list': endorsed.list,
            'vo': endorsed.vo,
            'identifier': endorsed.identifier,
        }
    return {name: value for name, value in values.items() if value}
