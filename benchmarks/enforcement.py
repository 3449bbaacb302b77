# SPDX-License-Identifier: Apache-2.0
"""What decisions cost inside Nova and Glance."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import importlib.util
import itertools
import json
import pathlib
import subprocess
import sys
import tempfile
import time

from oslo_config import cfg
import sqlalchemy as sa

from benchmarks import filled
from benchmarks import inside as parts
from benchmarks import measuring
from benchmarks import rows
from benchmarks import services
from hepix_vm.catalogue import database
from hepix_vm.catalogue import model
from hepix_vm.catalogue import reader
from hepix_vm.catalogue import schema
from hepix_vm.conf import inside

IMAGES = 100_000
HOSTS = 1000
_SERVICES = 'benchmarks.services'
#: Requests that are measured together.
_CALLS = 20


def measure(
    images: int = IMAGES,
    rounds: int = 200,
    hosts: int = HOSTS,
    passes: int = 30,
    withdrawals: int = 5,
) -> Iterator[rows.Row]:
    """All rows; those inside Nova and Glance where these are installed.

    :param images: of the catalogue
    :param rounds: of quick measurements
    :param hosts: of the scheduling pass
    :param passes: of these
    :param withdrawals: the longest of which counts
    """
    with tempfile.TemporaryDirectory(prefix='hepix-vm-bench-') as name:
        folder = pathlib.Path(name)
        connection = f'sqlite:///{folder}/catalogue.sqlite'
        identifiers = filled.fill(connection, images)
        path = folder / 'hepix_vm.conf'
        path.write_text(
            f'[catalogue]\nconnection = {connection}\nstore_timeout = 60\n'
            'first_load_timeout = 600\n',
            encoding='utf-8',
        )
        host_conf = services.configured(str(path))
        catalogue = reader.shared(inside.settings(host_conf).reader)
        with contextlib.closing(catalogue):
            yield from _decide(catalogue, identifiers, rounds)
            yield from _parts(host_conf, folder, hosts, rounds, passes)
        for part in parts.installed():
            yield _memory(part, path)
        for part in parts.installed():
            yield _refused(part, path, connection, withdrawals)


def _decide(
    catalogue: reader.Reader, identifiers: list[str], rounds: int
) -> Iterator[rows.Row]:
    asked = itertools.cycle(identifiers[:: max(1, len(identifiers) // 997)])
    plain = dict.fromkeys(identifiers, True)

    def decide() -> None:
        facts = model.ImageFacts(next(asked), filled.SIZE, filled.CREATED)
        decision = catalogue.decide_image(facts, filled.PROJECT)
        if not decision.approved:
            raise RuntimeError(decision.sentence)

    times, peer = measuring.in_turn(
        decide, lambda: plain.get(next(asked)), rounds, calls=100
    )
    name = 'decide on an image among 100 000'
    yield from rows.median_and_p99(name, times, peer, 'one look-up in a dict')


def _parts(
    host_conf: cfg.ConfigOpts,
    folder: pathlib.Path,
    hosts: int,
    rounds: int,
    passes: int,
) -> Iterator[rows.Row]:
    if importlib.util.find_spec('nova') is not None:
        from benchmarks import scheduling

        yield from scheduling.measure(host_conf, folder, hosts, rounds, passes)
        yield from _api(host_conf, rounds)
    if importlib.util.find_spec('glance') is not None:
        yield from _downloads(host_conf, rounds)


def _api(host_conf: cfg.ConfigOpts, rounds: int) -> Iterator[rows.Row]:
    """A request to boot through the guard, and without it."""
    guarded = parts.guard(host_conf)
    # Making a request takes longer than Nova's reading of it.
    made = [
        parts.boot_request(filled.identifier(0))
        for _ in range(2 * (rounds * _CALLS + _CALLS))
    ]

    def ask() -> None:
        refusal = b''.join(guarded(made.pop(), parts.started))
        if refusal:
            raise RuntimeError(refusal)

    times, peer = measuring.in_turn(
        ask,
        lambda: parts.accepting(made.pop(), parts.started),
        rounds,
        calls=_CALLS,
    )
    yield from rows.median_and_p99(
        'guard a request to boot',
        times,
        peer,
        'the same request, answered without the guard',
    )


def _downloads(host_conf: cfg.ConfigOpts, rounds: int) -> Iterator[rows.Row]:
    """The check of Glance's policy, of an image that is there already."""
    from oslo_policy import _checks

    from hepix_vm.glance import policy

    check = policy.HepixApproved('hepix_approved', 'project')
    role = _checks.RoleCheck('role', 'member')
    target = parts.image_target(filled.identifier(0))
    creds = {'project_id': filled.PROJECT, 'roles': ['member']}
    enforcer = parts.Enforcer(host_conf)

    def ask() -> None:
        if not check(target, creds, enforcer):
            raise RuntimeError('the policy check refuses')

    times, peer = measuring.in_turn(
        ask, lambda: role(target, creds, enforcer), rounds, calls=100
    )
    yield from rows.median_and_p99(
        'check the policy of a download',
        times,
        peer,
        "oslo.policy's check of a role",
    )


def _memory(part: str, path: pathlib.Path) -> rows.Row:
    """What a process takes more with our part and the whole catalogue."""
    done = subprocess.run(
        [
            sys.executable,
            '-W',
            'ignore',
            '-m',
            _SERVICES,
            'memory',
            part,
            path,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f'{part}: {done.stderr.strip()[-2000:]}')
    found = json.loads(done.stdout.splitlines()[-1])
    return rows.Row(
        f'memory added with 100 000 images, {part}',
        found['end'] - found['begin'],
        'MB',
        'the modules of the service alone',
        found['begin'],
    )


def _refused(
    part: str, path: pathlib.Path, connection: str, withdrawals: int
) -> rows.Row:
    """From the end of a transaction to the refusal in another process."""
    argv = [sys.executable, '-W', 'ignore', '-m', _SERVICES, 'watch', part]
    longest = 0.0
    with (
        contextlib.closing(database.Database(connection)) as store,
        subprocess.Popen(
            [*argv, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process,
    ):
        if process.stdin is None or process.stdout is None:
            raise RuntimeError('the process has no pipes')
        for number in range(1, withdrawals + 1):
            process.stdin.write(f'{filled.identifier(number)}\n')
            process.stdin.flush()
            if not process.stdout.readline():
                raise RuntimeError(f'{part}: the process ended')
            _withdraw(store, filled.sha512(number))
            begin = time.monotonic()
            longest = max(longest, float(process.stdout.readline()) - begin)
            _withdraw(store, filled.sha512(number), withdrawn=False)
        process.stdin.close()
    return rows.Row(
        f'withdrawal in the catalogue to refusal, {part}',
        longest,
        's',
        'none',
    )


def _withdraw(
    store: database.Database, sha512: str, withdrawn: bool = True
) -> None:
    table = schema.endorsement

    def work(transaction: database.Transaction) -> None:
        statement: sa.Update = (
            table.update()
            .where(table.c.sha512 == sha512)
            .values(withdrawn=withdrawn, revision=transaction.revision)
        )
        transaction.execute(statement)

    store.transact(work)
