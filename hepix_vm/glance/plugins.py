# SPDX-License-Identifier: Apache-2.0
"""Whether Glance would find our import plugins, asked as Glance asks."""

from __future__ import annotations

from typing import Any

from oslo_log import log
from stevedore import named

from hepix_vm.glance import listing

LOG = log.getLogger(__name__)

_NAMESPACE = 'glance.image_import.plugins'
#: A package of somebody else may offer plugins of the same names.
_OURS = {
    listing.VERIFY: 'hepix_vm.glance.verify:get_flow',
    listing.RECORD: 'hepix_vm.glance.record:get_flow',
}


def loadable() -> frozenset[str]:
    """Those of our plugins that the loader of plugins finds and can load."""

    def failed(_manager: Any, point: Any, exc: BaseException) -> None:
        LOG.warning('import plugin %s: %s', point.name, exc)

    found = named.NamedExtensionManager(
        _NAMESPACE,
        names=list(_OURS),
        on_load_failure_callback=failed,
        warn_on_missing_entrypoint=False,
    )
    return frozenset(
        one.name
        for one in found.extensions
        if one.entry_point.value == _OURS[one.name]
    )
