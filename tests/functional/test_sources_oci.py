# SPDX-License-Identifier: Apache-2.0
"""Signed lists and images in a real registry, pushed by oras."""

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
from hepix_vm.catalogue import model
from hepix_vm.catalogue.sources import manifest
from hepix_vm.catalogue import store
from hepix_vm.catalogue import subscription
from hepix_vm.catalogue import sync
from hepix_vm import errors
from hepix_vm.glance import spool
from hepix_vm import imagelist
from tests import endorser
from tests import registries
from tests.unit.catalogue import following

NOTHING = fetch.Validators()
LIMITS = fetch.FetchSettings(timeout=60, list_deadline=300, image_deadline=300)
IMAGE = b'the bytes of an image' * 1000
QCOW2 = 'application/vnd.example.disk'
LIST = 'vo/images'


@pytest.fixture(scope='module')
def registry(tmp_path_factory: Any) -> Iterator[registries.Registry]:
    with registries.running(tmp_path_factory.mktemp('open')) as made:
        yield made


@pytest.fixture(scope='module')
def with_users(tmp_path_factory: Any) -> Iterator[registries.Registry]:
    folder = tmp_path_factory.mktemp('users')
    with registries.running(folder, 'htpasswd') as made:
        yield made


@pytest.fixture(scope='module')
def with_tokens(tmp_path_factory: Any) -> Iterator[registries.Registry]:
    folder = tmp_path_factory.mktemp('tokens')
    with registries.running(folder, 'token') as made:
        yield made


@pytest.fixture
def site(tmp_path: Path) -> Iterator[following.Site]:
    made = following.Site(tmp_path)
    yield made
    made.close()


def follow(
    site: following.Site,
    registry: registries.Registry,
    name: str = f'{LIST}:latest',
    secret: str | None = None,
    **changes: Any,
) -> None:
    """Follow a list in that registry."""
    changes.setdefault('approval', subscription.Approval.ALL)
    token_file = None
    if secret is not None:
        token_file = site.folder / 'secret'
        token_file.touch(mode=0o600)
        token_file.write_text(f'{secret}\n')
    site.follow(
        url=registry.url(name),
        access=fetch.Access(
            ca_file=registry.ca,
            token_file=None if token_file is None else str(token_file),
        ),
        **changes,
    )


def signed(site: following.Site, version: str, *images: Any) -> bytes:
    """A list of the followed endorser."""
    return site.endorsers['main'].signed_list(
        following.identifier_of('main'), version, *images
    )


def push_list(
    registry: registries.Registry,
    message: bytes,
    name: str = f'{LIST}:latest',
    **others: tuple[bytes, str],
) -> str:
    files = {'list.smime': (message, manifest.LIST_TYPE)}
    return registry.push(name, files | others)


def digest_of(data: bytes) -> str:
    return f'sha256:{hashlib.sha256(data).hexdigest()}'


def settings_for(registry: registries.Registry) -> fetch.FetchSettings:
    return dataclasses.replace(
        LIMITS, access=fetch.Access(ca_file=registry.ca)
    )


def pieces(registry: registries.Registry, url: str, size: int) -> bytes:
    return b''.join(fetch.image_pieces(url, settings_for(registry), size))


# Lists and their versions


def test_signed_list_is_believed_and_its_image_approved(site, registry):
    follow(site, registry)
    image = endorser.make_image(
        IMAGE, registry.url(f'vo/worker@{digest_of(IMAGE)}')
    )
    digest = push_list(registry, signed(site, '1', image))
    report = site.sync()['main']
    assert (report.outcome, report.added) == (sync.Outcome.ACCEPTED, 1)
    assert site.state().validators == fetch.Validators(digest)
    assert site.decide(IMAGE) is model.Reason.APPROVED


def test_tag_that_did_not_move_sends_no_list_again(site, registry):
    follow(site, registry)
    push_list(registry, signed(site, '1'))
    site.sync()
    known = site.state().validators
    got = fetch.fetch_list(
        registry.url(f'{LIST}:latest'), settings_for(registry), known
    )
    assert got == fetch.NotModified()
    report = site.sync(after=60)['main']
    assert report.outcome is sync.Outcome.UNCHANGED
    assert site.state().verified_at == site.now


