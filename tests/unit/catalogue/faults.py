# SPDX-License-Identifier: Apache-2.0
"""What servers do wrong, and the site that it happens to.

Each fault is a way to arrange a :class:`Stage`; :data:`FAULTS` has them by
name, those of web servers and those of registries.
"""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import dataclasses
import functools
from pathlib import Path
import socket
import time
from typing import Any
import uuid

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import sync
from hepix_vm import imagelist
from tests import endorser
from tests.unit.catalogue import following
from tests.unit.catalogue import servers
from tests.unit.catalogue import simulator

DATA, NEWS, EVIL = b'an image', b'a newer image', b'not for this site'
OTHER, OTHER_NEWS = b'of the other list', b'news of the other list'


@functools.cache
def start() -> int:
    """When all stages begin; signatures carry the real time."""
    return int(time.time())


#: Longer than any pause between attempts.
LATER = endorser.DAY_SECONDS // 2
Outcome = sync.Outcome

PATIENT = fetch.FetchSettings(
    timeout=60, list_deadline=120, max_list_size=1_000_000
)
HURRIED = dataclasses.replace(PATIENT, list_deadline=0.5)
SOON = dataclasses.replace(PATIENT, timeout=0.3)
SMALL = dataclasses.replace(PATIENT, max_list_size=20_000)

identified = {
    data: str(uuid.uuid5(uuid.NAMESPACE_DNS, data.decode()))
    for data in (DATA, NEWS, EVIL, OTHER, OTHER_NEWS)
}


def listed(data: bytes, **changes: Any) -> imagelist.ImageEntry:
    """The entry of an image that is the same in every list."""
    return endorser.make_image(data, identifier=identified[data], **changes)


@functools.cache
def lists() -> dict[str, bytes]:
    """Signed and other messages, made once."""
    by = following.endorser_named('Endorser of main')
    other = following.endorser_named('Endorser of second')
    ours = following.identifier_of('main')
    theirs = following.identifier_of('second')
    evil = listed(EVIL)
    plain = by.make_list(ours, '6', [evil])
    return {
        'old': by.signed_list(ours, '4', evil),
        'first': by.signed_list(ours, '5', listed(DATA)),
        'newer': by.signed_list(ours, '6', listed(DATA), listed(NEWS)),
        'second': other.signed_list(theirs, '1', listed(OTHER)),
        'second, newer': other.signed_list(
            theirs, '2', listed(OTHER), listed(OTHER_NEWS)
        ),
        'of another identity': by.signed_list(theirs, '6', evil),
        'of another endorser': other.signed_list(ours, '6', evil),
        'another under the same version': by.signed_list(ours, '5', evil),
        'grown': by.signed_list(
            ours,
            '6',
            listed(DATA),
            *(endorser.make_image(b'%d' % n) for n in range(99)),
        ),
        'unsigned': imagelist.render(plain),
        'tampered': by.sign(plain).replace(b'a test image', b'a best image'),
        'truncated': by.sign(plain)[:-700],
        'expired': by.signed_list(
            ours,
            '6',
            evil,
            created=endorser.now_utc() - 3 * endorser.DAY,
            expires=endorser.now_utc() - endorser.DAY,
        ),
        'never expires': by.signed_list(
            ours,
            '7',
            listed(DATA),
            expires=endorser.utc(16_725_218_400),
        ),
        'none': by.sign(b'{"hv:imagelist": {}}'),
        'nothing': b'',
        'garbage': bytes(range(256)) * 40,
        'html': b'<html><title>Please log in</title></html>',
    }


