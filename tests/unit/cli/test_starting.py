# SPDX-License-Identifier: Apache-2.0
"""What commands do not need they do not wait for."""

from __future__ import annotations

import json
import subprocess
import sys

from cliff import command

from hepix_vm.cli import main

VERIFY = """
import json, sys
from hepix_vm.cli import main
status = main.main([
    'list', 'verify', sys.argv[1], '--trust-anchors', sys.argv[2],
    '-f', 'value', '-c', 'code',
])
heavy = ('sqlalchemy', 'oslo_db', 'alembic', 'glanceclient', 'novaclient')
print(json.dumps([status, [name for name in heavy if name in sys.modules]]))
"""


def test_verifying_a_list_imports_no_database(tmp_path):
    (tmp_path / 'list').write_text('nothing signed')
    done = subprocess.run(
        [sys.executable, '-c', VERIFY, tmp_path / 'list', tmp_path / 'none'],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    status, heavy = json.loads(done.stdout.splitlines()[-1])
    assert status == 2, done.stderr
    assert heavy == []


def test_no_command_reads_about_all_that_is_installed(
    monkeypatch, capsys, tmp_path
):
    def read():
        raise AssertionError('the metadata of every distribution is read')

    monkeypatch.setattr(command, '_get_distributions_by_modules', read)
    none = str(tmp_path / 'none')
    assert main.main(['list', 'verify', none, '--trust-anchors', none]) == 2
    assert none in capsys.readouterr().err
