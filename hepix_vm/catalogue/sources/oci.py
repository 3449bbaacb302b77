# SPDX-License-Identifier: Apache-2.0
"""Lists and images in OCI registries: ``oci`` and ``oci+http``.

A list is the one blob of type
:data:`~hepix_vm.catalogue.sources.manifest.LIST_TYPE` of the artefact that a
tag names; an image is a blob, named by its digest. The tag may move at any
time: everything behind the manifest is asked for by digest, so a fetch sees
one artefact or fails. An artefact without a signed list is handed on as it
is, its manifest, for the verifier to refuse as not signed.

Requests are those of the OCI Distribution Specification 1.1, section
"Pull"; tokens those of its "token authentication" as Docker's registry
documents it.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import hashlib
import urllib.parse

import requests

from hepix_vm.catalogue.sources import credentials
from hepix_vm.catalogue.sources import manifest
from hepix_vm.catalogue.sources import ranges
from hepix_vm.catalogue.sources import values
from hepix_vm.catalogue.sources import web
from hepix_vm import errors
from hepix_vm import imagelist
from hepix_vm.imagelist import document

_TOKEN_BYTES = 64 * 1024


class OciSource:
    """Lists by tag or digest, images by digest."""

    def fetch_list(
        self,
        url: str,
        settings: values.FetchSettings,
        known: values.Validators,
    ) -> values.Fetched | values.NotModified:
        """Get a list, if the tag names another artefact than the known one.

        :raises errors.TryAgain: when it cannot be had now
        :raises errors.NotBelieved: what is there is no artefact, or one
            with several lists
        :raises errors.Misconfigured: for a URL of another kind, or an
            unusable secret
        """
        named = manifest.reference(url)
        with web.connected(url, settings, settings.list_deadline) as server:
            registry = _Registry(url, named, server, settings)
            content, digest = registry.artefact()
            if digest == known.etag:
                return values.NotModified()
            try:
                lists = manifest.parse(content).lists()
            except errors.NotBelieved as exc:
                raise errors.NotBelieved(f'{url}: {exc}') from exc
            if not lists:
                return values.Fetched(content, values.Validators())
            if len(lists) > 1:
                raise errors.NotBelieved(
                    f'{url}: expected one file of type '
                    f'{manifest.LIST_TYPE}, found {len(lists)}; tell the '
                    'endorser'
                )
            return values.Fetched(
                registry.blob(lists[0], settings.max_list_size),
                values.Validators(digest),
            )

    def image_pieces(
        self, url: str, settings: values.FetchSettings, size: int
    ) -> Iterator[bytes]:
        """The bytes of a blob.

        :raises errors.TryAgain: when they cannot be had now
        :raises errors.NotBelieved: the URL names no digest
        :raises errors.Misconfigured: for a URL of another kind, or an
            unusable secret
        """
        with _blob(url, settings) as (server, ask, _), ask(web.WHOLE) as got:
            web.expect_ok(url, got)
            yield from server.pieces(url, got, size, decoded=False)

    def image_from(
        self,
        url: str,
        settings: values.FetchSettings,
        size: int,
        held: values.Held,
    ) -> Iterator[values.Begun | bytes]:
        """The same, from where it was cut off if the registry can do that.

        :raises errors.TryAgain: when they cannot be had now
        :raises errors.NotBelieved: the URL names no digest, or the blob has
            another size
        :raises errors.Misconfigured: for a URL of another kind, or an
            unusable secret
        """
        with _blob(url, settings) as (server, ask, digest):
            yield from ranges.received(url, server, ask, size, held, digest)


@contextlib.contextmanager
def _blob(
    url: str, settings: values.FetchSettings
) -> Iterator[tuple[web.Web, ranges.Ask, str]]:
    """Requests for the blob that a URL names, and its digest."""
    named = manifest.reference(url)
    digest = named.digest
    if digest is None:
        raise errors.NotBelieved(
            f'URL {url!r}: expected an image by @sha256:DIGEST, found a '
            'tag, which may name other bytes tomorrow; tell the endorser'
        )
    with web.connected(url, settings, settings.image_deadline) as server:
        registry = _Registry(url, named, server, settings)
        yield (
            server,
            lambda headers: registry.open(f'blobs/{digest}', headers),
            digest,
        )


class _Registry:
    """One repository of a registry, during one fetch."""

    def __init__(
        self,
        url: str,
        named: manifest.Reference,
        server: web.Web,
        settings: values.FetchSettings,
    ) -> None:
        self._url = url
        self._named = named
        self._server = server
        self._secret = credentials.read(settings.access, url)
        self._authorization = (
            self._secret.header
            if isinstance(self._secret, credentials.Bearer)
            else None
        )

    def artefact(self) -> tuple[bytes, str]:
        """The manifest as the registry has it, and its digest."""
        named = self._named
        accepted = (*manifest.MANIFEST_TYPES, *manifest.INDEX_TYPES)
        with self.open(
            f'manifests/{named.digest or named.tag}',
            {'Accept': ', '.join(accepted), **web.WHOLE},
        ) as response:
            web.expect_ok(self._url, response)
            content = self._server.body(
                self._url, response, manifest.MOST_BYTES
            )
            said = response.headers.get('Docker-Content-Digest', '')
        for expected in (named.digest, said):
            if (
                expected
                and manifest.is_digest(expected)
                and not manifest.has_digest(content, expected)
            ):
                raise self._other('manifest', expected)
        return content, f'sha256:{hashlib.sha256(content).hexdigest()}'

    def blob(self, wanted: manifest.Blob, limit: int) -> bytes:
        """A blob of at most so many bytes, held against its digest."""
        if wanted.size > limit:
            raise errors.TryAgain(
                f'{self._url}: expected a list of at most {limit} bytes, '
                f'found {wanted.size}'
            )
        with self.open(f'blobs/{wanted.digest}', web.WHOLE) as response:
            if response.status_code == 404:
                raise errors.TryAgain(
                    f'{self._url}: the registry has no blob {wanted.digest} '
                    'of its artefact; the tag may just have moved'
                )
            web.expect_ok(self._url, response)
            content = self._server.body(self._url, response, wanted.size)
        if not manifest.has_digest(content, wanted.digest):
            raise self._other('blob', wanted.digest)
        return content

    @contextlib.contextmanager
    def open(
        self, path: str, headers: Mapping[str, str]
    ) -> Iterator[requests.Response]:
        """An answer of the repository, with a token if it asks for one."""
        url = f'{self._named.base}/v2/{self._named.name}/{path}'
        with self._server.get(url, headers, self._authorization) as response:
            if response.status_code != 401:
                yield response
                return
            challenge = response.headers.get('WWW-Authenticate', '')
        self._authorization = self._answer(challenge)
        with self._server.get(url, headers, self._authorization) as response:
            if response.status_code in (401, 403):
                raise errors.TryAgain(
                    f'{self._url}: the registry refuses what we showed '
                    f'({response.status_code}); see option token_file'
                )
            yield response

    def _answer(self, challenge: str) -> str:
        """The Authorization header for a WWW-Authenticate header."""
        scheme, _, rest = challenge.partition(' ')
        if scheme.lower() == 'bearer' and self._authorization is None:
            return self._token(_parameters(rest))
        if scheme.lower() == 'basic' and isinstance(
            self._secret, credentials.Basic
        ):
            return self._secret.header
        raise errors.TryAgain(
            f'{self._url}: the registry wants to know who asks (401, '
            f'{document.show(scheme)}); see option token_file'
        )

    def _token(self, parameters: Mapping[str, str | None]) -> str:
        """A token of the server that the registry names.

        That server sees the user and the secret, so nobody may listen.
        """
        realm = parameters.get('realm') or ''
        try:
            web.split(realm, ('http', 'https'))
        except errors.Misconfigured as exc:
            raise errors.TryAgain(
                f'{self._url}: the registry names no token server, but '
                f'{document.show(realm)}'
            ) from exc
        if self._named.base.startswith('https:') and not realm.startswith(
            'https:'
        ):
            raise errors.TryAgain(
                f'{self._url}: the registry names a token server without '
                f'https, {document.show(realm)}'
            )
        asked = {'scope': f'repository:{self._named.name}:pull'}
        if parameters.get('service'):
            asked['service'] = str(parameters['service'])
        url = (
            realm
            + ('&' if '?' in realm else '?')
            + urllib.parse.urlencode(asked)
        )
        header = self._secret.header if self._secret is not None else None
        with self._server.get(url, web.WHOLE, header) as response:
            if response.status_code in (401, 403):
                raise errors.TryAgain(
                    f'{self._url}: the token server refuses '
                    f'({response.status_code}); see option token_file'
                )
            web.expect_ok(f'{self._url}: the token server', response)
            content = self._server.body(
                f'{self._url}: the token server', response, _TOKEN_BYTES
            )
        return credentials.Bearer(self._token_in(content)).header

    def _token_in(self, content: bytes) -> str:
        try:
            found = document.load(content, imagelist.DEFAULT_LIMITS)
        except errors.InvalidList:
            found = None
        token = None
        if isinstance(found, dict):
            # The second name is that of OAuth 2.
            token = found.get('token') or found.get('access_token')
        if not isinstance(token, str) or not credentials.is_bearer(token):
            raise errors.TryAgain(
                f'{self._url}: expected JSON with a token of the token '
                'server, found something else'
            )
        return token

    def _other(self, what: str, expected: str) -> errors.TryAgain:
        return errors.TryAgain(
            f'{self._url}: expected the {what} {expected}, found other bytes; '
            'tell the operators of the registry'
        )


def _parameters(text: str) -> dict[str, str | None]:
    found: dict[str, str | None] = requests.utils.parse_dict_header(  # type: ignore[no-untyped-call]
        text
    )
    return found
