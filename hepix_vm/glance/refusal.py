# SPDX-License-Identifier: Apache-2.0
"""What a user reads of an import that failed, and what the log keeps.

Glance shows the text of its ``UploadException`` to the user and hides every
other one behind "Internal Error".
"""

from __future__ import annotations

from glance.common import exception
from oslo_log import log

from hepix_vm.catalogue import model
from hepix_vm import errors
from hepix_vm.glance import listing

LOG = log.getLogger(__name__)


class NotApproved(errors.NotBelieved):
    """A decision of the catalogue, which has its line in the log."""


def for_user(exc: Exception, image_id: str) -> Exception:
    """The exception that Glance shows to the user.

    Texts of errors that may quote a configuration file stay in the log.
    """
    if isinstance(exc, NotApproved):
        return _upload_exception(str(exc))
    if isinstance(exc, exception.NotFound):
        return _refused(image_id, 'image-deleted', _DELETED)
    if isinstance(exc, exception.TaskAbortedError):
        return _refused(image_id, 'import-overtaken', _OVERTAKEN)
    if isinstance(exc, listing.PluginsMisplaced):
        return _refused(
            image_id, 'misconfigured', f'{exc}; tell the operators', error=True
        )
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
    decision = model.refused(model.Reason.INTERNAL, f'image {image_id}')
    return _upload_exception(decision.sentence)


_DELETED = 'the image was deleted while it was being imported'
_OVERTAKEN = 'another import of the same image has taken over'


def _refused(
    image_id: str, code: str, text: str, error: bool = False
) -> Exception:
    (LOG.error if error else LOG.warning)(
        'verdict=refused image=%s code=%s: %s', image_id, code, text
    )
    return _upload_exception(f'image {image_id} is refused ({code}): {text}')


def _upload_exception(text: str) -> Exception:
    outcome: Exception = exception.UploadException(text)
    return outcome
