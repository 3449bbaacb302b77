# SPDX-License-Identifier: Apache-2.0
"""Snapshots of approved servers get a record, on their way into Glance.

Nova makes a snapshot, back-up or shelved image in two requests with its
service token: ``POST /v2/images``, whose properties name the server and the
image that it was made of, and later ``PUT /v2/images/ID/file`` (chunked).
The first is noted, the second leads to the record; hash and size are those
that Glance itself has found while it stored the data. What does not come by
both of them gets no record and so is refused: data that a user puts into
such an image, an image that Cinder made of a volume, an image that Nova
registers by its location (snapshots on RBD).

Nothing here holds Glance up or changes an answer: when the catalogue is away
the snapshot has no record, and the log says so.
"""

from __future__ import annotations

import calendar
from collections.abc import Callable
from collections.abc import Iterable
import contextlib
import datetime
import io
import json
import re
import time
from typing import Any

from oslo_log import log

from hepix_vm.catalogue import boot
from hepix_vm.catalogue import database
from hepix_vm.catalogue import lineage
from hepix_vm.catalogue import lineage_names
from hepix_vm.catalogue import reader
from hepix_vm import errors
from hepix_vm.glance import service

LOG = log.getLogger(__name__)

Environ = dict[str, Any]
Start = Callable[..., Any]
App = Callable[[Environ, Start], Iterable[bytes]]

_UUID = '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}'
_IS_UUID = re.compile(_UUID)
_IS_SHA512 = re.compile('[0-9a-f]{128}')
_MADE = re.compile('/v2/images/?')
_FILLED = re.compile(f'/v2/images/({_UUID})/file/?')

#: Bytes of an answer about one image that are looked at, at most.
_LARGEST = 4 * 1024 * 1024


