# SPDX-License-Identifier: Apache-2.0
"""Whatever happens during a sync: nothing is wrongly withdrawn, nothing is
wrongly approved, one line says what happened, and the next run brings about
what an undisturbed one would have.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import dataclasses
import os
from pathlib import Path
import shutil
import subprocess
from typing import Any

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import history
from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import sync
from hepix_vm import errors
from tests import databases
from tests import endorser
from tests import faulty
from tests.unit.catalogue import following
from tests.unit.cli import commands

#: Each fault of the database at each step, or at each step one of the two.
ALL = os.environ.get('HEPIX_VM_FAULTS') == 'all'
KEPT, GONE, NEW = b'kept', b'gone', b'new'
QUIET, FORGED = b'of a quiet server', b'of nobody'
image = endorser.make_image
Reason = model.Reason

#: Columns that tell when, in which order or after how many attempts.
_UNTOLD = {
    'id',
    'revision',
    'number',
    'store',
    'at',
    'seen_at',
    'first_seen',
    'recorded_at',
    'created_at',
    'verified_at',
    'last_attempt',
    'next_attempt',
    'failures',
    'history_sha256',
    'sha256',
    'list_id',
}
Tables = dict[str, list[str]]


def tables(store: database.Database) -> Tables:
    """All rows but for times and numbers, in an order of their own."""
    found: Tables = {}
    with store.reading() as connection:
        for table in schema.metadata.sorted_tables:
            if table.name in {'mark', 'crl'}:
                continue
            columns = [c for c in table.columns if c.name not in _UNTOLD]
            rows = connection.execute(sa.select(*columns)).all()
            found[table.name] = sorted(
                repr(_shown(dict(row._mapping))) for row in rows
            )
    return found


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    if row.get('event') == 'list-seen':
        # It names a row by its number.
        del row['detail']
    return {
        name: bytes(value) if isinstance(value, memoryview) else value
        for name, value in row.items()
    }


class Site(following.Site):
    """Three lists, of which the next sync likes one.

    One has changed, the server of one is away, and one was signed by
    somebody else meanwhile.

    :ivar recorded: Glance images by their content
    """

    def __init__(self, folder: Path, url: str | None = None) -> None:
        super().__init__(folder, url)
        for name in ('changing', 'quiet', 'forged'):
            self.follow(name)
        kept = image(KEPT)
        self.publish('changing', '1', kept, image(GONE))
        self.publish('quiet', '1', image(QUIET))
        self.publish('forged', '1', image(b'of the endorser'))
        assert all(report.well for report in self.sync().values())
        self.recorded = {
            data: self.record(data) for data in (KEPT, GONE, QUIET)
        }
        self.publish('changing', '2', kept, image(NEW))
        self.silence('quiet')
        other = following.endorser_named('somebody else')
        self.serve(
            'forged',
            other.signed_list(
                following.identifier_of('forged'), '2', image(FORGED)
            ),
        )
        self.file = folder / 'hepix_vm.conf'
        self.now += 10
        commands.write_configuration(self, self.file)

    def let_go(self) -> None:
        """Have no connection: the file may be replaced.

        Unlike after closing the database, its statements need not be
        compiled again.
        """
        self.database.engine().dispose()

    def verify(self, done: bool = False) -> None:
        """See that nothing is wrong, whatever was done so far."""
        seen = self.snapshot()
        decided = {
            data: self.decided(data, seen)
            for data in (KEPT, QUIET, b'of the endorser', FORGED, GONE, NEW)
        }
        assert decided[KEPT] is Reason.APPROVED
        assert decided[QUIET] is Reason.APPROVED
        assert decided[b'of the endorser'] is Reason.APPROVED
        assert decided[FORGED] is Reason.NOT_ENDORSED
        after = (Reason.WITHDRAWN, Reason.APPROVED)
        if not done:
            assert (decided[GONE], decided[NEW]) in {
                after,
                (Reason.APPROVED, Reason.NOT_ENDORSED),
            }
        else:
            assert (decided[GONE], decided[NEW]) == after
        assert self.image_state(self.recorded[KEPT]) == 'positive'
        assert self.image_state(self.recorded[QUIET]) == 'positive'
        gone = self.image_state(self.recorded[GONE])
        assert gone == 'withdrawn withdrawn' or (
            gone == 'positive' and not done
        )
        verified = history.verify(self.database)
        assert not verified.misfits
        self.let_go()

    def decided(self, data: bytes, seen: model.Snapshot) -> Reason:
        """What a reader decides of these bytes who has seen that."""
        return model.decide_bytes(
            seen,
            image(data).sha512,
            len(data),
            None,
            self.now,
            300,
        ).code


@dataclasses.dataclass
class Faults:
    """A site whose sync is disturbed again and again from the same state.

    :ivar steps: of an undisturbed sync
    :ivar whole: the tables after that and another one
    """

    site: Site
    run: faulty.Runner
    path: Path
    kept: Path
    steps: int = 0
    whole: Tables = dataclasses.field(default_factory=dict)
    healed: list[Tables] = dataclasses.field(default_factory=list)

    def prepare(self) -> None:
        """Put the database back."""
        for path in self.path.parent.glob(f'{self.path.name}*'):
            path.unlink()
        shutil.copy(self.kept, self.path)

    def sync(self, **fault: int | str) -> faulty.Ran:
        """``hepix-vm sync``."""
        return self.run(
            ['--config-file', self.site.file, 'sync'],
            **({'now': self.site.now} | fault),
        )

    def heals(self) -> None:
        """The next run does what is left to be done.

        What was healed once, of another step of the same transaction, is
        not tried again.
        """
        left = tables(self.site.database)
        if left in self.healed:
            self.site.let_go()
            return
        self.healed.append(left)
        self._heals()

    def _heals(self) -> None:
        ran = self.sync(now=self.site.now + 10)
        # Two of the lists need a look.
        assert ran.status == 1, ran.err
        self.site.verify(done=True)
        assert tables(self.site.database) == self.whole
        self.site.let_go()


@pytest.fixture(scope='module')
def faults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faults]:
    """One site for all tests here."""
    folder = tmp_path_factory.mktemp('faults')
    site = Site(folder)
    site.database.close()
    path, kept = folder / 'catalogue.sqlite', folder / 'kept'
    shutil.copy(path, kept)
    with faulty.runner() as run:
        made = Faults(site, run, path, kept)
        first = made.sync()
        assert first.status == 1
        made.steps = first.steps
        assert made.sync(now=site.now + 10).status == 1
        made.whole = tables(site.database)
        site.verify(done=True)
        yield made
    site.close()


def only_line(ran: faulty.Ran) -> str:
    """The one line that says what happened."""
    assert ran.status == 1
    (line,) = (
        # Said of a batch before it is known that all is lost.
        line
        for line in ran.problems
        if not line.startswith('written one by one')
    )
    return line


def test_sync_that_is_killed_at_each_step(faults: Faults) -> None:
    assert faults.steps > 20
    faults.healed.clear()
    for step in range(1, faults.steps + 1):
        faults.prepare()
        assert faults.sync(kill=step).status is None
        faults.site.verify()
        faults.heals()
    # Each transaction was once the last one.
    assert len(faults.healed) >= 3


def test_database_that_is_away_from_a_step_on(faults: Faults) -> None:
    for step in range(1, faults.steps + 1, 1 if ALL else 2):
        faults.prepare()
        line = only_line(faults.sync(away=step))
        assert 'the database is away' in line
        faults.site.verify()
        faults.heals()


def test_database_that_fails_at_one_step(faults: Faults) -> None:
    for step in range(1 if ALL else 2, faults.steps + 1, 1 if ALL else 2):
        faults.prepare()
        ran = faults.sync(once=step)
        assert ran.status == 1
        faults.site.verify()
        faults.heals()


def test_file_that_may_not_grow(faults: Faults) -> None:
    faults.prepare()
    with faults.site.database.reading() as connection:
        pages = connection.execute(sa.text('PRAGMA page_count')).scalar_one()
    faults.site.let_go()
    full = 0
    for more in range(0, 12, 2):
        faults.prepare()
        ran = faults.sync(pages=pages + more)
        assert ran.status == 1
        full += 'is full' in ran.out + ran.err
        faults.site.verify()
        faults.heals()
    assert full


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """A file system of so many bytes."""
    folder.mkdir()
    mounted = subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', folder],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f'nothing may be mounted here: {mounted.stderr}')
    try:
        yield
    finally:
        subprocess.run(['umount', '--lazy', folder], check=True)


def test_disk_that_is_full(faults: Faults, tmp_path: Path) -> None:
    disk = tmp_path / 'disk'
    file = tmp_path / 'hepix_vm.conf'
    path = disk / 'catalogue.sqlite'
    size = (faults.kept.stat().st_size // 4096 + 64) * 4096
    url = f'sqlite:///{path}'
    file.write_text(faults.site.file.read_text().replace(faults.site.url, url))
    full = 0
    with small_disk(disk, size):
        for free in (0, 1, 2, 4, 8, 16, 32):
            shutil.copy(faults.kept, path)
            filler = disk / 'filler'
            state = os.statvfs(disk)
            left = state.f_bavail * state.f_frsize
            filler.write_bytes(bytes(max(0, left - free * 4096)))
            ran = faults.run(
                ['--config-file', file, 'sync'], now=faults.site.now
            )
            assert ran.status == 1
            full += 'full' in ran.out + ran.err
            filler.unlink()
            again = faults.run(
                ['--config-file', file, 'sync'], now=faults.site.now + 10
            )
            assert again.status == 1
            with contextlib.closing(database.Database(url)) as store:
                assert tables(store) == faults.whole
    assert full


@pytest.mark.parametrize('what', ['cut', 'overwritten', 'no header', 'tail'])
def test_damaged_file_is_told_and_left_as_it_is(
    faults: Faults, what: str
) -> None:
    faults.prepare()
    content = faults.path.read_bytes()
    damaged = {
        'cut': content[: len(content) // 2 + 100],
        'overwritten': content[:4096] + bytes(len(content) - 4096),
        'no header': b'nothing' * 100 + content[700:],
        'tail': content[: 4096 * 3] + b'?' * (len(content) - 4096 * 3),
    }[what]
    faults.path.write_bytes(damaged)
    line = only_line(faults.sync())
    assert 'malformed' in line or 'not a database' in line
    assert 'put a back-up in its place' in line
    assert faults.path.read_bytes() == damaged
    faults.prepare()
    assert faults.sync().status == 1
    faults.heals()


def test_two_syncs_at_once(faults: Faults) -> None:
    faults.prepare()
    argv: list[object] = ['--config-file', faults.site.file, 'sync']
    with faulty.runner() as other:
        other.begin(argv, now=faults.site.now)
        assert faults.sync().status == 1
        assert other.end().status == 1
    faults.site.verify(done=True)
    faults.heals()


# The clock

YEARS = 20 * 365 * 86400


@pytest.mark.parametrize('jump', [-YEARS, -86400, 86400, YEARS])
def test_clock_that_jumps_withdraws_nothing_and_approves_nothing(
    faults: Faults, jump: int
) -> None:
    faults.prepare()
    site = faults.site
    ran = faults.sync(now=site.now + jump)
    assert ran.status == 1
    for data in (KEPT, QUIET):
        assert site.image_state(site.recorded[data]) == 'positive'
    assert site.decide(FORGED) is Reason.NOT_ENDORSED
    # Decided by the clock that is right, of what the wrong one has left.
    assert site.decide(KEPT) in {Reason.CLOCK, Reason.DISTRUSTED}
    assert site.decide(QUIET) in {Reason.APPROVED, Reason.DISTRUSTED}
    site.let_go()
    assert faults.sync(now=site.now + 10).status == 1
    site.verify(done=True)
    found = tables(site.database)
    for name in set(found) - {'catalogue', 'history', 'list_seen'}:
        assert found[name] == faults.whole[name], name
    # What the wrong clock refused stays on record, and nothing else goes.
    for name in ('history', 'list_seen'):
        assert set(faults.whole[name]) <= set(found[name]), name
    site.let_go()


def test_clock_that_was_ahead_is_told_until_the_next_sync(
    faults: Faults,
) -> None:
    faults.prepare()
    site = faults.site
    faults.sync(now=site.now + 2 * 86400)
    assert site.decide(KEPT) is Reason.CLOCK
    faults.sync()
    assert site.decide(KEPT) is Reason.APPROVED
    site.verify(done=True)


# A server that is really killed


@pytest.fixture(scope='module')
def mariadb() -> Iterator[databases.MariaDb]:
    """A server."""
    with databases.mariadb() as server:
        yield server


def test_server_that_is_killed_in_the_middle_of_a_sync(
    mariadb: databases.MariaDb, tmp_path: Path, faults: Faults
) -> None:
    for step in (2, 9, 16, 25):
        folder = tmp_path / str(step)
        folder.mkdir()
        site = Site(folder, mariadb.url())
        site.database.close()
        left = step

        def count(*args: Any) -> None:
            nonlocal left
            left -= 1
            if not left:
                mariadb.kill()

        engine = site.database.engine()
        sa.event.listen(engine, 'before_cursor_execute', count)
        with pytest.raises(errors.LocalFault) as caught:
            sync.run(
                site.database, site.configured, following.SETTINGS, site.now
            )
        assert '\n' not in str(caught.value)
        mariadb.start()
        sa.event.remove(engine, 'before_cursor_execute', count)
        site.verify()
        site.sync(after=10)
        site.verify(done=True)
        site.close()
