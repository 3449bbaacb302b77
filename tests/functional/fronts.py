# SPDX-License-Identifier: Apache-2.0
"""The site's context in a process of its own, behind a rule of a proxy."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import dataclasses
import re

from tests.cloud import cloud as clouds
from tests.cloud import hepix
from tests.cloud import neutron
from tests.cloud import ports
from tests.cloud import services
from tests.cloud import steps

PROCESS = 'context'
PROXY = 'front'
_HAPROXY = """
global
    maxconn 4096

defaults
    mode http
    timeout connect 60s
    timeout client 60s
    timeout server 60s
    timeout http-request 60s

frontend metadata
    bind {address}:{front}
    acl site path -m reg ^/(context|machinefeatures|jobfeatures)(/|$)
    use_backend context if site
    default_backend nova

backend context
    server one {address}:{context}

backend nova
    server one {address}:{nova}
"""


def process(
    cloud: clouds.Cloud, arguments: tuple[str, ...] = ()
) -> steps.Service:
    """The process alone; guests cannot tell it from what is in front.

    :param arguments: more of uWSGI's
    """
    site = cloud.site
    made = services.wsgi(
        site,
        PROCESS,
        'hepix_vm.context.standalone:make()',
        {'HEPIX_VM_CONFIG_FILE': str(hepix.config_file(cloud.layout.work))},
        (),
        8,
        arguments,
    )
    return dataclasses.replace(made, needs=())


def _proxy(cloud: clouds.Cloud) -> steps.Service:
    site = cloud.site
    path = site.etc('haproxy') / 'haproxy.cfg'
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        _HAPROXY.format(
            address=ports.ADDRESS,
            front=site.ports['front'],
            context=site.ports['context'],
            nova=site.ports['nova-metadata'],
        )
    )
    return steps.Service(
        PROXY,
        ('haproxy', '-db', '-f', str(path)),
        ports.HttpAnswer(site.ports['front']),
        port=site.ports['front'],
    )


@contextlib.contextmanager
def process_running(cloud: clouds.Cloud) -> Iterator[None]:
    """Have the process alone for a while."""
    cloud.start(process(cloud))
    try:
        yield
    finally:
        cloud.end_further(PROCESS)


@contextlib.contextmanager
def running(cloud: clouds.Cloud) -> Iterator[None]:
    """Have both for a while."""
    with contextlib.ExitStack() as stack:
        for service in (process(cloud), _proxy(cloud)):
            cloud.start(service)
            stack.callback(cloud.end_further, service.name)
        yield


def point_agent(cloud: clouds.Cloud, service: str) -> None:
    """Have the metadata agent ask at the port of another service."""
    path = cloud.site.etc('neutron') / 'neutron.conf'
    line = f'nova_metadata_port = {cloud.site.ports[service]}'
    path.write_text(
        re.sub('(?m)^nova_metadata_port = .*$', line, path.read_text())
    )
    cloud.restart(neutron.METADATA_AGENT)
