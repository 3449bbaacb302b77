# SPDX-License-Identifier: Apache-2.0
"""From the values of a list to its bytes."""

from __future__ import annotations

from collections.abc import Mapping
import datetime
import json

from hepix_vm import errors
from hepix_vm.imagelist import model
from hepix_vm.imagelist import reading


def render(
    image_list: model.ImageList, dialect: model.Dialect | None = None
) -> bytes:
    """Return the list as JSON: ASCII, sorted keys, the same bytes each time.

    ``parse(render(x)) == x`` for every list that :func:`parse` returned. In
    the HEPiX dialect keys ``ad:*`` are left out; in AppDB's numbers become
    strings and memory is rounded up to MiB.

    :param dialect: to write; the list's own without it
    :raises hepix_vm.errors.InvalidList: the values are such that the list
        would be refused or lose an image when read; place, expected, found
    :raises ValueError: a date without a time zone
    """
    dialect = dialect or image_list.dialect
    document = {'hv:imagelist': _list(image_list, dialect)}
    payload = json.dumps(document, indent=2, sort_keys=True).encode('ascii')
    # What is not JSON, such as NaN, is refused here, too.
    for problem in reading.parse(payload).problems:
        raise errors.InvalidList(
            problem.place, problem.expected, problem.found
        )
    return payload + b'\n'


def _list(image_list: model.ImageList, dialect: model.Dialect) -> model.JSON:
    keys: dict[str, model.JSON] = {
        'dc:identifier': image_list.identifier,
        'dc:title': image_list.title,
        'dc:description': image_list.description,
        'dc:date:created': _moment(image_list.created),
        'dc:date:expires': _moment(image_list.expires),
        'dc:source': image_list.source,
        'hv:version': image_list.version,
        'hv:uri': image_list.uri,
        'hv:images': [
            {'hv:image': _image(image, dialect)} for image in image_list.images
        ],
        # An AppDB list always has it: its presence tells the dialect.
        'ad:vo': image_list.vo or '',
    }
    endorsers = [_endorser(endorser) for endorser in image_list.endorsers]
    # Old consumers read one endorser, and only as an object.
    keys['hv:endorser'] = endorsers[0] if len(endorsers) == 1 else endorsers
    return _with_extra(keys, image_list.extra, model.LIST_KEYS, dialect)


def _endorser(endorser: model.Endorser) -> model.JSON:
    keys: dict[str, model.JSON] = {
        'dc:creator': endorser.creator,
        'hv:dn': endorser.subject,
        'hv:ca': endorser.issuer,
        'hv:email': endorser.email,
    }
    known = model.ENDORSER_KEYS
    # AppDB's dialect here only keeps all keys: it is told elsewhere.
    extra = _with_extra(keys, endorser.extra, known, model.Dialect.APPDB)
    return {'hv:x509': extra}


def _image(image: model.ImageEntry, dialect: model.Dialect) -> model.JSON:
    appdb = dialect is model.Dialect.APPDB
    ram = image.ram_minimum
    if ram is not None and appdb:
        ram = -(-ram // model.MIB)

    def number(value: int | None) -> model.JSON:
        return str(value) if appdb and value is not None else value

    keys: dict[str, model.JSON] = {
        'dc:identifier': image.identifier,
        'dc:title': image.title,
        'dc:description': image.description,
        'hv:uri': image.uri,
        'hv:size': number(image.size),
        'hv:version': image.version,
        'sl:checksum:sha512': image.sha512,
        'sl:arch': image.arch,
        'sl:os': image.os,
        'sl:osversion': image.os_version,
        'sl:osname': image.os_name,
        # Some consumers drop an image without it.
        'sl:comments': image.comments or '',
        'hv:hypervisor': ','.join(image.hypervisors),
        'hv:format': image.format,
        'hv:core_minimum': number(image.core_minimum),
        'hv:ram_minimum': number(ram),
        'ad:mpuri': image.mpuri,
    }
    if image.expires is not None:
        keys['dc:date:expires'] = _moment(image.expires)
    keys = {key: value for key, value in keys.items() if value is not None}
    return _with_extra(keys, image.extra, model.IMAGE_KEYS, dialect)


def _with_extra(
    keys: dict[str, model.JSON],
    extra: Mapping[str, model.JSON],
    known: frozenset[str],
    dialect: model.Dialect,
) -> dict[str, model.JSON]:
    keys = keys | {
        key: value for key, value in extra.items() if key not in known
    }
    if dialect is model.Dialect.APPDB:
        return keys
    return {
        key: value for key, value in keys.items() if not key.startswith('ad:')
    }


def _moment(when: datetime.datetime) -> str:
    if when.tzinfo is None:
        raise ValueError(f'a date with its time zone is needed: {when}')
    utc = when.astimezone(datetime.UTC).replace(tzinfo=None)
    return utc.isoformat(timespec='seconds') + 'Z'
