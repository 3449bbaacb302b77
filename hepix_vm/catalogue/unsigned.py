# SPDX-License-Identifier: Apache-2.0
"""What an unsigned list or artefact holds, in words for an operator.

Words are all that comes of it: no row of an endorsement, no identifier, no
URL to fetch. Who can write to the server can write anything here.
"""

from __future__ import annotations

from hepix_vm.catalogue.sources import manifest
from hepix_vm import errors
from hepix_vm import imagelist

_MOST_FILES = 20
_MOST_CHARACTERS = 2000
_BEGINNING = 'unsigned, so nothing of it is believed, it says that it holds'


def told(message: bytes) -> str:
    """One line, at most 2000 characters, without control characters."""
    found = _artefact(message)
    if found is None:
        found = _list(message)
    if found is None:
        return 'what it holds is neither an artefact nor an image list'
    more = len(found) - _MOST_FILES
    text = '; '.join(found[:_MOST_FILES]) or 'nothing'
    if more > 0:
        text += f'; and {more} more'
    text = ''.join(c if c.isprintable() else '?' for c in text)
    return f'{_BEGINNING}: {text}'[:_MOST_CHARACTERS]


def _artefact(message: bytes) -> list[str] | None:
    try:
        parsed = manifest.parse(message)
    except errors.NotBelieved:
        return None
    return [
        f'{blob.title or "a file without a name"} ({blob.media_type}, '
        f'{blob.size} bytes, {blob.digest})'
        for blob in parsed.layers
    ]


def _list(message: bytes) -> list[str] | None:
    try:
        image_list = imagelist.parse(message)
    except errors.InvalidList:
        return None
    return [
        f'{image.title} {image.version} ({image.identifier}, '
        f'{image.size} bytes, sha512:{image.sha512[:16]}...)'
        for image in image_list.images
    ]
