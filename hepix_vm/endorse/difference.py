# SPDX-License-Identifier: Apache-2.0
"""What changes between two lists, field by field."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import datetime
import json
from typing import Any

from hepix_vm import imagelist

# Differ between any two signings of the same list.
_DATES = frozenset({'version', 'created', 'expires'})


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    :param subject: identifier of the image, ``list`` for the list itself
    :param title: title of the image or list
    :param change: ``added``, ``removed`` or the name of a field
    :param before: old value as text, '' for none
    :param after: new value as text, '' for none
    """

    subject: str
    title: str
    change: str
    before: str = ''
    after: str = ''

    @property
    def more_than_dates(self) -> bool:
        """Whether two signings of the same list would not differ so."""
        return self.subject != 'list' or self.change not in _DATES


def changes(
    old: imagelist.ImageList, new: imagelist.ImageList
) -> Iterator[Change]:
    """Differences of the lists, then of their images in the new order."""
    yield from _fields('list', new.title, old, new, {'images', 'problems'})
    before = {image.identifier: image for image in old.images}
    for image in new.images:
        known = before.pop(image.identifier, None)
        if known is None:
            yield Change(
                image.identifier, image.title, 'added', '', image.version
            )
            continue
        yield from _fields(
            image.identifier, image.title, known, image, {'place'}
        )
    for gone in before.values():
        yield Change(gone.identifier, gone.title, 'removed', gone.version, '')


def _fields(
    subject: str,
    title: str,
    old: imagelist.ImageList | imagelist.ImageEntry,
    new: imagelist.ImageList | imagelist.ImageEntry,
    apart_from: set[str],
) -> Iterator[Change]:
    for field in dataclasses.fields(old):
        if field.name in apart_from:
            continue
        before, after = getattr(old, field.name), getattr(new, field.name)
        if before != after:
            yield Change(
                subject, title, field.name, _text(before), _text(after)
            )


def _text(value: Any) -> str:
    if value is None:
        return ''
    if isinstance(value, str):
        return value
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, tuple):
        return ', '.join(_text(one) for one in value)
    if isinstance(value, imagelist.Endorser):
        return f'{value.creator} <{value.email}> {value.subject}'
    return json.dumps(value, sort_keys=True)
