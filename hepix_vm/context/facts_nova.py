# SPDX-License-Identifier: Apache-2.0
"""What Nova knows of instances, from inside nova's metadata service.

Through Nova's own objects, like its own metadata: the instance's mapping
says which cell it is in. Many instances are two questions to the databases.
"""

from __future__ import annotations

import calendar
import collections
from collections.abc import Mapping
from collections.abc import Sequence
import time
from typing import Any

from nova import context as contexts
from nova import exception
from nova import objects
from oslo_config import cfg

from hepix_vm.context import facts as facts_
from hepix_vm.context import identities
from hepix_vm.context import identity

#: Seconds for the cells of a question, all at once.
PATIENCE = 3.0
#: Seconds for which a cell that did not answer is left alone.
ALONE = 60.0

#: Until when cells are left alone, on a clock that never goes back.
_alone: dict[str, float] = {}


def ask(uuids: Sequence[str]) -> Mapping[str, identities.Answer]:
    """As :data:`identities.Ask`.

    :raises Exception: whatever Nova's objects raise
    """
    found: dict[str, identities.Answer] = {
        uuid: identities.unknown(uuid) for uuid in uuids
    }
    admin = contexts.get_admin_context()
    # As nova's own metadata service: then it knows one cell only.
    if cfg.CONF.api.local_metadata_per_cell:
        found |= _of_cell(admin, uuids)
        return found
    cells: dict[str, Any] = {}
    inside: dict[str, list[str]] = collections.defaultdict(list)
    for mapping in _mappings(admin, uuids):
        # Without a cell it is still to be scheduled: no guest runs.
        if mapping.cell_mapping is not None:
            cells[mapping.cell_mapping.uuid] = mapping.cell_mapping
            inside[mapping.cell_mapping.uuid].append(mapping.instance_uuid)
    found |= _of_cells(admin, cells, inside)
    return found


def facts_of(instance: Any) -> facts_.Facts:
    """The facts of a ``nova.objects.Instance``."""
    flavor = _field(instance, 'flavor')
    return facts_.Facts(
        uuid=instance.uuid,
        project=instance.project_id,
        name=_field(instance, 'display_name'),
        availability_zone=_field(instance, 'availability_zone'),
        host=_field(instance, 'host'),
        image=_field(instance, 'image_ref') or None,
        launched_at=_seconds(_field(instance, 'launched_at')),
        **({} if flavor is None else _of_flavor(flavor)),
    )


def _of_flavor(flavor: Any) -> dict[str, Any]:
    specs = _field(flavor, 'extra_specs') or {}
    return {
        'flavor': _field(flavor, 'name'),
        'vcpus': _field(flavor, 'vcpus'),
        'ram': _field(flavor, 'memory_mb'),
        'swap': _field(flavor, 'swap'),
        'root': _field(flavor, 'root_gb'),
        'ephemeral': _field(flavor, 'ephemeral_gb'),
        'extra_specs': tuple(sorted(specs.items())),
    }


def _mappings(context: Any, uuids: Sequence[str]) -> list[Any]:
    if len(uuids) > 1:
        return list(
            objects.InstanceMappingList.get_by_instance_uuids(
                context, list(uuids)
            )
        )
    try:
        return [
            objects.InstanceMapping.get_by_instance_uuid(context, uuids[0])
        ]
    except exception.InstanceMappingNotFound:
        return []


def _of_cells(
    admin: Any,
    cells: Mapping[str, Any],
    inside: Mapping[str, Sequence[str]],
) -> Mapping[str, identities.Answer]:
    """As :func:`_of_cell`; a cell that is down is not the others' fault."""
    now = time.monotonic()
    asked = [
        cell for name, cell in cells.items() if now >= _alone.get(name, now)
    ]
    results: Mapping[str, Any] = {}
    if asked:
        results = contexts.scatter_gather_cells(
            admin,
            asked,
            PATIENCE,
            lambda context: _of_cell(context, inside[context.cell_uuid]),
        )
    found: dict[str, identities.Answer] = {}
    for name, uuids in inside.items():
        result = results.get(name, contexts.did_not_respond_sentinel)
        if not contexts.is_cell_failure_sentinel(result):
            found |= result
            continue
        why = f'({type(result).__name__})'
        if result is contexts.did_not_respond_sentinel:
            why = f'within {PATIENCE} s; it is left alone for {ALONE} s then'
            if name in results:
                _alone[name] = time.monotonic() + ALONE
        for uuid in uuids:
            found[uuid] = identity.Refusal(
                503,
                identity.Reason.NOVA_FAILED,
                f'instance {uuid}: cell {name} does not answer {why}',
            )
    return found


def _of_cell(
    context: Any, uuids: Sequence[str]
) -> Mapping[str, identities.Answer]:
    instances = objects.InstanceList.get_by_filters(
        context,
        {'uuid': list(uuids), 'deleted': False},
        expected_attrs=['flavor'],
    )
    return {instance.uuid: facts_of(instance) for instance in instances}


def _field(versioned: Any, name: str) -> Any:
    """A field of one of Nova's objects; None when it is not set."""
    if not versioned.obj_attr_is_set(name):
        return None
    return getattr(versioned, name)


def _seconds(moment: Any) -> int | None:
    """UNIX seconds of a time that Nova keeps in UTC."""
    if moment is None:
        return None
    return calendar.timegm(moment.utctimetuple())
