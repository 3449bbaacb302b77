# SPDX-License-Identifier: Apache-2.0
"""From the bytes of a list to its values."""

from __future__ import annotations

import dataclasses

from hepix_vm import errors
from hepix_vm.imagelist import document
from hepix_vm.imagelist import fields
from hepix_vm.imagelist import model

_RAM_LEAST = model.MIB
_RAM_MOST = 2**44
_CORES_MOST = 65_536
# Keys that only a list has: they show the old form without an outer key.
_LIST_ALONE = frozenset({'dc:date:created', 'hv:endorser', 'hv:images'})
_LIST_NEEDS = (
    'dc:identifier',
    'dc:title',
    'dc:description',
    'dc:date:created',
    'dc:date:expires',
    'dc:source',
    'hv:version',
    'hv:uri',
    'hv:endorser',
)
_ENDORSER_NEEDS = ('dc:creator', 'hv:dn', 'hv:ca', 'hv:email')
_IMAGE_NEEDS = (
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
    'hv:hypervisor',
)


@dataclasses.dataclass(frozen=True, slots=True)
class _Object:
    """One JSON object with its place."""

    keys: dict[str, model.JSON]
    place: str
    limits: model.Limits
    problems: list[model.Problem]

    def __contains__(self, key: str) -> bool:
        return key in self.keys

    def at(self, key: str) -> tuple[object, str]:
        """Return the value of a known key, or MISSING, and its place."""
        value = self.keys.get(key, document.MISSING)
        return value, f'{self.place}.{key}'

    def inner(self, key: str) -> _Object:
        """Return the object under the one key that should be here."""
        value, place = self.at(key)
        if not isinstance(value, dict):
            fields.refuse(place, 'an object', value)
        others = [other for other in self.keys if other != key]
        if others:
            self.report(
                self.place + document.step(others[0]),
                f'no key beside "{key}"',
                f'{len(others)}, ignored',
            )
        return self.beside(value, place)

    def beside(self, keys: dict[str, model.JSON], place: str) -> _Object:
        """Return another object of the same document."""
        return _Object(keys, place, self.limits, self.problems)

    def require(self, *keys: str) -> None:
        """Refuse the object at its first missing key, naming them all."""
        missing = [key for key in keys if key not in self.keys]
        if missing:
            also = f' (nor {", ".join(missing[1:])})' if missing[1:] else ''
            raise errors.InvalidList(
                self.at(missing[0])[1], 'this key', f'nothing{also}'
            )

    def text(self, key: str, *, prose: bool = False) -> str:
        """Return a string that may be empty."""
        limit = self.limits.text if prose else self.limits.title
        return fields.text(*self.at(key), limit, prose=prose)

    def dn(self, key: str) -> str:
        """Return a distinguished name as it is written."""
        return fields.text(*self.at(key), self.limits.text, empty=False)

    def uri(self, key: str, *, image: bool) -> str:
        """Return a URI that is safe to fetch."""
        return fields.uri(*self.at(key), self.limits.uri, image=image)

    def report(self, place: str, expected: str, found: str) -> None:
        """Note something odd that changes nothing."""
        self.problems.append(
            model.Problem(place, expected, found, dropped=False)
        )


def parse(
    payload: bytes, limits: model.Limits = model.DEFAULT_LIMITS
) -> model.ImageList:
    """Return the list that a payload holds, in either dialect.

    An image entry that is broken is left out and told in ``problems`` with
    ``dropped`` set; what is merely odd is told there without it.

    :param payload: exactly the bytes whose signature was verified
    :raises hepix_vm.errors.InvalidList: the list as a whole is broken; the
        message names the JSON path, what was expected and what was found
    """
    top = document.load(payload, limits)
    if not isinstance(top, dict):
        fields.refuse('$', 'an object', top)
    body = _outer(_Object(top, '$', limits, []))
    body.require(*_LIST_NEEDS)
    images, place = body.at('hv:images')
    if isinstance(images, document.Missing):
        images = []
    if not isinstance(images, list):
        fields.refuse(place, 'an array', images)
    if len(images) > limits.images:
        fields.refuse(place, f'at most {limits.images} images', images)
    dialect = _dialect(body.keys, images)
    endorsers = _endorsers(body)
    entries = _images(body, images, dialect)
    return model.ImageList(
        identifier=fields.identifier(*body.at('dc:identifier')),
        title=body.text('dc:title'),
        description=body.text('dc:description', prose=True),
        created=fields.moment(*body.at('dc:date:created')),
        expires=fields.moment(*body.at('dc:date:expires')),
        source=body.text('dc:source', prose=True),
        version=fields.version(*body.at('hv:version')),
        uri=body.uri('hv:uri', image=False),
        endorsers=endorsers,
        vo=(body.text('ad:vo') or None) if 'ad:vo' in body else None,
        extra=fields.unknown(body.keys, model.LIST_KEYS, body.place),
        images=entries,
        dialect=dialect,
        problems=tuple(body.problems),
    )


def _outer(top: _Object) -> _Object:
    if 'hv:imagelist' in top or not _LIST_ALONE & top.keys.keys():
        return top.inner('hv:imagelist')
    top.report(
        '$', 'the key "hv:imagelist" around the list', 'the list itself'
    )
    return top


