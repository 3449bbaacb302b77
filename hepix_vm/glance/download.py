# SPDX-License-Identifier: Apache-2.0
"""Whether Glance gives out the data of an image.

Everything that boots, rescues, rebuilds or copies an image reads its data
here, so this one decision covers hosts, forced or not, and volumes. It does
not cover data that a compute node or a volume has already.

All is decided from memory. What cannot be seen of an image counts as changed.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import datetime
import enum
import threading
from typing import Any

from oslo_config import cfg
from oslo_log import log

from hepix_vm.catalogue import boot
from hepix_vm.catalogue import model
from hepix_vm.catalogue import reader
from hepix_vm.conf import inside
from hepix_vm import errors

LOG = log.getLogger(__name__)


class For(enum.StrEnum):
    """For whom an image has to be approved; as a policy file says it."""

    PROJECT = 'project'
    ANY = 'any'
    #: Nobody: that it came in by a checked import is enough.
    IMPORTED = 'imported'


_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_NAIVE = _EPOCH.replace(tzinfo=None)
_SECOND = datetime.timedelta(seconds=1)


def allowed(
    match: str,
    target: Mapping[str, Any],
    creds: Mapping[str, Any],
    glance: cfg.ConfigOpts,
) -> bool:
    """Whether whoever asks may have the image; never raises.

    :param match: a value of :class:`For`
    :param target: the image as Glance shows it to its policy
    :param creds: of whoever asks
    :param glance: Glance's own configuration
    """
    project = str(creds.get('project_id') or '')
    try:
        whom = For(match)
        publishing, catalogue = _known.of(glance)
        image = facts(target)
        own = whom is For.PROJECT and project not in publishing
        decision = catalogue.decide_image(image, project if own else None)
        given = decision.approved or (
            whom is For.IMPORTED and catalogue.is_imported(image)
        )
    except errors.Misconfigured as exc:
        LOG.error('verdict=refused code=misconfigured: %s', exc)
        return False
    except Exception:
        LOG.exception(
            'verdict=refused code=%s match=%s project=%s',
            model.Reason.INTERNAL,
            match,
            project or '-',
        )
        return False
    if not decision.approved:
        LOG.warning(
            'verdict=%s image=%s list=%s code=%s project=%s: %s',
            'imported' if given else decision.verdict,
            image.image_id or '-',
            decision.list_identifier or '-',
            decision.code,
            project or '-',
            decision.detail,
        )
    return given


def facts(target: Mapping[str, Any]) -> model.ImageFacts:
    """What Glance knows of an image.

    Only names of Glance's own attributes are asked for: any other name would
    be answered from properties, which users write.

    :raises KeyError, TypeError, AttributeError: for something that is no
        image, such as the mere wish to create one
    """
    hashed = target['os_hash_algo'] == 'sha512'
    return model.ImageFacts(
        image_id=target['image_id'],
        size=target['size'],
        created_at=_seconds(target['created_at']),
        # '' is no hash of a record.
        final_sha512=(target['os_hash_value'] if hashed else None) or '',
        boot=boot.of_glance(target['min_disk'], target['extra_properties']),
    )


def _seconds(moment: datetime.datetime) -> int:
    """UNIX seconds of Glance's own times, which are UTC without a zone."""
    since = _NAIVE if moment.tzinfo is None else _EPOCH
    return (moment - since) // _SECOND


@dataclasses.dataclass(frozen=True, slots=True)
class _Read:
    """What one configuration of Glance leads to."""

    glance: cfg.ConfigOpts
    publishing: frozenset[str]
    catalogue: reader.Reader


class _Known:
    """What this process has read; it is read again while that fails."""

    def __init__(self) -> None:
        self._read: _Read | None = None
        self._lock = threading.Lock()

    def of(
        self, glance: cfg.ConfigOpts
    ) -> tuple[frozenset[str], reader.Reader]:
        """Projects that publish for others, and the catalogue.

        :raises errors.Misconfigured: when they cannot be read
        """
        known = self._read
        if known is None or known.glance is not glance:
            with self._lock:
                settings = inside.settings(glance)
                known = _Read(
                    glance,
                    settings.publishing_projects,
                    reader.shared(settings.reader),
                )
                self._read = known
        return known.publishing, known.catalogue


_known = _Known()
