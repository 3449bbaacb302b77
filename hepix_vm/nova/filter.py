# SPDX-License-Identifier: Apache-2.0
"""Scheduler filter: new servers boot approved images only.

Enable it in nova.conf of the scheduler::

    [filter_scheduler]
    available_filters = nova.scheduler.filters.all_filters
    available_filters = hepix_vm.nova.filter.HepixApprovedImageFilter
    enabled_filters = HepixApprovedImageFilter,<those that were there>
"""

from __future__ import annotations

from collections.abc import Iterable
import threading
from typing import Any

from nova import exception
from nova.scheduler import filters
from oslo_config import cfg
from oslo_log import log

from hepix_vm.catalogue import model
from hepix_vm.catalogue import reader
from hepix_vm.conf import inside
from hepix_vm import errors
from hepix_vm.nova import asked
from hepix_vm.nova import hosts as where
from hepix_vm.nova import judgement
from hepix_vm.nova import request

LOG = log.getLogger(__name__)


class HepixApprovedImageFilter(filters.BaseHostFilter):  # type: ignore[misc]
    """Refuses a request as a whole, with a reason that its user reads.

    One object serves all threads of a scheduler process. It reads its
    configuration when it is made, and again at each request while that
    fails.
    """

    RUN_ON_REBUILD = True
    run_filter_once_per_request = True

    def __init__(self, host_conf: cfg.ConfigOpts = cfg.CONF) -> None:
        super().__init__()
        self._host_conf = host_conf
        self._settings: inside.InsideSettings | None = None
        self._lock = threading.Lock()
        # Nova has no other moment at which a scheduler starts.
        try:
            reader.shared(self._known().reader).begin()
        except errors.Misconfigured as exc:
            LOG.error('the catalogue cannot be read yet: %s', exc)
        except Exception:
            LOG.exception('the catalogue cannot be read yet')

    def filter_all(
        self, filter_obj_list: Iterable[Any], spec_obj: Any
    ) -> Iterable[Any]:
        """All hosts, or none at all; where the site says so some of them.

        :param spec_obj: ``nova.objects.RequestSpec``
        :raises nova.exception.NoValidHost: the request is refused; the
            reason becomes the fault of the server
        """
        hosts = list(filter_obj_list)
        try:
            settings = self._known()
        except errors.Misconfigured as exc:
            LOG.error('verdict=refused code=misconfigured: %s', exc)
        except Exception:
            LOG.exception('verdict=refused code=%s', model.Reason.INTERNAL)
        else:
            return _judged(hosts, spec_obj, settings)
        raise exception.NoValidHost(
            reason=model.refused(
                model.Reason.INTERNAL, 'this request'
            ).sentence
        )

    def _known(self) -> inside.InsideSettings:
        settings = self._settings
        if settings is None:
            with self._lock:
                settings = inside.settings(self._host_conf)
                self._settings = settings
        return settings


def _judged(
    hosts: list[Any], spec: Any, settings: inside.InsideSettings
) -> list[Any]:
    """The hosts that are left.

    :raises nova.exception.NoValidHost: the request is refused
    """
    placement, judged = _judge(spec, settings)
    if judged.decision.approved:
        _log(log.INFO, 'approved', placement, judged)
        return hosts
    if judged.scope is judgement.Scope.ENFORCED:
        left = []
    elif judged.scope is judgement.Scope.ENFORCING_HOSTS:
        left = where.outside(hosts)
    else:
        _log(log.WARNING, str(judged.scope), placement, judged)
        return hosts
    if left:
        _log(log.WARNING, 'other-hosts', placement, judged)
        return left
    _log(log.WARNING, 'refused', placement, judged)
    raise exception.NoValidHost(reason=_sentence(judged))


def _judge(
    spec: Any, settings: inside.InsideSettings
) -> tuple[request.Placement, judgement.Judged]:
    placement = _NOTHING
    try:
        placement = request.read(spec)
        return placement, judgement.judge(
            placement,
            reader.shared(settings.reader),
            settings.placing,
            lambda: asked.server(placement.server, placement.rebuild),
        )
    except Exception:
        LOG.exception('the check itself failed')
        decision = model.refused(model.Reason.INTERNAL, 'this request')
        scope = judgement.scope_of(placement.project, settings.placing)
        return placement, judgement.Judged(decision, scope)


_NOTHING = request.Placement(model.ImageFacts(None), None, '', None, False)


def _sentence(judged: judgement.Judged) -> str:
    """What the user reads.

    Nova keeps 255 characters: what to do comes before particulars, which are
    in the log.
    """
    decision = judged.decision
    sentence = model.refused(decision.code, decision.subject).sentence
    if len(judged.images) > 1:
        sentence += f'; its images: {", ".join(judged.images)}'
    return sentence


def _log(
    level: int,
    verdict: str,
    placement: request.Placement,
    judged: judgement.Judged,
) -> None:
    decision = judged.decision
    subject = decision.subject.removeprefix('image ')
    LOG.log(
        level,
        'verdict=%s image=%s list=%s code=%s server=%s project=%s: %s%s',
        verdict,
        subject if subject in judged.images else '-',
        decision.list_identifier or '-',
        decision.code,
        placement.server or '-',
        placement.project or '-',
        decision.detail,
        f'; all its images: {", ".join(judged.images)}'
        if len(judged.images) > 1
        else '',
    )
