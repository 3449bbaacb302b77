# SPDX-License-Identifier: Apache-2.0
"""The plugins' flows under taskflow's own engine: nothing passes by them."""

import gc
import importlib
from typing import Any

import pytest

engines = pytest.importorskip('taskflow.engines')
linear_flow = pytest.importorskip('taskflow.patterns.linear_flow')
retry = pytest.importorskip('taskflow.retry')
task = pytest.importorskip('taskflow.task')

from hepix_vm.glance import flow  # noqa: E402
from hepix_vm.glance import record  # noqa: E402
from hepix_vm.glance import verify  # noqa: E402


class Wrapper:
    """Stands for Glance's action wrapper."""


WRAPPER = Wrapper()
ARGUMENTS: dict[str, Any] = {
    'image_id': '7f6f5f8e-52d7-4f6b-9b57-0a3ad15b0f35',
    'task_id': 'a-task',
    'task_type': 'api_image_import',
    'backend': ['local'],
    'context': None,
    'action_wrapper': WRAPPER,
    'import_req': {'method': {'name': 'glance-direct'}},
}


class Upload(task.Task):  # type: ignore[misc, name-defined]
    """Stands where Glance uploads to a store."""

    reached = False

    def execute(self) -> None:
        Upload.reached = True


def run(*plugins: Any) -> None:
    Upload.reached = False
    whole = linear_flow.Flow('import', retry=retry.AlwaysRevert())
    whole.add(*plugins, Upload(name='upload'))
    engines.run(whole, store={'file_path': 'file:///nowhere/at/all'})


@pytest.mark.parametrize('door', [verify, record])
@pytest.mark.parametrize('arguments', [ARGUMENTS, {}, {'backend': 3}])
def test_without_glance_around_it_the_import_fails(
    door: Any, arguments: dict[str, Any]
) -> None:
    built = door.get_flow(**arguments)
    with pytest.raises(Exception) as refusal:
        run(built)
    assert type(refusal.value).__name__ in {'UploadException', 'RuntimeError'}
    assert not Upload.reached


def test_work_that_succeeds_lets_the_import_go_on() -> None:
    seen = []
    run(flow.build('Test', lambda *given: seen.append(given), ARGUMENTS))
    assert Upload.reached
    job, location = seen[0]
    assert job.image_id == ARGUMENTS['image_id']
    assert job.stores == ('local',)
    assert job.method == 'glance-direct'
    assert location == 'file:///nowhere/at/all'


def test_a_plugin_listed_twice_can_be_run_and_so_can_refuse() -> None:
    def refuse(*_given: Any) -> None:
        raise RuntimeError('listed twice')

    twice = [flow.build('Test', refuse, ARGUMENTS) for _ in range(2)]
    with pytest.raises(Exception):  # noqa: B017
        run(*twice)
    assert not Upload.reached


def test_a_missing_module_of_ours_is_a_refusal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str, package: str | None = None) -> Any:
        raise ModuleNotFoundError(f'No module named {name!r}')

    built = verify.get_flow(**ARGUMENTS)
    monkeypatch.setattr(importlib, 'import_module', missing)
    with pytest.raises(RuntimeError, match='cannot check images'):
        run(built)
    assert not Upload.reached


def test_a_task_that_always_refuses() -> None:
    with pytest.raises(Exception, match='refused'):
        run(flow.build('Test', flow.refuse, ARGUMENTS))
    assert not Upload.reached


def test_it_is_known_which_plugins_glance_loaded() -> None:
    arguments = ARGUMENTS | {'action_wrapper': Wrapper()}
    job = flow.ImportJob.from_glance(arguments)
    assert flow.LOADED.of(job) == frozenset()
    verify.get_flow(**arguments)
    assert flow.LOADED.of(job) == {'hepix_verify'}
    record.get_flow(**arguments)
    assert flow.LOADED.of(job) == {'hepix_verify', 'hepix_record'}


def test_nothing_is_kept_of_an_import_that_is_over() -> None:
    gc.collect()
    before = len(flow.LOADED)
    verify.get_flow(**(ARGUMENTS | {'action_wrapper': Wrapper()}))
    gc.collect()
    assert len(flow.LOADED) == before
