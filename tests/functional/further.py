# SPDX-License-Identifier: Apache-2.0
"""A further Glance beside that of a cloud: another site, another clock.

It has a database, stores and a hepix_vm.conf of its own, and shares the
rest. Nobody finds it in keystone's catalogue but those who log in through
:mod:`tests.misbehaving`.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import dataclasses
import pathlib
import random

from tests.cloud import cache
from tests.cloud import cloud as clouds
from tests.cloud import databases
from tests.cloud import files
from tests.cloud import hepix
from tests.cloud import layout as layouts
from tests.cloud import options as opts
from tests.cloud import ports
from tests.cloud import services
from tests.cloud import site as sites
from tests.cloud import steps

_CLOCK = pathlib.Path(__file__).parent / 'clock'


@dataclasses.dataclass(frozen=True, slots=True)
class _Beside(layouts.Layout):
    """Folders within a cloud's, with its database server and package."""

    main: layouts.Layout

    @property
    def socket(self) -> pathlib.Path:
        """The cloud's own."""
        return self.main.socket

    @property
    def site(self) -> pathlib.Path:
        """The cloud's own."""
        return self.main.site


@dataclasses.dataclass(frozen=True, slots=True)
class Glance:
    """A further Glance.

    :ivar url: its root
    :ivar database: SQLAlchemy URL of its own database
    :ivar config_file: hepix_vm.conf, read at each import
    :ivar log: what it logs
    :ivar store: folder of the images' data
    """

    name: str
    url: str
    database: str
    config_file: pathlib.Path
    log: pathlib.Path
    store: pathlib.Path


class Clock:
    """The clock of Python processes that live on another day.

    :param file: where they look at each question for the time
    """

    def __init__(self, file: pathlib.Path) -> None:
        self._file = file
        self.set(0)

    def set(self, offset: int) -> None:
        """Say the true time and so many seconds."""
        fresh = self._file.with_suffix('.new')
        fresh.write_text(f'{offset:d}\n')
        fresh.replace(self._file)

    def environment(self, path: pathlib.Path) -> Mapping[str, str]:
        """What such a process is started with.

        :param path: the ``PYTHONPATH`` that it would have
        """
        return {
            'FALSE_CLOCK': str(self._file),
            'PYTHONPATH': f'{_CLOCK}:{path}',
        }


@contextlib.contextmanager
def glance(
    cloud: clouds.Cloud,
    name: str,
    environment: Mapping[str, str] | None = None,
    options: Mapping[str, opts.Value] | None = None,
) -> Iterator[Glance]:
    """Have a further Glance for a while.

    :param name: a word, its own among those of the cloud
    :param options: of its ``[DEFAULT]``
    """
    block = ports.reserve(
        ('glance',), cache.root() / 'ports', random.SystemRandom()
    )
    site = _site(cloud, name, block.ports['glance'], options or {})
    site.layout.make()
    files.make_folders(site)
    files.write(site)
    database = f'glance_{name}'
    _copy_tables(cloud.site, database)
    service = dataclasses.replace(
        _service(site), name=f'glance-{name}', needs=()
    )
    service = dataclasses.replace(
        service,
        environment={**service.environment, **(environment or {})},
    )
    with contextlib.ExitStack() as stack:
        stack.callback(block.release)
        cloud.start(service)
        stack.callback(cloud.end_further, service.name)
        yield Glance(
            name=name,
            url=site.url('glance'),
            database=site.database(database),
            config_file=hepix.config_file(site.layout.work),
            log=cloud.log(service.name),
            store=site.layout.data / 'glance' / 'local',
        )


def _site(
    cloud: clouds.Cloud,
    name: str,
    port: int,
    options_: Mapping[str, opts.Value],
) -> sites.Site:
    main = cloud.site
    work = main.layout.work / 'further' / name
    work.parent.mkdir(exist_ok=True)
    config_file = hepix.config_file(work)
    config_file.parent.mkdir(parents=True, exist_ok=True)
    options = hepix.hepix_cloud_options(work)
    own = dict(options.extra)
    own['glance-api'] = {
        **own['glance-api'],
        'DEFAULT': {**own['glance-api']['DEFAULT'], **options_},
        'database': {'connection': main.database(f'glance_{name}')},
    }
    return dataclasses.replace(
        main,
        layout=_Beside(work, main.layout),
        ports={**main.ports, 'glance': port},
        options=dataclasses.replace(
            options,
            release=main.options.release,
            extra=own,
            glance_policy=main.options.glance_policy,
            # It would not start without the file, which comes later.
            glance_guard=None,
        ),
    )


def _service(site: sites.Site) -> steps.Service:
    for step in services.apis(site):
        if step.name == 'glance' and isinstance(step, steps.Service):
            return step
    raise AssertionError('a cloud without Glance')


def _copy_tables(site: sites.Site, name: str) -> None:
    """Make the tables of Glance, empty but for the version they have."""
    with (
        contextlib.closing(databases.connect(site)) as connection,
        connection.cursor() as cursor,
    ):
        # Of an earlier Glance of that name.
        cursor.execute(f'DROP DATABASE IF EXISTS `{name}`')
        databases.create(site, (name,))
        cursor.execute('SHOW TABLES FROM `glance`')
        for (table,) in cursor.fetchall():
            cursor.execute(
                f'CREATE TABLE IF NOT EXISTS `{name}`.`{table}` '
                f'LIKE `glance`.`{table}`'
            )
        cursor.execute(
            f'INSERT INTO `{name}`.alembic_version '  # noqa: S608
            'SELECT * FROM `glance`.alembic_version'
        )