def test_tag_that_moved_is_a_new_version_and_moved_back_a_rollback(
    site, registry
):
    follow(site, registry)
    image = endorser.make_image(IMAGE)
    old = signed(site, '1', image)
    push_list(registry, old)
    assert site.sync()['main'].added == 1
    push_list(registry, signed(site, '2'))
    report = site.sync(after=60)['main']
    assert (report.list_version, report.withdrawn) == ('2', 1)
    assert site.decide(IMAGE) is model.Reason.WITHDRAWN
    push_list(registry, old)
    report = site.sync(after=60)['main']
    assert (report.outcome, report.code) == (sync.Outcome.REFUSED, 'rollback')
    assert site.decide(IMAGE) is model.Reason.WITHDRAWN


def test_list_by_the_digest_of_its_artefact_stays_that_one(site, registry):
    follow(site, registry)
    digest = push_list(registry, signed(site, '1'))
    push_list(registry, signed(site, '2'))
    site.change('main', url=registry.url(f'{LIST}@{digest}'))
    assert site.sync()['main'].list_version == '1'


def test_list_beside_its_images_in_one_artefact_is_found(site, registry):
    follow(site, registry)
    url = registry.url(f'{LIST}@{digest_of(IMAGE)}')
    image = endorser.make_image(IMAGE, url)
    push_list(registry, signed(site, '1', image), worker=(IMAGE, QCOW2))
    assert site.sync()['main'].added == 1
    (stored,) = site.images()
    assert pieces(registry, stored.uri, stored.size) == IMAGE


def test_two_lists_in_one_artefact_are_refused(site, registry):
    follow(site, registry)
    push_list(
        registry,
        signed(site, '1'),
        other=(signed(site, '2'), manifest.LIST_TYPE),
    )
    report = site.sync()['main']
    assert report.outcome is sync.Outcome.UNREACHABLE
    assert 'expected one file' in report.detail


def test_registry_without_tls_is_followed_where_the_url_says_so(
    site, tmp_path
):
    with registries.running(tmp_path / 'plain', tls=False) as plain:
        follow(site, plain)
        assert plain.url('').startswith('oci+http:')
        push_list(plain, signed(site, '1'))
        assert site.sync()['main'].outcome is sync.Outcome.ACCEPTED


def test_registry_of_an_unknown_ca_is_not_asked_further(site, registry):
    follow(site, registry)
    site.change('main', access=fetch.Access())
    push_list(registry, signed(site, '1'))
    report = site.sync()['main']
    assert report.outcome is sync.Outcome.UNREACHABLE
    assert 'certificate' in report.detail


# What is not signed


def test_unsigned_artefact_is_never_believed(site, registry):
    follow(site, registry)
    registry.push(f'{LIST}:latest', {'worker.qcow2': (IMAGE, QCOW2)})
    report = site.sync()['main']
    assert (report.outcome, report.code) == (
        sync.Outcome.REFUSED,
        'not-signed',
    )
    assert 'worker.qcow2' not in report.detail
    assert site.images() == []
    assert site.decide(IMAGE) is model.Reason.NOT_ENDORSED


def test_unsigned_artefact_is_listed_where_that_is_wanted_and_no_more(
    site, registry
):
    follow(site, registry, dangerous_list_unsigned=True)
    registry.push(f'{LIST}:latest', {'worker.qcow2': (IMAGE, QCOW2)})
    report = site.sync()['main']
    assert (report.outcome, report.code) == (
        sync.Outcome.REFUSED,
        'not-signed',
    )
    assert (
        f'worker.qcow2 ({QCOW2}, {len(IMAGE)} bytes, {digest_of(IMAGE)})'
        in report.detail
    )
    with site.database.reading() as connection:
        (seen,) = store.lists_seen(connection, 'main')
    assert seen.verdict == 'refused'
    assert 'worker.qcow2' in seen.detail
    assert site.images() == []
    assert site.decide(IMAGE) is model.Reason.NOT_ENDORSED


def test_bare_list_of_the_right_type_is_not_signed(site, registry):
    follow(site, registry, dangerous_list_unsigned=True)
    image = endorser.make_image(IMAGE, title='worker node 9')
    bare = site.endorsers['main'].make_list(
        following.identifier_of('main'), '1', [image]
    )
    push_list(registry, imagelist.render(bare))
    report = site.sync()['main']
    assert report.code == 'not-signed'
    assert 'worker node 9' in report.detail
    assert site.images() == []


def test_list_that_somebody_else_signed_is_refused(site, registry):
    follow(site, registry)
    other = endorser.Endorser.create(name='Somebody Else')
    push_list(
        registry, other.signed_list(following.identifier_of('main'), '1')
    )
    assert site.sync()['main'].code == 'no-anchor'


