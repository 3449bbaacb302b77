# SPDX-License-Identifier: Apache-2.0
"""Progress of a long check, which also keeps the import's lock alive.

Another import may take the lock of an image 60 minutes after the task was
last updated, so each message to the user renews it.
"""

from __future__ import annotations

from collections.abc import Callable
import time

from glance.common import exception
from glance.common.scripts import utils as scripts

from hepix_vm.glance import flow

#: Seconds between two messages.
INTERVAL = 5.0
_MIB = 2**20


class Progress:
    """Called with the bytes done so far; writes the task's message.

    :param total: bytes to be read
    :param clock: monotonic seconds
    """

    def __init__(
        self,
        job: flow.ImportJob,
        total: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._job = job
        self._total = total
        self._clock = clock
        self._last: float | None = None

    def __call__(self, done: int) -> None:
        """Tell the user, if it is time to.

        :raises glance.common.exception.TaskAbortedError: when the import is
            no longer ours
        """
        # Lets other greenlets run where Glance uses eventlet.
        time.sleep(0)
        now = self._clock()
        if self._last is not None and now - self._last < INTERVAL:
            return
        self._last = now
        self._job.action_wrapper.assert_task_lock()
        task = scripts.get_task(self._job.task_repo, self._job.task_id)
        if task is None or task.status != 'processing':
            raise exception.TaskAbortedError()
        task.message = (
            f'Checked {done // _MIB} of {self._total // _MIB} MiB '
            'of the image data'
        )
        self._job.task_repo.save(task)
