# SPDX-License-Identifier: Apache-2.0
"""On which hosts a site wants approved images only, by their aggregates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from oslo_utils import strutils

#: Metadata of an aggregate.
KEY = 'hepix_enforce'


def outside(hosts: Iterable[Any]) -> list[Any]:
    """The hosts that are in no aggregate with ``hepix_enforce=true``.

    Not among them is a host of which Nova does not say its aggregates, and
    one whose metadata is neither true nor false.

    :param hosts: ``nova.scheduler.host_manager.HostState``
    """
    return [host for host in hosts if not _enforces(host)]


def _enforces(host: Any) -> bool:
    aggregates = getattr(host, 'aggregates', None)
    if aggregates is None:
        return True
    values = (aggregate.metadata.get(KEY) for aggregate in aggregates)
    return any(
        strutils.bool_from_string(value, default=True)
        for value in values
        if value is not None
    )