# Images


def test_image_is_fetched_by_its_digest(registry, tmp_path):
    registry.push('vo/worker:9', {'disk': (IMAGE, QCOW2)})
    url = registry.url(f'vo/worker@{digest_of(IMAGE)}')
    settings = dataclasses.replace(
        settings_for(registry), spool_directory=str(tmp_path / 'spool')
    )
    sha512 = hashlib.sha512(IMAGE).hexdigest()
    with spool.downloaded(url, sha512, len(IMAGE), settings) as path:
        assert path.read_bytes() == IMAGE


def test_rest_of_an_image_is_all_that_a_registry_sends(registry, tmp_path):
    data = bytes(range(256)) * 1000
    half = len(data) // 2
    registry.push('vo/worker:9', {'disk': (data, QCOW2)})
    digest = digest_of(data)
    url = registry.url(f'vo/worker@{digest}')
    settings = settings_for(registry)
    whole = fetch.image_from(url, settings, len(data), fetch.Held())
    assert (whole.offset, b''.join(whole.pieces)) == (0, data)
    assert whole.validators == fetch.Validators(digest)
    held = fetch.Held(half, whole.validators)
    rest = fetch.image_from(url, settings, len(data), held)
    assert (rest.offset, b''.join(rest.pieces)) == (half, data[half:])
    # What is here is of another blob, whoever says so.
    other = fetch.Held(half, fetch.Validators(f'sha256:{"0" * 64}'))
    again = fetch.image_from(url, settings, len(data), other)
    assert (again.offset, b''.join(again.pieces)) == (0, data)


def test_other_bytes_than_endorsed_are_not_believed(registry, tmp_path):
    other = b'other bytes of the same length'
    registry.push('vo/worker:9', {'disk': (other, QCOW2)})
    settings = dataclasses.replace(
        settings_for(registry), spool_directory=str(tmp_path / 'spool')
    )
    with (
        pytest.raises(errors.NotBelieved, match='tell the endorser'),
        spool.downloaded(
            registry.url(f'vo/worker@{digest_of(other)}'),
            hashlib.sha512(b'what was endorsed').hexdigest(),
            len(other),
            settings,
        ),
    ):
        pass


def test_image_by_a_tag_is_not_fetched(registry):
    registry.push('vo/worker:9', {'disk': (IMAGE, QCOW2)})
    with pytest.raises(errors.NotBelieved, match='by @sha256:DIGEST'):
        pieces(registry, registry.url('vo/worker:9'), len(IMAGE))


def test_image_that_the_registry_does_not_have_may_be_there_later(registry):
    url = registry.url(f'vo/worker@{digest_of(b"never pushed")}')
    with pytest.raises(errors.TryAgain, match='found 404'):
        pieces(registry, url, 5)


# Faults


def test_registry_that_is_away_withdraws_nothing_and_heals(site, registry):
    follow(site, registry)
    push_list(registry, signed(site, '1', endorser.make_image(IMAGE)))
    site.sync()
    registry.kill()
    try:
        report = site.sync(after=60)['main']
    finally:
        registry.start()
    assert report.outcome is sync.Outcome.UNREACHABLE
    assert site.decide(IMAGE) is model.Reason.APPROVED
    push_list(registry, signed(site, '2', endorser.make_image(IMAGE)))
    assert site.sync(after=60)['main'].outcome is sync.Outcome.ACCEPTED


def test_tag_and_blob_that_are_gone_withdraw_nothing(site, registry):
    follow(site, registry, 'vo/gone:latest')
    message = signed(site, '1', endorser.make_image(IMAGE))
    push_list(registry, message, 'vo/gone:latest')
    site.sync()
    changed = signed(site, '2')
    push_list(registry, changed, 'vo/gone:latest')
    registry.stored(digest_of(changed)).unlink()
    report = site.sync(after=60)['main']
    assert report.outcome is sync.Outcome.UNREACHABLE
    site.change('main', url=registry.url('vo/gone:elsewhere'))
    report = site.sync(after=60)['main']
    assert 'found 404' in report.detail
    assert site.decide(IMAGE) is model.Reason.APPROVED


