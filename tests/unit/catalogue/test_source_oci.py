# SPDX-License-Identifier: Apache-2.0
"""Registries that are slow, broken or hostile."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import hashlib
import json
import ssl
from typing import Any

import pytest

from hepix_vm.catalogue import fetch
from hepix_vm.catalogue.sources import manifest
from hepix_vm import errors
from tests import registries
from tests.unit.catalogue import servers

NOTHING = fetch.Validators()
PATIENT = fetch.FetchSettings(
    timeout=60, list_deadline=120, image_deadline=120, max_list_size=1000
)
LIST = b'a signed list, as far as registries know'
NAME = 'vo/images'
MANIFEST = f'/v2/{NAME}/manifests/latest'


def digest_of(data: bytes) -> str:
    return f'sha256:{hashlib.sha256(data).hexdigest()}'


def layer(data: bytes = LIST, **changes: Any) -> dict[str, Any]:
    return {
        'mediaType': manifest.LIST_TYPE,
        'digest': digest_of(data),
        'size': len(data),
    } | changes


def made(*layers: Any, **changes: Any) -> bytes:
    """A manifest."""
    return json.dumps(
        {
            'schemaVersion': 2,
            'mediaType': manifest.MANIFEST_TYPES[0],
            'layers': list(layers),
        }
        | changes
    ).encode()


def blob(data: bytes = LIST) -> str:
    return f'/v2/{NAME}/blobs/{digest_of(data)}'


@pytest.fixture
def server() -> Iterator[servers.Server]:
    with servers.running() as running:
        yield running


@pytest.fixture
def good(server: servers.Server) -> servers.Server:
    """A registry that has the list."""
    server.tell(MANIFEST, servers.answer(made(layer())))
    server.tell(blob(), servers.answer(LIST))
    return server


def url(server: servers.Server, name: str = f'{NAME}:latest') -> str:
    return server.url(f'/{name}').replace('http:', 'oci+http:')


def paths(server: servers.Server) -> list[str]:
    return [path for path, _ in server.asked]


def got(
    server: servers.Server,
    settings: fetch.FetchSettings = PATIENT,
    known: fetch.Validators = NOTHING,
) -> fetch.Fetched | fetch.NotModified:
    return fetch.fetch_list(url(server), settings, known)


def refusal(
    server: servers.Server,
    settings: fetch.FetchSettings = PATIENT,
    kind: type[errors.HepixError] = errors.TryAgain,
) -> str:
    with pytest.raises(kind) as caught:
        got(server, settings)
    assert type(caught.value) is kind
    assert url(server) in str(caught.value)
    assert '\n' not in str(caught.value)
    return str(caught.value)


# Lists


def test_list_is_the_blob_of_its_type(good):
    digest = digest_of(made(layer()))
    assert got(good) == fetch.Fetched(LIST, fetch.Validators(digest))
    assert got(good, known=fetch.Validators(digest)) == fetch.NotModified()
    assert paths(good) == [MANIFEST, blob(), MANIFEST]


def test_manifest_without_a_media_type_is_one(good):
    good.tell(
        MANIFEST,
        servers.answer(
            json.dumps({'schemaVersion': 2, 'layers': [layer()]}).encode()
        ),
    )
    assert isinstance(got(good), fetch.Fetched)


def test_tag_that_moves_during_the_fetch_gives_one_whole_artefact(good):
    newer = b'a newer list'

    def moves(handler: servers.Handler) -> None:
        good.tell(MANIFEST, servers.answer(made(layer(newer))))
        good.tell(blob(newer), servers.answer(newer))
        servers.answer(made(layer()))(handler)

    good.tell(MANIFEST, moves)
    first = got(good)
    assert isinstance(first, fetch.Fetched)
    assert first.content == LIST
    second = got(good, known=first.validators)
    assert isinstance(second, fetch.Fetched)
    assert second.content == newer


def test_tag_that_moves_away_from_its_blob_is_tried_again(good):
    def moves(handler: servers.Handler) -> None:
        good.tell(blob(), servers.status(404))
        servers.answer(made(layer()))(handler)

    good.tell(MANIFEST, moves)
    assert 'the tag may just have moved' in refusal(good)


def test_artefact_without_a_list_is_handed_on_to_be_refused(server):
    content = made(layer(mediaType='application/octet-stream'))
    server.tell(MANIFEST, servers.answer(content))
    assert got(server) == fetch.Fetched(content, NOTHING)
    assert paths(server) == [MANIFEST]


def test_artefact_of_several_lists_is_refused(server):
    server.tell(MANIFEST, servers.answer(made(layer(), layer(b'x'))))
    assert 'found 2' in refusal(server, kind=errors.NotBelieved)


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'<html>please log in</html>',
        b'[]',
        b'{}',
        b'\xff\xfe',
        b'[' * 100_000,
        made(layers=None),
        made(layers={}),
        made(schemaVersion=1),
        made(mediaType='text/plain'),
        made(mediaType=7),
        made(None),
        made({}),
        made(layer(size='1')),
        made(layer(size=True)),
        made(layer(size=-1)),
        made(layer(mediaType=None)),
        made(layer(digest='sha256:../../../etc/passwd')),
        made(layer(digest=f'md5:{"0" * 32}')),
        made(layer(digest=7)),
        made(*[layer()] * 10_001),
        made(mediaType=manifest.INDEX_TYPES[0]),
        made(manifests=[]),
    ],
)
def test_answer_that_is_no_manifest_is_refused(server, content):
    server.tell(MANIFEST, servers.answer(content))
    refusal(server, kind=errors.NotBelieved)
    assert paths(server) == [MANIFEST]


def test_index_is_named(server):
    content = made(mediaType=manifest.INDEX_TYPES[0])
    server.tell(MANIFEST, servers.answer(content))
    assert 'an index' in refusal(server, kind=errors.NotBelieved)


def test_huge_manifest_is_not_read_to_its_end(server):
    server.tell(MANIFEST, servers.endless)
    why = refusal(server, dataclasses.replace(PATIENT, max_list_size=10**9))
    assert f'at most {manifest.MOST_BYTES} bytes' in why


def test_list_that_is_declared_too_large_is_not_asked_for(server):
    server.tell(MANIFEST, servers.answer(made(layer(size=1001))))
    assert 'at most 1000 bytes, found 1001' in refusal(server)
    assert paths(server) == [MANIFEST]


def test_blob_that_is_larger_than_declared_ends(good):
    good.tell(blob(), servers.endless)
    assert f'at most {len(LIST)} bytes, found more' in refusal(good)


@pytest.mark.parametrize('other', [LIST[:-1], LIST.upper(), b''])
def test_blob_with_another_digest_is_refused(good, other):
    good.tell(blob(), servers.answer(other))
    assert 'found other bytes' in refusal(good)


def test_manifest_with_another_digest_than_the_registry_says_is_refused(good):
    good.tell(
        MANIFEST,
        servers.answer(
            made(layer()), Docker_Content_Digest=digest_of(b'else')
        ),
    )
    assert 'expected the manifest' in refusal(good)


def test_digest_of_an_unknown_kind_is_the_registrys_own_matter(good):
    good.tell(
        MANIFEST,
        servers.answer(made(layer()), Docker_Content_Digest='x:y'),
    )
    assert isinstance(got(good), fetch.Fetched)


def test_artefact_by_digest_has_to_have_it(server):
    wanted = digest_of(made(layer()))
    path = f'/v2/{NAME}/manifests/{wanted}'
    server.tell(path, servers.answer(made(layer(b'else'))))
    with pytest.raises(errors.TryAgain, match='expected the manifest'):
        fetch.fetch_list(url(server, f'{NAME}@{wanted}'), PATIENT, NOTHING)


def test_blob_may_be_named_by_sha512(server):
    digest = f'sha512:{hashlib.sha512(LIST).hexdigest()}'
    server.tell(MANIFEST, servers.answer(made(layer(digest=digest))))
    server.tell(f'/v2/{NAME}/blobs/{digest}', servers.answer(LIST))
    fetched = got(server)
    assert isinstance(fetched, fetch.Fetched)
    assert fetched.content == LIST


@pytest.mark.parametrize('code', [400, 403, 404, 500, 503])
def test_registry_that_has_troubles_is_tried_again(server, code):
    server.tell(MANIFEST, servers.status(code))
    assert f'found {code}' in refusal(server)


def test_registry_that_is_asked_too_often_says_when_to_come_back(server):
    server.tell(MANIFEST, servers.status(429, **{'Retry-After': '120'}))
    said = refusal(server, kind=errors.AskedToWait)
    assert 'found 429; the server asks to wait 120 s' in said


@pytest.mark.parametrize('value', ['soon', '9' * 100, '-1'])
def test_nonsense_about_when_to_come_back_is_not_repeated(server, value):
    server.tell(MANIFEST, servers.status(429, **{'Retry-After': value}))
    assert refusal(server).endswith('found 429')


@pytest.mark.parametrize(
    'behaviour', [servers.nonsense, servers.hung_up], ids=['nonsense', 'gone']
)
def test_server_that_is_no_registry_is_tried_again(server, behaviour):
    server.tell(MANIFEST, behaviour)
    refusal(server)


def test_slow_registry_is_cut_off_at_the_one_deadline(good):
    good.tell(blob(), servers.dripping_body)
    settings = dataclasses.replace(
        PATIENT, list_deadline=0.5, max_list_size=10**9
    )
    good.tell(MANIFEST, servers.answer(made(layer(size=10**8))))
    assert 'not finished within 0.5 s' in refusal(good, settings)


# Redirects


def test_blob_that_lies_elsewhere_is_not_followed_by_default(good):
    elsewhere = good.tell('/elsewhere', servers.answer(LIST))
    good.tell(blob(), servers.status(307, Location=elsewhere))
    with pytest.raises(errors.TryAgain, match='see option redirects'):
        got(good)
    assert '/elsewhere' not in paths(good)


def test_blob_that_lies_elsewhere_is_followed_where_that_is_wanted(good):
    elsewhere = good.tell('/elsewhere', servers.answer(LIST))
    good.tell(blob(), servers.status(307, Location=elsewhere))
    settings = dataclasses.replace(PATIENT, access=fetch.Access(redirects=1))
    assert isinstance(got(good, settings), fetch.Fetched)


# Tokens


def challenge(**parameters: str) -> servers.Behaviour:
    text = ','.join(f'{k}="{v}"' for k, v in parameters.items())
    return servers.status(401, **{'WWW-Authenticate': f'Bearer {text}'})


def guarded(
    server: servers.Server, wanted: str = 'abc.def', **parameters: str
) -> None:
    """Have everything there for those with the token only."""
    asks = challenge(**parameters)
    for path, behaviour in list(server.behaviours.items()):

        def behave(
            handler: servers.Handler, inner: servers.Behaviour = behaviour
        ) -> None:
            shown = handler.headers['Authorization']
            (inner if shown == f'Bearer {wanted}' else asks)(handler)

        server.tell(path, behave)


def test_token_for_nobody_in_particular_is_asked_for_once(good):
    guarded(good, realm=good.url('/token?x=1'), service='the registry')
    path = f'/token?x=1&scope=repository%3A{NAME.replace("/", "%2F")}%3Apull'
    path += '&service=the+registry'
    good.tell(path, servers.answer(b'{"token": "abc.def"}'))
    assert isinstance(got(good), fetch.Fetched)
    assert paths(good) == [MANIFEST, path, MANIFEST, blob()]


def token_path() -> str:
    return f'/token?scope=repository%3A{NAME.replace("/", "%2F")}%3Apull'


def test_token_may_have_its_other_name(good):
    guarded(good, realm=good.url('/token'))
    good.tell(token_path(), servers.answer(b'{"access_token": "abc.def"}'))
    assert isinstance(got(good), fetch.Fetched)


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'{}',
        b'[]',
        b'{"token": null}',
        b'{"token": 7}',
        b'{"token": "two words"}',
        b'{"token": "a\\r\\nX-Injected: yes"}',
    ],
)
def test_token_server_that_gives_none_is_tried_again(good, content):
    guarded(good, realm=good.url('/token'))
    good.tell(token_path(), servers.answer(content))
    assert 'expected JSON with a token' in refusal(good)


def test_token_server_that_never_ends_is_left(good):
    guarded(good, realm=good.url('/token'))
    good.tell(token_path(), servers.endless)
    assert 'at most 65536 bytes' in refusal(good)


@pytest.mark.parametrize(
    ('code', 'why'),
    [(401, 'the token server refuses (401)'), (500, 'found 500')],
)
def test_token_server_that_refuses_is_told(good, code, why):
    guarded(good, realm=good.url('/token'))
    good.tell(token_path(), servers.status(code))
    assert why in refusal(good)


@pytest.mark.parametrize(
    'realm',
    ['', 'file:///etc/passwd', 'https:///x', 'http://u:p@h/x', 'http://['],
)
def test_realm_that_is_no_server_is_refused(good, realm):
    guarded(good, realm=realm)
    assert 'names no token server' in refusal(good)


def test_token_that_the_registry_refuses_is_not_asked_for_again(good):
    guarded(good, wanted='another', realm=good.url('/token'))
    good.tell(token_path(), servers.answer(b'{"token": "abc.def"}'))
    assert 'refuses what we showed (401)' in refusal(good)
    assert paths(good) == [MANIFEST, token_path(), MANIFEST]


def test_challenge_of_another_kind_is_told(good):
    good.tell(MANIFEST, servers.status(401, **{'WWW-Authenticate': 'Odd x'}))
    assert '(401, "Odd")' in refusal(good)


def test_401_without_a_word_is_told(good):
    good.tell(MANIFEST, servers.status(401))
    assert '(401, "")' in refusal(good)


@pytest.fixture
def tls(
    good: servers.Server, tmp_path: Any
) -> tuple[servers.Server, fetch.FetchSettings]:
    """The same registry over TLS, and a user of it."""
    key = registries.Key(tmp_path, 'registry')
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(key.both)
    good.socket = context.wrap_socket(good.socket, server_side=True)
    secret = tmp_path / 'secret'
    secret.touch(mode=0o600)
    secret.write_text('me:my secret')
    access = fetch.Access(
        url=url(good).replace('oci+http:', 'oci:'),
        ca_file=str(key.pem),
        token_file=str(secret),
    )
    return good, dataclasses.replace(PATIENT, access=access)


def test_token_server_without_tls_never_sees_the_secret(tls):
    server, settings = tls
    guarded(server, realm='http://127.0.0.1:9/token')
    with pytest.raises(errors.TryAgain, match='without https'):
        fetch.fetch_list(settings.access.url, settings, NOTHING)


def test_registry_that_keeps_asking_gets_the_secret_once(tls):
    server, settings = tls
    server.tell(
        MANIFEST,
        servers.status(401, **{'WWW-Authenticate': 'Basic realm="x"'}),
    )
    with pytest.raises(errors.TryAgain, match='refuses what we showed'):
        fetch.fetch_list(settings.access.url, settings, NOTHING)
    shown = [headers.get('Authorization') for _, headers in server.asked]
    assert shown == [None, 'Basic bWU6bXkgc2VjcmV0']


def test_image_of_another_registry_gets_no_secret(tls):
    _, settings = tls
    with servers.running() as other:
        path = f'/v2/{NAME}/blobs/{digest_of(b"image")}'
        other.tell(
            path,
            servers.status(401, **{'WWW-Authenticate': 'Basic realm="x"'}),
        )
        image = url(other, f'{NAME}@{digest_of(b"image")}')
        with pytest.raises(errors.TryAgain, match='wants to know who asks'):
            b''.join(fetch.image_pieces(image, settings, 5))
        assert [h.get('Authorization') for _, h in other.asked] == [None]


def test_redirect_to_another_server_takes_no_secret_along(tls):
    server, settings = tls
    settings = dataclasses.replace(
        settings, access=dataclasses.replace(settings.access, redirects=1)
    )
    with servers.running() as plain:
        elsewhere = plain.tell('/list', servers.answer(LIST))
        server.tell(blob(), servers.status(307, Location=elsewhere))
        with pytest.raises(errors.TryAgain, match='from https to http'):
            fetch.fetch_list(settings.access.url, settings, NOTHING)
        assert plain.asked == []


# Images


def test_image_is_the_blob_that_its_digest_names(server):
    server.tell(blob(b'image'), servers.answer(b'image'))
    where = url(server, f'{NAME}@{digest_of(b"image")}')
    assert b''.join(fetch.image_pieces(where, PATIENT, 5)) == b'image'
    assert server.asked[0][1]['Accept-Encoding'] == 'identity'


def test_image_that_is_larger_than_endorsed_ends(server):
    server.tell(blob(b'image'), servers.endless)
    where = url(server, f'{NAME}@{digest_of(b"image")}')
    with pytest.raises(errors.TryAgain, match='at most 5 bytes, found more'):
        b''.join(fetch.image_pieces(where, PATIENT, 5))


# Names


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        (
            'oci://h/a:t',
            manifest.Reference('https://h', 'a', 't', None),
        ),
        (
            'oci+http://[::1]:5000/a.b/c__d/e-f:1.0_x-y',
            manifest.Reference(
                'http://[::1]:5000', 'a.b/c__d/e-f', '1.0_x-y', None
            ),
        ),
        (
            f'oci://h:1/a@{digest_of(b"x")}',
            manifest.Reference('https://h:1', 'a', None, digest_of(b'x')),
        ),
    ],
)
def test_reference_is_read(text, expected):
    assert manifest.reference(text) == expected


@pytest.mark.parametrize(
    'text',
    [
        'oci://h/a',
        'oci://h/:t',
        'oci://h/a:',
        'oci://h/a@',
        'oci://h/a@sha256:00',
        'oci://h/a@md5:00',
        f'oci://h/a:t@{digest_of(b"x")}',
        'oci://h/A:t',
        'oci://h/a//b:t',
        'oci://h/../b:t',
        'oci://h/a:t?x',
        'oci://h/a:t#x',
        'oci://u@h/a:t',
        'oci:///a:t',
        'oci://h:0/a:t',
        'oci://h:x/a:t',
        'oci://[::1/a:t',
        f'oci://h/{"a" * 256}:t',
        'https://h/a:t',
    ],
)
def test_reference_of_another_shape_is_a_mistake(text):
    with pytest.raises(errors.Misconfigured, match='expected oci://'):
        manifest.reference(text)
