# SPDX-License-Identifier: Apache-2.0
"""What the agent reads: nothing that the strict parsers would not."""

from __future__ import annotations

from collections.abc import Sequence
import itertools
from pathlib import Path
import random
import re
import subprocess

import pytest

from hepix_vm.context import manifest
from tests.guests import machine
from tests.guests import site

#: A shell starts once for so many texts, so they are made by seed.
MANY = 100
LARGEST = 67108864

_MANIFESTS = """
say() { :; }
from=test
unexpired() { :; }
for file in "$1"/*.in; do
    if (check_manifest "$file" && echo "$values" > "$1/said"); then
        mv "$1/said" "${file%in}out"
    fi
done
"""
_VALUES = """
say() { :; }
for file in "$1"/*.in; do
    work=${file%.in}
    mkdir "$work"
    mv "$file" "$work/body"
    for key in hs06 job_id; do
        value_of "jobfeatures/$key" > "$work/$key" || rm "$work/$key"
    done
done
"""


def _functions(*names: str) -> str:
    """Parts of the agent."""
    text = machine.AGENT.read_text()
    found = ['set -eu', 'LC_ALL=C', f'most_unpacked={LARGEST}']
    for name in names:
        one = re.search(rf'(?m)^{name}\(\) \{{\n(?:.*\n)*?\}}\n', text)
        assert one is not None, name
        found.append(one[0])
    return '\n'.join(found)


def _run(path: str, script: str, top: Path, texts: Sequence[bytes]) -> None:
    for number, text in enumerate(texts):
        (top / f'{number}.in').write_bytes(text)
    subprocess.run(
        ['sh', '-c', script, 'sh', str(top)],
        env={'PATH': path},
        stderr=subprocess.DEVNULL,
        timeout=600,
        check=True,
    )


@pytest.fixture(params=machine.SYSTEMS)
def path(request: pytest.FixtureRequest, paths: dict[str, str]) -> str:
    """Where programs are."""
    return paths[request.param]


_GOOD = [
    site.made({'prolog.sh': b'', 'a/b': b'1', 'c': b'22'}, serial, expires)
    for serial, expires in ((0, None), (7, site.NEVER), (10**17, site.NEVER))
]
_LINES = sorted({line for one in _GOOD for line in one.manifest.split(b'\n')})
_ODD = [
    *(b' ', b'  ', b'\n', b'\n\n', b'\t', b'\r\n', b'\0', b'\xff', b'0', b'-'),
    *(b'9' * 19, b'../', b'/', b'.', b'$(id)', b'file: ', b'serial: 1\n'),
    *(b'0644', b'0755', b'1' * 64, b'expires: 2026-99-99T99:99:99Z\n'),
    *(b'created: 2026-02-31T00:00:00Z\n', b'directory: d\n', *_LINES),
    *(b'directory: d/e\ndirectory: f\n', b'directory: ../x\n'),
]


def _text(chance: random.Random) -> bytes:
    """A manifest with a few things put in, left out or doubled."""
    text = chance.choice(_GOOD).manifest
    for _ in range(chance.randrange(4)):
        lines = text.split(b'\n')
        at = chance.randrange(len(lines))
        match chance.choice(['odd', 'odd', 'drop', 'double', 'swap', 'cut']):
            case 'odd':
                place = chance.randrange(len(text) + 1)
                end = place + chance.choice([0, 0, 1, 4])
                text = text[:place] + chance.choice(_ODD) + text[end:]
            case 'drop':
                text = b'\n'.join(lines[:at] + lines[at + 1 :])
            case 'double':
                text = b'\n'.join([*lines[: at + 1], *lines[at:]])
            case 'swap':
                other = chance.randrange(len(lines))
                lines[at], lines[other] = lines[other], lines[at]
                text = b'\n'.join(lines)
            case _:
                text = text[: chance.randrange(len(text) + 1)]
    return text


def _plain(text: bytes) -> bytes:
    """The same without what may differ: order, last end, odd days."""
    lines = text.removesuffix(b'\n').split(b'\n')
    listed: dict[bytes, list[bytes]] = {b'file:': [], b'directory:': []}
    head = []
    for line in lines:
        listed.get(line.partition(b' ')[0], head).append(line)
    for some in listed.values():
        some.sort(key=lambda line: line.split(b' ')[-1].split(b'/'))
    plain = b'\n'.join([*head, *itertools.chain(*listed.values()), b''])
    moment = rb'\d{4}-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-5]\dZ'
    return re.sub(
        rb'(created|expires): ' + moment, rb'\1: 2026-01-01T00:00:00Z', plain
    )


def _expected(text: bytes) -> list[str]:
    """The five values of a text that was accepted."""
    found = {
        key.decode(): value.decode()
        for key, _, value in (
            line.partition(b': ') for line in text.split(b'\n')
        )
    }
    keys = ('serial', 'created', 'expires', 'sha256-tar', 'size-tar')
    return [found.get(key, '-') for key in keys]


@pytest.mark.parametrize('seed', range(2))
def test_a_manifest_that_counts_is_one(path, tmp_path, seed):
    """What differs from the one form changes nothing that is used."""
    chance = random.Random(seed)
    texts = [one.manifest for one in _GOOD]
    texts += [_text(chance) for _ in range(MANY)]
    script = _functions('manifest_values', 'check_manifest') + _MANIFESTS
    _run(path, script, tmp_path, texts)
    for number, text in enumerate(texts):
        said = tmp_path / f'{number}.out'
        if not said.exists():
            assert number >= len(_GOOD), text
            continue
        assert said.read_text().split() == _expected(text), text
        found = manifest.parse(_plain(text))
        assert found.size_tar <= LARGEST
        assert sum(one.size for one in found.files) <= found.size_tar


def _value(chance: random.Random) -> bytes:
    """Short; most often of what numbers are made of."""
    length = chance.randrange(7)
    if chance.random() < 0.2:
        return chance.randbytes(length)
    return bytes(chance.choices(b'0123456789.- \n\re', k=length))


@pytest.mark.parametrize('seed', range(2))
def test_a_value_that_counts_is_a_number_or_a_name(path, tmp_path, seed):
    chance = random.Random(seed)
    texts = [_value(chance) for _ in range(MANY)]
    _run(path, _functions('value_of') + _VALUES, tmp_path, texts)
    for number, text in enumerate(texts):
        bare = text.replace(b'\r', b'').rstrip(b'\n')
        for key, form in (
            ('hs06', rb'[0-9]+(\.[0-9]+)?'),
            ('job_id', rb'[ -~]+'),
        ):
            said = tmp_path / str(number) / key
            assert said.exists() == bool(re.fullmatch(form, bare)), text
            if said.exists():
                assert said.read_bytes() == bare + b'\n'
