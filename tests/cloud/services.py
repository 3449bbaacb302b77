# SPDX-License-Identifier: Apache-2.0
"""How each service of a cloud is started and when it is ready."""

import dataclasses
import os
import pathlib
import pwd
import shutil
import sys

from tests.cloud import databases
from tests.cloud import errors
from tests.cloud import hypervisor
from tests.cloud import neutron
from tests.cloud import ports
from tests.cloud import site as sites
from tests.cloud import steps
from tests.cloud import supervisor
from tests.cloud import switch
from tests.cloud import volumes

PORTS = (
    'keystone',
    'glance',
    'placement',
    'nova-api',
    'nova-metadata',
    'cinder-api',
    'network',
    'front',
    'context',
    'vendordata',
    'nova-vendordata',
    'rabbitmq',
    'rabbitmq-dist',
    'epmd',
)
# MariaDB does not run as root unless it is told that this is meant.
MARIADB_USER = f'--user={pwd.getpwuid(os.getuid()).pw_name}'
PROGRAMS = ('epmd', 'git', 'mariadb-install-db', 'mariadbd')
OPTIONAL_PROGRAMS = {
    'cinder': ('mount', 'qemu-img', 'unshare'),
    'libvirt': hypervisor.PROGRAMS,
    'neutron': neutron.PROGRAMS,
}
CONDUCTOR = 'conductor has begun'
RABBITMQ = '/usr/lib/rabbitmq/lib'


def require_programs(parts: frozenset[str] = frozenset()) -> None:
    """See that the programs of the system's packages are there.

    :param parts: the optional parts that shall be started, too
    :raises errors.CloudError: with all that are missing
    """
    needed = list(PROGRAMS)
    for part in sorted(parts & OPTIONAL_PROGRAMS.keys()):
        needed += OPTIONAL_PROGRAMS[part]
    missing = [
        name for name in needed if not shutil.which(name, path=supervisor.PATH)
    ]
    if not list(pathlib.Path(RABBITMQ).glob('*/sbin/rabbitmq-server')):
        missing.append('rabbitmq-server')
    if missing:
        network = ' network' if neutron.PART in parts else ''
        raise errors.CloudError(
            f'not installed: {", ".join(missing)}; '
            f'run tools/install-system-packages{network}'
        )


def mariadb(site: sites.Site, needs: tuple[str, ...] = ()) -> steps.Service:
    """Return MariaDB on a socket: nothing is flushed, nothing must last."""
    return steps.Service(
        'mariadb',
        (
            'mariadbd',
            '--no-defaults',
            MARIADB_USER,
            f'--datadir={site.layout.data / "mariadb"}',
            f'--socket={site.layout.socket}',
            f'--pid-file={site.layout.socket.with_suffix(".pid")}',
            '--skip-networking',
            '--skip-log-bin',
            '--skip-name-resolve',
            '--innodb-flush-log-at-trx-commit=0',
            '--innodb-flush-method=nosync',
            '--innodb-doublewrite=0',
            '--innodb-log-file-size=32M',
            '--innodb-buffer-pool-size=128M',
            '--max-connections=400',
            '--character-set-server=utf8mb4',
        ),
        lambda: databases.accepts(site),
        needs,
    )


def foundation(site: sites.Site) -> list[steps.Step]:
    """Return what other services need: messages and databases."""
    found: list[steps.Step] = []
    if 'rabbitmq' in site.options.parts:
        found += messaging(site)
    if 'mariadb' in site.options.parts:
        found.append(mariadb(site))
    return found


