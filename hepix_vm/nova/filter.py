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

from nova import context
from nova import exception
from nova import objects
from nova.scheduler import filters
from oslo_config import cfg
from oslo_log import log

from hepix_vm.catalogue import model
from hepix_vm.catalogue import reader
from hepix_vm.conf import inside
from hepix_vm import errors
from hepix_vm.nova import judgement
from hepix_vm.nova import request

LOG = log.getLogger(__name__)


class HepixApprovedImageFilter(filters.BaseHostFilter):  # type: ignore[misc]
    """Refuses a request as a whole, with a reason that its user reads.

    One object serves all threads of a scheduler process. It reads its
    configuration at the first request, and again at each request while that
    fails.
    """

    RUN_ON_REBUILD = True
    run_filter_once_per_request = True

    def __init__(self, host_conf: cfg.ConfigOpts = cfg.CONF) -> None:
        super().__init__()
        self._host_conf = host_conf
        self._settings: inside.InsideSettings | None = None
        self._lock = threading.Lock()

    def filter_all(
        self, filter_obj_list: Iterable[Any], spec_obj: Any
    ) -> Iterable[Any]:
        """All hosts, or none at all.

        :param spec_obj: ``nova.objects.RequestSpec``
        :raises nova.exception.NoValidHost: the request is refused; the
            reason becomes the fault of the server
        """
        refusal = self._refusal(spec_obj)
        if refusal is not None:
            raise exception.NoValidHost(reason=refusal)
        return filter_obj_list

    def _refusal(self, spec: Any) -> str | None:
        """The sentence of a refusal; None to let the request pass."""
        try:
            placement = request.read(spec)
            decision, scope = judgement.judge(
                placement, self._reader(), lambda: _exists(placement.server)
            )
            _log(placement, decision, scope)
            if decision.approved or scope is not judgement.Scope.ENFORCED:
                return None
            # Nova keeps 255 characters: what to do comes before particulars,
            # which are in the log.
            return model.refused(decision.code, decision.subject).sentence
        except errors.Misconfigured as exc:
            LOG.error('verdict=refused code=misconfigured: %s', exc)
        except Exception:
            LOG.exception('verdict=refused code=%s', model.Reason.INTERNAL)
        return model.refused(model.Reason.INTERNAL, 'this request').sentence

    def _reader(self) -> reader.Reader:
        settings = self._settings
        if settings is None:
            with self._lock:
                settings = inside.settings(self._host_conf)
                self._settings = settings
        return reader.shared(settings.reader)


def _exists(server: str | None) -> bool:
    """Whether a server has been placed before.

    Nova maps a server to a cell when it places it for the first time. When
    that cannot be found out the server counts as new, and is refused.
    """
    if not server:
        return False
    try:
        mapping = objects.InstanceMapping.get_by_instance_uuid(
            context.get_admin_context(), server
        )
    except exception.InstanceMappingNotFound:
        return False
    except Exception:
        LOG.exception('server %s: cannot find out whether it is new', server)
        return False
    return mapping.cell_mapping is not None


def _log(
    placement: request.Placement,
    decision: model.Decision,
    scope: judgement.Scope,
) -> None:
    if decision.approved:
        level, verdict = log.INFO, str(decision.verdict)
    elif scope is judgement.Scope.ENFORCED:
        level, verdict = log.WARNING, str(decision.verdict)
    else:
        level, verdict = log.WARNING, str(scope)
    LOG.log(
        level,
        'verdict=%s image=%s list=%s code=%s server=%s project=%s: %s',
        verdict,
        placement.image.image_id or '-',
        decision.list_identifier or '-',
        decision.code,
        placement.server or '-',
        placement.project or '-',
        decision.detail,
    )
