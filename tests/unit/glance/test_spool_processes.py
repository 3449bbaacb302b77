# SPDX-License-Identifier: Apache-2.0
"""Downloads of processes: killed, at once, with little memory."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import hashlib
import json
from pathlib import Path
import subprocess
import sys
import time
from typing import Any

import pytest

from hepix_vm.catalogue import fetch
from hepix_vm.glance import place
from hepix_vm.glance import spool
from tests.cloud import waits
from tests.unit.catalogue import image_servers
from tests.unit.catalogue import servers

ROOT = Path(__file__).parents[3]
MIB = 2**20
BODY = bytes(range(256)) * 4096 * 4
SIZE = len(BODY)
SHA512 = hashlib.sha512(BODY).hexdigest()
#: Seconds; nothing here waits for it, it bounds a test that hangs.
LONG = 300


@pytest.fixture
def server() -> Iterator[servers.Server]:
    with servers.running() as made:
        yield made


class Slow(image_servers.Image):
    """An image whose whole answer stops half-way, until the server ends."""

    def __call__(self, handler: servers.Handler) -> None:
        """Stop there, or answer to who asks for the rest."""
        if 'Range' in handler.headers:
            super().__call__(handler)
            return
        handler.send_response(200)
        handler.send_header('Content-Length', str(SIZE))
        handler.send_header('ETag', '"1"')
        handler.end_headers()
        # Whoever has some of it may be killed, or go on, at once.
        self.answers.append((200, SIZE // 2))
        handler.wfile.write(BODY[: SIZE // 2])
        handler.wfile.flush()
        handler.server.ending.wait()


def asked(folder: Path, url: str, **changes: Any) -> dict[str, Any]:
    """What a process downloads."""
    return {
        'spool': str(folder),
        'url': url,
        'sha512': SHA512,
        'size': SIZE,
    } | changes


@contextlib.contextmanager
def process(how: str, what: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """A process that downloads, ended on the way out."""
    with subprocess.Popen(
        [
            sys.executable,
            '-m',
            'tests.unit.glance.spooling',
            how,
            json.dumps(what),
        ],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as made:
        try:
            yield made
        finally:
            made.kill()


def line(made: subprocess.Popen[str]) -> str:
    """What it says next."""
    assert made.stdout is not None
    return made.stdout.readline().strip()


def used(folder: Path, url: str) -> None:
    """Download it here, and see that it is right and gone."""
    settings = fetch.FetchSettings(
        timeout=60, image_deadline=LONG, spool_directory=str(folder)
    )
    with spool.downloaded(url, SHA512, SIZE, settings) as path:
        assert path.read_bytes() == BODY
    assert list(folder.iterdir()) == []


def test_download_that_was_killed_goes_on_where_it_was(server, tmp_path):
    image = Slow(BODY)
    url = server.tell('/image', image)
    part = place.Place(tmp_path, SHA512).part
    tmp_path.chmod(0o700)
    with process('once', asked(tmp_path, url)) as made:
        waits.until(
            'some of the image to be on disk',
            lambda: (part.exists() and part.stat().st_size > MIB) or None,
            LONG,
            alive=lambda: made.poll() is None,
        )
        made.kill()
        made.wait()
    here = part.stat().st_size
    assert MIB < here <= SIZE // 2
    used(tmp_path, url)
    assert image.answers[-1] == (206, SIZE - here)
    assert len(image.answers) == 2


def test_second_process_uses_the_file_of_the_first(server, tmp_path):
    image = image_servers.Image(BODY)
    url = server.tell('/image', image)
    tmp_path.chmod(0o700)
    with (
        process('once', asked(tmp_path, url)) as first,
        process('once', asked(tmp_path, url)) as second,
    ):
        # Which is the first is not known; both have it at the same time.
        assert line(first) == f'here {SIZE}'
        assert line(second) == f'here {SIZE}'
        assert len(image.answers) == 1
        first.communicate(timeout=LONG)
        assert (tmp_path / SHA512).read_bytes() == BODY
        second.communicate(timeout=LONG)
    assert list(tmp_path.iterdir()) == []


def test_process_that_waits_takes_over_from_one_that_was_killed(
    server, tmp_path
):
    image = Slow(BODY)
    url = server.tell('/image', image)
    tmp_path.chmod(0o700)
    part = place.Place(tmp_path, SHA512).part
    with process('once', asked(tmp_path, url)) as first:
        waits.until(
            'some of the image to be on disk',
            lambda: (part.exists() and part.stat().st_size > MIB) or None,
            LONG,
            alive=lambda: first.poll() is None,
        )
        with process('once', asked(tmp_path, url)) as second:
            # It has had the time to come in, if it could.
            time.sleep(0.5)
            assert len(image.answers) == 1
            first.kill()
            assert line(second) == f'here {SIZE}'
            second.communicate(timeout=LONG)
    assert list(tmp_path.iterdir()) == []


def test_kill_at_each_step_is_healed_by_the_next_run(server, tmp_path):
    image = image_servers.Image(BODY)
    url = server.tell('/image', image)
    folder = tmp_path / 'spool'
    folder.mkdir(mode=0o700)
    seen = set()
    with process('killed', asked(folder, url)) as made:
        while text := line(made):
            status, left, again, after = json.loads(text)
            seen.update(left)
            assert again == 0, text
            assert after == [], text
            assert status in (0, -9), text
    assert status == 0
    assert {'.part', '.json', '.new', '.lock', ''} <= seen


def test_memory_does_not_grow_with_the_image(server, tmp_path):
    size = 256 * MIB
    piece = bytes(MIB)
    digest = hashlib.sha512()
    for _ in range(size // MIB):
        digest.update(piece)

    def large(handler: servers.Handler) -> None:
        handler.send_response(200)
        handler.send_header('Content-Length', str(size))
        handler.end_headers()
        for _ in range(size // MIB):
            handler.wfile.write(piece)

    url = server.tell('/image', large)
    tmp_path.chmod(0o700)
    what = asked(tmp_path, url, sha512=digest.hexdigest(), size=size)
    with process('limited', what) as made:
        assert line(made) == f'here {size}'
        made.communicate(timeout=LONG)


def test_disk_that_is_full_is_told_and_its_part_stays(server, tmp_path):
    image = image_servers.Image(BODY)
    url = server.tell('/image', image)
    tmp_path.chmod(0o700)
    with process('small', asked(tmp_path, url)) as made:
        said = line(made)
        made.communicate(timeout=LONG)
    assert f'spool directory {tmp_path}: File too large' in said
    part = place.Place(tmp_path, SHA512).part
    assert part.stat().st_size == MIB
    used(tmp_path, url)
    assert image.answers[-1] == (206, SIZE - MIB)
