# SPDX-License-Identifier: Apache-2.0
"""Properties of a Glance image that change what a server of it boots.

The owner of an image may edit them at any time, and Nova follows them: to
another kernel, another command line of it, other disks. So they are part of
what is recorded at import. Runs inside Glance and Nova; the standard library
only.

Nova knows four of them under two names each, one with ``img_`` before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
import functools
import json
from typing import Any

#: The names as Glance has them; ``min_disk`` is a column of Glance's own.
NAMES = (
    'bdm_v2',
    'block_device_mapping',
    'kernel_id',
    'mappings',
    'min_disk',
    'os_command_line',
    'ramdisk_id',
    'root_device_name',
)
#: Those that Nova reads under a second name, too.
TWICE = frozenset(
    {'bdm_v2', 'block_device_mapping', 'mappings', 'root_device_name'}
)
_ALL = frozenset(NAMES) | {f'img_{name}' for name in TWICE}
#: Those whose value is a list, which Glance keeps as a JSON text.
_LISTS = frozenset({'bdm_v2', 'block_device_mapping', 'mappings'})
#: What Nova takes for no kernel, and then for no RAM disk either.
_NO_KERNEL = 'nokernel'

Seen = tuple[tuple[str, str], ...]
"""Names and values that somebody sees of an image; '' is: it has none."""


def seen(values: Mapping[str, Any]) -> Seen:
    """Those values that matter, in one form whoever shows them.

    :param values: by Glance's names or Nova's; a name that is absent was not
        looked for
    """
    if values.get('kernel_id') == _NO_KERNEL:
        without = {n: None for n in ('kernel_id', 'ramdisk_id') if n in values}
        values = {**values, **without}
    found = []
    for name in NAMES:
        names = (name, f'img_{name}') if name in TWICE else (name,)
        texts = {_text(name, values[n]) for n in names if n in values}
        if texts:
            # Two names with two values: neither is what was recorded.
            texts -= {''} if len(texts) > 1 else set()
            found.append((name, '\n'.join(sorted(texts))))
    return tuple(found)


def of_glance(min_disk: int | None, properties: Mapping[str, Any]) -> Seen:
    """All of an image, of which Glance shows everything.

    :param min_disk: GiB
    :param properties: its custom properties
    """
    # Glance's own mapping yields nothing when one iterates over itself.
    if _ALL.isdisjoint(properties.keys()):
        # As nearly every image, at each of its downloads.
        return _with_none(_text('min_disk', min_disk))
    absent: dict[str, Any] = dict.fromkeys(NAMES)
    return seen({**absent, **properties, 'min_disk': min_disk})


@functools.lru_cache(maxsize=64)
def _with_none(min_disk: str) -> Seen:
    return tuple(
        (name, min_disk if name == 'min_disk' else '') for name in NAMES
    )


def stored(of_image: Iterable[tuple[str, str]]) -> str:
    """The form of a record: '' for an image that has none of them."""
    present = {name: value for name, value in of_image if value}
    return json.dumps(present, sort_keys=True) if present else ''


def with_min_disk(recorded: str, min_disk: int) -> str:
    """The same record of an image whose ``min_disk`` the site itself sets.

    :param recorded: from :func:`stored`
    :param min_disk: GiB
    :raises ValueError: for a record that is no JSON
    """
    known: dict[str, str] = json.loads(recorded) if recorded else {}
    known['min_disk'] = _text('min_disk', min_disk)
    return stored(known.items())


def differs(of_image: Seen, recorded: str) -> str:
    """The first name whose value is another one now; '': none.

    :param recorded: from :func:`stored`
    :raises ValueError: for a record that is no JSON
    """
    known: dict[str, str] = json.loads(recorded) if recorded else {}
    for name, value in of_image:
        if value != known.get(name, ''):
            return name
    return ''


def _text(name: str, value: Any) -> str:
    if value is None or value == '' or (name == 'min_disk' and not value):
        return ''
    if name not in _LISTS:
        return str(value)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return str(value)
    return json.dumps(_plain(value), sort_keys=True) if value else ''


def _plain(value: Any) -> Any:
    """With every leaf a text, as Nova's objects have them."""
    if isinstance(value, Mapping):
        return {
            str(key): _plain(item)
            for key, item in value.items()
            if item is not None
        }
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)
