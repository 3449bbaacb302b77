# SPDX-License-Identifier: Apache-2.0
"""Names of projects, for people; everything else knows them by their id."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from keystoneauth1 import adapter
from keystoneauth1 import exceptions as ks_exc
from oslo_log import log

LOG = log.getLogger(__name__)


def names(
    session: Any, region: str | None, interface: str, ids: Iterable[str]
) -> dict[str, str]:
    """What Keystone calls these projects.

    An account that may not ask, or a Keystone that is away, costs the names
    only.

    :returns: name by id; those that are not known are left out
    """
    wanted = set(ids) - {''}
    if not wanted:
        return {}
    keystone = adapter.Adapter(
        session,
        service_type='identity',
        region_name=region,
        interface=interface,
        # Whether its endpoint has the version in its path or not.
        min_version='3',
        max_version='3.latest',
        connect_retries=2,
    )
    try:
        answer = keystone.get('/projects').json()
        return {
            str(project['id']): str(project['name'])
            for project in answer['projects']
            if project['id'] in wanted
        }
    except (
        ks_exc.ClientException,
        OSError,
        ValueError,
        KeyError,
        TypeError,
    ) as exc:
        LOG.info('names of projects are not known: %s', exc)
        return {}
