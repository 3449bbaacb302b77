# SPDX-License-Identifier: Apache-2.0
"""The same site directory is the same bytes on any machine and any Python."""

from __future__ import annotations

import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from tests.unit.context import digests
from tests.unit.context import sites

ROOT = pathlib.Path(__file__).parents[3]
LAYERS = """
variables: {squid: cache.example.org}
layers:
  - directory: common
  - directory: large
    when: {flavor: m1.large}
  - directory: other
    when: {flavor: tiny}
"""
#: Of the site below. They change with its content and with nothing else.
KNOWN = {
    'site': (
        'f764e81086433b6e3cb82d23b3b20e8a5f968ce6259ec5f952f5dbd5b3f85d90'
    ),
    'tar': (
        'd80e663849b06757197a1eb3ecf2312c709c42cb7554562302344b808a5b454d'
    ),
    'manifest': (
        '5435c9ae639b3c711bdd8badcdee0f1396f5b63e2a13e0a34177b4b5259f7ab7'
    ),
    'iso': (
        'db7e2cf5f2c9f82fe8ce08b0b9bc16076cec8db5da49bb1c97de0244ddc0a155'
    ),
}
#: What deflate makes of it differs from one zlib to another; these are of
#: zlib itself, whose output for so little has not changed in years.
COMPRESSED = {
    'tgz': (
        '1ba994772bce7e9bea0d354d774840943ee732d19f24e68f1136992f2d037a7f'
    ),
    'zip': (
        'ab1404ed8546a39dd994fe7275814561096d8af0b67b92e6fa677c5124c2ce0e'
    ),
    'b64': (
        '989ad4919854ba8ac73109b376da362deb1e1fd6f2d17aff3e4679b950deb033'
    ),
}


def _pythons() -> dict[str, str]:
    """Other Pythons of this machine that may run hepix_vm, by release."""
    found = {}
    beside = pathlib.Path(sys.base_prefix).parent.glob('*/bin/python3.*')
    for minor in range(11, 20):
        on_path = shutil.which(f'python3.{minor}')
        for path in (*([on_path] if on_path else []), *map(str, beside)):
            release = re.fullmatch(r'.*/python3\.(\d+)', path)
            if release and int(release[1]) >= 11:
                found.setdefault(f'3.{release[1]}', path)
    found.pop(f'{sys.version_info.major}.{sys.version_info.minor}', None)
    return {name: path for name, path in found.items() if _runs(path)}


def _runs(python: str) -> bool:
    """A shim may be there for a release that is not."""
    ran = subprocess.run((python, '-c', 'import zlib'), capture_output=True)
    return ran.returncode == 0


PYTHONS = _pythons()


def _site(top: pathlib.Path, chance: random.Random) -> pathlib.Path:
    """The one site, written in an order and with times of the moment."""
    files = {
        'layers.yaml': LAYERS.encode(),
        'common/prolog.sh': sites.PROLOG.encode(),
        'common/epilog.sh': sites.EPILOG.encode(),
        'common/proxy.in': b'http://@squid@:3128 @host@ @vo@ @@\n',
        'common/bin/report': b'#!/bin/sh\r\n',
        'common/a/b/c/d/e/f/deep': b'\0\xff' * 700,
        f'common/{"n" * 90}/{"m" * 90}': b'long',
        'common/UPPER.Case+x@y=z,1-2_3': b'',
        'large/size': bytes(3000),
        'large/bin/report': b'#!/bin/sh\necho large\n',
        'other/size': b'no',
    }
    names = list(files)
    chance.shuffle(names)
    for name in names:
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[name])
        path.chmod(0o755 if name.endswith('report') else 0o640)
        moment = chance.randrange(10**9)
        os.utime(path, (moment, moment))
    (top / 'common/empty').mkdir(mode=0o700)
    return top


@pytest.fixture
def site(tmp_path):
    return _site(tmp_path / 'context', random.Random())


def test_a_site_is_known_to_the_byte(site):
    found = digests.made(site)
    assert {name: found[name] for name in KNOWN} == KNOWN


@pytest.mark.skipif(
    'ng' in digests.zlib.ZLIB_RUNTIME_VERSION, reason='another zlib'
)
def test_with_the_usual_zlib_what_is_compressed_is_too(site):
    found = digests.made(site)
    assert {name: found[name] for name in COMPRESSED} == COMPRESSED


@pytest.mark.skipif(not PYTHONS, reason='no other Python on this machine')
@pytest.mark.parametrize('release', PYTHONS)
def test_another_python_makes_the_same(site, release):
    ran = subprocess.run(
        (PYTHONS[release], '-m', 'tests.unit.context.digests', str(site)),
        cwd=ROOT,
        env={
            'PATH': '/usr/bin:/bin',
            'PYTHONPATH': f'{ROOT}:{pathlib.Path(yaml.__file__).parents[1]}',
            'PYTHONDONTWRITEBYTECODE': '1',
            # Whatever depends on the order of sets would show.
            'PYTHONHASHSEED': '7',
            'TZ': 'Asia/Kathmandu',
        },
        check=True,
        capture_output=True,
        timeout=300,
    )
    mine, theirs = digests.made(site), json.loads(ran.stdout)
    same = mine['zlib'] == theirs['zlib']
    for name in (*KNOWN, *(COMPRESSED if same else ())):
        assert theirs[name] == mine[name], name
