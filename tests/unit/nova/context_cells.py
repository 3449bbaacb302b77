# SPDX-License-Identifier: Apache-2.0
"""Nova's own databases with a few instances; asks about them.

A program, since Nova's configuration is one of the whole process::

    python -m tests.unit.nova.context_cells DIRECTORY

prints as JSON what :mod:`hepix_vm.context.facts_nova` finds.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from pathlib import Path
import sys
import threading
from typing import Any

from nova import config
from nova import context
from nova.db.api import api as api_db
from nova.db.api import models as api_models
from nova.db.main import api as main_db
from nova.db.main import models as main_models
from nova import objects
from oslo_config import cfg

from hepix_vm.context import facts_nova
from tests.unit.nova.context_names import IMAGE
from tests.unit.nova.context_names import NAMES

CELLS = {name: f'00000000-0000-4000-8000-{name:>012}' for name in '12'}
STARTED = datetime.datetime(2026, 11, 22, 13, tzinfo=datetime.UTC)
#: Seconds that a busy machine may take for what happens soon.
SOON = 600.0


def _connect(directory: Path) -> Any:
    options = directory / 'nova.conf'
    options.write_text(
        f'[api_database]\nconnection = sqlite:///{directory}/api.db\n'
        f'[database]\nconnection = sqlite:///{directory}/1.db\n'
    )
    config.parse_args(['program'], default_config_files=[str(options)])
    objects.register_all()
    admin = context.get_admin_context()
    api_models.BASE.metadata.create_all(api_db.get_engine())
    for name in CELLS:
        cell = objects.CellMapping(
            admin,
            uuid=CELLS[name],
            name=name,
            transport_url='none:///',
            database_connection=f'sqlite:///{directory}/{name}.db',
        )
        cell.create()
        with context.target_cell(admin, cell) as within:
            engine = main_db.get_engine(context=within)
            main_models.BASE.metadata.create_all(engine)
    return admin


def _boot(admin: Any, uuid: str, cell: str | None, **values: Any) -> Any:
    mapping = objects.InstanceMapping(
        admin, instance_uuid=uuid, project_id='p', queued_for_delete=False
    )
    mapping.create()
    if cell is None:
        return None
    known = objects.CellMapping.get_by_uuid(admin, CELLS[cell])
    mapping.cell_mapping = known
    mapping.save()
    flavor = objects.Flavor(
        id=1,
        flavorid='2',
        name='m1.medium',
        vcpus=2,
        memory_mb=4096,
        root_gb=20,
        ephemeral_gb=5,
        swap=512,
        rxtx_factor=1.0,
        vcpu_weight=0,
        disabled=False,
        is_public=True,
        extra_specs={'b': '2', 'a': '1'},
    )
    with context.target_cell(admin, known) as within:
        made = objects.Instance(
            within,
            uuid=uuid,
            project_id='p',
            user_id='u',
            flavor=flavor,
            **values,
        )
        made.create()
        return made


def main(directory: Path) -> None:
    """Print what is found of each, alone and together."""
    facts_nova.PATIENCE, facts_nova.ALONE = SOON, 10 * SOON
    admin = _connect(directory)
    whole = {
        'display_name': 'vm',
        'host': 'compute-1',
        'availability_zone': 'nova',
        'image_ref': IMAGE,
        'launched_at': STARTED,
    }
    _boot(admin, NAMES[0], '1', **whole)
    _boot(admin, NAMES[1], '2', **whole)
    _boot(admin, NAMES[2], '1', display_name='early', image_ref='')
    _boot(admin, NAMES[3], None)
    gone = _boot(admin, NAMES[4], '1', **whole)
    gone.destroy()
    _tell({'together': facts_nova.ask(NAMES)})
    _tell({'alone': {n: facts_nova.ask([n])[n] for n in NAMES}})
    cfg.CONF.set_override('local_metadata_per_cell', True, group='api')
    _tell({'cell': facts_nova.ask(NAMES[:2])})
    cfg.CONF.clear_override('local_metadata_per_cell', group='api')
    _hang()
    lost = objects.CellMapping.get_by_uuid(admin, CELLS['2'])
    lost.database_connection = f'sqlite:///{directory}/absent/2.db'
    lost.save()
    context.CELL_CACHE = {}
    _tell({'down': facts_nova.ask(NAMES[:2])})


def _hang() -> None:
    """One cell neither answers nor fails."""
    over, asked, real = threading.Event(), [], facts_nova._of_cell

    def of_cell(within: Any, uuids: Any) -> Any:
        asked.append(within.cell_uuid)
        if within.cell_uuid == CELLS['2']:
            over.wait(SOON)
        return real(within, uuids)

    facts_nova._of_cell, patience = of_cell, facts_nova.PATIENCE
    # Only of a cell that was asked before these are over.
    facts_nova.PATIENCE = 1.0
    _tell({'hanging': facts_nova.ask(NAMES[1:2])})
    # Nothing is left to wait for.
    facts_nova.PATIENCE = SOON
    _tell({'beside': facts_nova.ask(NAMES[:2])})
    over.set()
    facts_nova._alone.clear()
    _tell({'again': facts_nova.ask(NAMES[:2])})
    sys.stdout.write(f'{json.dumps(["asked", asked])}\n')
    facts_nova._of_cell, facts_nova.PATIENCE = real, patience


def _tell(found: dict[str, Any]) -> None:
    [(name, answers)] = found.items()
    shown = {
        uuid: {'kind': type(answer).__name__, **dataclasses.asdict(answer)}
        for uuid, answer in answers.items()
    }
    sys.stdout.write(f'{json.dumps([name, shown])}\n')


if __name__ == '__main__':
    main(Path(sys.argv[1]))
