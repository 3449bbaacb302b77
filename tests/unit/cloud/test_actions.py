# SPDX-License-Identifier: Apache-2.0
"""What users do is over when the services are done with it."""

from __future__ import annotations

from pathlib import Path
import types
from typing import Any

import pytest

from tests.cloud import actions

HOST = 'OS-EXT-SRV-ATTR:host'
TASK = 'OS-EXT-STS:task_state'


class Turns:
    """Answers in turn; the last one stays.

    :ivar asked: how often it was asked
    """

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.asked = 0

    def __call__(self, *_values: object) -> Any:
        self.asked += 1
        if len(self._answers) > 1:
            return self._answers.pop(0)
        return self._answers[0]


class Image(dict[str, Any]):
    """An image as the client shows it."""

    __getattr__ = dict.__getitem__


def server(status: str, fault: str = '', **more: Any) -> Any:
    """A server as the client shows it."""
    told = {'fault': {'message': fault}} if fault else {}
    return types.SimpleNamespace(status=status, **told, **more)


def nova(servers: Turns) -> Any:
    """A client that shows servers."""
    return types.SimpleNamespace(servers=types.SimpleNamespace(get=servers))


@pytest.fixture
def cloud(tmp_path: Path) -> Any:
    """A cloud without services."""
    return types.SimpleNamespace(log=lambda name: tmp_path / name)


def test_import_is_over_when_glance_has_let_go_of_the_image(
    cloud: Any,
) -> None:
    tasks = Turns(
        {'tasks': [{'status': 'processing', 'created_at': '1'}]},
        {'tasks': [{'status': 'success', 'created_at': '1'}]},
    )
    images = Turns(
        Image(status='active', os_glance_import_task='a task'),
        Image(status='active'),
    )
    glance = types.SimpleNamespace(
        images=types.SimpleNamespace(
            get=images, get_associated_image_tasks=tasks
        )
    )
    assert actions.wait_for_import(cloud, glance, 'an image')
    assert images.asked == 2


def test_server_has_failed_when_nova_says_why(cloud: Any) -> None:
    servers = Turns(
        server('BUILD'), server('ERROR'), server('ERROR', 'No valid host')
    )
    found = actions.wait_for_server(cloud, nova(servers), 'id', 'ERROR')
    assert actions.fault(found) == 'No valid host'


def test_server_is_shelved_when_it_was_at_rest_and_has_left_its_host(
    cloud: Any,
) -> None:
    states = Turns(
        server('ACTIVE', **{TASK: 'image_uploading', HOST: 'a host'}),
        server('ACTIVE', **{TASK: None, HOST: 'a host'}),
        server('SHELVED_OFFLOADED', **{TASK: None, HOST: 'a host'}),
        server('SHELVED_OFFLOADED', **{TASK: None, HOST: None}),
    )
    cloud.nova = lambda: nova(states)
    user = nova(Turns(server('ACTIVE'), server('SHELVED_OFFLOADED')))
    asked: list[int] = []
    user.servers.shelve = lambda _: asked.append(states.asked)
    actions.shelve_server(cloud, user, 'id')
    assert asked == [2]
    assert states.asked == 4
