# SPDX-License-Identifier: Apache-2.0
"""Publishing at a registry that believes the tokens of a token server."""

from __future__ import annotations

import base64
from collections.abc import Iterator
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from hepix_vm.catalogue import fetch
from hepix_vm.endorse import sealing
from hepix_vm.endorse import targets
from hepix_vm import errors
from hepix_vm.operations import endorsing
from tests import endorser
from tests import registries
from tests.unit.catalogue import servers
from tests.unit.catalogue import simulator
from tests.unit.endorse import people

DATA = bytes(range(256)) * 4096 * 6
NAME = 'grid/workers'
IDENTIFIER = '5b7f0c1e-6a0c-4f5e-9d55-0c52b6f6b001'


@pytest.fixture(scope='module')
def registry(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[registries.Registry]:
    folder = tmp_path_factory.mktemp('tokens')
    with registries.running(folder, 'token') as made:
        yield made


@pytest.fixture(autouse=True)
def nobody_logged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home without what "docker login" left."""
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.delenv('DOCKER_CONFIG', raising=False)
    return tmp_path


def with_password(registry: registries.Registry) -> targets.Access:
    return targets.Access(
        user=registries.USER,
        password=registries.PASSWORD,
        ca_file=Path(registry.ca),
    )


class Bench:
    """An endorser with one image and a repository of its own."""

    def __init__(
        self, folder: Path, registry: registries.Registry, name: str
    ) -> None:
        self.folder = folder
        self.name = name
        self.target = registry.url(f'{name}:stable')
        digest = hashlib.sha256(DATA).hexdigest()
        self.uri = f'oci://{registry.host}/{name}@sha256:{digest}'
        self.image = folder / 'image.raw'
        self.image.write_bytes(DATA)
        registry.tokens.asked.clear()

    def sealed(self, previous: Any = None) -> sealing.Sealed:
        image = endorser.make_image(DATA, self.uri, IDENTIFIER)
        return sealing.seal(
            people.draft(images=(image,), uri=f'https://{NAME}/list'),
            people.signatory(people.holder()),
            people.now(),
            previous,
        )

    def publish(
        self, sealed: sealing.Sealed, access: targets.Access
    ) -> list[str]:
        message = self.folder / 'list.signed'
        message.write_bytes(sealed.message)
        placed = endorsing.publish(
            message, self.target, [self.image], access, people.now()
        )
        return [one.outcome.value for one in placed]

    def refused(self, access: targets.Access) -> str:
        with pytest.raises(errors.Misconfigured) as caught:
            self.publish(self.sealed(), access)
        assert registries.PASSWORD not in str(caught.value)
        return str(caught.value)


@pytest.fixture
def bench(
    tmp_path: Path, registry: registries.Registry, request: Any
) -> Bench:
    name = request.node.name.removeprefix('test_').partition('[')[0]
    return Bench(tmp_path, registry, f'grid/{name.replace("_", "-")}')


def test_user_publishes_what_subscribers_fetch(bench, registry):
    access = with_password(registry)
    first = bench.sealed()
    assert bench.publish(first, access) == ['uploaded', 'uploaded']
    assert bench.publish(first, access) == ['present', 'present']
    second = bench.sealed(first.image_list)
    assert bench.publish(second, access) == ['present', 'uploaded']
    settings = fetch.FetchSettings(
        timeout=60, access=fetch.Access(ca_file=registry.ca)
    )
    got = fetch.fetch_list(bench.target, settings, fetch.Validators())
    assert isinstance(got, fetch.Fetched)
    assert got.content == second.message
    assert b''.join(fetch.image_pieces(bench.uri, settings, len(DATA))) == DATA


def test_who_is_logged_in_publishes(bench, registry, nobody_logged_in):
    pair = f'{registries.USER}:{registries.PASSWORD}'.encode()
    folder = nobody_logged_in / '.docker'
    folder.mkdir()
    auth = base64.b64encode(pair).decode()
    (folder / 'config.json').write_text(
        json.dumps({'auths': {registry.host: {'auth': auth}}})
    )
    access = targets.Access(ca_file=Path(registry.ca))
    assert bench.publish(bench.sealed(), access) == ['uploaded', 'uploaded']


def test_token_of_the_endorser_is_shown_as_it_is(bench, registry):
    name = bench.target.partition('//')[2].partition('/')[2].partition(':')[0]
    granted = [
        {'type': 'repository', 'name': name, 'actions': ['pull', 'push']}
    ]
    access = targets.Access(
        token=registry.key.token(access=granted), ca_file=Path(registry.ca)
    )
    assert bench.publish(bench.sealed(), access) == ['uploaded', 'uploaded']
    assert registry.tokens.asked == []


def test_stranger_may_pull_and_not_push(bench, registry):
    said = bench.refused(targets.Access(ca_file=Path(registry.ca)))
    assert '--token-file' in said


def test_wrong_password_is_refused(bench, registry):
    access = dataclasses.replace(with_password(registry), password='wrong')
    assert '--token-file' in bench.refused(access)


def test_expired_token_is_refused(bench, registry):
    access = targets.Access(
        token=registry.key.token(exp=1), ca_file=Path(registry.ca)
    )
    assert '--token-file' in bench.refused(access)


def test_token_server_without_tls_never_sees_the_password(
    bench, registry, tmp_path
):
    key = simulator.key(tmp_path / 'key')
    with servers.running() as listening, simulator.running(key) as asking:
        realm = f'Bearer realm="{listening.url("/token")}"'
        asks = servers.status(401, **{'WWW-Authenticate': realm})
        asking.misbehave(asks, '/v2/', f'/v2/{bench.name}/manifests/stable')
        bench.target = asking.artefact_url().replace(
            simulator.NAME + ':latest', f'{bench.name}:stable'
        )
        access = dataclasses.replace(with_password(registry), ca_file=key.pem)
        assert 'without https' in bench.refused(access)
        assert listening.asked == []
