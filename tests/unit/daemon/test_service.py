# SPDX-License-Identifier: Apache-2.0
"""The systemd unit agrees with the daemon; the command's wrong uses."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import configparser
from importlib import metadata
import logging
from pathlib import Path
import signal

import pytest

from hepix_vm.cli import daemon
from hepix_vm import conf
from hepix_vm.conf import daemon as conf_daemon
from hepix_vm.daemon import settings
from hepix_vm import errors

ROOT = Path(__file__).parents[3]
UNIT = ROOT / 'etc/hepix_vm/hepix-vm-sync.service'


@pytest.fixture(scope='module')
def unit() -> configparser.RawConfigParser:
    """The unit, as far as each setting stands there once."""
    made = configparser.RawConfigParser(
        strict=False, comment_prefixes=('#',), delimiters=('=',)
    )
    made.optionxform = str  # type: ignore[assignment,method-assign]
    made.read(UNIT)
    return made


def test_unit_runs_the_command_as_a_service_that_notifies(unit):
    service = unit['Service']
    assert service['Type'] == 'notify'
    name = Path(service['ExecStart'].split()[0]).name
    assert name in {
        point.name
        for point in metadata.entry_points(group='console_scripts')
        if point.value == 'hepix_vm.cli.daemon:main'
    }
    assert service['ExecReload'] == '/bin/kill -HUP $MAINPID'
    assert conf.DEFAULT_FILE in service['ExecStart']


def test_wrong_configuration_is_not_started_again_and_again(unit):
    assert unit['Service']['RestartPreventExitStatus'] == '2'


def test_times_of_the_unit_fit_those_of_the_daemon(unit):
    service = unit['Service']
    usual = settings.Settings('')
    # A sync to end, the lease to give back, and time to spare.
    assert int(service['TimeoutStopSec']) > 3 * usual.stop_time
    assert int(service['WatchdogSec']) >= 60


def test_unit_is_hardened(unit):
    service = unit['Service']
    for name in ('NoNewPrivileges', 'PrivateTmp', 'LockPersonality'):
        assert service[name] == 'yes'
    assert service['ProtectSystem'] == 'strict'
    assert service['CapabilityBoundingSet'] == ''
    assert 'root' not in (service['User'], service['Group'])


# Options


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration of nothing but a catalogue."""
    path = tmp_path / 'hepix_vm.conf'
    path.touch(mode=0o640)
    path.write_text('[catalogue]\nconnection = sqlite:///x\n')
    return path


def test_options_become_values(file):
    with file.open('a') as more:
        more.write(
            '[daemon]\ncheck_interval = 5\nlease_time = 12\n'
            'stall_time = 100\nstop_timeout = 7\n'
            'coordination_url = file:///somewhere\n'
        )
    assert conf_daemon.settings(conf.load([str(file)])) == settings.Settings(
        'sqlite:///x', 5, 12, 100, 7, 'file:///somewhere'
    )


def test_values_without_options_are_those_of_the_daemon(file):
    assert conf_daemon.settings(conf.load([str(file)])) == settings.Settings(
        'sqlite:///x'
    )


def test_six_beats_fit_into_the_lease_time():
    assert settings.Settings('', lease_time=30).beat_interval == 5


# Wrong uses


@pytest.fixture(autouse=True)
def signals_as_they_were() -> Iterator[None]:
    """The command installs handlers; the next test has pytest's again."""
    numbers = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def test_file_that_is_not_there(tmp_path, capsys):
    assert daemon.main(['--config-file', str(tmp_path / 'none')]) == 2
    told = capsys.readouterr().err
    assert told.startswith('hepix-vm-sync: configuration file')
    assert told.count('\n') == 1


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        pytest.param(
            '[daemon]\nlease_time = soon\n', 'lease_time', id='value'
        ),
        pytest.param(
            '[catalogue]\nconnection = nothing\n', 'connection', id='url'
        ),
        pytest.param(
            '[catalogue]\nconnection = mysql+nodriver://a/b\n',
            'connection',
            id='driver',
        ),
        pytest.param(
            '[daemon]\ncoordination_url = nothing\n',
            'coordination_url',
            id='coordination',
        ),
        pytest.param(
            '[DEFAULT]\nlog_config_append = /not/there\n',
            'oslo.log',
            id='logging',
        ),
        pytest.param(
            '[DEFAULT]\ndebug = perhaps\n', 'oslo.log', id='debugging'
        ),
    ],
)
def test_configuration_that_cannot_be_used(file, capsys, text, said):
    with file.open('a') as more:
        more.write(text)
    assert daemon.main(['--config-file', str(file)]) == 2
    told = capsys.readouterr().err.splitlines()
    assert said in told[-1]
    assert told[-1].startswith('hepix-vm-sync: ')


# Reading it again


@pytest.fixture
def reload(file) -> Callable[[], object]:
    """Reads the file again, as after SIGHUP."""
    files = [str(file)]
    return daemon._reload(files, daemon._logging(files))


def test_debugging_is_switched_on_and_off_while_it_runs(file, reload):
    text = file.read_text()
    for debug in (True, False):
        file.write_text(f'{text}[DEFAULT]\ndebug = {debug}\n')
        reload()
        level = logging.getLogger().getEffectiveLevel()
        assert (level <= logging.DEBUG) is debug


def test_broken_options_of_logging_are_refused(file, reload):
    with file.open('a') as more:
        more.write('[DEFAULT]\ndebug = perhaps\n')
    with pytest.raises(errors.Misconfigured, match=r'oslo\.log'):
        reload()


def test_broken_subscription_is_told(file, reload, caplog):
    with file.open('a') as more:
        more.write('[subscription:broken]\nurl = nothing\n')
    reload()
    assert 'subscription:broken' in caplog.text
