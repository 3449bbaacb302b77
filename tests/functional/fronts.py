# SPDX-License-Identifier: Apache-2.0
"""The site's context in a process of its own, behind a rule of a proxy."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import dataclasses
import pathlib
import re

from tests.cloud import cloud as clouds
from tests.cloud import configuration
from tests.cloud import hepix
from tests.cloud import neutron
from tests.cloud import options as opts
from tests.cloud import ports
from tests.cloud import services
from tests.cloud import steps

SAMPLES = hepix.CHECKOUT / 'etc' / 'hepix_vm'
PROCESS = 'context'
NOVA = 'nova-vendordata'
#: Where the sample has the process listen.
PROCESS_AT = '127.0.0.1:8785'
PROXY = 'front'


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
    """Have the process and a proxy for a while."""
    with contextlib.ExitStack() as stack:
        for service in (
            process_as_shipped(cloud, {}),
            haproxy_as_shipped(cloud),
        ):
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


def shipped(
    cloud: clouds.Cloud, name: str, changes: Mapping[str, str]
) -> pathlib.Path:
    """A sample as it is shipped, with addresses and paths of this cloud.

    :param changes: by what stands there
    """
    text = (SAMPLES / name).read_text()
    for found, ours in changes.items():
        assert found in text, f'no {found} in {name}'
        text = text.replace(found, ours)
    path = cloud.site.etc('shipped') / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def at(cloud: clouds.Cloud, service: str) -> str:
    """The address of a service, as samples have it."""
    return f'{ports.ADDRESS}:{cloud.site.ports[service]}'


def process_as_shipped(
    cloud: clouds.Cloud, more: opts.Sections
) -> steps.Service:
    """The process as the sample has uWSGI run it; it answers nova, too.

    :param more: what its hepix_vm.conf has besides that of the cloud
    """
    site = cloud.site
    ini = shipped(cloud, 'context-uwsgi.ini', {PROCESS_AT: at(cloud, PROCESS)})
    config = ini.with_name('hepix_vm.conf')
    config.write_text(
        hepix.config_file(cloud.layout.work).read_text()
        + configuration.render(
            {'keystone_authtoken': site.token('nova'), **more}
        )
    )
    return steps.Service(
        PROCESS,
        (
            *(site.program('uwsgi'), '--ini', str(ini)),
            *('--virtualenv', str(site.venv)),
        ),
        ports.HttpAnswer(site.ports[PROCESS]),
        environment={'HEPIX_VM_CONFIG_FILE': str(config)},
        port=site.ports[PROCESS],
    )


def nova_with_vendordata(cloud: clouds.Cloud, target: str) -> steps.Service:
    """One more nova-metadata, which asks as the sample says.

    :param target: address of who is asked, such as that of the process
    """
    folder = nova_configuration(cloud, target).parent
    return dataclasses.replace(
        services.wsgi(
            cloud.site,
            NOVA,
            'nova.wsgi.metadata:application',
            {'OS_NOVA_CONFIG_DIR': str(folder)},
            (),
            4,
        ),
        needs=(),
    )


def nova_configuration(cloud: clouds.Cloud, target: str) -> pathlib.Path:
    """nova.conf of the cloud, and the vendordata of the sample."""
    site = cloud.site
    sample = (SAMPLES / 'nova.conf.sample').read_text()
    _, mark, found = sample.partition('[api]\n')
    # What is commented out is an option, a group, or a sentence.
    text = mark + re.sub(r'(?m)^#(?=\[|\w+ = )', '', found)
    for there, ours in {
        '198.51.100.10:8786': target,
        '/etc/hepix_vm/vendor_data.json': str(SAMPLES / 'vendor_data.json'),
        '<of Keystone>': site.url('keystone') + '/v3',
        '<password>': site.password,
    }.items():
        assert text.count(there) == 1, there
        text = text.replace(there, ours)
    folder = site.etc(NOVA)
    folder.mkdir(exist_ok=True)
    for name in ('nova.conf', 'api-paste.ini'):
        (folder / name).write_text((site.etc('nova') / name).read_text())
    with (folder / 'nova.conf').open('a') as file:
        # On a busy machine an answer may take longer than five seconds.
        slow = {
            'vendordata_dynamic_connect_timeout': 120,
            'vendordata_dynamic_read_timeout': 120,
        }
        file.write(f'\n{text}\n{configuration.render({"api": slow})}')
    return folder / 'nova.conf'


def haproxy_as_shipped(cloud: clouds.Cloud) -> steps.Service:
    """The proxy of the sample, in front of the process and of nova."""
    site = cloud.site
    path = shipped(
        cloud,
        'context-haproxy.cfg',
        {
            '192.0.2.10:8775': at(cloud, PROXY),
            '198.51.100.10:8786': at(cloud, 'vendordata'),
            PROCESS_AT: at(cloud, PROCESS),
            '127.0.0.1:8776': at(cloud, 'nova-metadata'),
        },
    )
    return steps.Service(
        PROXY,
        ('haproxy', '-db', '-f', str(path)),
        ports.HttpAnswer(site.ports[PROXY]),
        port=site.ports[PROXY],
    )


_APACHE = """
ServerRoot {folder}
ServerName localhost
PidFile {folder}/pid
ErrorLog /dev/stderr
Mutex file:{folder}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule headers_module {modules}/mod_headers.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
LoadModule reqtimeout_module {modules}/mod_reqtimeout.so
Listen {front}
<VirtualHost *>
Include {sample}
ProxyPass / http://{nova}/
</VirtualHost>
"""
#: Debian's.
_MODULES = '/usr/lib/apache2/modules'


def apache_as_shipped(cloud: clouds.Cloud) -> steps.Service:
    """The same with the sample of Apache in a virtual host of its own."""
    site = cloud.site
    sample = shipped(
        cloud, 'context-apache.conf', {PROCESS_AT: at(cloud, PROCESS)}
    )
    path = sample.with_name('apache2.conf')
    path.write_text(
        _APACHE.format(
            folder=sample.parent,
            modules=_MODULES,
            front=at(cloud, PROXY),
            sample=sample,
            nova=at(cloud, 'nova-metadata'),
        )
    )
    return steps.Service(
        PROXY,
        ('apache2', '-D', 'FOREGROUND', '-f', str(path)),
        ports.HttpAnswer(site.ports[PROXY]),
        port=site.ports[PROXY],
    )