def test_list_that_was_changed_in_the_registry_is_noticed(site, registry):
    follow(site, registry)
    message = signed(site, '1')
    push_list(registry, message)
    path = registry.stored(digest_of(message))
    path.write_bytes(message.replace(b'"1"', b'"2"', 1)[: len(message)])
    report = site.sync()['main']
    assert report.outcome is sync.Outcome.UNREACHABLE
    assert 'found other bytes' in report.detail


# Who asks


@pytest.mark.parametrize(
    ('secret', 'why'),
    [
        (None, 'wants to know who asks'),
        ('atoken', 'wants to know who asks'),
        (f'{registries.USER}:wrong', 'refuses what we showed'),
    ],
    ids=['nothing', 'a token', 'wrong'],
)
def test_registry_with_users_refuses_strangers(site, with_users, secret, why):
    follow(site, with_users, secret=secret)
    push_list(with_users, signed(site, '1'))
    report = site.sync()['main']
    assert report.outcome is sync.Outcome.UNREACHABLE
    assert why in report.detail
    assert 'token_file' in report.detail


def test_registry_with_users_serves_lists_and_images_to_a_user(
    site, with_users
):
    secret = f'{registries.USER}:{registries.PASSWORD}'
    follow(site, with_users, secret=secret)
    url = with_users.url(f'{LIST}@{digest_of(IMAGE)}')
    push_list(
        with_users,
        signed(site, '1', endorser.make_image(IMAGE, url)),
        worker=(IMAGE, QCOW2),
    )
    assert site.sync()['main'].outcome is sync.Outcome.ACCEPTED
    followed = site.configured['main']
    assert isinstance(followed, subscription.Subscription)
    settings = dataclasses.replace(LIMITS, access=followed.reached())
    got = b''.join(fetch.image_pieces(url, settings, len(IMAGE)))
    assert got == IMAGE


def test_token_server_gives_strangers_a_token_to_pull(site, with_tokens):
    follow(site, with_tokens)
    push_list(with_tokens, signed(site, '1'))
    with_tokens.tokens.asked.clear()
    assert site.sync()['main'].outcome is sync.Outcome.ACCEPTED
    assert [
        (query['scope'], shown) for query, shown in with_tokens.tokens.asked
    ] == [([f'repository:{LIST}:pull'], None)]


def test_token_server_sees_the_user_and_the_registry_a_token(
    site, with_tokens
):
    secret = f'{registries.USER}:{registries.PASSWORD}'
    follow(site, with_tokens, secret=secret)
    push_list(with_tokens, signed(site, '1'))
    with_tokens.tokens.asked.clear()
    with_tokens.tokens.open_to_all = False
    try:
        assert site.sync()['main'].outcome is sync.Outcome.ACCEPTED
    finally:
        with_tokens.tokens.open_to_all = True
    pair = base64.b64encode(secret.encode()).decode()
    assert [shown for _, shown in with_tokens.tokens.asked] == [
        f'Basic {pair}'
    ]


def test_token_server_that_refuses_is_named(site, with_tokens):
    follow(site, with_tokens, secret=f'{registries.USER}:wrong')
    push_list(with_tokens, signed(site, '1'))
    report = site.sync()['main']
    assert report.outcome is sync.Outcome.UNREACHABLE
    assert 'the token server refuses (401)' in report.detail


def test_token_of_the_operator_is_shown_as_it_is(site, with_tokens):
    access = [{'type': 'repository', 'name': LIST, 'actions': ['pull']}]
    follow(site, with_tokens, secret=with_tokens.key.token(access=access))
    push_list(with_tokens, signed(site, '1'))
    with_tokens.tokens.asked.clear()
    assert site.sync()['main'].outcome is sync.Outcome.ACCEPTED
    assert with_tokens.tokens.asked == []


def test_token_that_has_expired_is_refused(site, with_tokens):
    follow(site, with_tokens, secret=with_tokens.key.token(exp=1))
    push_list(with_tokens, signed(site, '1'))
    report = site.sync()['main']
    assert report.outcome is sync.Outcome.UNREACHABLE
    assert 'token_file' in report.detail


def test_manifest_is_what_oras_makes(registry):
    digest = registry.push(
        'vo/shape:1', {'x.smime': (b'x', manifest.LIST_TYPE)}
    )
    content = registry.stored(digest).read_bytes()
    (blob,) = manifest.parse(content).lists()
    assert json.loads(content)['schemaVersion'] == 2
    assert (blob.digest, blob.size, blob.title) == (
        digest_of(b'x'),
        1,
        'x.smime',
    )
