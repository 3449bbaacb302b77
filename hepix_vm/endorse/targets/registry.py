# SPDX-License-Identifier: Apache-2.0
"""OCI registries: the signed list is an artefact, images are its blobs.

One manifest holds the list, as a layer of its own media type, and every
image of the repository that the list names, so that no registry collects
them as garbage. Moving the tag publishes; a manifest is put whole.

Needs the extra ``oci`` of this package.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import contextlib
import hashlib
import json
from pathlib import Path
import re
import tempfile
from typing import Any
import urllib.parse

import requests

from hepix_vm.endorse.targets import interface
from hepix_vm.endorse.targets import registry_client
from hepix_vm import errors

#: A signed image list, as its endorser's S/MIME message.
LIST_TYPE = 'application/vnd.hepix.imagelist.v1+smime'
IMAGE_TYPE = 'application/octet-stream'
_MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json'
_EMPTY_TYPE = 'application/vnd.oci.empty.v1+json'
_EMPTY = b'{}'
_TITLE = 'org.opencontainers.image.title'
_BLOB = re.compile(r'sha256:[0-9a-f]{64}')


class Registry:
    """One repository of a registry.

    :param url: ``oci://HOST/REPOSITORY:TAG`` or ``oci+http://...``
    """

    def __init__(self, url: str, access: interface.Access) -> None:
        parts = urllib.parse.urlsplit(url)
        self._scheme = 'http' if parts.scheme == 'oci+http' else 'https'
        self._host = parts.netloc
        self._repository, _, tag = parts.path.strip('/').partition(':')
        if not parts.hostname or not self._repository or not tag:
            raise errors.Misconfigured(
                f'{url!r}: expected oci://HOST/REPOSITORY:TAG'
            )
        self._place = f'{self._host}/{self._repository}:{tag}'
        self._client = registry_client.connect(
            self._host, self._scheme, access
        )
        if not access.has_secret:
            # What "docker login" or "oras login" left.
            self._client.auth.load_configs(
                self._client.get_container(self._place)
            )

    def locate(self, uri: str) -> str | None:
        """The digest of a blob of this repository."""
        prefixes = (
            f'{self._scheme}://{self._host}/v2/{self._repository}/blobs/',
            f'oci://{self._host}/{self._repository}@',
        )
        for prefix in prefixes:
            digest = uri.removeprefix(prefix)
            if digest != uri and _BLOB.fullmatch(digest):
                return digest
        return None

    def size(self, name: str) -> int | None:
        """See the interface."""
        answer = self._do(
            lambda: self._client.get_blob(self._place, name, head=True)
        )
        if answer.status_code == 404:
            return None
        self._require(answer, 200)
        length = answer.headers.get('Content-Length', '')
        return int(length) if length.isdigit() else None

    def read_list(self, name: str) -> bytes | None:
        """The list of the artefact under the tag."""
        container = self._client.get_container(self._place)
        answer = self._do(
            lambda: self._client.do_request(
                f'{self._scheme}://{container.manifest_url()}',
                'GET',
                headers={'Accept': _MANIFEST_TYPE},
            )
        )
        if answer.status_code == 404:
            return None
        self._require(answer, 200)
        try:
            layers = [
                layer
                for layer in answer.json()['layers']
                if layer['mediaType'] == LIST_TYPE
            ]
            digest = str(layers[0]['digest']) if len(layers) == 1 else ''
        except (ValueError, KeyError, TypeError):
            digest = ''
        if not _BLOB.fullmatch(digest):
            raise errors.Misconfigured(
                f'{self._place}: expected an artefact with one signed image '
                'list, found something else; choose another tag'
            )
        blob = self._do(lambda: self._client.get_blob(self._place, digest))
        self._require(blob, 200)
        content = bytes(blob.content)
        if f'sha256:{hashlib.sha256(content).hexdigest()}' != digest:
            raise errors.TryAgain(
                f'{self._place}: the registry sends other bytes than its '
                'digest names'
            )
        return content

    def put_image(self, name: str, upload: interface.Upload) -> None:
        """See the interface."""
        self._upload(upload.path, name, upload.size, IMAGE_TYPE)

    def put_list(
        self,
        name: str,
        message: bytes,
        layers: Sequence[interface.Layer],
    ) -> None:
        """See the interface."""
        own = self._upload_bytes(message, LIST_TYPE)
        images = [
            _descriptor(one.name, one.size, IMAGE_TYPE)
            | {'annotations': {_TITLE: one.title}}
            for one in layers
        ]
        manifest = {
            'schemaVersion': 2,
            'mediaType': _MANIFEST_TYPE,
            'artifactType': LIST_TYPE,
            'config': self._upload_bytes(_EMPTY, _EMPTY_TYPE),
            'layers': [own | {'annotations': {_TITLE: name}}, *images],
        }
        self._require(
            self._do(
                lambda: self._client.upload_manifest(
                    json.loads(json.dumps(manifest)),
                    self._client.get_container(self._place),
                )
            ),
            201,
        )

    def close(self) -> None:
        """See the interface."""
        self._client.session.close()

    def _upload_bytes(self, content: bytes, kind: str) -> dict[str, Any]:
        digest = f'sha256:{hashlib.sha256(content).hexdigest()}'
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            self._upload(Path(file.name), digest, len(content), kind)
        return _descriptor(digest, len(content), kind)

    def _upload(self, path: Path, digest: str, size: int, kind: str) -> None:
        # In pieces: otherwise the library holds the whole file in memory.
        answer = self._do(
            lambda: self._client.upload_blob(
                str(path),
                self._place,
                _descriptor(digest, size, kind),
                do_chunked=size > interface.BLOCK,
            )
        )
        self._require(answer, 200, 201)

    def _do(self, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except (requests.RequestException, OSError) as exc:
            raise interface.away(self._place, exc) from exc
        # What the library raises when it is not let in, or not understood.
        except (ValueError, AttributeError, TypeError, KeyError) as exc:
            raise errors.Misconfigured(
                f'{self._place}: the registry refuses: {exc}; log in with '
                '"oras login" or give --token-file'
            ) from exc

    def _require(self, answer: requests.Response, *expected: int) -> None:
        if answer.status_code in expected:
            return
        said = f'{self._place}: the registry answers {answer.status_code}'
        with contextlib.suppress(ValueError, LookupError, TypeError):
            said += f' ({answer.json()["errors"][0]["code"]})'
        if answer.status_code == 429 or answer.status_code >= 500:
            raise errors.TryAgain(said)
        raise errors.Misconfigured(
            f'{said}; log in with "oras login" or give --token-file of an '
            'account that may push'
        )


def _descriptor(digest: str, size: int, kind: str) -> dict[str, Any]:
    return {'mediaType': kind, 'digest': digest, 'size': size}