def messaging(site: sites.Site) -> list[steps.Step]:
    """Return RabbitMQ and an Erlang port mapper of its own."""
    found = pathlib.Path(RABBITMQ).glob('*/sbin/rabbitmq-server')
    program = max(found, default=pathlib.Path('rabbitmq-server'))
    home = site.layout.data / 'rabbitmq'
    environment = {
        'HOME': str(home),
        'ERL_EPMD_ADDRESS': ports.ADDRESS,
        'ERL_EPMD_PORT': str(site.ports['epmd']),
        'RABBITMQ_DIST_PORT': str(site.ports['rabbitmq-dist']),
        'RABBITMQ_NODENAME': f'cloud-{site.ports["rabbitmq"]}@localhost',
        'RABBITMQ_MNESIA_BASE': str(home),
        'RABBITMQ_LOG_BASE': str(home),
        'RABBITMQ_LOGS': '-',
        'RABBITMQ_CONFIG_FILE': str(site.etc('rabbitmq') / 'rabbitmq.conf'),
        'RABBITMQ_ENABLED_PLUGINS_FILE': str(home / 'enabled_plugins'),
        'RABBITMQ_PID_FILE': str(home / 'pid'),
        'RABBITMQ_CONF_ENV_FILE': '/dev/null',
        'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS': (
            '+S 2:2 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}'
        ),
    }
    epmd = (
        'epmd',
        '-address',
        ports.ADDRESS,
        '-port',
        environment['ERL_EPMD_PORT'],
    )
    return [
        steps.Service(
            'epmd',
            epmd,
            lambda: ports.answers(site.ports['epmd']),
            environment={'HOME': str(home)},
            port=site.ports['epmd'],
        ),
        steps.Service(
            'rabbitmq',
            (str(program),),
            lambda: ports.answers(site.ports['rabbitmq']),
            ('epmd',),
            environment,
            site.ports['rabbitmq'],
        ),
    ]


def wsgi(
    site: sites.Site,
    name: str,
    application: str,
    environment: dict[str, str],
    needs: tuple[str, ...],
    threads: int,
    arguments: tuple[str, ...] = (),
) -> steps.Service:
    """Return an application as a uWSGI process.

    :param name: of the process and of its port
    :param application: ``module:callable``
    """
    port = site.ports[name]
    venv = site.network_venv if name == neutron.API else site.venv
    argv = (
        str(venv / 'bin' / 'uwsgi'),
        '--http-socket',
        f'{ports.ADDRESS}:{port}',
        '--module',
        application,
        '--virtualenv',
        str(venv),
        '--master',
        '--die-on-term',
        '--need-app',
        '--lazy-apps',
        '--processes',
        '1',
        '--threads',
        str(threads),
        '--enable-threads',
        '--buffer-size',
        '65535',
        '--disable-logging',
        '--procname-prefix',
        f'{name} ',
        '--worker-reload-mercy',
        '2',
        # Else a request fails whose client stops for four seconds between its
        # headers and its body.
        '--socket-timeout',
        '300',
        # Else clients that keep a connection see it reset.
        '--add-header',
        'Connection: close',
        # Else chunked uploads in pieces of 1 MiB are answered with 500.
        '--chunked-input-limit',
        '67108864',
        '--chunked-input-timeout',
        '60',
        *arguments,
    )
    return steps.Service(
        name,
        argv,
        ports.HttpAnswer(port),
        needs,
        {**environment, **site.options.environment},
        port,
    )


def _nova(
    site: sites.Site, name: str, needs: tuple[str, ...]
) -> steps.Service:
    configuration = str(site.etc('nova') / 'nova.conf')
    return steps.Service(
        name,
        (site.program(name), '--config-file', configuration),
        databases.Reported(site, name),
        ('rabbitmq', 'mariadb', 'package', 'prepare', *needs),
        dict(site.options.environment),
    )


# Glance of that release reads the property protections for each request into
# what all threads share. Nova makes threads green, and green threads cannot
# wait for those of another thread.
_ONE_THREAD = {'2025.1': frozenset({'glance', 'nova'})}


