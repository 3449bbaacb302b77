# SPDX-License-Identifier: Apache-2.0
"""Names and manifests of OCI registries, as values.

Names are those of the OCI Distribution Specification 1.1, manifests those of
the OCI Image Specification 1.1, section "Image Manifest". A registry is not
trusted: what it sends is checked before it is used.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from typing import Any
import urllib.parse

from hepix_vm import errors
from hepix_vm import imagelist
from hepix_vm.imagelist import document

#: A signed image list, as its endorser's S/MIME message.
LIST_TYPE = 'application/vnd.hepix.imagelist.v1+smime'

MANIFEST_TYPES = (
    'application/vnd.oci.image.manifest.v1+json',
    'application/vnd.docker.distribution.manifest.v2+json',
)
INDEX_TYPES = (
    'application/vnd.oci.image.index.v1+json',
    'application/vnd.docker.distribution.manifest.list.v2+json',
)

#: Bytes; the specification has registries accept manifests of this size.
MOST_BYTES = 4 * 1024 * 1024
_MOST_LAYERS = 10_000
_LONGEST = 255

_NAME = re.compile(
    r'[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*'
    r'(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*'
)
_TAG = re.compile(r'[A-Za-z0-9_][A-Za-z0-9._-]{0,127}')
_DIGEST = re.compile(r'sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}')


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """What an ``oci`` URL names.

    :ivar base: URL of the registry, ``https://HOST[:PORT]``
    :ivar name: of the repository, ``PROJECT/NAME``
    :ivar tag: None when there is a digest
    :ivar digest: ``sha256:...`` or ``sha512:...``; None when there is a tag
    """

    base: str
    name: str
    tag: str | None
    digest: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class Blob:
    """One file of an artefact; ``title`` is only ever shown."""

    media_type: str
    digest: str
    size: int
    title: str


@dataclasses.dataclass(frozen=True, slots=True)
class Manifest:
    """One artefact."""

    layers: tuple[Blob, ...]

    def lists(self) -> tuple[Blob, ...]:
        """The signed lists in it."""
        return tuple(b for b in self.layers if b.media_type == LIST_TYPE)


def reference(url: str) -> Reference:
    """Read ``oci://HOST[:PORT]/PROJECT/NAME:TAG``, or ``@DIGEST``.

    :raises errors.Misconfigured: it is not like that
    """
    try:
        parts = urllib.parse.urlsplit(url)
        whole = (
            parts.scheme in ('oci', 'oci+http')
            and bool(parts.hostname)
            and parts.port != 0
            and '@' not in parts.netloc
            and not parts.query
            and not parts.fragment
        )
    except ValueError:
        whole = False
    if whole:
        path = parts.path.removeprefix('/')
        name, _, digest = path.partition('@')
        tag = ''
        if not digest:
            name, _, tag = path.partition(':')
        if (
            len(name) <= _LONGEST
            and _NAME.fullmatch(name)
            and (_TAG.fullmatch(tag) or is_digest(digest))
        ):
            transport = 'http' if parts.scheme == 'oci+http' else 'https'
            return Reference(
                f'{transport}://{parts.netloc}',
                name,
                tag or None,
                digest or None,
            )
    raise errors.Misconfigured(
        f'URL {url!r}: expected oci://HOST[:PORT]/PROJECT/NAME:TAG or '
        '@sha256:DIGEST at its end, the name in lower case; edit the option '
        'or tell the endorser'
    )


def is_digest(text: str) -> bool:
    """Whether it is a digest of a kind that we know."""
    return _DIGEST.fullmatch(text) is not None


def has_digest(content: bytes, digest: str) -> bool:
    """Whether these bytes are what the digest names."""
    algorithm, _, value = digest.partition(':')
    return hashlib.new(algorithm, content).hexdigest() == value


def parse(content: bytes) -> Manifest:
    """Read a manifest.

    :raises errors.NotBelieved: it is none, or an index of several
    """
    try:
        found = document.load(content, imagelist.DEFAULT_LIMITS)
    except errors.InvalidList as exc:
        raise errors.NotBelieved(f'not a manifest: {exc}') from exc
    if not isinstance(found, dict) or found.get('schemaVersion') != 2:
        raise errors.NotBelieved('not a manifest: schemaVersion is not 2')
    media_type = found.get('mediaType', MANIFEST_TYPES[0])
    if media_type in INDEX_TYPES or 'manifests' in found:
        raise errors.NotBelieved(
            'an index of several manifests; name the one artefact that holds '
            'the list'
        )
    if media_type not in MANIFEST_TYPES:
        raise errors.NotBelieved(
            f'not a manifest: mediaType {document.show(media_type)}'
        )
    layers = found.get('layers')
    if not isinstance(layers, list) or len(layers) > _MOST_LAYERS:
        raise errors.NotBelieved(
            f'not a manifest: layers {document.show(layers)}'
        )
    return Manifest(tuple(_blob(layer) for layer in layers))


def _blob(layer: Any) -> Blob:
    values = layer if isinstance(layer, dict) else {}
    media_type = values.get('mediaType')
    digest = values.get('digest')
    size = values.get('size')
    annotations = values.get('annotations')
    if (
        not isinstance(media_type, str)
        or not isinstance(digest, str)
        or not is_digest(digest)
        or not isinstance(size, int)
        or isinstance(size, bool)
        or size < 0
    ):
        raise errors.NotBelieved(
            'not a manifest: a layer without mediaType, digest (sha256 or '
            'sha512) or size'
        )
    title = None
    if isinstance(annotations, dict):
        title = annotations.get('org.opencontainers.image.title')
    return Blob(
        media_type[:_LONGEST],
        digest,
        size,
        title[:_LONGEST] if isinstance(title, str) else '',
    )
