# SPDX-License-Identifier: Apache-2.0
"""What Nova's own objects say of instances, in databases with two cells."""

import json
from pathlib import Path
import subprocess
import sys

import pytest

from tests.unit.nova import context_names

ROOT = Path(__file__).parents[3]
WHOLE, OTHER_CELL, EARLY, UNSCHEDULED, GONE, *NOBODY = context_names.NAMES
KNOWN = {
    'kind': 'Facts',
    'project': 'p',
    'name': 'vm',
    'availability_zone': 'nova',
    'host': 'compute-1',
    'hypervisor_type': None,
    'flavor': 'm1.medium',
    'image': context_names.IMAGE,
    'endorsed': None,
    'launched_at': 1795352400,
    'vcpus': 2,
    'ram': 4096,
    'swap': 512,
    'root': 20,
    'ephemeral': 5,
    'extra_specs': [['a', '1'], ['b', '2']],
    'awaited': [],
}
JUST_MADE = {
    'name': 'early',
    'availability_zone': None,
    'host': None,
    'image': None,
    'launched_at': None,
}


@pytest.fixture(scope='module')
def found(tmp_path_factory):
    ran = subprocess.run(
        [
            sys.executable,
            '-m',
            'tests.unit.nova.context_cells',
            str(tmp_path_factory.mktemp('cells')),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return dict(map(json.loads, ran.stdout.splitlines()))


@pytest.mark.parametrize('asked', ['together', 'alone'])
def test_every_instance_has_its_answer(found, asked):
    answers = found[asked]
    assert answers[WHOLE] == {**KNOWN, 'uuid': WHOLE}
    assert answers[OTHER_CELL] == {**KNOWN, 'uuid': OTHER_CELL}
    assert answers[EARLY] == {**KNOWN, **JUST_MADE, 'uuid': EARLY}
    for name in (UNSCHEDULED, GONE, *NOBODY):
        assert answers[name]['status'] == 404
        assert answers[name]['reason'] == 'instance-unknown'


def test_a_service_of_one_cell_knows_that_cell(found):
    assert found['cell'][WHOLE] == {**KNOWN, 'uuid': WHOLE}
    assert found['cell'][OTHER_CELL]['status'] == 404


def test_a_cell_that_is_down_is_not_the_fault_of_the_others(found):
    assert found['down'][WHOLE] == {**KNOWN, 'uuid': WHOLE}
    assert found['down'][OTHER_CELL]['status'] == 503
    assert found['down'][OTHER_CELL]['reason'] == 'nova-failed'


def test_a_cell_that_hangs_is_left_alone_for_a_while(found):
    assert found['hanging'][OTHER_CELL]['status'] == 503
    assert found['beside'][WHOLE] == {**KNOWN, 'uuid': WHOLE}
    assert found['beside'][OTHER_CELL]['status'] == 503
    assert found['again'][OTHER_CELL] == {**KNOWN, 'uuid': OTHER_CELL}
    one, other = sorted(set(found['asked']))
    assert found['asked'].count(one) == found['asked'].count(other) == 2
