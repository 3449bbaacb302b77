# SPDX-License-Identifier: Apache-2.0
"""What is kept in files: the cache, the state, the work directory."""

import pathlib
import threading

import pytest

from tests.cloud import __main__ as command
from tests.cloud import cache
from tests.cloud import errors
from tests.cloud import layout as layouts
from tests.cloud import processes
from tests.cloud import releases
from tests.cloud import services
from tests.cloud import state as states
from tests.cloud import supervisor


def make_state() -> states.State:
    leader = processes.Leader(5_000_010, 7)
    return states.State(
        release='2026.2',
        venv='/v',
        token='token',
        password='word',
        metadata_secret='shared',
        boot=processes.boot(),
        ports={'glance': 20001},
        started={
            'glance': states.Started(
                'glance', ('a', 'b'), {'C': 'd'}, '/log', 20001, leader
            )
        },
        ready=True,
    )


def test_a_state_is_read_as_it_was_written(tmp_path: pathlib.Path) -> None:
    states.save(tmp_path, make_state())
    assert states.load(tmp_path) == make_state()
    path = tmp_path / states.NAME
    assert path.stat().st_mode & 0o077 == 0
    assert [one.name for one in tmp_path.iterdir()] == [states.NAME]


def test_after_a_reboot_no_process_id_counts(tmp_path: pathlib.Path) -> None:
    state = make_state()
    assert [leader.pid for leader in state.leaders()] == [5_000_010]
    state.boot = 'another'
    assert state.leaders() == []


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (None, 'no cloud in'),
        ('{', 'cannot be read'),
        ('{"version": 0}', 'not of version'),
    ],
)
def test_a_state_that_is_none_is_one_sentence(
    tmp_path: pathlib.Path, text: str | None, message: str
) -> None:
    if text is not None:
        (tmp_path / states.NAME).write_text(text)
    with pytest.raises(errors.CloudError, match=message):
        states.load(tmp_path)


def test_the_cache_is_where_the_environment_says(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('HEPIX_VM_CACHE', str(tmp_path / 'a'))
    assert cache.root() == tmp_path / 'a'
    monkeypatch.delenv('HEPIX_VM_CACHE')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'b'))
    assert cache.root() == tmp_path / 'b' / 'hepix-vm'
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setenv('HOME', str(tmp_path))
    assert cache.root() == tmp_path / '.cache' / 'hepix-vm'
    assert cache.root().stat().st_mode & 0o077 == 0


def test_what_was_built_is_not_built_again(tmp_path: pathlib.Path) -> None:
    builds = []

    def build(folder: pathlib.Path) -> None:
        folder.mkdir()
        builds.append(folder)

    for _ in range(2):
        assert cache.built(tmp_path / 'x', build, print) == tmp_path / 'x'
    assert builds == [tmp_path / 'x']


def test_what_was_left_half_built_is_built_anew(
    tmp_path: pathlib.Path,
) -> None:
    def fail(folder: pathlib.Path) -> None:
        folder.mkdir()
        (folder / 'half').touch()
        raise errors.CloudError('no network')

    def build(folder: pathlib.Path) -> None:
        folder.mkdir()
        (folder / 'whole').touch()

    with pytest.raises(errors.CloudError):
        cache.built(tmp_path / 'x', fail, print)
    cache.built(tmp_path / 'x', build, print)
    names = {path.name for path in (tmp_path / 'x').iterdir()}
    assert names == {'whole', cache.COMPLETE}


def test_two_that_need_the_same_build_it_once(tmp_path: pathlib.Path) -> None:
    builds, said = [], []
    begun, go_on = threading.Event(), threading.Event()

    def build(folder: pathlib.Path) -> None:
        folder.mkdir()
        builds.append(folder)
        begun.set()
        assert go_on.wait(60)

    def report(line: str) -> None:
        said.append(line)
        go_on.set()

    first = threading.Thread(
        target=cache.built, args=(tmp_path / 'x', build, said.append)
    )
    first.start()
    assert begun.wait(60)
    cache.built(tmp_path / 'x', build, report)
    first.join(60)
    assert len(builds) == 1
    assert said == ['another run prepares x']


def test_a_path_too_long_for_a_socket_is_refused(
    tmp_path: pathlib.Path,
) -> None:
    with pytest.raises(errors.CloudError, match='too long a path'):
        layouts.Layout(tmp_path / ('x' * 100)).make()


def test_somebody_elses_folder_is_refused(tmp_path: pathlib.Path) -> None:
    layout = layouts.Layout(tmp_path)
    layout.refuse_foreign()
    (tmp_path / 'precious').touch()
    with pytest.raises(errors.CloudError, match='is not empty'):
        layout.refuse_foreign()
    states.save(tmp_path, make_state())
    layout.refuse_foreign()


def test_openrc_quotes_and_is_for_the_owner_alone(
    tmp_path: pathlib.Path,
) -> None:
    path = command.write_openrc(
        tmp_path, {'OS_PASSWORD': "it's"}, '/some where'
    )
    assert path.read_text() == (
        "export OS_PASSWORD='it'\"'\"'s'\n"
        'export PATH=\'/some where\':"$PATH"\n'
    )
    assert path.stat().st_mode & 0o077 == 0


def test_every_release_pins_all_that_it_installs() -> None:
    for release in releases.RELEASES.values():
        pinned = {
            line.partition('==')[0].replace('_', '-').replace('.', '-')
            for line in release.constraints.read_text().splitlines()
        }
        assert set(release.packages) <= pinned


def test_a_temporary_folder_is_kept_after_an_error_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    said: list[str] = []
    with layouts.temporary('x-', said.append) as good:
        assert good.is_dir()
    with (
        pytest.raises(KeyboardInterrupt),
        layouts.temporary('x-', said.append) as interrupted,
    ):
        raise KeyboardInterrupt
    assert said == []
    with (
        pytest.raises(errors.CloudError),
        layouts.temporary('x-', said.append) as bad,
    ):
        raise errors.CloudError('why')
    assert not good.exists()
    assert not interrupted.exists()
    assert bad.is_dir()
    assert said == [f'logs and configuration are kept in {bad}']


def test_missing_programs_are_said_all_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setattr(supervisor, 'PATH', str(tmp_path))
    monkeypatch.setattr(services, 'RABBITMQ', str(tmp_path))
    with pytest.raises(errors.CloudError) as caught:
        services.require_programs()
    assert str(caught.value) == (
        'not installed: epmd, git, mariadb-install-db, mariadbd, '
        'rabbitmq-server; run tools/install-system-packages'
    )
