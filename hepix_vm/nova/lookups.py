# SPDX-License-Identifier: Apache-2.0
"""What the API guard asks of Nova, Glance and Cinder.

Through Nova's own code and as the user who asks, so that nobody learns here
what Nova would not tell. Glance and Cinder are other machines: each question
has a thread of its own, and an end.
"""

from __future__ import annotations

import calendar
from collections.abc import Callable
from collections.abc import Mapping
from concurrent import futures
import copy
import dataclasses
import functools
import threading
import types
from typing import Any

from nova.compute import api as compute
from nova.compute import vm_states
from nova import context as contexts
from nova import exception
from nova.image import glance
from nova import objects
from nova import utils
from nova.volume import cinder

from hepix_vm.catalogue import boot
from hepix_vm.catalogue import model
from hepix_vm.nova import hosts

#: Questions to Glance and Cinder at once; further ones wait.
_AT_ONCE = 32


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """A server as its owner sees it.

    :ivar image: id of the image that it was booted from; '': a volume
    :ivar rescue: the image that Nova rescues it with by default
    :ivar shelved: the image that it boots from when it is unshelved; '':
        from what it has
    """

    project: str
    host: str
    image: str = ''
    rescue: str = ''
    shelved: str = ''


class Lookups:
    """Asks for one request.

    :param context: ``nova.context.RequestContext`` of the request
    :param timeout: seconds for each answer of Glance or Cinder
    """

    def __init__(self, context: Any, timeout: float) -> None:
        # Nova writes into it which cell it speaks to.
        self._context = copy.copy(context)
        self._timeout = timeout

    def server(self, ident: str) -> Server | None:
        """A server; None when the user sees none of that id."""
        try:
            found = _compute().get(self._context, ident)
        except exception.InstanceNotFound:
            return None
        system = utils.instance_sys_meta(found)
        image = _field(found, 'image_ref') or ''
        away = found.vm_state == vm_states.SHELVED_OFFLOADED
        return Server(
            project=found.project_id,
            host=_field(found, 'host') or '',
            image=image,
            rescue=system.get('image_base_image_ref') or image,
            shelved=(system.get('shelved_image_id') or '') if away else '',
        )

    def image(self, ident: str) -> model.ImageFacts | None:
        """What Glance shows of an image; None when the user sees none.

        :raises Exception: whatever Nova's client raises
        """
        try:
            found = self._within(
                lambda: glance.API().get(self._context, ident)
            )
        except (exception.ImageNotFound, exception.ImageNotAuthorized):
            return None
        return model.ImageFacts(
            image_id=ident,
            size=found.get('size'),
            created_at=_seconds(found.get('created_at')),
            boot=boot.of_glance(
                found.get('min_disk'), found.get('properties') or {}
            ),
        )

    def volume(self, ident: str) -> Mapping[str, Any] | None:
        """What Cinder says of the image of a volume; None: nothing.

        :raises Exception: whatever Nova's client raises
        """
        try:
            found = self._within(
                lambda: cinder.API().get(self._context, ident)
            )
        except exception.VolumeNotFound:
            return None
        return found.get('volume_image_metadata') or None

    def of_snapshot(self, ident: str) -> str:
        """The volume of a volume snapshot; '': the user sees none.

        :raises Exception: whatever Nova's client raises
        """
        try:
            found = self._within(
                lambda: cinder.API().get_snapshot(self._context, ident)
            )
        except exception.SnapshotNotFound:
            return ''
        return str(found['volume_id'])

    def enforces(self, host: str) -> bool:
        """Whether a host is in an aggregate with ``hepix_enforce=true``."""
        admin = contexts.get_admin_context()
        # Nova takes a forced host in upper case, too.
        having = [
            one
            for one in objects.AggregateList.get_all(admin)
            if host.lower() in {name.lower() for name in one.hosts}
        ]
        return not hosts.outside([types.SimpleNamespace(aggregates=having)])

    def _within(self, ask: Callable[[], Any]) -> Any:
        """An answer, in time.

        :raises TimeoutError: there was none
        """
        if not _free.acquire(timeout=self._timeout):
            raise TimeoutError(
                f'{_AT_ONCE} other questions to Glance and Cinder have had '
                f'no answer for {self._timeout:g} s'
            )
        answer: futures.Future[Any] = futures.Future()
        threading.Thread(
            target=_answer, args=(ask, answer), daemon=True
        ).start()
        try:
            return answer.result(self._timeout)
        except TimeoutError:
            raise TimeoutError(
                f'no answer within {self._timeout:g} s'
            ) from None


_free = threading.BoundedSemaphore(_AT_ONCE)


def _answer(ask: Callable[[], Any], answer: futures.Future[Any]) -> None:
    try:
        answer.set_result(ask())
    except BaseException as exc:  # noqa: BLE001 - raised where it is awaited
        answer.set_exception(exc)
    finally:
        _free.release()


@functools.cache
def _compute() -> Any:
    return compute.API()


def _field(versioned: Any, name: str) -> Any:
    """A field of one of Nova's objects; None when it is not set."""
    if not versioned.obj_attr_is_set(name):
        return None
    return getattr(versioned, name)


def _seconds(moment: Any) -> int | None:
    """UNIX seconds of a time that Nova keeps in UTC."""
    if moment is None:
        return None
    return calendar.timegm(moment.utctimetuple())
