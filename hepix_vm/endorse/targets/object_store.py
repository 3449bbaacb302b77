# SPDX-License-Identifier: Apache-2.0
"""S3-compatible object stores, where objects appear whole.

Needs the extra ``s3`` of this package. The account is where tools for S3
look for it: ``AWS_ACCESS_KEY_ID`` and its kin, or ``~/.aws/credentials``.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import io
import os
from typing import Any
import urllib.parse

import urllib3

from hepix_vm.endorse.targets import interface
from hepix_vm import errors

_PART = 16 * 2**20
_NOTHING = frozenset({'NoSuchKey', 'NotFound', 'NoSuchObject'})
_NOT_LET_IN = frozenset(
    {'AccessDenied', 'InvalidAccessKeyId', 'SignatureDoesNotMatch'}
)


class ObjectStore:
    """Objects of one bucket below a prefix.

    :param prefix: '' or ends in a slash
    :param base: URI under which readers find the prefix
    """

    def __init__(
        self, bucket: str, prefix: str, base: str, access: interface.Access
    ) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._base = base
        self._minio = _library()
        self._client = self._connected(access)

    def _connected(self, access: interface.Access) -> Any:
        if not access.s3_endpoint:
            raise errors.Misconfigured(
                f's3://{self._bucket}: where is the object store? give '
                '--s3-endpoint https://HOST'
            )
        parts = urllib.parse.urlsplit(access.s3_endpoint)
        if parts.scheme not in ('http', 'https') or not parts.hostname:
            raise errors.Misconfigured(
                f'--s3-endpoint: expected an http or https URL, found '
                f'{access.s3_endpoint!r}'
            )
        providers = self._minio.credentials.providers
        return self._minio.Minio(
            parts.netloc,
            secure=parts.scheme == 'https',
            region=os.environ.get('AWS_REGION') or None,
            credentials=providers.ChainedProvider(
                [providers.EnvAWSProvider(), providers.AWSConfigProvider()]
            ),
            http_client=urllib3.PoolManager(
                timeout=urllib3.Timeout(
                    connect=access.timeout, read=access.timeout
                ),
                retries=urllib3.Retry(total=2, backoff_factor=0.5),
                ca_certs=str(access.ca_file) if access.ca_file else None,
            ),
        )

    def locate(self, uri: str) -> str | None:
        """See the interface."""
        return interface.below(self._base, uri)

    def size(self, name: str) -> int | None:
        """See the interface."""
        found = self._do(
            name,
            lambda key: self._client.stat_object(self._bucket, key),
        )
        return None if found is None else int(found.size)

    def read_list(self, name: str) -> bytes | None:
        """See the interface."""

        def get(key: str) -> bytes:
            answer = self._client.get_object(self._bucket, key)
            try:
                return bytes(answer.read(interface.LARGEST_LIST + 1))
            finally:
                answer.close()
                answer.release_conn()

        content: bytes | None = self._do(name, get)
        if content is not None and len(content) > interface.LARGEST_LIST:
            raise errors.Misconfigured(
                f'{self._at(name)}: expected a list, found more than '
                f'{interface.LARGEST_LIST} bytes'
            )
        return content

    def put_image(self, name: str, upload: interface.Upload) -> None:
        """See the interface."""
        self._put(name, upload, upload.size)

    def put_list(
        self, name: str, message: bytes, layers: Sequence[interface.Layer]
    ) -> None:
        """See the interface."""
        self._put(name, io.BytesIO(message), len(message))

    def close(self) -> None:
        """See the interface."""

    def _put(self, name: str, data: Any, size: int) -> None:
        def put(key: str) -> Any:
            return self._client.put_object(
                self._bucket, key, data, size, part_size=_PART
            )

        if self._do(name, put) is None:
            raise errors.Misconfigured(
                f'{self._at(name)}: the object store has no such bucket'
            )

    def _at(self, name: str) -> str:
        return f's3://{self._bucket}/{self._prefix}{name}'

    def _do(self, name: str, act: Callable[[str], Any]) -> Any:
        """What the store answers; None if nothing is there."""
        error = self._minio.error
        try:
            return act(self._prefix + name)
        except error.S3Error as exc:
            if exc.code in _NOTHING:
                return None
            said = f'{self._at(name)}: the object store answers {exc.code}'
            if exc.code in _NOT_LET_IN:
                raise errors.Misconfigured(
                    f'{said}; set AWS_ACCESS_KEY_ID and '
                    'AWS_SECRET_ACCESS_KEY of an account that may write'
                ) from exc
            if exc.code == 'NoSuchBucket':
                raise errors.Misconfigured(
                    f'{said}; create the bucket'
                ) from exc
            raise errors.TryAgain(said) from exc
        except (
            error.MinioException,
            urllib3.exceptions.HTTPError,
            OSError,
        ) as exc:
            raise errors.TryAgain(
                f'{self._at(name)}: {type(exc).__name__}: '
                f'{" ".join(str(exc).split())[:300]}'
            ) from exc
        except ValueError as exc:
            raise errors.Misconfigured(f'{self._at(name)}: {exc}') from exc


def _library() -> Any:
    try:
        import minio
        import minio.credentials.providers
        import minio.error
    except ImportError as exc:
        raise errors.Misconfigured(
            'object stores need minio; run "pip install \'hepix_vm[s3]\'"'
        ) from exc
    return minio