class Stage:
    """A site, the server of its first list, and a second list in a file.

    :param form: in which the server has its list: ``web`` or ``registry``
    """

    def __init__(
        self,
        folder: Path,
        server: simulator.Simulator,
        form: str,
        stack: contextlib.ExitStack,
        patch: pytest.MonkeyPatch,
    ) -> None:
        self.folder = folder
        self.server = server
        self.open = stack.enter_context
        self.patch = patch
        self.site = following.Site(folder)
        self.site.now = start()
        url = server.url(simulator.LIST)
        self.well = self.site.follow(
            'main', url=url if form == 'web' else server.artefact_url()
        )
        self.site.follow('second')
        self.serve('first', 'second')
        assert all(report.well for report in self.sync(0).values())
        for data in (DATA, OTHER):
            self.site.record(data)

    def serve(self, first: str, second: str) -> None:
        """Put these lists where they are fetched."""
        self.server.list = lists()[first]
        self.site.serve('second', lists()[second])

    def sync(
        self, after: int = LATER, settings: fetch.FetchSettings = PATIENT
    ) -> dict[str, sync.Report]:
        """Sync the site some seconds later."""
        return self.site.sync(after=after, settings=settings)

    def access(self, **access: Any) -> None:
        """Reach the servers of the first list like that."""
        self.site.change('main', access=fetch.Access(**access))

    def suffer(self, fault: Fault) -> sync.Report:
        """The server fails while the second list has news."""
        self.serve('first', 'second, newer')
        fault.arrange(self)
        reports = self.sync(60, fault.settings)
        assert reports['second'].well
        return reports['main']

    def heal(self) -> None:
        """The server is well again, and some time later has news."""
        self.server.heal()
        self.site.configured['main'] = self.well
        self.serve('first', 'second, newer')
        reports = self.sync()
        assert reports['main'].outcome is Outcome.UNCHANGED
        assert reports['main'].well
        self.serve('newer', 'second, newer')
        reports = self.sync()
        assert reports['main'].outcome is Outcome.ACCEPTED
        assert reports['main'].well

    def facts(self) -> list[Any]:
        """What is held, without traces of how it came."""
        subscribed, endorsed, recorded = (
            schema.subscription.c,
            schema.endorsement.c,
            schema.glance_record.c,
        )
        return [
            self.site.rows(sa.select(*columns).order_by(*columns[:3]))
            for columns in (
                (
                    subscribed.name,
                    subscribed.configured,
                    subscribed.standing,
                    subscribed.list_identifier,
                    subscribed.list_version,
                    subscribed.payload_sha256,
                    subscribed.created,
                    subscribed.expires,
                    subscribed.verified_at,
                    subscribed.last_attempt,
                    subscribed.last_code,
                    subscribed.last_detail,
                    subscribed.failures,
                    subscribed.etag,
                ),
                (
                    endorsed.subscription,
                    endorsed.identifier,
                    endorsed.version,
                    endorsed.sha512,
                    endorsed.size,
                    endorsed.approved,
                    endorsed.withdrawn,
                    endorsed.held_at,
                    endorsed.first_seen,
                    endorsed.entry,
                ),
                (recorded.sha512, recorded.state, recorded.reason),
            )
        ]


@dataclasses.dataclass(frozen=True)
class Fault:
    """What a server does and what is said of it.

    :ivar said: a part of the sentence
    """

    arrange: Callable[[Stage], None]
    said: str = ''
    outcome: sync.Outcome = Outcome.UNREACHABLE
    code: str = 'fetch'
    settings: fetch.FetchSettings = PATIENT


def doing(
    behaviour: servers.Behaviour, said: str = '', **changes: Any
) -> Fault:
    """The server behaves like that."""
    return Fault(
        lambda stage: stage.server.misbehave(behaviour), said, **changes
    )


def having(name: str, code: str, said: str = '') -> Fault:
    """The server is well and has another message."""
    return Fault(
        lambda stage: stage.serve(name, 'second, newer'),
        said,
        Outcome.REFUSED,
        code,
    )


def elsewhere(where: Callable[[Stage], str]) -> Callable[[Stage], None]:
    """The list's address leads there now."""
    return lambda stage: stage.site.change('main', url=where(stage))


def over_tls(said: str, trusted: bool = True, **changes: Any) -> Fault:
    """The list is at a server with such a key; we have its CA, or not."""

    def arrange(stage: Stage) -> None:
        theirs = simulator.key(stage.folder / 'theirs', **changes)
        ours = simulator.key(stage.folder / 'ours')
        server = stage.open(simulator.running(theirs))
        server.list = stage.server.list
        stage.site.change('main', url=server.url(simulator.LIST))
        stage.access(ca_file=str((theirs if trusted else ours).pem))

    return Fault(arrange, said)


def plain_for_tls(stage: Stage) -> None:
    """An https address of a server that speaks no TLS."""
    url = stage.server.url(simulator.LIST)
    stage.site.change('main', url=url.replace('http:', 'https:'))


