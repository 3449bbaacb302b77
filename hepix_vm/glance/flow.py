# SPDX-License-Identifier: Apache-2.0
"""From Glance's call of a plugin to a task that cannot be passed by.

Glance goes on without an import plugin that cannot be imported or whose
``get_flow()`` raises. So this module and those of the entry points import
the standard library and taskflow only, ``get_flow()`` always returns a flow,
and everything that can fail is imported and done while the task executes,
where a failure ends the import.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import importlib
import logging
import threading
from typing import Any
import uuid
import weakref

from taskflow.patterns import linear_flow
from taskflow import task

LOG = logging.getLogger(__name__)

#: What a user reads when not even our own modules can be loaded.
BROKEN = (
    'this cloud cannot check images at the moment, so the import is refused; '
    'tell its operators, the log of the image service has the cause'
)


@dataclasses.dataclass(frozen=True, slots=True)
class ImportJob:
    """One image import, as Glance describes it to its plugins.

    :ivar method: such as ``glance-direct``
    :ivar stores: names of the stores; ``[None]`` where Glance has but one
    """

    image_id: str
    task_id: str
    task_type: str
    method: str
    stores: tuple[str | None, ...]
    action_wrapper: Any
    image_repo: Any
    task_repo: Any

    @classmethod
    def from_glance(cls, arguments: Mapping[str, Any]) -> ImportJob:
        """The job of a ``get_flow()`` call."""
        return cls(
            image_id=str(arguments.get('image_id')),
            task_id=str(arguments.get('task_id')),
            task_type=str(arguments.get('task_type')),
            method=str(arguments['import_req']['method']['name']),
            stores=tuple(arguments.get('backend') or ()),
            action_wrapper=arguments.get('action_wrapper'),
            image_repo=arguments.get('image_repo'),
            task_repo=arguments.get('task_repo'),
        )


#: What a task does: gets the job and the location of the staged bytes.
Work = Callable[[ImportJob, str], None]


class PluginTask(task.Task):  # type: ignore[misc]
    """Does its work, and turns whatever goes wrong into a refusal."""

    def __init__(
        self, plugin: str, name: str, work: Work, job: ImportJob
    ) -> None:
        super().__init__(name=name)
        self._plugin = plugin
        self._work = work
        self._job = job

    def execute(self, file_path: str, **_kwargs: Any) -> None:
        """Check the import.

        :param file_path: URL of the staged bytes, from the task before
        :raises glance.common.exception.UploadException: the import is
            refused; Glance shows the text to the user
        """
        try:
            BEGUN.add(self._job, self._plugin)
            self._work(self._job, file_path)
        except Exception as exc:  # noqa: BLE001 - all become a refusal
            # The log has it; the chain would only fill Glance's own.
            raise _for_user(exc, self._job) from None

    def revert(self, *_args: Any, **_kwargs: Any) -> None:
        """Undo the import; never raises, or Glance hides our sentence."""
        try:
            revert = importlib.import_module('hepix_vm.glance.revert')
            revert.undo(self._job, self._plugin)
        except Exception:
            LOG.exception('image %s: cannot clean up', self._job.image_id)


def build(
    plugin: str, work: Work, arguments: Mapping[str, Any]
) -> linear_flow.Flow:
    """The flow of one plugin; never raises.

    :param plugin: its name in Glance's list
    :param arguments: what Glance called ``get_flow()`` with
    """
    try:
        job = ImportJob.from_glance(arguments)
        LOADED.add(job, plugin)
    except Exception:
        LOG.exception('%s: Glance calls its plugins in an unknown way', plugin)
        job = ImportJob('?', '?', '?', '?', (), None, None, None)
        work = refuse
    # Taskflow cannot run two tasks of one name: a plugin that is listed
    # twice shall read a sentence, not leave the image half imported.
    unique = uuid.uuid4().hex[:8]
    name = f'{job.task_type}-{plugin}-{job.task_id}-{unique}'
    flow = linear_flow.Flow(f'{plugin}-{unique}')
    flow.add(PluginTask(plugin, name, work, job))
    return flow


class _PerImport:
    """Names of our plugins, by Glance's action wrapper.

    Each import has a wrapper of its own; nothing is kept after it.
    """

    def __init__(self) -> None:
        self._names: weakref.WeakKeyDictionary[Any, frozenset[str]] = (
            weakref.WeakKeyDictionary()
        )
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._names)

    def add(self, job: ImportJob, plugin: str) -> None:
        with self._lock:
            known = self._names.get(job.action_wrapper, frozenset())
            self._names[job.action_wrapper] = known | {plugin}

    def of(self, job: ImportJob) -> frozenset[str]:
        with self._lock:
            return self._names.get(job.action_wrapper, frozenset())


#: Which of our plugins Glance really loaded for an import. Its list says
#: which it should load; it goes on without one that it does not find, for
#: instance because stevedore remembers an older state of the packages.
LOADED = _PerImport()
#: Which of them began to run, and will be reverted if the import fails.
BEGUN = _PerImport()


def refuse(_job: ImportJob, _file_path: str) -> None:
    """The work of a plugin that cannot work: refuse.

    :raises RuntimeError: always
    """
    raise RuntimeError(BROKEN)


def _for_user(exc: Exception, job: ImportJob) -> Exception:
    try:
        refusal = importlib.import_module('hepix_vm.glance.refusal')
        outcome: Exception = refusal.for_user(exc, job)
    except Exception:
        LOG.exception('image %s: verdict=refused', job.image_id)
        return _upload_exception(BROKEN)
    return outcome


def _upload_exception(text: str) -> Exception:
    try:
        glance = importlib.import_module('glance.common.exception')
        outcome: Exception = glance.UploadException(text)
    except Exception:
        LOG.exception('not inside Glance')
        return RuntimeError(text)
    return outcome
