# SPDX-License-Identifier: Apache-2.0
"""Arrows between rooms point one way, by one table.

``errors <- imagelist <- trust <- catalogue <- {glance, nova, context}
<- operations <- cli``, with ``conf`` at the edges. What runs inside Glance
and Nova stays small: no HTTP client, no X.509, no trust, checked by reading
the sources and by importing them into an interpreter of their own.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
import json
from pathlib import Path
import subprocess
import sys

import pytest

PACKAGE = 'hepix_vm'
ROOT = Path(__file__).parents[2]

#: Room -> rooms that it may import from; a room may always import itself.
TABLE: dict[str, set[str]] = {
    'errors': set(),
    'hashing': set(),
    'imagelist': {'errors'},
    'trust': {'errors', 'imagelist'},
    'catalogue': {'errors', 'imagelist', 'trust'},
    'endorse': {'errors', 'hashing', 'imagelist', 'trust'},
    'context': {'errors', 'catalogue'},
    'paths': {'errors'},
    'glance': {'errors', 'hashing', 'catalogue', 'paths'},
    'programs': {'errors'},
    'nova': {'errors', 'catalogue', 'paths', 'programs'},
    'mail': {'errors'},
    'notify': {'errors', 'catalogue', 'mail', 'programs'},
    'operations': {
        'errors',
        'hashing',
        'imagelist',
        'trust',
        'catalogue',
        'context',
        'endorse',
        'glance',
        'nova',
        'paths',
        'mail',
        'notify',
    },
    'daemon': {'errors', 'catalogue', 'operations'},
    'cli': {
        'errors',
        'imagelist',
        'trust',
        'catalogue',
        'context',
        'endorse',
        'glance',
        'nova',
        'paths',
        'mail',
        'operations',
        'daemon',
        'conf',
    },
    # Turns options into the values of the rooms, so it knows those.
    'conf': {
        'errors',
        'catalogue',
        'context',
        'glance',
        'nova',
        'trust',
        'mail',
        'notify',
        'daemon',
    },
}

#: The only modules outside of cli that read options: those through which
#: Glance, Nova, its metadata service and a WSGI server enter.
ENTRIES = {
    'hepix_vm.context.standalone',
    'hepix_vm.context.wsgi',
    'hepix_vm.glance.check',
    'hepix_vm.glance.download',
    'hepix_vm.glance.guard',
    'hepix_vm.glance.revert',
    'hepix_vm.nova.filter',
    'hepix_vm.nova.guard',
}

#: In the catalogue's room, only these may ask trust.
ASK_TRUST = {
    'hepix_vm.catalogue.accept',
    'hepix_vm.catalogue.batches',
    'hepix_vm.catalogue.demands',
    'hepix_vm.catalogue.examining',
    'hepix_vm.catalogue.outcomes',
    'hepix_vm.catalogue.proof',
    'hepix_vm.catalogue.revocations',
}

#: What Glance and Nova import, and all that it imports in turn.
INSIDE = (
    'hepix_vm.glance.verify',
    'hepix_vm.glance.record',
    'hepix_vm.glance.check',
    'hepix_vm.glance.revert',
    'hepix_vm.glance.policy',
    'hepix_vm.glance.download',
    'hepix_vm.glance.guard',
    'hepix_vm.nova.filter',
    'hepix_vm.context.wsgi',
    'hepix_vm.catalogue.model',
    'hepix_vm.catalogue.reader',
    'hepix_vm.catalogue.records',
    'hepix_vm.glance.lineage',
)

#: The service's own code may sign what it serves, when it comes to it: with
#: the primitives alone, nothing of X.509.
SIGNS = {
    'cryptography',
    'cryptography.hazmat.primitives',
    'cryptography.hazmat.primitives.asymmetric',
}

#: Nothing of this belongs into those processes because of us.
KEPT_OUT = {
    'hepix_vm.trust',
    'hepix_vm.imagelist',
    'hepix_vm.operations',
    'hepix_vm.cli',
    'requests',
    'urllib3',
    'cryptography',
    'OpenSSL',
    'glanceclient',
    'novaclient',
    'keystoneauth1',
    'alembic',
}


def modules() -> dict[str, Path]:
    """All modules of the package by name."""
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob('*.py')):
        parts = path.relative_to(ROOT).with_suffix('').parts
        if parts[-1] == '__init__':
            parts = parts[:-1]
        found['.'.join(parts)] = path
    return found


MODULES = modules()


def room(module: str) -> str:
    """The room that a module is in; '' for the package itself."""
    return [*module.split('.'), ''][1]


def imported(path: Path, typing_too: bool = False) -> Iterator[str]:
    """Names of modules that a source imports, wherever it does so.

    Imports for type checkers alone are none.
    """
    tree = ast.parse(path.read_text())
    for_types: set[ast.AST] = set()
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.If)
            and isinstance(node.test, ast.Name)
            and node.test.id == 'TYPE_CHECKING'
            and not typing_too
        ):
            for_types.update(n for s in node.body for n in ast.walk(s))
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f'{path}: relative import'
            for alias in node.names:
                whole = f'{node.module}.{alias.name}'
                yield whole if whole in MODULES else str(node.module)
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).endswith('import_module')
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield str(node.args[0].value)


def ours(module: str) -> list[str]:
    """What a module imports of this package."""
    return [
        name
        for name in imported(MODULES[module])
        if name == PACKAGE or name.startswith(f'{PACKAGE}.')
    ]


EACH = pytest.mark.parametrize(
    'module', [name for name in MODULES if room(name)]
)


def test_every_room_is_in_the_table():
    assert {room(name) for name in MODULES if room(name)} <= set(TABLE)


def test_the_table_has_no_circle():
    order: list[str] = []
    left = {name: set(needs) for name, needs in TABLE.items()}
    while left:
        free = [name for name, needs in left.items() if needs <= set(order)]
        assert free, f'these point at each other: {left}'
        order += free
        for name in free:
            del left[name]
    assert order[0] == 'errors'
    assert order[-1] == 'cli'


@EACH
def test_a_module_imports_only_from_rooms_below(module):
    allowed = TABLE[room(module)] | {room(module)}
    if module in ENTRIES:
        allowed = allowed | {'conf'}
    for name in ours(module):
        assert room(name) in allowed, f'{module} imports {name}'


@pytest.mark.parametrize('entry', sorted(ENTRIES))
def test_the_list_of_entries_has_none_too_many(entry):
    assert any(room(name) == 'conf' for name in ours(entry))


@EACH
def test_only_two_modules_of_the_catalogue_ask_trust(module):
    if room(module) != 'catalogue' or module in ASK_TRUST:
        return
    for name in ours(module):
        assert room(name) != 'trust', f'{module} imports {name}'


@EACH
def test_packages_need_no_module_of_another_room_to_be_imported(module):
    # ``import hepix_vm.conf`` happens inside Glance and Nova.
    if MODULES[module].name != '__init__.py' or room(module) in (
        'imagelist',
        'trust',
    ):
        return
    for name in ours(module):
        assert room(name) in (room(module), 'errors')


def reached(module: str) -> dict[str, str]:
    """All that a module imports in turn, and through which module."""
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        current = waiting.pop()
        for name in imported(MODULES[current]):
            if name in found:
                continue
            found[name] = current
            if name in MODULES:
                waiting.append(name)
    return found


def kept_out(name: str) -> bool:
    return any(name == out or name.startswith(f'{out}.') for out in KEPT_OUT)


@pytest.mark.parametrize('module', INSIDE)
def test_code_inside_services_imports_little_by_its_sources(module):
    for name, through in reached(module).items():
        if through == 'hepix_vm.context.manifest' and name in SIGNS:
            continue
        assert not kept_out(name), f'{through} imports {name}'


IMPORT = """
import importlib, json, sys
found = {}
# What the hosts bring themselves is theirs, where they are installed.
for name in ('glance.common.scripts.utils', 'nova.scheduler.filters',
             'nova.compute.api', 'nova.objects', 'paste.deploy',
             'taskflow.patterns.linear_flow'):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        pass
