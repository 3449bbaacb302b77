# SPDX-License-Identifier: Apache-2.0
"""Starting a cloud, and finding one that runs."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import functools
import pathlib
import random
import secrets
import shutil
import sys
import time

from keystoneauth1 import adapter
from keystoneauth1 import exceptions as keystone_exceptions
from keystoneauth1 import session as sessions

from tests.cloud import cache
from tests.cloud import cloud as clouds
from tests.cloud import environment
from tests.cloud import errors
from tests.cloud import files
from tests.cloud import identity
from tests.cloud import interrupts
from tests.cloud import layout as layouts
from tests.cloud import neutron
from tests.cloud import options as opts
from tests.cloud import package
from tests.cloud import ports
from tests.cloud import processes
from tests.cloud import releases
from tests.cloud import services
from tests.cloud import site as sites
from tests.cloud import state as states
from tests.cloud import steps
from tests.cloud import supervisor as supervisors
from tests.cloud import switch
from tests.cloud import template
from tests.cloud import volumes

Report = Callable[[str], None]


def reporter() -> Report:
    """Return a function that prints lines with the seconds since now."""
    began = time.monotonic()

    def report(line: str) -> None:
        print(
            f'{time.monotonic() - began:6.1f}s {line}',
            file=sys.stderr,
            flush=True,
        )

    return report


def _has_compute(session: sessions.Session) -> bool:
    """Say whether the compute host is mapped and has an inventory."""
    compute = adapter.Adapter(session, service_type='compute')
    nodes = compute.get('/os-hypervisors').json()['hypervisors']
    placement = adapter.Adapter(session, service_type='placement')
    found = placement.get('/resource_providers').json()['resource_providers']
    inventories = [
        placement.get(f'/resource_providers/{one["uuid"]}/inventories').json()[
            'inventories'
        ]
        for one in found
    ]
    is_up = any(node['state'] == 'up' for node in nodes)
    # Nova goes on without what placement could not take at that moment.
    return is_up and bool(inventories) and all(inventories)


def _compute_ready(session: sessions.Session) -> bool:
    try:
        return _has_compute(session)
    except keystone_exceptions.ClientException:
        return False


def _add_flavor(cloud: clouds.Cloud) -> None:
    cloud.nova().flavors.create(clouds.FLAVOR, ram=64, vcpus=1, disk=1)


def _steps(cloud: clouds.Cloud, report: Report) -> list[steps.Step]:
    site = cloud.site
    options = site.options
    found = services.foundation(site)
    if options.checkout is not None:
        found.append(package.step(site, options.checkout, report))
    if options.prepare is not None:
        prepare = functools.partial(options.prepare, cloud)
        found.append(steps.Call('prepare', prepare, ('mariadb', 'package')))
    found += services.apis(site)
    if 'keystone' in options.parts:
        fill = identity.Identity(site).fill
        found.append(steps.Call('identity', fill, ('keystone',)))
    if 'cinder' in options.parts:
        found += volumes.services(site)
    if neutron.PART in options.parts:
        found += switch.services(site)
    if 'nova' in options.parts:
        found += services.nova(site)
        found.append(
            steps.Check(
                'compute',
                functools.partial(_compute_ready, cloud.session()),
                ('nova-compute', 'nova-api', 'nova-scheduler', 'identity'),
                log_of='nova-scheduler',
            )
        )
        flavor = functools.partial(_add_flavor, cloud)
        found.append(steps.Call('flavor', flavor, ('compute',)))
    return found


def _clean(layout: layouts.Layout) -> None:
    """Empty a work directory of a cloud that has ended."""
    layout.refuse_foreign()
    if not layout.work.exists():
        return
    if (layout.work / states.NAME).exists():
        known = states.load(layout.work)
        if known.belonging():
            raise errors.CloudError(
                f'a cloud runs in {layout.work}: end it first with '
                f'python -m tests.cloud down --work-dir {layout.work}'
            )
    shutil.rmtree(layout.work)


def _prepare(
    options: opts.CloudOptions, work: pathlib.Path, report: Report
) -> tuple[sites.Site, supervisors.Supervisor, ports.Block]:
    services.require_programs(options.parts)
    release = releases.named(options.release)
    layout = layouts.Layout(work)
    _clean(layout)
    venv = environment.services(release, report)
    kept = template.ensure(release, venv, report)
    network_venv = pathlib.Path()
    if neutron.PART in options.parts:
        network = releases.network(release.name)
        network_venv = environment.services(network, report)
        dump = template.ensure_network(options, venv, network_venv, report)
    layout.make()
    block = ports.reserve(
        services.PORTS, cache.root() / 'ports', random.SystemRandom()
    )
    site = sites.Site(
        layout=layout,
        venv=venv,
        ports=block.ports,
        password=template.password(kept),
        metadata_secret=secrets.token_hex(16),
        options=options,
        network_venv=network_venv,
    )
    state = states.State(
        release=release.name,
        venv=str(venv),
        token=secrets.token_hex(16),
        password=site.password,
        metadata_secret=site.metadata_secret,
        boot=processes.boot(),
        ports=dict(block.ports),
    )
    states.save(work, state)
    template.copy(kept, layout)
    if neutron.PART in options.parts:
        shutil.copy(dump, layout.data / neutron.DUMP)
    files.make_folders(site)
    files.write_keys(site)
    files.write(site)
    return site, supervisors.Supervisor(layout, state), block


def start(
    options: opts.CloudOptions, work: pathlib.Path, report: Report
) -> clouds.Cloud:
    """Start a cloud in a work directory that is new or an ended cloud's.

    :raises errors.CloudError: when it cannot be; nothing is left running
    """
    site, supervisor, block = _prepare(options, work, report)
    cloud = clouds.Cloud(site, supervisor, block)
    try:
        supervisor.watch()
        steps.run(supervisor, _steps(cloud, report), report)
        supervisor.state.ready = True
        states.save(work, supervisor.state)
    except BaseException:
        cloud.end()
        raise
    return cloud


def work_directory(
    report: Report | None = None,
) -> contextlib.AbstractContextManager[pathlib.Path]:
    """Have a temporary work directory; after an error it is kept, and said."""
    return layouts.temporary('hepix-vm-cloud-', report or reporter())


@contextlib.contextmanager
def running(
    options: opts.CloudOptions,
    work: pathlib.Path,
    report: Report | None = None,
) -> Iterator[clouds.Cloud]:
    """Have a cloud for a while; it is ended on every way out.

    SIGTERM and SIGHUP become :exc:`KeyboardInterrupt` meanwhile, so that they
    are such ways. After SIGKILL the watch ends the cloud.

    :raises errors.CloudError: when it cannot be started
    """
    with interrupts.terminable():
        cloud = start(options, work, report or reporter())
        try:
            yield cloud
        finally:
            cloud.end()


def attach(work: pathlib.Path) -> clouds.Cloud:
    """Return the cloud that runs in a work directory.

    Its options other than the release are not known any more: its services
    can be restarted, but not be configured anew.

    :raises errors.CloudError: when there is none
    """
    state = states.load(work)
    site = sites.Site(
        layout=layouts.Layout(work),
        venv=pathlib.Path(state.venv),
        ports=state.ports,
        password=state.password,
        metadata_secret=state.metadata_secret,
        options=opts.CloudOptions(release=state.release),
    )
    return clouds.Cloud(site, supervisors.Supervisor(site.layout, state))
