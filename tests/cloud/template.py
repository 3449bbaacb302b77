# SPDX-License-Identifier: Apache-2.0
"""Migrated databases of a release, kept in the cache for the next start.

The template is made before any service has run: it has the schemas, nova's
cells by URL templates and keystone's administrator, but no ports, paths or
hosts.
"""

from collections.abc import Callable
import hashlib
import pathlib
import secrets
import shutil

from tests.cloud import cache
from tests.cloud import databases
from tests.cloud import environment
from tests.cloud import files
from tests.cloud import layout as layouts
from tests.cloud import neutron
from tests.cloud import options as opts

from tests.cloud import processes
from tests.cloud import releases
from tests.cloud import services

from tests.cloud import site as sites
from tests.cloud import state as states
from tests.cloud import steps
from tests.cloud import supervisor as supervisors
from tests.cloud import volumes

DATA = 'mariadb'
PASSWORD = 'password'
# Nova puts the parts of its own options there (cell mappings as templates).
_MESSAGES = '{scheme}://{username}:{password}@{hostname}:{port}/'
_CELL = '{scheme}://{username}@{hostname}/%s?{query}'


def _key(release: releases.Release) -> str:
    content = hashlib.sha256(environment.key(release).encode())
    content.update(pathlib.Path(__file__).read_bytes())
    version = environment.call(
        ['mariadbd', '--version'], {'PATH': supervisors.PATH}
    )
    content.update(version.encode())
    return content.hexdigest()[:12]


def _keystone(site: sites.Site) -> list[steps.Step]:
    manage = (
        site.program('keystone-manage'),
        '--config-file',
        str(site.etc('keystone') / 'keystone.conf'),
    )
    return [
        steps.Command('keystone-sync', (*manage, 'db_sync'), ('databases',)),
        steps.Command(
            'keystone-bootstrap',
            (*manage, 'bootstrap', '--bootstrap-region-id', sites.REGION),
            ('keystone-sync',),
            {'OS_BOOTSTRAP_PASSWORD': site.password},
        ),
    ]


def _images_and_inventory(site: sites.Site) -> list[steps.Step]:
    return [
        steps.Command(
            'placement-sync',
            (
                site.program('placement-manage'),
                '--config-file',
                str(site.etc('placement') / 'placement.conf'),
                'db',
                'sync',
            ),
            ('keystone-bootstrap',),
        ),
        steps.Command(
            'glance-sync',
            (
                site.program('glance-manage'),
                '--config-file',
                str(site.etc('glance') / 'glance-api.conf'),
                'db_sync',
            ),
            ('placement-sync',),
        ),
    ]


def _nova(site: sites.Site) -> list[steps.Step]:
    manage = (
        site.program('nova-manage'),
        '--config-file',
        str(site.etc('nova') / 'nova.conf'),
    )
    cell0 = ('--database_connection', _CELL % 'nova_cell0')
    cell1 = (
        '--name',
        'cell1',
        '--database_connection',
        _CELL % 'nova',
        '--transport-url',
        _MESSAGES,
    )
    commands = (
        ('nova-api-sync', ('api_db', 'sync')),
        ('nova-cell0', ('cell_v2', 'map_cell0', *cell0)),
        ('nova-cell1', ('cell_v2', 'create_cell', *cell1)),
        ('nova-sync', ('db', 'sync')),
    )
    found: list[steps.Step] = []
    before = 'databases'
    for name, arguments in commands:
        found.append(steps.Command(name, (*manage, *arguments), (before,)))
        before = name
    return found


def _database(site: sites.Site, names: tuple[str, ...]) -> list[steps.Step]:
    install = (
        'mariadb-install-db',
        '--no-defaults',
        services.MARIADB_USER,
        f'--datadir={site.layout.data / DATA}',
        # Else it gives a folder of the machine's own MariaDB (that of its
        # PAM plug-in) to this user.
        '--rpm',
        '--auth-root-authentication-method=normal',
        '--skip-test-db',
    )
    return [
        steps.Command('mariadb-install', install),
        services.mariadb(site, ('mariadb-install',)),
        steps.Call(
            'databases',
            lambda: databases.create(site, names),
            ('mariadb',),
        ),
    ]