def nobody(stage: Stage) -> str:
    """An address that nobody listens at."""
    return f'http://127.0.0.1:{stage.open(simulator.nobody())}'


def unknown_host(stage: Stage) -> None:
    """A name that does not exist, without asking a real resolver."""

    def fails(*arguments: Any, **more: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, 'Name or service not known')

    stage.patch.setattr(socket, 'getaddrinfo', fails)
    stage.site.change('main', url='http://lists.invalid/list')


def redirecting(stage: Stage) -> None:
    """From one address to the other and back."""
    stage.access(redirects=5)
    there, back = simulator.LIST, '/there'
    stage.server.misbehave(servers.status(302, Location='/there'), there)
    stage.server.misbehave(servers.status(302, Location=simulator.LIST), back)


WEB = {
    '404': doing(servers.status(404), 'expected status 200, found 404'),
    '500': doing(servers.status(500), 'found 500'),
    '503': doing(
        servers.status(503, **{'Retry-After': '600'}), 'asks to wait 600 s'
    ),
    'no content': doing(servers.status(204), 'found 204'),
    'timeout': doing(servers.hanging, 'timed out', settings=SOON),
    'deadline': doing(
        servers.hanging, 'not finished within', settings=HURRIED
    ),
    'endless': doing(servers.endless, 'at most 1000000 bytes, found more'),
    'bomb': doing(servers.compressed_bomb(5_000_000), 'at most 1000000'),
    'drip of headers': doing(
        servers.dripping_headers, 'not finished within', settings=HURRIED
    ),
    'drip': doing(
        servers.dripping_body, 'not finished within', settings=HURRIED
    ),
    'drip without length': doing(
        servers.dripping_body_without_length,
        'not finished within',
        settings=HURRIED,
    ),
    'truncated': doing(
        servers.declaring(9000, b'truncated'), 'ended before all'
    ),
    'truncated in a chunk': doing(
        servers.chunks_cut_off(b'truncated'), 'ended before all'
    ),
    'truncated without a length': having('truncated', 'malformed'),
    'declared too short': Fault(
        lambda stage: stage.server.misbehave(
            servers.declaring(500, stage.server.list)
        ),
        '',
        Outcome.REFUSED,
        'malformed',
    ),
    'bad gzip': doing(
        servers.answer(b'not gzip', Content_Encoding='gzip'),
        'cannot be unpacked',
    ),
    'hung up': doing(servers.hung_up, 'ended the connection'),
    'nonsense': doing(servers.nonsense, 'does not speak HTTP'),
    'redirect': doing(
        servers.status(302, Location='/there'), 'see option redirects'
    ),
    'redirect loop': Fault(redirecting, 'redirected more than 5 times'),
    'unknown CA': over_tls('is not believed', trusted=False),
    'expired certificate': over_tls('has expired', days=-1),
    'wrong name': over_tls('is not believed', host='127.0.0.2'),
    'no TLS': Fault(plain_for_tls, 'no TLS with the server'),
    'nobody listening': Fault(
        elsewhere(lambda stage: f'{nobody(stage)}/list'), 'Connection refused'
    ),
    'proxy away': Fault(
        lambda stage: stage.access(proxy=nobody(stage)),
        'the proxy cannot be used: Connection refused; see option proxy',
    ),
    'proxy that refuses': Fault(
        lambda stage: stage.access(
            proxy=stage.server.tell(
                stage.server.url(simulator.LIST), servers.status(407)
            ).removesuffix(stage.server.url(simulator.LIST))
        ),
        'found 407',
    ),
    'unknown host': Fault(unknown_host, 'name of the host is not found'),
    'grown beyond its limit': dataclasses.replace(
        having('grown', 'fetch', 'at most 20000 bytes, found more'),
        outcome=Outcome.UNREACHABLE,
        settings=SMALL,
    ),
}

#: What an answer may hold, at a URL and in a registry.
CONTENTS = {
    'old list': having('old', 'rollback', 'version 4'),
    'other list': having('of another identity', 'wrong-identifier'),
    'list of another endorser': having(
        'of another endorser', 'endorser-mismatch', 'Endorser of second'
    ),
    'same version again': having(
        'another under the same version', 'equivocation', 'version 5'
    ),
    'expired list': having('expired', 'list-expired'),
    'unsigned list': having('unsigned', 'not-signed'),
    'tampered list': having('tampered', 'digest'),
    'signed but no list': having('none', 'invalid-list'),
    'nothing': having('nothing', 'not-signed'),
    'garbage': having('garbage', 'not-signed'),
    'html': having('html', 'not-signed'),
}


