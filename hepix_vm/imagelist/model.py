# SPDX-License-Identifier: Apache-2.0
"""The values of an image list, and the limits of what is read."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import datetime
import enum
from typing import TypeAlias

JSON: TypeAlias = (
    'bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None'
)

MIB = 2**20

LIST_KEYS = frozenset(
    {
        'dc:identifier',
        'dc:title',
        'dc:description',
        'dc:date:created',
        'dc:date:expires',
        'dc:source',
        'hv:version',
        'hv:uri',
        'hv:endorser',
        'hv:images',
        'ad:vo',
    }
)
ENDORSER_KEYS = frozenset({'dc:creator', 'hv:dn', 'hv:ca', 'hv:email'})
IMAGE_KEYS = frozenset(
    {
        'dc:identifier',
        'dc:title',
        'dc:description',
        'hv:uri',
        'hv:size',
        'hv:version',
        'sl:checksum:sha512',
        'sl:arch',
        'sl:os',
        'sl:osversion',
        'sl:osname',
        'sl:comments',
        'hv:hypervisor',
        'hv:format',
        'hv:core_minimum',
        'hv:ram_minimum',
        'dc:date:expires',
        'ad:mpuri',
    }
)


class Dialect(enum.StrEnum):
    """Whose tools wrote a list; a key ``ad:*`` makes it AppDB's."""

    HEPIX = 'hepix'
    APPDB = 'appdb'


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What a payload may cost to read.

    :param size: bytes of the payload
    :param depth: levels of nested objects and arrays
    :param number: characters of one number
    :param values: commas and opening brackets of the document, which bounds
        the number of its values
    :param images: entries of ``hv:images``
    :param endorsers: entries of a list-valued ``hv:endorser``
    :param title: characters of a title or another short text (a Glance
        image name holds 255)
    :param text: characters of a description, a comment or a DN
    :param uri: characters of a URI
    """

    size: int = 16 * MIB
    depth: int = 32
    number: int = 64
    values: int = 1_000_000
    images: int = 20_000
    endorsers: int = 32
    title: int = 255
    text: int = 16_384
    uri: int = 2_048


DEFAULT_LIMITS = Limits()


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """Something in a list that was not as it should be.

    :param place: JSON path, ``$.hv:imagelist.hv:images[3].hv:image.hv:size``
    :param expected: what should stand there
    :param found: what stands there, shortened
    :param dropped: whether the image at that place was left out
    """

    place: str
    expected: str
    found: str
    dropped: bool

    def __str__(self) -> str:
        return f'at {self.place}: expected {self.expected}, found {self.found}'


@dataclasses.dataclass(frozen=True, slots=True)
class Endorser:
    """Who the list says has signed it: a claim, compared by trust.

    :param subject: DN as written in ``hv:dn``
    :param issuer: DN as written in ``hv:ca``
    :param extra: the keys that this module does not know
    """

    creator: str
    subject: str
    issuer: str
    email: str
    extra: Mapping[str, JSON] = dataclasses.field(
        default_factory=dict, hash=False
    )


@dataclasses.dataclass(frozen=True, slots=True)
class ImageEntry:
    """One image of a list.

    :param identifier: UUID, lower case with hyphens
    :param uri: http or https, with a host, without credentials
    :param size: bytes
    :param sha512: 128 lower-case hexadecimal digits
    :param hypervisors: lower case, at least one
    :param format: as declared, lower case; not a fixed set
    :param core_minimum: virtual CPUs
    :param ram_minimum: bytes, whatever the dialect says
    :param expires: aware, UTC
    :param mpuri: the image's page in AppDB, read by accounting
    :param extra: the keys that this module does not know
    :param place: JSON path in the list it was read from; not compared
    """

    identifier: str
    title: str
    description: str
    uri: str
    size: int
    version: str
    sha512: str
    arch: str
    os: str
    os_version: str
    os_name: str | None = None
    comments: str | None = None
    hypervisors: tuple[str, ...] = ('kvm',)
    format: str | None = None
    core_minimum: int | None = None
    ram_minimum: int | None = None
    expires: datetime.datetime | None = None
    mpuri: str | None = None
    extra: Mapping[str, JSON] = dataclasses.field(
        default_factory=dict, hash=False
    )
    place: str = dataclasses.field(default='', compare=False)


@dataclasses.dataclass(frozen=True, slots=True)
class ImageList:
    """One image list, not yet believed.

    :param identifier: UUID, lower case with hyphens
    :param created: aware, UTC
    :param expires: aware, UTC
    :param version: contains a digit; see ``version_key``
    :param uri: where the list says it is published
    :param endorsers: at least one
    :param images: identifiers are unique
    :param vo: the virtual organisation of an AppDB list
    :param extra: the keys that this module does not know
    :param problems: what was dropped or odd; not compared
    """

    identifier: str
    title: str
    description: str
    created: datetime.datetime
    expires: datetime.datetime
    source: str
    version: str
    uri: str
    endorsers: tuple[Endorser, ...]
    images: tuple[ImageEntry, ...] = ()
    vo: str | None = None
    extra: Mapping[str, JSON] = dataclasses.field(
        default_factory=dict, hash=False
    )
    dialect: Dialect = Dialect.HEPIX
    problems: tuple[Problem, ...] = dataclasses.field(
        default=(), compare=False
    )
