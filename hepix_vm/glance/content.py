# SPDX-License-Identifier: Apache-2.0
"""What the bytes of an image are, whatever anybody says of them.

Reads headers only and follows nothing that stands in them: a backing file,
an external data file, a parent or an extent elsewhere is a flaw, for which
the image is refused. Formats are told apart by oslo.utils, as Glance and
Nova do it; :mod:`hepix_vm.glance.headers` looks at what that leaves out.
"""

from __future__ import annotations

import dataclasses
import enum
import io
from pathlib import Path
import struct
from typing import BinaryIO

from oslo_utils.imageutils import format_inspector

from hepix_vm import errors
from hepix_vm.glance import headers


class Kind(enum.StrEnum):
    """Forms that bytes are found in; the first ones are Glance's names."""

    RAW = 'raw'
    QCOW2 = 'qcow2'
    VMDK = 'vmdk'
    VHD = 'vhd'
    VHDX = 'vhdx'
    VDI = 'vdi'
    ISO = 'iso'
    QED = 'qed'
    LUKS = 'luks'
    GZIP = 'gzip'
    BZIP2 = 'bzip2'
    XZ = 'xz'
    ZSTD = 'zstd'
    ZIP = 'zip'
    TAR = 'tar'
    OTHER = 'unsupported'


@dataclasses.dataclass(frozen=True, slots=True)
class Content:
    """What was found.

    :ivar flaw: why the bytes must not be used as that; '' for nothing
    """

    kind: Kind
    flaw: str = ''


#: Bytes that tell every format apart, of what is not read to its end. The
#: region table of VHDX ends at 256 KiB, the descriptor of an ISO before.
BEGINNING = 512 * 1024

# Large enough to be quick, small enough for oslo.utils' VHDX inspector, which
# finds its regions only in pieces that come after the one that names them.
_PIECE = 64 * 1024

_STARTS = (
    (b'\x1f\x8b\x08', Kind.GZIP),
    (b'BZh', Kind.BZIP2),
    (b'\xfd7zXZ\x00', Kind.XZ),
    (b'\x28\xb5\x2f\xfd', Kind.ZSTD),
    (b'PK\x03\x04', Kind.ZIP),
    # QEMU knows them, oslo.utils does not, and would call them raw.
    (b'COWD', Kind.OTHER),
    (b'WithoutFreeSpace', Kind.OTHER),
    (b'WithouFreSpacExt', Kind.OTHER),
    (b'Bochs Virtual HD Image', Kind.OTHER),
    (b'#!/bin/sh\n#V2.0 Format\n', Kind.OTHER),
    (b'# Disk DescriptorFile', Kind.VMDK),
)
_TAR_AT = 257
_TAR = b'ustar'

_FLAWS = {
    'backing_file': 'its header names a backing file',
    'data_file': 'its header names an external data file',
    'unknown_features': 'its header asks for features that are not known',
    'descriptor': 'its VMDK descriptor is not that of one sparse file',
    'footer': 'its VMDK footer contradicts its header',
    'mbr': 'its partition table is not valid',
    'null': '',
}


def of_file(path: Path) -> Content:
    """What a whole file is.

    :raises errors.LocalFault: when it cannot be read
    """
    try:
        with path.open('rb') as source:
            return of_source(source)
    except OSError as exc:
        raise errors.LocalFault(
            f'image file {path}: {exc.strerror}; see [fetch] spool_directory'
        ) from exc


def kind_of_beginning(beginning: bytes) -> Kind:
    """What bytes are that begin like this; :data:`BEGINNING` suffice.

    A fixed VHD is told from a raw image by its end only, so it is
    :attr:`Kind.RAW` here. Whether it has flaws is not looked at.
    """
    kinds, _inspectors = _kinds(io.BytesIO(beginning))
    return _single(kinds)


def of_source(source: BinaryIO) -> Content:
    """What a whole file is that can be read anywhere; see :func:`of_file`.

    :raises OSError: when it cannot be read
    """
    kinds, inspectors = _kinds(source)
    kind = _single(kinds)
    if kind is Kind.RAW and headers.ends_like_vhd(source):
        kind = Kind.VHD
    if kind is Kind.OTHER:
        names = ' and '.join(sorted(kinds))
        return Content(
            kind,
            f'the bytes are {names} at the same time'
            if len(kinds) > 1
            else 'the bytes are of a format that OpenStack does not know',
        )
    flaw = _unsafe(inspectors) or headers.flaw(kind, source)
    return Content(kind, flaw)


def _kinds(
    source: BinaryIO,
) -> tuple[frozenset[Kind], list[format_inspector.FileInspector]]:
    """All that the bytes can be taken for, and who says so."""
    start = source.read(_PIECE)
    kinds = {kind for magic, kind in _STARTS if start.startswith(magic)}
    # One sector of boot code can end like a boot sector by chance.
    by_start = bool(kinds)
    if start[_TAR_AT:].startswith(_TAR):
        kinds.add(Kind.TAR)
    source.seek(0)
    inspectors = _inspected(source)
    names = {str(inspector) for inspector in inspectors}
    if names == {'iso', 'gpt'}:
        # Made to boot from a stick as well, as Glance and Nova know.
        names = {'iso'}
    if by_start:
        names -= {'gpt'}
    for name in names - {'raw'}:
        kinds.add(_KINDS.get(name, Kind.OTHER))
    used = [i for i in inspectors if str(i) in names]
    return frozenset(kinds), used


_KINDS = {kind.value: kind for kind in Kind} | {'gpt': Kind.RAW}


def _single(kinds: frozenset[Kind]) -> Kind:
    if not kinds:
        return Kind.RAW
    if len(kinds) > 1:
        return Kind.OTHER
    return next(iter(kinds))


def _inspected(source: BinaryIO) -> list[format_inspector.FileInspector]:
    """Every inspector of oslo.utils that matches; raw if no other does."""
    wrapper = format_inspector.InspectWrapper(_NotClosed(source))
    try:
        while wrapper.read(_PIECE) and not _decided(wrapper):
            pass
        wrapper.close()
        return list(wrapper.formats or ())
    except OSError:
        raise
    except Exception as exc:
        # Inspectors stumble over some bytes that are of no format at all.
        raise errors.NotBelieved(
            'the format of the image cannot be told: its headers contradict '
            f'each other ({type(exc).__name__})'
        ) from exc


def _decided(wrapper: format_inspector.InspectWrapper) -> bool:
    return wrapper.formats is not None


class _NotClosed:
    """A source that stays open when the inspectors end."""

    def __init__(self, source: BinaryIO) -> None:
        self.read = source.read


def _unsafe(inspectors: list[format_inspector.FileInspector]) -> str:
    for inspector in inspectors:
        try:
            inspector.safety_check()
        except format_inspector.SafetyCheckFailed as exc:
            return '; '.join(
                _FLAWS.get(name, f'it fails the safety check {name!r}')
                for name in sorted(exc.failures)
            )
        except format_inspector.ImageFormatError:
            return 'its header is not complete'
        # Its inspector is content with a signature.
        if inspector.NAME == 'vhdx' and not _vhdx_size(inspector):
            return 'its header is not complete'
    return ''


def _vhdx_size(inspector: format_inspector.FileInspector) -> int:
    try:
        return int(inspector.virtual_size)
    except struct.error:
        return 0
