# SPDX-License-Identifier: Apache-2.0
"""The Python environment with all services of a release, in the cache."""

from collections.abc import Callable
from collections.abc import Mapping
import hashlib
import os
import pathlib
import subprocess
import sys

from tests.cloud import cache
from tests.cloud import errors
from tests.cloud import releases

ROOT = pathlib.Path(__file__).parents[2]
LIMIT = 1800
_OUTPUT_LINES = 20


def interpreter() -> str:
    """Return the Python below any virtual environment this one runs in."""
    base: str = getattr(sys, '_base_executable', sys.executable)
    return str(pathlib.Path(base).resolve())


def key(release: releases.Release) -> str:
    """Return what tells the environments of a release apart."""
    content = hashlib.sha256(release.constraints.read_bytes())
    for part in (*release.packages, sys.version, interpreter()):
        content.update(part.encode() + b'\0')
    return content.hexdigest()[:12]


def call(
    argv: list[str],
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a program to its end and return its output.

    :raises errors.CloudError: with the last lines of its output
    """
    try:
        done = subprocess.run(
            argv,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise errors.CloudError(f'{argv[0]} failed: {error}') from error
    if done.returncode != 0:
        last = '\n'.join(done.stdout.splitlines()[-_OUTPUT_LINES:])
        raise errors.CloudError(
            f'{" ".join(argv)} ended with {done.returncode}:\n{last}'
        )
    return done.stdout


def uv(report: Callable[[str], None]) -> str | None:
    """Return the path of uv, installed into the cache; None without it."""
    try:
        shown = call(
            [str(ROOT / 'tools' / 'bootstrap')],
            {'PYTHON': interpreter(), 'HEPIX_VM_CACHE': str(cache.root())},
        )
    except errors.CloudError as error:
        report(f'going on with pip, which is slower, without uv: {error}')
        return None
    found = pathlib.Path(shown.splitlines()[-1]) / 'uv'
    return str(found) if found.exists() else None


def install(
    python: pathlib.Path,
    arguments: list[str],
    report: Callable[[str], None],
    environment: Mapping[str, str] | None = None,
) -> None:
    """Install with uv, else with pip, into the environment of ``python``."""
    program = uv(report)
    if program is not None:
        command = [program, 'pip', 'install', '--python', str(python)]
    else:
        command = [str(python), '-m', 'pip', 'install']
    call([*command, *arguments], environment=environment)


def services(
    release: releases.Release, report: Callable[[str], None]
) -> pathlib.Path:
    """Return the environment with the services, built when it is not there.

    :raises errors.CloudError: when a package cannot be installed
    """

    def build(folder: pathlib.Path) -> None:
        report(f'installing the services of {release.name} from PyPI')
        program = uv(report)
        if program is not None:
            call([program, 'venv', '--python', interpreter(), str(folder)])
        else:
            call([interpreter(), '-m', 'venv', str(folder)])
        install(
            folder / 'bin' / 'python',
            ['-c', str(release.constraints), *release.packages],
            report,
        )

    folder = cache.root() / 'venv' / f'{release.name}-{key(release)}'
    return cache.built(folder, build, report)