theirs = {name.partition('.')[0] for name in sys.modules} - {'hepix_vm'}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as exc:
        # Glance, Nova or what comes with them is not installed here.
        if exc.name.partition('.')[0] not in ('taskflow', 'glance', 'nova'):
            raise
        found[name] = exc.name
ours = [name for name in sys.modules if name.partition('.')[0] not in theirs]
print(json.dumps([found, sorted(ours)]))
"""


def test_code_inside_services_imports_little_when_it_runs():
    done = subprocess.run(
        [sys.executable, '-c', IMPORT, *INSIDE, 'hepix_vm.conf.inside'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    missing, loaded = json.loads(done.stdout)
    assert 'hepix_vm.catalogue.reader' in loaded
    assert 'hepix_vm.catalogue.records' in loaded
    assert 'hepix_vm.conf.catalogue' in loaded
    # Libraries below (oslo.db, SQLAlchemy) must not bring them either.
    assert [name for name in loaded if kept_out(name)] == [], missing


def test_the_reading_of_sources_notices_each_form_of_import(tmp_path):
    source = tmp_path / 'sample.py'
    source.write_text(
        'import importlib\n'
        'from typing import TYPE_CHECKING\n'
        'from hepix_vm.catalogue import model\n'
        'from hepix_vm.catalogue.model import Decision\n'
        'import hepix_vm.errors as e\n'
        'if TYPE_CHECKING:\n'
        '    from hepix_vm.cli import main\n'
        'def f():\n'
        '    from hepix_vm import trust\n'
        "    importlib.import_module('hepix_vm.conf.inside')\n"
    )
    assert set(imported(source)) - {'importlib', 'typing'} == {
        'hepix_vm.catalogue.model',
        'hepix_vm.errors',
        'hepix_vm.trust',
        'hepix_vm.conf.inside',
    }
    assert 'hepix_vm.cli.main' in set(imported(source, typing_too=True))
