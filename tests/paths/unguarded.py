# SPDX-License-Identifier: Apache-2.0
"""A further nova-api without our guard: there the filter is alone.

Such as one that an operator started before its pipeline was changed.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import dataclasses
import random
import shutil

from tests.cloud import cache
from tests.cloud import cloud as clouds
from tests.cloud import ports
from tests.cloud import services
from tests.cloud import steps

NAME = 'nova-api-unguarded'
_GUARD = 'hepix_guard '


@contextlib.contextmanager
def api(cloud: clouds.Cloud) -> Iterator[str]:
    """Have such an API for a while; yields its URL."""
    block = ports.reserve(
        ('nova-api',), cache.root() / 'ports', random.SystemRandom()
    )
    site = dataclasses.replace(
        cloud.site, ports={**cloud.site.ports, **block.ports}
    )
    folder = cloud.layout.etc / NAME
    shutil.copytree(site.etc('nova'), folder, dirs_exist_ok=True)
    paste = folder / 'api-paste.ini'
    paste.write_text(paste.read_text().replace(_GUARD, ''))
    (service,) = (
        step
        for step in services.apis(site)
        if step.name == 'nova-api' and isinstance(step, steps.Service)
    )
    variables = {**service.environment, 'OS_NOVA_CONFIG_DIR': str(folder)}
    with contextlib.ExitStack() as stack:
        stack.callback(block.release)
        cloud.start(
            dataclasses.replace(
                service, name=NAME, needs=(), environment=variables
            )
        )
        stack.callback(cloud.end_further, NAME)
        yield f'{site.url("nova-api")}/v2.1'