def _steps(site: sites.Site) -> list[steps.Step]:
    return [
        *_database(site, sites.DATABASES),
        *_nova(site),
        *_keystone(site),
        *_images_and_inventory(site),
        volumes.migration(site),
    ]


def _build(
    release: releases.Release,
    venv: pathlib.Path,
    folder: pathlib.Path,
    report: Callable[[str], None],
) -> None:
    report(f'migrating the databases of {release.name}')
    with layouts.temporary('hepix-vm-template-', report) as work:
        site = _site(opts.CloudOptions(release=release.name), venv, work)
        _migrate(site, _steps(site), report)
        folder.mkdir(mode=0o700)
        shutil.move(site.layout.data / DATA, folder / DATA)
        (folder / PASSWORD).write_text(site.password)


def _site(
    options: opts.CloudOptions,
    venv: pathlib.Path,
    work: pathlib.Path,
    network_venv: pathlib.Path = pathlib.Path(),
) -> sites.Site:
    return sites.Site(
        layout=layouts.Layout(work),
        venv=venv,
        # Nothing listens at this port: the commands only want an address.
        ports=dict.fromkeys(services.PORTS, 9),
        password=secrets.token_hex(12),
        metadata_secret=secrets.token_hex(12),
        options=options,
        network_venv=network_venv,
    )


def _migrate(
    site: sites.Site,
    migrations: list[steps.Step],
    report: Callable[[str], None],
) -> None:
    site.layout.make()
    files.make_folders(site)
    files.write_keys(site)
    files.write(site)
    state = states.State(
        release=site.options.release,
        venv=str(site.venv),
        token=secrets.token_hex(16),
        password=site.password,
        metadata_secret=site.metadata_secret,
        boot=processes.boot(),
    )
    supervisor = supervisors.Supervisor(site.layout, state)
    try:
        supervisor.watch()
        steps.run(supervisor, migrations, report)
        # Cleanly, so that the copies need no recovery.
        supervisor.end('mariadb', grace=120)
    finally:
        supervisor.end_all()


def ensure(
    release: releases.Release,
    venv: pathlib.Path,
    report: Callable[[str], None],
) -> pathlib.Path:
    """Return the folder of the template, made when it is not there.

    :raises errors.CloudError: when a migration fails
    """
    folder = cache.root() / 'template' / f'{release.name}-{_key(release)}'
    return cache.built(
        folder, lambda path: _build(release, venv, path, report), report
    )


def ensure_network(
    options: opts.CloudOptions,
    venv: pathlib.Path,
    network_venv: pathlib.Path,
    report: Callable[[str], None],
) -> pathlib.Path:
    """Return the file with Neutron's tables, made when it is not there.

    :param venv: the environment of the other services
    :raises errors.CloudError: when a migration fails
    """

    def build(folder: pathlib.Path) -> None:
        report(f"migrating Neutron's database of {options.release}")
        with layouts.temporary('hepix-vm-template-', report) as work:
            site = _site(options, venv, work, network_venv)
            dump = work / neutron.DUMP
            migrations = [
                *_database(site, ('neutron',)),
                *neutron.migration(site, dump),
            ]
            _migrate(site, migrations, report)
            folder.mkdir(mode=0o700)
            shutil.move(dump, folder / neutron.DUMP)

    release = releases.network(options.release)
    folder = cache.root() / 'template' / f'{release.name}-{_key(release)}'
    return cache.built(folder, build, report) / neutron.DUMP


def password(folder: pathlib.Path) -> str:
    """Return the password of all users of clouds made from a template."""
    return (folder / PASSWORD).read_text()


def copy(folder: pathlib.Path, layout: layouts.Layout) -> None:
    """Give a new cloud its own copy of the databases."""
    shutil.copytree(folder / DATA, layout.data / DATA)
