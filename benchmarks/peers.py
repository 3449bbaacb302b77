# SPDX-License-Identifier: Apache-2.0
"""Peers that are libraries: each in an environment and process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import pathlib
import subprocess

from benchmarks import measuring
from tests.cloud import cache
from tests.cloud import environment
from tests.cloud import errors
from tests.cloud import releases

_HANKO = 'pyhanko==0.38.0'


def hanko() -> pathlib.Path | None:
    """A Python that has pyHanko, installed into the cache.

    None, and a line that says why, where it cannot be installed.
    """
    release = releases.RELEASES[releases.DEFAULT]

    def build(folder: pathlib.Path) -> None:
        environment.call(
            [environment.interpreter(), '-m', 'venv', str(folder)]
        )
        environment.install(
            folder / 'bin' / 'python',
            ['-c', str(release.constraints), _HANKO],
            print,
        )

    name = f'{_HANKO.replace("==", "-")}-{environment.key(release)}'
    try:
        folder = cache.built(cache.root() / 'venv' / name, build, print)
    except (errors.CloudError, OSError) as error:
        print(f'{_HANKO} cannot be installed: {error}')
        return None
    return folder / 'bin' / 'python'


@contextlib.contextmanager
def answering(argv: Sequence[str]) -> Iterator[measuring.Call]:
    """A program that does its work once for each line that it gets.

    The call raises RuntimeError if the answer is anything but ``ok``.
    """
    with subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:
        asks, answers = process.stdin, process.stdout
        assert asks is not None
        assert answers is not None

        def call() -> None:
            asks.write('\n')
            said = answers.readline().strip()
            if said != 'ok':
                raise RuntimeError(f'{argv[0]}: {said or "ended"}')

        try:
            yield call
        finally:
            process.kill()
