# SPDX-License-Identifier: Apache-2.0
"""What cloudkeeper keeps: its configuration, and no state at all.

Facts of its releases: up to 1.7 ``image-lists`` holds several URLs, from 1.6
on ``image-lists-file`` names a file with one URL a line; 2.0 has
``image-list`` with one URL. ``ca-dir`` is the directory of CAs in each.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hepix_vm import errors
from hepix_vm.operations.predecessors import documents
from hepix_vm.operations.predecessors import values

NAME = 'cloudkeeper'

_INSECURE = (
    'cloudkeeper 1.x takes a list from anybody whom any CA of ca-dir has '
    'certified: it knows no endorsers. Here each list has its endorser.',
    'cloudkeeper 2.0 asks for the option verify-image-lists, while its '
    'configuration sets verify-image-list: it verifies no signature, and '
    'takes lists without one. Here such a list is refused.',
    'cloudkeeper checks neither versions nor revocation, so a server could '
    'show it an old list or one of a revoked endorser.',
    'cloudkeeper 1.x does not compare an image with its checksum.',
)
_NO_EQUIVALENT = (
    'cloudkeeper-os maps VOs to projects in a file of its own (mapping.json): '
    'see option vo_projects.',
    'cloudkeeper converts images (formats); here an image enters Glance as '
    'its endorser signed it.',
    'its authentication, certificate, key and backend options connect its '
    'two halves; there is nothing like that here.',
)


def read(path: Path) -> values.Predecessor:
    """Read ``cloudkeeper.yml``.

    :raises errors.Misconfigured: it cannot be read or is something else
    """
    settings = documents.mapping(path).get('cloudkeeper')
    if not isinstance(settings, Mapping):
        raise errors.Misconfigured(
            f"{path}: expected cloudkeeper's settings in a mapping "
            f'"cloudkeeper", found {documents.kind(settings)}'
        )
    anchors = documents.string(path, 'ca-dir', settings.get('ca-dir'))
    followed = []
    left_out = []
    for place, url in _urls(path, settings):
        try:
            followed.append(_followed(place, url, anchors or None))
        except values.Unusable as exc:
            left_out.append(values.LeftOut(place, str(exc)))
    return values.Predecessor(
        NAME, tuple(followed), tuple(left_out), _INSECURE, _NO_EQUIVALENT
    )


def _urls(path: Path, settings: Mapping[str, object]) -> list[tuple[str, str]]:
    """The URLs of all its options, each with its place."""
    found = []
    one = documents.string(path, 'image-list', settings.get('image-list'))
    if one:
        found.append(('image-list', one))
    several = settings.get('image-lists')
    if isinstance(several, str):
        several = several.split()
    found += [
        (f'image-lists, entry {number}', url)
        for number, url in enumerate(
            documents.strings(path, 'image-lists', several), 1
        )
    ]
    option = 'image-lists-file'
    name = documents.string(path, option, settings.get(option))
    if name:
        lines = documents.text(Path(name)).splitlines()
        found += [
            (values.shown(f'{name}, line {number}'), line.strip())
            for number, line in enumerate(lines, 1)
            if line.strip()
        ]
    if not found:
        raise errors.Misconfigured(
            f'{path}: expected image-list, image-lists or image-lists-file '
            'with a URL, found none; cloudkeeper may have been given them on '
            'its command line'
        )
    return found


def _followed(place: str, url: str, anchors: str | None) -> values.Followed:
    found = values.location(url)
    secret = None
    if found.had_user:
        secret = values.Secret(f'the URL ({place})')
    return values.Followed(
        label=place,
        url=found.url,
        trust_anchors=anchors,
        takes_all=True,
        secret=secret,
        notes=values.emptied_note(found),
    )
