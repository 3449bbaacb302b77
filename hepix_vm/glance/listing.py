# SPDX-License-Identifier: Apache-2.0
"""Where our plugins stand in Glance's list, and what stands between them.

The order of ``[image_import_opts] image_import_plugins`` is the order of
execution. hepix_verify sees the bytes as their endorser made them,
hepix_record the bytes that Glance stores: nothing may come after it.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Sequence

from hepix_vm import errors

VERIFY = 'hepix_verify'
RECORD = 'hepix_record'

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


def require_loaded(loaded: Collection[str]) -> None:
    """Both of ours have to run, or the import is worth nothing.

    :param loaded: those of ours that Glance loaded for this import
    :raises PluginsMisplaced: when one is missing
    """
    for name in (VERIFY, RECORD):
        if name not in loaded:
            raise PluginsMisplaced(
                f'Glance lists import plugin {name} but did not load it; its '
                'log has the cause; installing hepix_vm again and restarting '
                'Glance helps when the list of packages was remembered'
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
