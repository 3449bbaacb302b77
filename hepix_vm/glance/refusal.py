# SPDX-License-Identifier: Apache-2.0
"""What a user reads of an import that failed, and what the log keeps.

Glance shows the text of its ``UploadException`` to the user and hides every
other one behind "Internal Error".
"""

from __future__ import annotations

from glance.common import exception
from glance.common.scripts import utils as scripts
from oslo_log import log

from hepix_vm.catalogue import model
from hepix_vm.catalogue import records
from hepix_vm import errors
from hepix_vm.glance import flow
from hepix_vm.glance import listing

LOG = log.getLogger(__name__)


class NotApproved(errors.NotBelieved):
    """A decision of the catalogue, which has its line in the log."""


def for_user(exc: Exception, job: flow.ImportJob) -> Exception:
    """The exception that Glance shows to the user.

    Texts of errors that may quote a configuration file stay in the log.
    """
    text = _sentence(exc, job.image_id)
    if job.method == 'glance-download':
        _tell(job, text)
    outcome: Exception = exception.UploadException(text)
    return outcome


def _sentence(exc: Exception, image_id: str) -> str:
    if isinstance(exc, NotApproved):
        return str(exc)
    if isinstance(exc, exception.NotFound):
        return _refused(image_id, 'image-deleted', _DELETED)
    if isinstance(exc, exception.TaskAbortedError):
        return _refused(image_id, 'import-overtaken', _OVERTAKEN)
    if isinstance(exc, listing.PluginsMisplaced):
        return _refused(
            image_id, 'misconfigured', f'{exc}; tell the operators', error=True
        )
    if isinstance(exc, records.Withdrawn):
        return _refused(image_id, exc.code, str(exc))
    if isinstance(exc, errors.NotBelieved):
        return _refused(image_id, 'import-refused', str(exc))
    if isinstance(exc, errors.TryAgain):
        return _refused(
            image_id, model.Reason.STORE_UNAVAILABLE, str(exc), error=True
        )
    if isinstance(exc, errors.Misconfigured):
        LOG.error(
            'verdict=refused image=%s code=misconfigured: %s', image_id, exc
        )
    else:
        LOG.error(
            'verdict=refused image=%s code=%s',
            image_id,
            model.Reason.INTERNAL,
            exc_info=exc,
        )
    return model.refused(model.Reason.INTERNAL, f'image {image_id}').sentence


def _tell(job: flow.ImportJob, text: str) -> None:
    """Write the sentence into the task before Glance hides it.

    Glance's two tasks of a glance-download both set the image back to
    "queued" when they are reverted; the second of these always fails, and
    Glance reports that instead of the cause.
    """
    task = scripts.get_task(job.task_repo, job.task_id)
    if task is not None and task.status == 'processing':
        task.fail(text)
        job.task_repo.save(task)


_DELETED = 'the image was deleted while it was being imported'
_OVERTAKEN = 'another import of the same image has taken over'


def _refused(image_id: str, code: str, text: str, error: bool = False) -> str:
    (LOG.error if error else LOG.warning)(
        'verdict=refused image=%s code=%s: %s', image_id, code, text
    )
    return f'image {image_id} is refused ({code}): {text}'
