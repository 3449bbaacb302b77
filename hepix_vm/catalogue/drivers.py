# SPDX-License-Identifier: Apache-2.0
"""Drivers that this and other installed packages bring, by name."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from stevedore import driver
from stevedore import exception

from hepix_vm import errors


def names(namespace: str) -> list[str]:
    """The names that have a driver, loaded or not."""
    return sorted(
        {entry.name for entry in metadata.entry_points(group=namespace)}
    )


def load(namespace: str, name: str) -> Any:
    """The driver of that name.

    :raises errors.Misconfigured: there is none, there are several, or it
        cannot be loaded
    """
    known = names(namespace)
    if name not in known:
        raise errors.Misconfigured(
            f'{namespace}: expected one of {", ".join(known)}, found '
            f'{name!r}; edit the URL, or install the package that brings it'
        )
    try:
        return driver.DriverManager(
            namespace, name, on_load_failure_callback=_failed
        ).driver
    except exception.MultipleMatches as exc:
        raise errors.Misconfigured(
            f'{namespace}: several installed packages bring {name!r}; keep '
            'one of them'
        ) from exc


def _failed(manager: Any, entry_point: Any, exc: BaseException) -> None:
    del manager
    raise errors.Misconfigured(
        f'{entry_point.group}: {entry_point.name!r} cannot be loaded: '
        f'{type(exc).__name__}: {exc}; install what it needs, see the '
        'documentation of sources'
    ) from exc