class Lineage:
    """WSGI middleware behind Glance's ``authtoken`` and ``context``.

    :param app: the rest of Glance
    :param settings: where the catalogue is
    :param nova: whom to believe
    :param clock: UNIX seconds
    """

    def __init__(
        self,
        app: App,
        settings: reader.ReaderSettings,
        nova: service.Nova,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._app = app
        self._settings = settings
        self._nova = nova
        self._clock = clock

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        """Pass a request on; note or record what Nova did by it."""
        method, path = environ['REQUEST_METHOD'], environ.get('PATH_INFO', '')
        filled = _FILLED.fullmatch(path) if method == 'PUT' else None
        made = method == 'POST' and _MADE.fullmatch(path) is not None
        if not (made or filled) or not self._nova.sent(environ):
            return self._app(environ, start)
        looked = _looking(environ, filled[1]) if filled else {}
        answer = _Answer(self._app, environ)
        if filled and answer.code == 204:
            self._log(filled[1], lambda: self._record(filled[1], looked))
        elif made and answer.code == 201:
            self._log(_named(answer.body), lambda: self._note(answer.body))
        return answer.give(start)

    def _note(self, body: bytes) -> str:
        """The image that Nova made is to be a snapshot."""
        image = _read(body)
        if image.get(lineage_names.KIND) not in lineage_names.KINDS:
            raise errors.NotBelieved('Nova does not call it a snapshot')
        child = lineage.Child(
            image_id=_uuid(image, 'id'),
            parent=_uuid(image, lineage_names.PARENT),
            server=_uuid(image, lineage_names.SERVER),
            project=str(image.get('owner') or ''),
            created_at=_seconds(image),
            boot=boot.of_glance(image.get('min_disk'), image),
        )
        with self._store() as store:
            lineage.note(store, child, int(self._clock()))
        return f'noted parent={child.parent} server={child.server}'

    def _record(self, image_id: str, looking: Environ) -> str:
        """The data of an image that Nova made are there."""
        with self._store() as store:
            if not lineage.noted(store, image_id):
                raise errors.NotBelieved('Nova has not made it for a snapshot')
            answer = _Answer(self._app, looking)
            image = _read(answer.body) if answer.code == 200 else {}
            if image.get('id') != image_id or image['status'] != 'active':
                raise errors.NotBelieved(
                    f'Glance does not show it as active ({answer.status})'
                )
            filled = lineage.Filled(
                image_id=image_id,
                sha512=_sha512(image),
                size=int(image['size']),
                created_at=_seconds(image),
                boot=boot.of_glance(image.get('min_disk'), image),
            )
            state = lineage.record(store, filled, int(self._clock()))
        return f'recorded state={state} sha512={filled.sha512}'

    def _store(self) -> contextlib.closing[database.Database]:
        return contextlib.closing(
            database.Database(
                self._settings.connection, self._settings.store_timeout
            )
        )

    def _log(self, image_id: str, work: Callable[[], str]) -> None:
        """Do one thing and say in one line what became of it."""
        try:
            LOG.info('snapshot image=%s verdict=%s', image_id, work())
        except errors.NotBelieved as exc:
            LOG.warning(
                'snapshot image=%s verdict=not-recorded: %s', image_id, exc
            )
        except database.FAILURES as exc:
            LOG.error(
                'snapshot image=%s verdict=not-recorded '
                'code=store-unavailable: %s',
                image_id,
                database.cause(exc),
            )
        except Exception:
            LOG.exception('snapshot image=%s verdict=not-recorded', image_id)


class _Answer:
    """What the application answers, held back."""

    def __init__(self, app: App, environ: Environ) -> None:
        self.status = ''
        self._arguments: tuple[Any, ...] = ()
        written: list[bytes] = []

        def start(status: str, *arguments: Any) -> Callable[[bytes], None]:
            self.status, self._arguments = status, arguments
            return written.append

        parts = app(environ, start)
        try:
            written.extend(parts)
        finally:
            getattr(parts, 'close', lambda: None)()
        self.body = b''.join(written)

    @property
    def code(self) -> int:
        """The HTTP status."""
        return int(self.status[:3])

    def give(self, start: Start) -> Iterable[bytes]:
        """Pass it on as it came."""
        start(self.status, *self._arguments)
        return [self.body]


def _looking(environ: Environ, image_id: str) -> Environ:
    """The same caller's request to show an image.

    Made before the application sees the request, which changes it. What
    ``authtoken`` and ``context`` have found out stays.
    """
    body = ('CONTENT_', 'HTTP_TRANSFER_ENCODING', 'webob._', 'wsgi.input')
    kept = {k: v for k, v in environ.items() if not k.startswith(body)}
    return kept | {
        'REQUEST_METHOD': 'GET',
        'PATH_INFO': f'/v2/images/{image_id}',
        'QUERY_STRING': '',
        'CONTENT_LENGTH': '0',
        'wsgi.input': io.BytesIO(),
    }


def _read(body: bytes) -> dict[str, Any]:
    """An image as Glance shows it."""
    try:
        image = json.loads(body) if len(body) <= _LARGEST else None
    except ValueError:
        image = None
    if not isinstance(image, dict):
        raise errors.NotBelieved('Glance does not answer with an image')
    return image


def _named(body: bytes) -> str:
    """What to call an image in the log."""
    try:
        return _uuid(_read(body), 'id')
    except errors.NotBelieved:
        return '-'


def _uuid(image: dict[str, Any], name: str) -> str:
    value = str(image.get(name))
    if not _IS_UUID.fullmatch(value):
        raise errors.NotBelieved(f'its {name} is no UUID')
    return value


def _sha512(image: dict[str, Any]) -> str:
    value = str(image.get('os_hash_value'))
    if image.get('os_hash_algo') != 'sha512' or not _IS_SHA512.fullmatch(
        value
    ):
        raise errors.NotBelieved(
            'Glance says no SHA-512 of its data (option hashing_algorithm)'
        )
    return value


def _seconds(image: dict[str, Any]) -> int:
    """UNIX seconds of its creation."""
    moment = datetime.datetime.fromisoformat(str(image['created_at']))
    return calendar.timegm(moment.utctimetuple())
