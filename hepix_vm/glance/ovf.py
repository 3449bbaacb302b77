# SPDX-License-Identifier: Apache-2.0
"""Which file of an OVA is its disk, by its OVF descriptor.

Source: DMTF DSP0243 (OVF 1.x and 2.x): ``References`` name files, the
``DiskSection`` names which of them are disks. The XML is hostile: a document
type, and with it every entity, is refused, and nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import re
from xml.parsers import expat

from hepix_vm import errors

_SPACE = re.compile(r'http://schemas\.dmtf\.org/ovf/envelope/[12]')
_DEPTH = 64


@dataclasses.dataclass(frozen=True, slots=True)
class Disk:
    """The file that a descriptor names as its disk.

    :ivar href: the name of a file, as the descriptor has it; hostile until
        it is found in the archive
    :ivar size: bytes, where the descriptor says it
    """

    href: str
    size: int | None


def disk(descriptor: bytes) -> Disk:
    """The only disk of a descriptor.

    :raises errors.NotBelieved: when it is no OVF descriptor, or has another
        number of disks than one, or its disk is compressed, in pieces or
        needs another one
    """
    files, disks = _read(descriptor)
    if len(disks) != 1:
        raise _refused(f'expected one disk, found {len(disks)}')
    only = disks[0]
    if only.get('parentRef'):
        raise _refused('its disk needs another one')
    named = [f for f in files if f.get('id') == only.get('fileRef')]
    if not only.get('fileRef') or len(named) != 1:
        raise _refused('its disk has no file')
    file = named[0]
    if file.get('compression', 'identity') not in ('', 'identity'):
        raise _refused('its disk is compressed within the archive')
    if file.get('chunkSize'):
        raise _refused('its disk is cut in pieces')
    said = file.get('size')
    if said is not None and not re.fullmatch('[0-9]{1,19}', said):
        raise _refused('the size of its disk is no number')
    return Disk(file.get('href', ''), None if said is None else int(said))


_Elements = list[Mapping[str, str]]


def _read(descriptor: bytes) -> tuple[_Elements, _Elements]:
    """Attributes of all ``File`` and all ``Disk`` elements, by local name."""
    found: dict[tuple[str, ...], _Elements] = {
        ('Envelope', 'References', 'File'): [],
        ('Envelope', 'DiskSection', 'Disk'): [],
    }
    path: list[str] = []

    def start(name: str, attributes: Mapping[str, str]) -> None:
        path.append(_local(name))
        if len(path) > _DEPTH:
            raise _refused('its elements are nested too deeply')
        elements = found.get(tuple(path))
        if elements is not None:
            elements.append(
                {_local(key): value for key, value in attributes.items()}
            )

    def end(_name: str) -> None:
        path.pop()

    def doctype(*_what: object) -> None:
        raise _refused('it has a document type')

    parser = expat.ParserCreate(namespace_separator=' ')
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.StartDoctypeDeclHandler = doctype
    parser.EntityDeclHandler = doctype
    try:
        parser.Parse(descriptor, True)
    except (expat.ExpatError, LookupError, ValueError) as exc:
        raise _refused('it is not well-formed XML') from exc
    return (
        found['Envelope', 'References', 'File'],
        found['Envelope', 'DiskSection', 'Disk'],
    )


def _local(name: str) -> str:
    """The name without its namespace if that is OVF's; else one with it."""
    space, _, local = name.rpartition(' ')
    return local if not space or _SPACE.fullmatch(space) else name


def _refused(why: str) -> errors.NotBelieved:
    return errors.NotBelieved(f'the OVF descriptor cannot be used: {why}')
