# SPDX-License-Identifier: Apache-2.0
"""Our answers through the metadata agent of each release, as guests see them.

The agents are the releases' own code. What they spoil, which is why a site
behind them serves a PKZIP file and refuses with a line end, is asserted, too.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import http.server
import io
import json
import pathlib
import random
import subprocess
import sys
import tarfile
import threading
from typing import Any

import pytest

from hepix_vm.context import forms
from tests.neutron_matrix import releases

AGENT = pathlib.Path(__file__).with_name('agent.py')
LIMIT = 600
SPOILED = None
PLAIN = 'text/plain'


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """What is sent, or what comes out."""

    status: int
    content_type: str
    body: bytes


def _tar() -> bytes:
    """Scripts, and bytes of every value, which do not compress."""
    stream = io.BytesIO()
    chance = random.Random(8)
    with tarfile.open(fileobj=stream, mode='w') as tar:
        for name, content in (
            ('prolog.sh', b'#!/bin/sh\n' * 200),
            ('noise', bytes(range(256)) + chance.randbytes(50_000)),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


TAR = _tar()
TGZ = forms.gzip(TAR)
#: What a site behind Neutron sends.
OURS = {
    'bundle': Reply(200, forms.PKZIP_TYPE, forms.pkzip(TGZ)),
    'base64': Reply(200, forms.TEXT_TYPE, forms.base64(TGZ)),
    'manifest': Reply(200, forms.TEXT_TYPE, b'serial: 7\nsize-tar: 1\n'),
    'feature': Reply(200, forms.TEXT_TYPE, b'640'),
    'nothing': Reply(200, forms.TEXT_TYPE, b''),
}
REFUSALS = {
    str(status): Reply(status, PLAIN, b'\n') for status in (403, 404, 503)
}
#: What it does not, and why.
OTHERS = {
    'gzip': Reply(200, forms.GZIP_TYPE, TGZ),
    'gzip with a charset': Reply(200, forms.PKZIP_TYPE, TGZ),
    'an empty refusal': Reply(404, PLAIN, b''),
    'a tar': Reply(200, forms.PKZIP_TYPE, TAR),
    'no type': Reply(404, '', b'\n'),
    'no such status': Reply(204, PLAIN, b''),
}
ALL = {**OURS, **REFUSALS, **OTHERS}


@pytest.fixture(
    scope='module',
    params=releases.RELEASES,
    ids=lambda one: one.version,
)
def neutron(request: pytest.FixtureRequest) -> releases.Neutron:
    """One release."""
    found: releases.Neutron = request.param
    return found


class Nova(http.server.BaseHTTPRequestHandler):
    """Answers with the reply whose number is the path."""

    def do_GET(self) -> None:
        """Send it."""
        reply = list(ALL.values())[int(self.path[1:])]
        self.send_response(reply.status)
        if reply.content_type:
            self.send_header('Content-Type', reply.content_type)
        self.send_header('Content-Length', str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope='module')
def nova() -> Iterator[int]:
    """The port of the stand-in for nova."""
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Nova)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope='module')
def came(neutron: releases.Neutron, nova: int) -> Mapping[str, Reply | None]:
    """What came out of the agent; None where nothing did."""
    python = releases.python(
        neutron, lambda line: print(line, file=sys.stderr)
    )
    done = subprocess.run(
        (python, AGENT, str(nova), str(len(ALL))),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    return dict(zip(ALL, map(_reply, answers), strict=True))


def _reply(answer: dict[str, Any]) -> Reply | None:
    if 'raised' in answer:
        return SPOILED
    return Reply(**{**answer, 'body': base64.b64decode(answer['body'])})


@pytest.mark.parametrize('name', OURS)
def test_what_we_send_comes_out_as_it_was(came, name):
    reply = came[name]
    assert reply is not None
    assert (reply.status, reply.body) == (200, OURS[name].body)


@pytest.mark.parametrize('name', REFUSALS)
def test_a_refusal_keeps_its_status(neutron, came, name):
    """Up to 25 the agent writes a page of its own for it."""
    reply = came[name]
    assert reply is not None
    assert reply.status == int(name)
    if neutron.major >= 26:
        assert reply.body == b'\n'
    else:
        assert b'<html>' in reply.body


def test_gnu_tar_unpacks_the_bundle_that_came(came, tmp_path):
    (tmp_path / 'default.tgz').write_bytes(came['bundle'].body)
    subprocess.run(
        ('tar', '-zxf', 'default.tgz'),
        cwd=tmp_path,
        check=True,
        timeout=LIMIT,
    )
    with tarfile.open(fileobj=io.BytesIO(TAR)) as tar:
        for member in tar:
            content = tar.extractfile(member)
            assert content is not None
            assert (tmp_path / member.name).read_bytes() == content.read()


def test_gzip_is_lost_from_26_on(neutron, came):
    if neutron.major >= 26:
        assert came['gzip'] is SPOILED
    else:
        assert came['gzip'].body == TGZ


def test_gzip_with_a_charset_is_unpacked_by_newer_agents(neutron, came):
    """The ``tar -z`` of a guest fails then."""
    older = neutron.major <= 25 or neutron.version in ('26.0.0', '27.0.1')
    expected = TGZ if older else TAR
    assert came['gzip with a charset'].body == expected


def test_a_refusal_without_any_body_is_lost_from_26_on(neutron, came):
    """The guest sees 502, and a page that says so."""
    if neutron.major >= 26:
        assert came['an empty refusal'] is SPOILED
    else:
        assert came['an empty refusal'].status == 404


def test_a_bare_tar_comes_out_as_it_was(came):
    assert came['a tar'].body == TAR


def test_a_reply_without_a_type_is_lost_from_26_on(neutron, came):
    assert (came['no type'] is SPOILED) == (neutron.major >= 26)


def test_another_status_is_lost(came):
    assert came['no such status'] is SPOILED