def _dialect(
    body: dict[str, model.JSON], images: list[model.JSON]
) -> model.Dialect:
    """AppDB is known by its keys, on the list or on any of its images."""
    entries = [
        entry['hv:image']
        for entry in images
        if isinstance(entry, dict) and 'hv:image' in entry
    ]
    for keys in (body, *entries):
        if isinstance(keys, dict) and any(
            key.startswith('ad:') for key in keys
        ):
            return model.Dialect.APPDB
    return model.Dialect.HEPIX


def _endorsers(body: _Object) -> tuple[model.Endorser, ...]:
    value, place = body.at('hv:endorser')
    if not isinstance(value, list):
        return (_endorser(body, value, place),)
    if not 1 <= len(value) <= body.limits.endorsers:
        expected = f'1 to {body.limits.endorsers} endorsers'
        fields.refuse(place, expected, value)
    return tuple(
        _endorser(body, one, f'{place}[{index}]')
        for index, one in enumerate(value)
    )


def _endorser(body: _Object, value: object, place: str) -> model.Endorser:
    if not isinstance(value, dict):
        fields.refuse(place, 'an object', value)
    x509 = body.beside(value, place).inner('hv:x509')
    x509.require(*_ENDORSER_NEEDS)
    return model.Endorser(
        creator=x509.text('dc:creator'),
        subject=x509.dn('hv:dn'),
        issuer=x509.dn('hv:ca'),
        email=x509.text('hv:email'),
        extra=fields.unknown(x509.keys, model.ENDORSER_KEYS, x509.place),
    )


def _images(
    body: _Object, entries: list[model.JSON], dialect: model.Dialect
) -> tuple[model.ImageEntry, ...]:
    images: list[model.ImageEntry] = []
    seen: dict[str, str] = {}
    for index, entry in enumerate(entries):
        place = f'{body.place}.hv:images[{index}]'
        try:
            if not isinstance(entry, dict):
                fields.refuse(place, 'an object', entry)
            keys = body.beside(entry, place).inner('hv:image')
            _claim(keys, seen)
            images.append(_image(keys, dialect))
        except errors.InvalidList as error:
            body.problems.append(
                model.Problem(
                    error.path, error.expected, error.found, dropped=True
                )
            )
    return tuple(images)


def _claim(keys: _Object, seen: dict[str, str]) -> None:
    """Refuse an identifier that an earlier entry, even a broken one, has.

    Two meanings of one identifier in one signed list are hostile; the first
    stands, so that order of reading never decides which bytes are endorsed.
    """
    value, place = keys.at('dc:identifier')
    identifier = fields.identifier(value, place)
    if identifier in seen:
        raise errors.InvalidList(
            place,
            'an identifier of its own',
            f'{identifier} again, first at {seen[identifier]}',
        )
    seen[identifier] = keys.place


def _image(keys: _Object, dialect: model.Dialect) -> model.ImageEntry:
    def option(key: str, *, prose: bool = False) -> str | None:
        return keys.text(key, prose=prose) or None if key in keys else None

    keys.require(*_IMAGE_NEEDS)
    declared = option('hv:format')
    expires = 'dc:date:expires'
    return model.ImageEntry(
        identifier=fields.identifier(*keys.at('dc:identifier')),
        title=keys.text('dc:title'),
        description=keys.text('dc:description', prose=True),
        uri=keys.uri('hv:uri', image=True),
        size=fields.number(*keys.at('hv:size')),
        version=fields.version(*keys.at('hv:version')),
        sha512=fields.sha512(*keys.at('sl:checksum:sha512')),
        arch=fields.text(*keys.at('sl:arch'), keys.limits.title, empty=False),
        os=keys.text('sl:os'),
        os_version=keys.text('sl:osversion'),
        os_name=option('sl:osname'),
        comments=option('sl:comments', prose=True),
        hypervisors=fields.hypervisors(
            *keys.at('hv:hypervisor'), keys.limits.title
        ),
        format=declared.lower() if declared else None,
        core_minimum=_cores(keys),
        ram_minimum=_ram(keys, dialect),
        expires=fields.moment(*keys.at(expires)) if expires in keys else None,
        mpuri=option('ad:mpuri'),
        extra=fields.unknown(keys.keys, model.IMAGE_KEYS, keys.place),
        place=keys.place,
    )


def _minimum(keys: _Object, key: str) -> int:
    """Return a minimum; absent and the empty string are none, as is 0."""
    value, place = keys.at(key)
    if value == '' or isinstance(value, document.Missing):
        return 0
    return fields.number(value, place)


def _cores(keys: _Object) -> int | None:
    cores = _minimum(keys, 'hv:core_minimum')
    if cores > _CORES_MOST:
        place = keys.at('hv:core_minimum')[1]
        expected = f'at most {_CORES_MOST} cores'
        keys.report(place, expected, f'{cores}, ignored')
        return None
    return cores or None


def _ram(keys: _Object, dialect: model.Dialect) -> int | None:
    """The one rule: HEPiX counts bytes, AppDB counts MiB.

    A result outside of 1 MiB to 16 TiB shows that the author meant the other
    unit: it is reported and ignored, never guessed.
    """
    written = _minimum(keys, 'hv:ram_minimum')
    appdb = dialect is model.Dialect.APPDB
    ram = written * model.MIB if appdb else written
    if ram and not _RAM_LEAST <= ram <= _RAM_MOST:
        unit = 'MiB (AppDB)' if appdb else 'bytes (HEPiX)'
        place = keys.at('hv:ram_minimum')[1]
        keys.report(
            place,
            f'memory from 1 MiB to 16 TiB in {unit}',
            f'{written}, ignored',
        )
        return None
    return ram or None
