# SPDX-License-Identifier: Apache-2.0
"""Where our plugins stand in Glance's list, and what stands between them.

The order of ``[image_import_opts] image_import_plugins`` is the order of
execution. hepix_verify sees the bytes as their endorser made them,
hepix_record the bytes that Glance stores: nothing may come after it.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Sequence
from importlib import metadata

from hepix_vm import errors

VERIFY = 'hepix_verify'
RECORD = 'hepix_record'
NAMESPACE = 'glance.image_import.plugins'

#: Glance's own plugins that leave the bytes alone; the others convert.
UNCHANGING = frozenset({'no_op', 'inject_image_metadata'})

_OPTION = '[image_import_opts] image_import_plugins of Glance'


class PluginsMisplaced(errors.Misconfigured):
    """Glance's list of import plugins is wrong; quotes no secrets."""


def converting(
    plugins: Sequence[str], unchanging: Collection[str] = ()
) -> tuple[str, ...]:
    """Plugins between ours that may change the bytes.

    :param plugins: Glance's list
    :param unchanging: plugins that the site knows to leave the bytes alone
    :raises PluginsMisplaced: when ours are not in their places
    """
    found = ', '.join(plugins)
    for name in (VERIFY, RECORD):
        if list(plugins).count(name) != 1:
            raise PluginsMisplaced(
                f'{_OPTION} must list {name} exactly once, found [{found}]'
            )
    if plugins[-1] != RECORD:
        raise PluginsMisplaced(
            f'{_OPTION} must list {RECORD} last, found [{found}]'
        )
    between = plugins[plugins.index(VERIFY) + 1 : -1]
    known = UNCHANGING | frozenset(unchanging)
    return tuple(name for name in between if name not in known)


def require_loadable(name: str) -> None:
    """Glance would go on without a plugin that cannot be imported.

    :raises PluginsMisplaced: when this one cannot
    """
    found = [
        point
        for point in metadata.entry_points(group=NAMESPACE)
        if point.name == name
    ]
    try:
        if len(found) == 1 and callable(found[0].load()):
            return
        reason = f'{len(found)} packages offer it'
    except Exception as exc:  # noqa: BLE001 - any fault of the other plugin
        reason = f'{type(exc).__name__}: {exc}'
    raise PluginsMisplaced(
        f'import plugin {name} is listed but cannot be loaded ({reason})'
    )


def require_allowed(names: Sequence[str], allowed: bool) -> None:
    """A site that did not allow conversion does not get it by accident.

    :raises PluginsMisplaced: when bytes may change and must not
    """
    if names and not allowed:
        raise PluginsMisplaced(
            f'{", ".join(names)} between {VERIFY} and {RECORD} may change '
            'the image after the check, which this site does not allow '
            '(option [glance_import] allow_conversion of hepix_vm)'
        )