def asking(path: str = '/token', **answer: Any) -> Callable[[Stage], None]:
    """A registry that wants a token of its own server."""

    def arrange(stage: Stage) -> None:
        realm = f'Bearer realm="{stage.server.url(path)}"'
        stage.server.misbehave(
            servers.status(401, **{'WWW-Authenticate': realm})
        )
        query = '?scope=repository%3Avo%2Fimages%3Apull'
        stage.server.misbehave(answer['behaviour'], path + query)

    return arrange


def blobs(behaviour: servers.Behaviour, said: str, **changes: Any) -> Fault:
    """A registry that has the manifest and fails with the list in it."""

    def arrange(stage: Stage) -> None:
        # What is known already would not be asked for again.
        stage.server.list = lists()['newer']
        stage.server.misbehave(behaviour, simulator.blob(lists()['newer']))

    return Fault(arrange, said, **changes)


def described(content: bytes, said: str, **changes: Any) -> Fault:
    """A registry with another manifest."""
    return doing(servers.answer(content), said, **changes)


REGISTRY = {
    '401': doing(servers.status(401), 'wants to know who asks'),
    '401 for a password': doing(
        servers.status(401, **{'WWW-Authenticate': 'Basic realm="x"'}),
        'see option token_file',
    ),
    '403': doing(servers.status(403), 'found 403'),
    '404': doing(servers.status(404), 'found 404'),
    '429': doing(
        servers.status(429, **{'Retry-After': '120'}),
        'found 429; the server asks to wait 120 s',
    ),
    '503': doing(servers.status(503), 'found 503'),
    'token server refuses': Fault(
        asking(behaviour=servers.status(401)), 'the token server refuses'
    ),
    'token server in troubles': Fault(
        asking(behaviour=servers.status(503)), 'found 503'
    ),
    'token server with garbage': Fault(
        asking(behaviour=servers.answer(b'<html>')), 'JSON with a token'
    ),
    'token that does not help': Fault(
        asking(behaviour=servers.answer(b'{"token": "abc"}')),
        'refuses what we showed',
    ),
    'html for a manifest': described(b'<html>', 'not a manifest'),
    'manifest of another shape': described(b'{}', 'not a manifest'),
    'index': described(
        b'{"schemaVersion": 2, "manifests": []}', 'an index of several'
    ),
    'other manifest than it says': doing(
        servers.answer(
            simulator.artefact(b'evil'),
            Docker_Content_Digest=simulator.digest_of(b'else'),
        ),
        'expected the manifest sha256:',
    ),
    'endless manifest': doing(servers.endless, 'at most 4194304 bytes'),
    'artefact without a list': described(
        simulator.artefact(b'disk', 'application/octet-stream'),
        '',
        outcome=Outcome.REFUSED,
        code='not-signed',
    ),
    'other blob': blobs(servers.answer(b'evil' * 300), 'found other bytes'),
    'blob away': blobs(servers.status(404), 'has no blob'),
    'endless blob': blobs(servers.endless, 'bytes, found more'),
    'truncated blob': blobs(
        servers.declaring(3000, b'half of it'), 'ended before all'
    ),
    'blob elsewhere': blobs(
        servers.status(307, Location='/there'), 'see option redirects'
    ),
    'drip': blobs(
        servers.dripping_body, 'not finished within', settings=HURRIED
    ),
    'deadline': doing(
        servers.hanging, 'not finished within', settings=HURRIED
    ),
    'grown beyond its limit': dataclasses.replace(
        having('grown', 'fetch', 'a list of at most 20000 bytes'),
        outcome=Outcome.UNREACHABLE,
        settings=SMALL,
    ),
}

FAULTS = {
    **{f'web: {name}': fault for name, fault in (WEB | CONTENTS).items()},
    **{
        f'registry: {name}': fault
        for name, fault in (REGISTRY | CONTENTS).items()
    },
}