def apis(site: sites.Site) -> list[steps.Step]:
    """Return the services that answer HTTP, as uWSGI processes."""
    base = ('mariadb', 'package', 'prepare')

    def of_part(
        name: str, part: str, module: str, threads: int, *needs: str
    ) -> steps.Service:
        variable = f'OS_{part.upper()}_CONFIG_DIR'
        if part in _ONE_THREAD.get(site.options.release, ()):
            threads = 1
        return wsgi(
            site,
            name,
            f'{module}:application',
            {variable: str(site.etc(part))},
            base + needs,
            threads,
        )

    found: list[steps.Step] = []
    if 'keystone' in site.options.parts:
        found.append(of_part('keystone', 'keystone', 'keystone.wsgi.api', 4))
    if 'glance' in site.options.parts:
        found.append(of_part('glance', 'glance', 'glance.wsgi.api', 8))
    if 'placement' in site.options.parts:
        found.append(
            of_part('placement', 'placement', 'placement.wsgi.api', 4)
        )
    if 'nova' in site.options.parts:
        found.append(
            of_part(
                'nova-api', 'nova', 'nova.wsgi.osapi_compute', 8, CONDUCTOR
            )
        )
        found.append(
            of_part(
                'nova-metadata', 'nova', 'nova.wsgi.metadata', 4, CONDUCTOR
            )
        )
    if 'cinder' in site.options.parts:
        file = site.etc('cinder') / 'cinder.conf'
        found.append(
            wsgi(
                site,
                'cinder-api',
                'cinder.wsgi.api:application',
                {},
                base,
                4,
                ('--pyargv', f'--config-file {file}'),
            )
        )
    return found


def _compute(site: sites.Site) -> steps.Service:
    """Return nova-compute, with a libvirt of its own if there is to be one."""
    plain = _nova(site, 'nova-compute', ('network', 'placement', CONDUCTOR))
    if 'libvirt' not in site.options.parts:
        return plain
    launcher = (
        sys.executable,
        str(supervisor.ROOT / 'tests/cloud/hypervisor.py'),
        str(site.layout.work),
    )
    _bind_libvirt(site)
    argv = volumes.separate(site, (*launcher, *plain.argv))
    if neutron.PART not in site.options.parts:
        return dataclasses.replace(plain, argv=argv)
    # The interfaces of machines are ports of the switch.
    return dataclasses.replace(
        plain,
        argv=switch.inside(site, *argv),
        needs=(*plain.needs, 'ovs-bridge'),
    )


def _bind_libvirt(site: sites.Site) -> None:
    """Let the services' environment find the system's binding.

    :raises errors.CloudError: when it is for another version of Python
    """
    version = f'cpython-{sys.version_info.major}{sys.version_info.minor}'
    native = list(hypervisor.BINDING.glob(f'libvirtmod*.{version}-*.so'))
    if not native:
        raise errors.CloudError(
            f'no libvirt binding for {version} in {hypervisor.BINDING}; '
            "run tools/install-system-packages with the system's Python"
        )
    for path in (*native, *hypervisor.BINDING.glob('libvirt*.py')):
        link = site.layout.site / path.name
        if not link.is_symlink():
            link.symlink_to(path)


def _network(site: sites.Site) -> list[steps.Step]:
    """Return Neutron, or the stand-in for it."""
    if 'neutron' in site.options.parts:
        return neutron.services(
            site,
            wsgi(
                site,
                neutron.API,
                'neutron.wsgi.api:application',
                {
                    'OS_NEUTRON_CONFIG_DIR': str(site.etc('neutron')),
                    'OS_NEUTRON_CONFIG_FILES': 'neutron.conf',
                },
                (),
                4,
            ),
        )
    return [
        steps.Service(
            'network',
            (
                sys.executable,
                str(supervisor.ROOT / 'tests/cloud/network.py'),
                ports.ADDRESS,
                str(site.ports['network']),
            ),
            lambda: ports.answers(site.ports['network']),
            port=site.ports['network'],
        )
    ]


def nova(site: sites.Site) -> list[steps.Step]:
    """Return nova's plain processes and the network service."""
    return [
        *_network(site),
        # These log in to placement at their start, and a refusal ends them.
        _nova(site, 'nova-conductor', ('identity',)),
        _nova(site, 'nova-scheduler', ('identity',)),
        # nova-compute asks the conductor at its start and, without an answer,
        # again after ten seconds. So it begins when that has registered, and
        # what must not slow the conductor down begins then too.
        steps.Check(
            CONDUCTOR,
            lambda: databases.has_begun(site, 'nova-conductor'),
            ('identity', 'rabbitmq'),
            log_of='nova-conductor',
        ),
        _compute(site),
    ]
