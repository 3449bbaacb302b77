# SPDX-License-Identifier: Apache-2.0
"""The agent under every shell that is here, and a site for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import tempfile

import pytest

from tests.guests import boots
from tests.guests import machine
from tests.guests import site


@pytest.fixture(scope='module')
def network() -> Iterator[site.Server]:
    """One network for the tests of a module."""
    with site.serving() as server:
        yield server


@pytest.fixture
def server(network: site.Server) -> Iterator[site.Server]:
    """A server that has nothing to say yet."""
    network.forget()
    yield network
    network.forget()


@pytest.fixture(scope='session')
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of each shell, where its machine finds programs."""
    top = tmp_path_factory.mktemp('tools')
    return {
        shell: machine.tools(top / shell, shell) for shell in machine.SHELLS
    }


@pytest.fixture(params=machine.SHELLS)
def guest(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    server: site.Server,
    paths: dict[str, str],
) -> machine.Machine:
    """A machine that has not booted yet."""
    return machine.Machine(tmp_path, paths[request.param], server)


@pytest.fixture(scope='session')
def key() -> site.Key:
    """The site's."""
    return site.Key()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Real machines are those of Debian 12, and of 13 where asked for."""
    if 'bench' in metafunc.fixturenames:
        metafunc.parametrize(
            'bench', boots.NUMBERS, indirect=True, scope='module'
        )


@pytest.fixture(scope='module')
def bench(request: pytest.FixtureRequest) -> Iterator[boots.Bench]:
    """A release with the agent in it."""
    with tempfile.TemporaryDirectory(prefix='hepix-boot-') as folder:
        yield boots.Bench(request.param, Path(folder))
