# SPDX-License-Identifier: Apache-2.0
"""When a server is at rest, and what its user can read then."""

from __future__ import annotations

import pathlib
import types
from typing import Any

import pytest

from tests.functional import images

REASON = {'message': 'a reason'}


def shown(status: str, task: str | None = None, **more: object) -> object:
    """A server as Nova's client shows it."""
    return types.SimpleNamespace(
        **{'status': status, 'OS-EXT-STS:task_state': task, **more}
    )


class Cloud:
    """Shows one server in the states that are given, one after the other."""

    def __init__(self, *states: object) -> None:
        self.left = list(states)

    def nova(self, *_whose: object) -> object:
        """A client of compute."""
        get = types.SimpleNamespace(get=lambda _id: self.left.pop(0))
        return types.SimpleNamespace(servers=get)

    def log(self, name: str) -> pathlib.Path:
        """Of a service."""
        return pathlib.Path('/no/such', name)


@pytest.mark.parametrize(
    'states',
    [
        [shown('BUILD'), shown('ACTIVE')],
        [types.SimpleNamespace(status='UNKNOWN'), shown('ACTIVE')],
        [shown('ACTIVE', 'rebuilding'), shown('REBUILD'), shown('ACTIVE')],
        # Nova saves the status before it saves why.
        [shown('BUILD'), shown('ERROR'), shown('ERROR', fault=REASON)],
        [shown('ERROR', 'x', fault=REASON), shown('ERROR', fault=REASON)],
    ],
)
def test_a_server_is_at_rest_when_nothing_more_will_be_said(
    states: list[Any],
) -> None:
    cloud: Any = Cloud(*states)
    server = images.Servers(cloud).settled('the id')
    assert server is states[-1]
    assert cloud.left == []
    if server.status == 'ERROR':
        assert images.fault(server) == 'a reason'
