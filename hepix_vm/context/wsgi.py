# SPDX-License-Identifier: Apache-2.0
"""The site's context over HTTP: one small WSGI application.

It is mounted at ``/context`` of nova's metadata service (``api-paste.ini``)
and answers ``default.tgz`` to an instance that is who it says to be.

======  ==============================================================
200     the bundle (``application/gzip``)
403     the request proves no instance
404     no such name, or no such instance in that project
503     no bundle was ever good, or nova could not be asked
======  ==============================================================

There is no other status: proxies on the way to a guest turn others into
failures of their own. Refusals have empty bodies, because guests unpack
whatever they get.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import http
import time
from wsgiref import types

from oslo_config import cfg
from oslo_log import log as logging

from hepix_vm import conf
from hepix_vm.conf import context as conf_context
from hepix_vm.conf import inside
from hepix_vm.context import bundle
from hepix_vm.context import identity
from hepix_vm.context import served

LOG = logging.getLogger(__name__)

_NAME = '/default.tgz'


@dataclasses.dataclass(frozen=True, slots=True)
class ContextApp:
    """Serves the current bundle to whom ``identify`` knows.

    :param source: holds the bundle
    :param identify: proves the instance; see
        :class:`identity.NovaIdentity`
    """

    source: served.ServedBundle
    identify: identity.Identify

    def __call__(
        self,
        environ: types.WSGIEnvironment,
        start_response: types.StartResponse,
    ) -> Iterable[bytes]:
        """Answer one request; never raises into the service around it."""
        try:
            answer = self._answer(environ)
        except Exception:
            LOG.exception('context refused: status=503 reason=internal')
            answer = identity.Refusal(503, identity.Reason.INTERNAL, '')
        if isinstance(answer, identity.Refusal):
            return _refuse(answer.status, start_response)
        start_response(
            '200 OK',
            [
                ('Content-Type', 'application/gzip'),
                ('Content-Length', str(len(answer.tgz))),
            ],
        )
        return [] if environ['REQUEST_METHOD'] == 'HEAD' else [answer.tgz]

    def _answer(
        self, environ: types.WSGIEnvironment
    ) -> bundle.Bundle | identity.Refusal:
        refusal = _unanswerable(environ)
        if refusal is not None:
            return _logged(refusal)
        instance = self.identify(environ)
        if isinstance(instance, identity.Refusal):
            return _logged(instance)
        found = self.source.current(time.monotonic())
        if found is None:
            return _logged(
                identity.Refusal(
                    503,
                    identity.Reason.NO_BUNDLE,
                    f'instance {instance.uuid}: no good bundle so far, the'
                    ' log of this service says why',
                )
            )
        LOG.info(
            'context served: instance=%s project=%s sha256=%s bytes=%d',
            instance.uuid,
            instance.project_id,
            found.sha256_tar,
            len(found.tgz),
        )
        return found


def app_factory(
    global_conf: Mapping[str, str], **local_conf: str
) -> types.WSGIApplication:
    """Make the application for nova's ``api-paste.ini``.

    ``hepix_vm_config`` names the configuration file of hepix_vm (default:
    what nova.conf says in ``[hepix_vm] config_file``), ``metadata_app`` the
    section of the same paste file that is nova's own metadata application
    (default ``meta``).

    What is wrong in the configuration is logged, and the application then
    answers 503 until the service is started again: nova's metadata service
    has other guests to serve and starts all the same.
    """
    try:
        return _assemble(global_conf, local_conf)
    except Exception as error:  # noqa: BLE001 nova must start all the same
        LOG.error(
            'the site context is not served (503 to every guest) until this'
            ' is mended and the service is started again: %s',
            error,
        )
        return _unavailable


def _assemble(
    global_conf: Mapping[str, str], local_conf: Mapping[str, str]
) -> types.WSGIApplication:
    # Part of nova's environment, not of ours.
    from paste import deploy

    inside.register(cfg.CONF)
    config_file = local_conf.get(
        'hepix_vm_config', cfg.CONF.hepix_vm.config_file
    )
    options = conf.load((config_file,), modules=('context',))
    source = served.ServedBundle(conf_context.context_settings(options))
    secret = conf_context.nova_shared_secret(cfg.CONF)
    metadata = deploy.loadapp(
        'config:' + global_conf['__file__'],
        name=local_conf.get('metadata_app', 'meta'),
    )
    # Read once before the first guest asks, so that a problem is in the log
    # from the start.
    source.current(time.monotonic())
    return ContextApp(source, identity.NovaIdentity(metadata, secret).identify)


def _unanswerable(
    environ: types.WSGIEnvironment,
) -> identity.Refusal | None:
    """Refuse what needs no look at who asks."""
    if environ.get('PATH_INFO') != _NAME:
        return identity.Refusal(
            404,
            identity.Reason.NAME_UNKNOWN,
            f'no {environ.get("PATH_INFO", "")[:80]!a} here',
        )
    if environ.get('REQUEST_METHOD') not in ('GET', 'HEAD'):
        return identity.Refusal(
            403,
            identity.Reason.METHOD_REFUSED,
            f'{environ.get("REQUEST_METHOD", "")[:20]!a} is neither GET'
            ' nor HEAD',
        )
    return None


def _logged(refusal: identity.Refusal) -> identity.Refusal:
    LOG.log(
        logging.INFO if refusal.status == 404 else logging.WARNING,
        'context refused: status=%d reason=%s: %s',
        refusal.status,
        refusal.reason,
        refusal.detail,
    )
    return refusal


def _refuse(
    status: int, start_response: types.StartResponse
) -> Iterable[bytes]:
    phrase = http.HTTPStatus(status).phrase
    start_response(
        f'{status} {phrase}',
        [('Content-Type', 'text/plain'), ('Content-Length', '0')],
    )
    return []


def _unavailable(
    environ: types.WSGIEnvironment, start_response: types.StartResponse
) -> Iterable[bytes]:
    return _refuse(503, start_response)
