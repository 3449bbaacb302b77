# SPDX-License-Identifier: Apache-2.0
"""Editing a list: pure functions from one list to the next.

The rules are the specification's: a list and an image keep their
identifiers for ever, and versions never go backwards.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
from typing import Any

from hepix_vm import errors
from hepix_vm import imagelist

#: What vmcaster writes; the specification recommends a month.
LIFETIME = datetime.timedelta(days=28)
#: Beyond this an expiry protects nobody from an old list.
LONGEST = datetime.timedelta(days=400)


def find(draft: imagelist.ImageList, named: str) -> imagelist.ImageEntry:
    """The image of an identifier or of a title that only it has.

    :raises hepix_vm.errors.Misconfigured: there is none, or several
    """
    for image in draft.images:
        if image.identifier == named.lower():
            return image
    alike = [image for image in draft.images if image.title == named]
    if len(alike) == 1:
        return alike[0]
    found = 'none' if not alike else ' and '.join(i.identifier for i in alike)
    raise errors.Misconfigured(
        f'image {named!r}: expected an identifier or title of the list, '
        f'found {found}'
    )


def with_image(
    draft: imagelist.ImageList, image: imagelist.ImageEntry
) -> imagelist.ImageList:
    """The list with one more image.

    :raises hepix_vm.errors.Misconfigured: its identifier or its bytes are
        in the list already
    """
    for other in draft.images:
        if other.identifier == image.identifier:
            raise errors.Misconfigured(
                f'image {image.identifier} is in the list already; a new '
                'version of it is added with --update'
            )
    _require_own_bytes(draft, image)
    return dataclasses.replace(draft, images=(*draft.images, image))


def with_update(
    draft: imagelist.ImageList, image: imagelist.ImageEntry
) -> imagelist.ImageList:
    """The list with another version of an image, at its place.

    :raises hepix_vm.errors.Misconfigured: the image is not in the list, its
        version does not go forward, or its bytes are in the list already
    """
    before = find(draft, image.identifier)
    _require_image_forward(before, image)
    _require_own_bytes(draft, image)
    return dataclasses.replace(
        draft,
        images=tuple(
            image if one.identifier == image.identifier else one
            for one in draft.images
        ),
    )


def _require_own_bytes(
    draft: imagelist.ImageList, image: imagelist.ImageEntry
) -> None:
    for other in draft.images:
        if (
            other.sha512 == image.sha512
            and other.identifier != image.identifier
        ):
            raise errors.Misconfigured(
                f'the same bytes are in the list already, as image '
                f'{other.identifier} ({other.title!r})'
            )


def without(
    draft: imagelist.ImageList, names: tuple[str, ...]
) -> imagelist.ImageList:
    """The list without some images; subscribers withdraw them.

    :raises hepix_vm.errors.Misconfigured: one is not in the list
    """
    gone = {find(draft, named).identifier for named in names}
    return dataclasses.replace(
        draft,
        images=tuple(i for i in draft.images if i.identifier not in gone),
    )


def retired(draft: imagelist.ImageList) -> imagelist.ImageList:
    """The empty list, by which an endorser retires a list for good."""
    return dataclasses.replace(draft, images=())


def with_lifetime(
    draft: imagelist.ImageList, lifetime: datetime.timedelta
) -> imagelist.ImageList:
    """The list with another time between creation and expiry.

    :raises hepix_vm.errors.Misconfigured: it is not positive, or beyond
        the calendar
    """
    if lifetime <= datetime.timedelta(0):
        raise errors.Misconfigured('a lifetime must be more than 0 days')
    try:
        expires = draft.created + lifetime
    except OverflowError as exc:
        raise errors.Misconfigured(
            f'a lifetime of {lifetime.days} days ends beyond the calendar'
        ) from exc
    return dataclasses.replace(draft, expires=expires)


def dated(
    draft: imagelist.ImageList,
    previous: imagelist.ImageList | None,
    now: datetime.datetime,
) -> imagelist.ImageList:
    """The list as it is signed now: created now, with its own lifetime.

    Its version is the draft's, or the one after the previous list's when
    the draft's does not go beyond that.

    :param previous: the newest list of this identifier that was signed
    :param now: with a time zone
    :raises hepix_vm.errors.Misconfigured: as :func:`require_forward`
    """
    moment = now.astimezone(datetime.UTC).replace(microsecond=0)
    version = draft.version
    if previous is not None and not _later(version, previous.version):
        version = next_version(previous.version)
    fresh = dataclasses.replace(
        with_lifetime(
            dataclasses.replace(draft, created=moment),
            draft.expires - draft.created,
        ),
        version=version,
    )
    if previous is not None:
        require_forward(previous, fresh)
    return fresh


def require_forward(
    previous: imagelist.ImageList, following: imagelist.ImageList
) -> None:
    """Refuse a list that subscribers would refuse after another.

    :raises hepix_vm.errors.Misconfigured: another list's identifier; list
        version or creation goes back; an image's version goes back, or
        stays for other bytes
    """
    if following.identifier != previous.identifier:
        raise errors.Misconfigured(
            f'the list is {following.identifier}, before it was '
            f'{previous.identifier}; a list keeps its identifier for ever'
        )
    if not _later(following.version, previous.version):
        raise errors.Misconfigured(
            f'list version {following.version} does not go beyond '
            f'{previous.version}, which was signed before'
        )
    if following.created < previous.created:
        raise errors.Misconfigured(
            f'the list before was created at {previous.created.isoformat()}, '
            "which is later than now; compare this machine's clock"
        )
    known = {image.identifier: image for image in previous.images}
    for image in following.images:
        if image.identifier in known:
            _require_image_forward(known[image.identifier], image)


def _require_image_forward(
    before: imagelist.ImageEntry, image: imagelist.ImageEntry
) -> None:
    same = (image.sha512, image.size) == (before.sha512, before.size)
    if same and not _later(before.version, image.version):
        return
    if not same and _later(image.version, before.version):
        return
    raise errors.Misconfigured(
        f'image {image.identifier} ({image.title!r}): '
        + (
            f'version {image.version} goes back, before it was '
            f'{before.version}'
            if same
            else f'other bytes need a version beyond {before.version}, found '
            f'{image.version}'
        )
    )


def _later(version: str, than: str) -> bool:
    try:
        return imagelist.version_key(version) > imagelist.version_key(than)
    except ValueError as exc:
        raise errors.Misconfigured(f'version {version!r}: {exc}') from exc


def next_version(version: str) -> str:
    """The version with its last number raised by one.

    ``3`` gives ``4``, ``1.0.9`` gives ``1.0.10``, ``2026-09`` gives
    ``2026-10``.

    :raises hepix_vm.errors.Misconfigured: that is no later version
    """
    match = re.search('[0-9]+(?=[^0-9]*$)', version)
    if match is not None:
        number = str(int(match[0]) + 1).zfill(len(match[0]))
        raised = version[: match.start()] + number + version[match.end() :]
        if len(raised) <= 255 and _later(raised, version):
            return raised
    raise errors.Misconfigured(
        f'no version follows {version!r} by itself; give one with '
        '"hepix-vm list set --list-version"'
    )


def changed(draft: imagelist.ImageList, **fields: Any) -> imagelist.ImageList:
    """The list with other values of its own fields; None keeps one."""
    return dataclasses.replace(draft, **_given(fields))


def changed_image(
    draft: imagelist.ImageList, named: str, **fields: Any
) -> imagelist.ImageList:
    """The list with other values of one image's fields; None keeps one.

    :raises hepix_vm.errors.Misconfigured: there is no such image, or its
        version would go back
    """
    before = find(draft, named)
    after = dataclasses.replace(before, **_given(fields))
    _require_image_forward(before, after)
    return dataclasses.replace(
        draft,
        images=tuple(
            after if one.identifier == before.identifier else one
            for one in draft.images
        ),
    )


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
