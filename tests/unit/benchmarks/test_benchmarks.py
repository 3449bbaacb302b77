# SPDX-License-Identifier: Apache-2.0
"""The benchmarks run, tell what they measured and never fail a target."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import importlib.util
import json
import pathlib
import sys

import pytest

from benchmarks import __main__ as command
from benchmarks import catalogue
from benchmarks import downloads
from benchmarks import enforcement
from benchmarks import inside
from benchmarks import measuring
from benchmarks import peers
from benchmarks import processes
from benchmarks import report
from benchmarks import rows
from benchmarks import trust
from tests.cloud import errors

TARGETS = dict(rows.TARGETS)
KEYS = [
    'name',
    'figure',
    'unit',
    'peer',
    'peer_figure',
    'ratio',
    'target',
    'met',
]


@pytest.fixture(autouse=True)
def targets(monkeypatch: pytest.MonkeyPatch) -> dict[str, rows.Target]:
    """Targets of the rows that tests make."""
    known = {
        'by figure': rows.Target(10),
        'by ratio': rows.Target(1.5, 'ratio'),
    }
    monkeypatch.setattr(rows, 'TARGETS', known)
    return known


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('GROUP', raising=False)
    monkeypatch.delenv('JSON', raising=False)


def quick() -> Iterator[rows.Row]:
    yield rows.Row('by figure', 11, 'ms', 'a peer', 5.5)
    yield rows.Row('free', 1, 's', 'none')


GROUPS = {'quick': quick, 'empty': None}


@pytest.mark.parametrize(
    ('row', 'ratio', 'target', 'met'),
    [
        (rows.Row('by figure', 10, 'ms', 'p', 5), 2, '<= 10 ms', True),
        (rows.Row('by figure', 10.1, 'ms', 'p'), None, '<= 10 ms', False),
        (rows.Row('by ratio', 3, 'ms', 'p', 2), 1.5, 'ratio <= 1.5', True),
        (rows.Row('by ratio', 4, 'ms', 'p', 2), 2, 'ratio <= 1.5', False),
        (rows.Row('by ratio', 3, 'ms', 'p'), None, 'ratio <= 1.5', None),
        (rows.Row('free', 3, 'ms', 'p', 2), 1.5, None, None),
    ],
)
def test_row_is_held_against_its_target(
    row: rows.Row, ratio: float | None, target: str | None, met: bool | None
) -> None:
    assert (row.ratio, row.target, row.met) == (ratio, target, met)
    assert list(row.as_json()) == KEYS


def test_table_has_aligned_columns() -> None:
    head, first, second = report.table(list(quick())).splitlines()
    at = head.index('met')
    assert first[at:] == 'NO'
    assert second[at:] == '-'
    assert first[head.index('peer') :].startswith('a peer')


def test_results_are_written_as_a_list_of_objects(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / 'figures.json'
    assert command.main(['--json', str(path)], GROUPS) == 0
    first, second = json.loads(path.read_text())
    assert first == {
        'name': 'by figure',
        'figure': 11,
        'unit': 'ms',
        'peer': 'a peer',
        'peer_figure': 5.5,
        'ratio': 2,
        'target': '<= 10 ms',
        'met': False,
    }
    assert second['target'] is None


def test_all_groups_are_the_default_and_empty_ones_say_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.main([], GROUPS) == 0
    printed = capsys.readouterr().out
    assert 'group empty: no benchmarks yet' in printed
    assert 'by figure' in printed


def test_group_without_rows_prints_no_table(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    path = tmp_path / 'figures.json'
    arguments = ['--group', 'empty', '--json', str(path)]
    assert command.main(arguments, GROUPS) == 0
    assert capsys.readouterr().out == 'group empty: no benchmarks yet\n'
    assert json.loads(path.read_text()) == []


def test_environment_stands_in_for_options(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: pathlib.Path,
) -> None:
    monkeypatch.setenv('GROUP', 'empty')
    monkeypatch.setenv('JSON', str(tmp_path / 'figures.json'))
    assert command.main([], GROUPS) == 0
    assert 'quick' not in capsys.readouterr().out
    assert (tmp_path / 'figures.json').exists()


def test_empty_environment_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv('GROUP', '')
    monkeypatch.setenv('JSON', '')
    assert command.main([], GROUPS) == 0
    assert 'quick' in capsys.readouterr().out


def test_unknown_group_is_wrong_use(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(['--group', 'x'], GROUPS)
    assert caught.value.code == 2
    monkeypatch.setenv('GROUP', 'x')
    with pytest.raises(SystemExit) as caught:
        command.main([], GROUPS)
    assert caught.value.code == 2
    assert 'GROUP=x: no such group' in capsys.readouterr().err


def test_json_file_in_no_folder_is_told_before_measuring(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / 'none' / 'figures.json'
    assert command.main(['--json', str(path)], GROUPS) == 2
    printed = capsys.readouterr().out
    assert 'no folder' in printed
    assert 'measuring' not in printed


def test_call_and_peer_take_turns() -> None:
    called: list[str] = []
    times, peer = measuring.in_turn(
        lambda: called.append('a'), lambda: called.append('b'), 2, calls=2
    )
    assert ''.join(called) == 'ab' + 'aabb' * 2
    assert len(times.seconds) == len(peer.seconds) == 4
    assert len(times.processor) == 4


@pytest.mark.parametrize(
    ('count', 'p99'), [(1, 0), (100, 98), (101, 99), (1000, 989)]
)
def test_p99_is_a_value_that_was_seen(count: int, p99: float) -> None:
    times = measuring.Times([float(n) for n in range(count)][::-1], [1.0])
    assert times.p99 == p99
    assert times.processor_median == 1


def test_peer_that_is_not_installed_is_none() -> None:
    assert measuring.program('no-such-program-anywhere') is None


def test_peer_that_fails_is_no_peer() -> None:
    script = 'import sys; sys.exit("it does not verify")'
    call = measuring.program(sys.executable, '-c', script)
    assert call is not None
    with pytest.raises(RuntimeError, match='it does not verify'):
        call()
    well = measuring.program(sys.executable, '-c', '')
    assert well is not None
    well()


def test_peer_that_waits_answers_every_call() -> None:
    script = 'import sys\nfor _ in sys.stdin: print("ok", flush=True)'
    with peers.answering([sys.executable, '-c', script]) as call:
        call()
        call()


@pytest.mark.parametrize('script', ['print("revoked")', ''])
def test_peer_that_waits_and_refuses_is_no_peer(script: str) -> None:
    program = [sys.executable, '-c', f'input(); {script}']
    with (
        peers.answering(program) as call,
        pytest.raises(RuntimeError, match='revoked' if script else 'ended'),
    ):
        call()


def test_peer_that_cannot_be_installed_is_told(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: pathlib.Path,
) -> None:
    def fail(*arguments: object) -> str:
        raise errors.CloudError('no package index')

    monkeypatch.setenv('HEPIX_VM_CACHE', str(tmp_path))
    monkeypatch.setattr(peers.environment, 'call', fail)
    assert peers.hanko() is None
    assert 'no package index' in capsys.readouterr().out


@pytest.mark.timeout(600)
def test_trust_group_measures_real_messages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results = list(trust.measure(anchors=3, images=5, size=2**21, rounds=1))
    assert [row.name for row in results] == [
        'verify a list of 35 kB',
        'verify a list of 35 kB, processor',
        'verify a list of 35 kB, beside pyHanko',
        'verify a list of 10 000 images',
        'load 88 anchors and their CRLs',
        'hash 1 GiB (SHA-512)',
        'hash 1 GiB (SHA-512), processor',
    ]
    assert all(row.figure > 0 for row in results if 'proc' not in row.name)
    assert results[2].peer == 'pyHanko: not installed'
    assert results[2].met is None
    monkeypatch.setattr(measuring, 'program', lambda *arguments: None)
    first = next(trust.measure(anchors=3, images=5, size=2**21, rounds=1))
    assert first.peer == 'openssl cms -verify (a process): not installed'
    assert first.peer_figure is None


@pytest.mark.timeout(600)
def test_enforcement_group_decides_with_a_real_catalogue() -> None:
    results = list(
        enforcement.measure(
            images=50, rounds=2, hosts=5, passes=1, withdrawals=1
        )
    )
    expected = ['decide on an image among 100 000']
    nova = importlib.util.find_spec('nova') is not None
    glance = importlib.util.find_spec('glance') is not None
    if nova:
        expected += [
            'filter a request, 100 000 images',
            "filter a request with its look into nova's database",
            'schedule over 1 000 hosts',
            'guard a request to boot',
        ]
    if glance:
        expected += ['check the policy of a download']
    for part in ['scheduler', 'API'] * nova + ['Glance'] * glance:
        expected += [
            f'memory added with 100 000 images, {part}',
            f'withdrawal in the catalogue to refusal, {part}',
        ]
    names = {
        row.name.removesuffix(', p99').removesuffix(', processor')
        for row in results
    }
    assert names == set(expected)


def test_service_that_refuses_too_early_is_no_figure(
    tmp_path: pathlib.Path,
) -> None:
    with pytest.raises(RuntimeError):
        enforcement._memory('Glance', tmp_path / 'none.conf')


@pytest.mark.timeout(600)
def test_catalogue_group_syncs_and_decides_for_real() -> None:
    results = list(
        catalogue.measure(
            subscriptions=3,
            images=40,
            listed=20,
            anchors=3,
            rounds=1,
            sizes=[(1, ', small')],
        )
    )
    assert [row.name.removesuffix(', small') for row in results] == [
        'sync 10 000 subscriptions, all new',
        'sync 10 000 subscriptions, all new, processor',
        'sync 10 000 subscriptions, unchanged',
        'sync 10 000 subscriptions, unchanged, processor',
        'sync 10 000 subscriptions, unchanged, memory',
        'read a catalogue of 100 000 images, memory',
        'decide on bytes among 100 000 images',
        'see a change among 100 000 images',
        'see a change among 100 000 images, processor',
        'accept a list of 10 000 images, all new',
        'accept a list of 10 000 images, all new, processor',
        'accept a list of 10 000 images, one changed',
        'accept a list of 10 000 images, one changed, processor',
        'accept a list of 10 000 images, one changed, memory',
        'list accepted to decision in another process',
    ]
    assert all(row.figure > 0 for row in results)


def test_catalogue_group_downloads_an_image_as_its_peer_does() -> None:
    measured = list(downloads.measure(size=2**20 + 1, rounds=1))
    assert [row.name for row in measured] == [
        'bring 1 GiB to disk, verified',
        'bring 1 GiB to disk, verified, processor',
    ]
    assert all(row.figure > 0 for row in measured)


def test_image_that_came_with_other_bytes_is_no_figure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def piped(url: str, copy: pathlib.Path) -> str:
        copy.touch()
        return 'another digest'

    monkeypatch.setattr(downloads, '_piped', piped)
    with pytest.raises(RuntimeError, match='the digest is wrong'):
        list(downloads.measure(size=10, rounds=1))


def test_process_that_fails_is_no_figure() -> None:
    with pytest.raises(RuntimeError, match=r'expected a readable file'):
        processes.run('benchmarks.steps', 'sync', '/nonexistent', 'accepted')


def test_process_that_ends_sees_nothing(tmp_path: pathlib.Path) -> None:
    url = f'sqlite:///{tmp_path}/none/catalogue.sqlite'
    with contextlib.closing(processes.Watching('poll', url)) as watching:
        watching.ask('00')
        with pytest.raises(RuntimeError, match='ended'):
            watching.seen()


def test_every_target_belongs_to_a_row() -> None:
    folder = pathlib.Path(str(command.__file__)).parent
    source = ''.join(
        path.read_text()
        for path in sorted(folder.glob('*.py'))
        if path.name != 'rows.py'
    )
    suffixes = (
        *('p99', 'processor', 'memory', 'listings', 'a request', 'failures'),
        *inside.PARTS,
    )
    for name in TARGETS:
        base = name
        for suffix in suffixes:
            base = base.removesuffix(f', {suffix}')
        assert f"'{base}" in source
