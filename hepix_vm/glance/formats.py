# SPDX-License-Identifier: Apache-2.0
"""Whether endorsed bytes are what their list says, and how they enter Glance.

What a list says of the format is compared with what the bytes are. Formats
that Nova boots go in as endorsed. For some others the site may allow steps
that leave the disk as it is: :mod:`hepix_vm.glance.conversion` takes them.
"""

from __future__ import annotations

from collections.abc import Collection
import dataclasses
from pathlib import Path

from hepix_vm import errors
from hepix_vm.glance import content
from hepix_vm.glance import ova
from hepix_vm.glance import unpacking

Kind = content.Kind

#: What Nova boots as it is.
BOOTABLE = frozenset({Kind.RAW, Kind.QCOW2, Kind.VMDK, Kind.VHDX, Kind.ISO})

#: Steps that a site may allow, by what they take.
STEPS = ('gunzip', 'ova', 'vdi', 'vhd')

#: Names in lists, without ``.gz``; the ones of lists are in lower case.
NAMES = {
    'raw': Kind.RAW,
    'img': Kind.RAW,
    'qcow2': Kind.QCOW2,
    'vmdk': Kind.VMDK,
    'vhd': Kind.VHD,
    'vpc': Kind.VHD,
    'vhdx': Kind.VHDX,
    'vdi': Kind.VDI,
    'iso': Kind.ISO,
    'ova': Kind.TAR,
}
_GZIP = ('.gz', '.gzip')


@dataclasses.dataclass(frozen=True, slots=True)
class Bootable:
    """The bytes go into Glance as they were endorsed.

    :ivar disk_format: for Glance
    """

    disk_format: str


@dataclasses.dataclass(frozen=True, slots=True)
class Convertible:
    """The site allows the steps that these bytes need.

    :ivar step: what is done, such as ``gunzip+vdi``, without the format
        that the disk is brought into
    :ivar wrapping: ``gzip``, ``tar`` or '' around the disk
    :ivar disk: what the disk has to be once it is unwrapped
    :ivar member: where the disk is in an OVA
    """

    step: str
    wrapping: str
    disk: content.Kind
    member: ova.Member | None = None

    @property
    def converts(self) -> bool:
        """Whether the disk itself has to be brought into another format."""
        return self.step.rpartition('+')[2] == self.disk.value


@dataclasses.dataclass(frozen=True, slots=True)
class Refused:
    """The bytes do not enter Glance.

    :ivar reason: a sentence for the operator
    """

    reason: str


Judgement = Bootable | Convertible | Refused


def judge(
    path: Path, declared: str | None, allowed: Collection[str]
) -> Judgement:
    """What is to become of endorsed bytes.

    :param path: a file that holds exactly the endorsed bytes
    :param declared: the format that the list names, if it names one
    :param allowed: those of :data:`STEPS` that the site allows
    :raises errors.LocalFault: when the file cannot be read
    """
    try:
        return _judged(path, (declared or '').lower(), allowed)
    except errors.NotBelieved as exc:
        return Refused(_sentence(declared, str(exc)))


def _judged(path: Path, declared: str, allowed: Collection[str]) -> Judgement:
    found = content.of_file(path)
    if found.flaw:
        return Refused(
            _sentence(
                declared, f'the bytes are {found.kind}, but {found.flaw}'
            )
        )
    inner = declared
    for ending in _GZIP:
        inner = inner.removesuffix(ending)
    if declared and inner not in NAMES:
        return Refused(_sentence(declared, 'which is no format known here'))
    said = NAMES.get(inner)
    if found.kind is Kind.GZIP and (not declared or inner != declared):
        return _compressed(path, declared, said, allowed)
    outer = Kind.GZIP if inner != declared else said
    if declared and found.kind is not outer:
        return Refused(_sentence(declared, f'the bytes are {found.kind}'))
    if found.kind is Kind.TAR:
        return _appliance(path, declared, allowed)
    if found.kind in BOOTABLE:
        return Bootable(found.kind.value)
    if found.kind in (Kind.VDI, Kind.VHD):
        return _allowed(
            Convertible(found.kind.value, '', found.kind), declared, allowed
        )
    return Refused(
        _sentence(
            declared,
            f'the bytes are {found.kind}, which neither Nova boots nor '
            'this site can convert',
        )
    )


def _compressed(
    path: Path,
    declared: str,
    said: content.Kind | None,
    allowed: Collection[str],
) -> Judgement:
    inside = content.kind_of_beginning(unpacking.beginning(path))
    # The end of a fixed VHD tells it from a raw disk: looked at afterwards.
    fixed = inside is Kind.RAW and said is Kind.VHD
    if said is not None and inside is not said and not fixed:
        return Refused(
            _sentence(declared, f'the compressed bytes are {inside}')
        )
    disk = said or inside
    if disk in BOOTABLE:
        return _allowed(Convertible('gunzip', 'gzip', disk), declared, allowed)
    if disk in (Kind.VDI, Kind.VHD):
        return _allowed(
            Convertible(f'gunzip+{disk}', 'gzip', disk), declared, allowed
        )
    return Refused(
        _sentence(
            declared,
            f'the compressed bytes are {disk}, which this site cannot convert',
        )
    )


def _appliance(
    path: Path, declared: str, allowed: Collection[str]
) -> Judgement:
    member = ova.disk(path)
    inside = content.kind_of_beginning(
        unpacking.beginning_of_member(path, member)
    )
    steps = {
        Kind.RAW: 'ova',
        Kind.QCOW2: 'ova',
        Kind.VMDK: 'ova+vmdk',
        Kind.VDI: 'ova+vdi',
        Kind.VHD: 'ova+vhd',
    }
    if inside not in steps:
        return Refused(
            _sentence(
                declared,
                f'the disk in the OVA is {inside}, which this site cannot '
                'convert',
            )
        )
    return _allowed(
        Convertible(steps[inside], 'tar', inside, member), declared, allowed
    )


def _allowed(
    judged: Convertible, declared: str, allowed: Collection[str]
) -> Judgement:
    # The VMDK is the form that disks have in an OVA: no step of its own.
    needed = [step for step in judged.step.split('+') if step in STEPS]
    missing = [step for step in needed if step not in allowed]
    if not missing:
        return judged
    return Refused(
        _sentence(
            declared,
            f'Nova does not boot the bytes as they are, and [conversion] '
            f'steps does not list {", ".join(missing)}',
        )
    )


def _sentence(declared: str | None, found: str) -> str:
    said = f'format {declared!r}' if declared else 'no format'
    return f'the list says {said}, {found}'
