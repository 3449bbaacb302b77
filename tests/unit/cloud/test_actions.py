# SPDX-License-Identifier: Apache-2.0
"""What users wait for: that nova and glance have said all of it."""

from __future__ import annotations

import pathlib
import types
from typing import Any

import pytest

from tests.cloud import actions
from tests.cloud import errors

TASK = 'OS-EXT-STS:task_state'
HOST = 'OS-EXT-SRV-ATTR:host'
FAULT = {'message': 'No valid host'}


def shown(status: str, **more: Any) -> Any:
    return types.SimpleNamespace(status=status, **{TASK: None, **more})


def nova(*said: Any) -> Any:
    """Nova, which says these, one after the other."""
    left = list(said)
    servers = types.SimpleNamespace(get=lambda _: left.pop(0))
    return types.SimpleNamespace(servers=servers, left=left)


def cloud(admin: Any = None) -> Any:
    return types.SimpleNamespace(
        log=lambda name: pathlib.Path('/nowhere') / name, nova=lambda: admin
    )


def test_a_server_in_error_is_waited_for_until_nova_says_why() -> None:
    asked = nova(shown('BUILD'), shown('ERROR'), shown('ERROR', fault=FAULT))
    found = actions.wait_for_server(cloud(), asked, 'server', 'ERROR')
    assert actions.fault(found) == 'No valid host'


def test_a_server_that_fails_is_told_with_its_fault() -> None:
    asked = nova(shown('ERROR'), shown('ERROR', fault=FAULT))
    with pytest.raises(errors.CloudError, match='No valid host'):
        actions.wait_for_server(cloud(), asked, 'server')


def test_a_server_that_nova_is_busy_with_is_not_at_rest() -> None:
    asked = nova(
        shown('ACTIVE', **{TASK: 'image_uploading'}),
        types.SimpleNamespace(status='ACTIVE'),
        shown('ACTIVE'),
    )
    actions.wait_for_server(cloud(), asked, 'server')
    assert asked.left == []


def test_a_shelved_server_is_waited_for_until_it_has_no_host() -> None:
    asked = nova(*[shown('SHELVED_OFFLOADED')] * 2)
    admin = nova(*(types.SimpleNamespace(**{HOST: h}) for h in ('one', None)))
    actions.wait_for_server(cloud(admin), asked, 'server', 'SHELVED_OFFLOADED')
    assert (asked.left, admin.left) == ([], [])


class Image(dict[str, str]):
    """As the client of glance shows one."""

    @property
    def status(self) -> str:
        return self['status']


def test_an_import_is_over_when_glance_has_given_up_its_lock() -> None:
    states = ['processing', 'success', 'success']
    images = [
        Image(status='active', **{actions.LOCK: 'task'}),
        Image(status='active'),
    ]

    def tasks(_: str) -> dict[str, Any]:
        return {'tasks': [{'created_at': '', 'status': states.pop(0)}]}

    glance = types.SimpleNamespace(
        images=types.SimpleNamespace(
            get=lambda _: images.pop(0), get_associated_image_tasks=tasks
        )
    )
    assert actions.wait_for_import(cloud(), glance, 'image')
    assert (states, images) == ([], [])
