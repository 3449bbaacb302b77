# SPDX-License-Identifier: Apache-2.0
"""A failed import leaves the image as if it had not been tried.

Without this the image would stay in "importing", its stores would count as
being written to, and staging it again would answer 409.

Taskflow reverts the tasks backwards, and Glance does not let an image go
from "queued" to "queued": when two tasks set it back the second one fails,
and with it the release of the import's lock. So hepix_record leaves that to
hepix_verify, which in turn leaves it to Glance's own tasks before it that do
the same (downloads, image_conversion).
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import contextlib
import time
from typing import Any

from glance.common import exception
from oslo_config import cfg
from oslo_log import log

from hepix_vm.catalogue import database
from hepix_vm.catalogue import records
from hepix_vm.conf import inside
from hepix_vm.glance import flow
from hepix_vm.glance import listing
from hepix_vm.glance import staging

LOG = log.getLogger(__name__)


def undo(job: flow.ImportJob, plugin: str, glance: Any = cfg.CONF) -> None:
    """Undo what this import did; each step is tried, none raises.

    :param plugin: which of our plugins reverts
    :param glance: Glance's own configuration
    """
    _attempt(job, 'drop its record', lambda: _drop_record(job, glance))
    try:
        image = job.image_repo.get(job.image_id)
        job.action_wrapper.assert_task_lock()
    except exception.TaskAbortedError:
        LOG.warning(
            'image %s: another import has taken over and keeps the staged '
            'data',
            job.image_id,
        )
        return
    except exception.NotFound:
        # Deleted meanwhile: nothing but the staged file can be left.
        _attempt(job, 'delete its data', lambda: _remove(job, glance))
        return
    _attempt(job, 'clear its hash', lambda: _clear_hash(job, image))
    if image.status != 'importing' or _set_back_by_others(
        job, plugin, glance.image_import_opts.image_import_plugins
    ):
        return
    _attempt(job, 'delete its data', lambda: _remove(job, glance))
    _attempt(job, 'set it back to queued', lambda: _set_back(job))


def _set_back_by_others(
    job: flow.ImportJob, plugin: str, plugins: Sequence[str]
) -> bool:
    """Whether a task that is reverted after this one does the rest."""
    if plugin != listing.VERIFY and listing.VERIFY in flow.BEGUN.of(job):
        return True
    if job.method in _DOWNLOADS:
        return True
    before = plugins[: plugins.index(plugin)] if plugin in plugins else ()
    return _CONVERSION in before


_DOWNLOADS = frozenset({'web-download', 'glance-download'})
_CONVERSION = 'image_conversion'


def _attempt(job: flow.ImportJob, what: str, step: Callable[[], None]) -> None:
    try:
        step()
    except Exception:
        LOG.exception(
            'image %s: cannot %s after its import failed', job.image_id, what
        )


def _drop_record(job: flow.ImportJob, glance: Any) -> None:
    settings = inside.settings(glance)
    with contextlib.closing(
        database.Database(
            settings.reader.connection, settings.reader.store_timeout
        )
    ) as store:
        records.Records(store).drop(
            job.image_id, job.task_id, 'import-failed', int(time.time())
        )


def _remove(job: flow.ImportJob, glance: Any) -> None:
    staging.remove(staging.directory(glance), job.image_id)


def _clear_hash(job: flow.ImportJob, image: Any) -> None:
    if image.locations or image.os_hash_value is None:
        return
    image.os_hash_algo = None
    image.os_hash_value = None
    job.image_repo.save(image, from_state=image.status)


def _set_back(job: flow.ImportJob) -> None:
    stores = [store for store in job.stores if store]
    with job.action_wrapper as action:
        action.set_image_attribute(status='queued')
        if stores:
            action.remove_importing_stores(stores)
            action.add_failed_stores(stores)
