# SPDX-License-Identifier: Apache-2.0
"""Paste filter of nova-api: no server is even made of what is not approved.

It sees what no scheduler filter does: forced hosts, rescue, rebuild with the
same image, unshelve, every block device. Enable it in api-paste.ini, behind
``keystonecontext`` in both pipelines of the compute API (see
``nova-api-paste.ini.sample``)::

    [filter:hepix_guard]
    paste.filter_factory = hepix_vm.nova.guard:filter_factory

It reads a request by Nova's own means and passes it on unchanged. Whatever
it does not expect is a refusal, and a line in the log.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
import threading
from typing import Any

from nova.api.openstack import wsgi
from oslo_config import cfg
from oslo_log import log
from oslo_serialization import jsonutils
import webob.exc

from hepix_vm.catalogue import model
from hepix_vm.catalogue import reader
from hepix_vm.conf import inside
from hepix_vm import errors
from hepix_vm.nova import lookups
from hepix_vm.nova import permitting
from hepix_vm.nova import placing as sites
from hepix_vm.nova import requested
from hepix_vm.nova import watched

LOG = log.getLogger(__name__)

App = Callable[[dict[str, Any], Any], Iterable[bytes]]


def filter_factory(
    global_conf: dict[str, str], **local_conf: str
) -> Callable[[App], App]:
    """For paste; there is nothing to say in the file."""
    del global_conf, local_conf
    return Guard


class Guard:
    """Stands before Nova's API.

    One object serves all threads of a process. It reads its configuration
    when it is made, and again at each request that matters while that fails.
    """

    def __init__(self, app: App, host_conf: cfg.ConfigOpts = cfg.CONF) -> None:
        self._app = app
        self._host_conf = host_conf
        self._matching = watched.Matching()
        self._settings: inside.InsideSettings | None = None
        self._lock = threading.Lock()
        # Before the first request, which would have to wait.
        try:
            reader.shared(self._known().reader).begin()
        except errors.Misconfigured as exc:
            LOG.error('the catalogue cannot be read yet: %s', exc)
        except Exception:
            LOG.exception('the catalogue cannot be read yet')

    def __call__(
        self, environ: dict[str, Any], start_response: Any
    ) -> Iterable[bytes]:
        """Pass the request on, or answer 403 as Nova does."""
        try:
            refusal = self._refusal(environ)
        except webob.exc.HTTPException as answer:
            # Of a filter before this one: the body is too large.
            found: Iterable[bytes] = answer(environ, start_response)
            return found
        if refusal is None:
            return self._app(environ, start_response)
        fault = wsgi.Fault(webob.exc.HTTPForbidden(explanation=refusal))
        told: Iterable[bytes] = fault(environ, start_response)
        return told

    def _refusal(self, environ: dict[str, Any]) -> str | None:
        """The sentence of a refusal; None to let the request pass."""
        try:
            match = self._matching.match(environ)
            if match is None:
                return None
            asked = _read(match.kind, environ)
            if asked is None:
                return None
            return _judged(match, asked, environ, self._known())
        except webob.exc.HTTPException:
            raise
        except errors.Misconfigured as exc:
            LOG.error('verdict=refused code=misconfigured: %s', exc)
        except Exception:
            LOG.exception('verdict=refused code=%s', model.Reason.INTERNAL)
        return model.refused(model.Reason.INTERNAL, 'this request').sentence

    def _known(self) -> inside.InsideSettings:
        settings = self._settings
        if settings is None:
            with self._lock:
                settings = inside.settings(self._host_conf)
                self._settings = settings
        return settings


def _read(
    kind: watched.Kind, environ: dict[str, Any]
) -> requested.Requested | None:
    """What the body asks for, by Nova's own classes.

    The body is read once and put back, as Nova itself does; a body that Nova
    does not see is empty here, too.
    """
    body = wsgi.Request(environ).body
    try:
        given = jsonutils.loads(body)
    except ValueError:
        # No JSON, which Nova refuses.
        return None
    if kind is watched.Kind.SERVER:
        return requested.server(given)
    if kind is watched.Kind.ACTION:
        return requested.action(given)
    return requested.properties(given)


def _judged(
    match: watched.Watched,
    asked: requested.Requested,
    environ: dict[str, Any],
    settings: inside.InsideSettings,
) -> str | None:
    """The sentence of a refusal; None to let the request pass."""
    # Without it the filter stands at a wrong place of the pipeline.
    context = environ['nova.context']
    placing = settings.placing
    world = lookups.Lookups(context, placing.lookup_timeout)
    project = str(context.project_id or '')
    things: tuple[str, ...] = ()
    try:
        server = None
        if match.kind is watched.Kind.ACTION:
            server = world.server(match.ident)
            if server is None:
                # Nova answers 404.
                return None
            project = server.project
        found, things = _decided(asked, server, world, settings, project)
    except Exception:
        LOG.exception('the check itself failed')
        found = [model.refused(model.Reason.INTERNAL, 'this request')]
    effect = permitting.effect(asked.act, project, placing)
    refusals = [one for one in found if not one.approved]
    for one in refusals or found:
        _log(one, effect, asked, match, project)
    if not refusals or effect != permitting.REFUSED:
        return None
    return permitting.sentence(refusals, things)


def _decided(
    asked: requested.Requested,
    server: lookups.Server | None,
    world: lookups.Lookups,
    settings: inside.InsideSettings,
    project: str,
) -> tuple[list[model.Decision], tuple[str, ...]]:
    """Decisions, and all things that the request involves, in words."""
    placing = settings.placing
    if asked.act in permitting.OF_IMAGES:
        return permitting.metadata(asked), ()
    if asked.act is requested.Act.MOVE and not placing.on_moves:
        return [], ()
    if placing.where is sites.Where.AGGREGATES:
        host = permitting.host_of(asked, server.host if server else '')
        # The scheduler filter judges where no host is known.
        if host is None or (host and not world.enforces(host)):
            return [], ()
    start = permitting.start_of(asked, _default(asked, server))
    judging = permitting.Judging(
        reader.shared(settings.reader), world, project, placing.volume_boot
    )
    return permitting.decisions(start, judging), start.things


def _default(asked: requested.Requested, server: lookups.Server | None) -> str:
    """The image of a request that names none."""
    if server is None:
        return ''
    if asked.act is requested.Act.RESCUE:
        return server.rescue
    if asked.act is requested.Act.UNSHELVE:
        return server.shelved
    return server.image


def _log(
    decision: model.Decision,
    effect: str,
    asked: requested.Requested,
    match: watched.Watched,
    project: str,
) -> None:
    """One line for each decision that counts."""
    verdict = str(decision.verdict)
    LOG.log(
        log.INFO if decision.approved else log.WARNING,
        'verdict=%s image=%s list=%s code=%s server=%s project=%s act=%s: '
        '%s: %s',
        verdict if decision.approved else effect,
        decision.subject.removeprefix('image ')
        if decision.subject.startswith('image ')
        else '-',
        decision.list_identifier or '-',
        decision.code,
        permitting.clean(match.ident) or '-',
        project or '-',
        asked.act,
        decision.subject,
        decision.detail,
    )
