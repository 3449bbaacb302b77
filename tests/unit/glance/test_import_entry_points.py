# SPDX-License-Identifier: Apache-2.0
"""Glance goes on without a plugin that fails to load: ours cannot fail.

What the entry points import is found by reading the source, so that a new
import at the top of one of these modules is noticed wherever the tests run.
"""

import ast
import pathlib
import sys

import pytest

import hepix_vm

PACKAGE = pathlib.Path(hepix_vm.__file__).parent


def imported(module: str) -> set[str]:
    """Modules that a module of ours imports when it is imported."""
    path = PACKAGE.parent / pathlib.Path(*module.split('.'))
    source = path.with_suffix('.py')
    if not source.exists():
        source = path / '__init__.py'
    found: set[str] = set()
    for node in ast.parse(source.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f'{node.module}.{alias.name}' for alias in node.names}
        elif not isinstance(
            node,
            ast.Expr
            | ast.Assign
            | ast.AnnAssign
            | ast.FunctionDef
            | ast.ClassDef,
        ):
            pytest.fail(f'{module}: {ast.unparse(node)} at import')
    return found


DOORS = {
    'verify': {'taskflow'},
    'record': {'taskflow'},
    # In every service of the machine that has a policy.
    'policy': {'oslo_policy'},
}


@pytest.mark.parametrize('door', DOORS)
def test_entry_points_import_nothing_that_can_be_missing(door: str) -> None:
    waiting = [f'hepix_vm.glance.{door}', 'hepix_vm', 'hepix_vm.glance']
    seen = set()
    while waiting:
        module = waiting.pop()
        seen.add(module)
        for name in imported(module):
            top = name.partition('.')[0]
            if top == 'hepix_vm':
                if name not in seen:
                    waiting.append(name)
            else:
                assert top in sys.stdlib_module_names | DOORS[door], (
                    f'{module} imports {name}'
                )
    assert ('hepix_vm.glance.flow' in seen) is (door != 'policy')
