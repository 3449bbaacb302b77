# SPDX-License-Identifier: Apache-2.0
"""What is installed where, and the packages that say the same."""

from __future__ import annotations

import os
from pathlib import Path
import re
import shutil
import signal
import subprocess

import pytest

from tests.guests import machine

HERE = machine.AGENT.parent
COPYRIGHT = '/usr/share/doc/hepix-context/copyright'
UNITS = sorted(path.name for path in (HERE / 'systemd').iterdir())


def _install(root: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ['sh', str(HERE / 'install-agent'), str(root), *more],
        capture_output=True,
        text=True,
        check=False,
    )


def _files(root: Path) -> set[str]:
    return {
        f'/{path.relative_to(root)}'
        for path in root.rglob('*')
        if path.is_symlink() or path.is_file()
    }


def _words(unit: str, key: str) -> list[str]:
    """The values of a key, which may come more than once."""
    text = (HERE / 'systemd' / unit).read_text()
    return ' '.join(re.findall(f'^{key}=(.*)$', text, re.MULTILINE)).split()


def test_an_image_with_systemd_gets_all_units_enabled(tmp_path):
    (tmp_path / 'usr/lib/systemd').mkdir(parents=True)
    (tmp_path / 'usr/lib/systemd/systemd').touch()
    assert _install(tmp_path).returncode == 0
    units = tmp_path / 'usr/lib/systemd/system'
    assert {path.name for path in units.iterdir() if path.is_file()} == set(
        UNITS
    )
    links = [path for path in units.rglob('*') if path.is_symlink()]
    assert {path.resolve().name for path in links} == {
        *('hepix-context-prolog.service', 'hepix-context-epilog.service'),
        *('hepix-context-stop.service', 'hepix-context-deadline.timer'),
        'hepix-context-features.timer',
    }
    agent = tmp_path / 'usr/sbin/hepix-context'
    assert agent.stat().st_mode & 0o777 == 0o755
    assert agent.read_bytes() == machine.AGENT.read_bytes()


@pytest.mark.parametrize('first', ['rcS.d', 'rc3.d'])
def test_an_image_without_gets_scripts_and_links(tmp_path, first):
    (tmp_path / 'etc/init.d').mkdir(parents=True)
    (tmp_path / 'etc' / first).mkdir()
    assert _install(tmp_path).returncode == 0
    early = 'rcS.d' if first == 'rcS.d' else 'rc2.d'
    for name in (
        f'{early}/S08hepix-context-prolog',
        'rc2.d/S99hepix-context-epilog',
        'rc5.d/S99hepix-context-epilog',
        'rc0.d/K01hepix-context-epilog',
        'rc6.d/K01hepix-context-epilog',
    ):
        link = tmp_path / 'etc' / name
        assert link.is_symlink(), name
        assert link.resolve().stat().st_mode & 0o777 == 0o755


def test_the_endorsers_configuration_stays(tmp_path):
    (tmp_path / 'etc').mkdir()
    conf = tmp_path / 'etc/hepix-context.conf'
    conf.write_text('cd = no\n')
    assert _install(tmp_path, 'systemd').returncode == 0
    assert _install(tmp_path, 'systemd').returncode == 0
    assert conf.read_text() == 'cd = no\n'
    assert not [name for name in _files(tmp_path) if name.endswith('.new')]


@pytest.mark.parametrize('more', [(), ('upstart',)])
def test_an_image_that_starts_otherwise_is_refused(tmp_path, more):
    done = _install(tmp_path, *more)
    assert done.returncode == 1
    assert 'install-agent: ' in done.stderr


@pytest.mark.parametrize('shell', machine.SHELLS)
@pytest.mark.parametrize(
    'link, to',
    [
        ('lib', '/usr/lib'),
        ('lib', 'usr/lib'),
        ('lib', '../../../../usr/lib'),
        ('lib', '/a/b/../../usr/./lib'),
        ('usr/sbin', '{outside}'),
        ('etc', '/{outside}'),
        ('etc', '../outside'),
        ('etc/profile.d', '{outside}'),
        ('usr/lib/systemd/system/timers.target.wants', '{outside}'),
        ('usr/sbin/hepix-context', '{outside}'),
        ('usr/sbin/hepix-context', '{outside}/victim'),
        ('usr/sbin/hepix-context.new', '{outside}/victim'),
        ('etc/hepix-context.conf', '{outside}/victim'),
        ('etc/hepix-context.conf.new', '{outside}/new'),
    ],
)
def test_links_of_an_image_lead_nowhere_else(tmp_path, shell, link, to):
    """As in the image, where an absolute one begins at its own root."""
    outside = tmp_path / 'outside'
    outside.mkdir()
    (outside / 'victim').write_text('not ours\n')
    root = tmp_path / 'root'
    units = root / 'usr/lib/systemd/system'
    units.mkdir(parents=True)
    (root / 'usr/lib/systemd/systemd').touch()
    (root / link).parent.mkdir(parents=True, exist_ok=True)
    (root / link).symlink_to(to.format(outside=outside))
    program = [str(shutil.which(shell))]
    if shell == 'busybox':
        program.append('sh')
    done = subprocess.run(
        [*program, str(HERE / 'install-agent'), str(root)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in outside.iterdir()] == ['victim']
    assert (outside / 'victim').read_text() == 'not ours\n'
    assert {path.name for path in units.iterdir() if path.is_file()} == set(
        UNITS
    )
    names = {path.name for path in root.rglob('*')}
    assert {'hepix-context', 'hepix-context.conf'} <= names


@pytest.mark.parametrize(
    'link, to, because',
    [
        ('usr/sbin', 'sbin', 'links without end'),
        ('usr/sbin/hepix-context/x', '.', 'expected no directory'),
    ],
)
def test_an_image_that_cannot_take_it_is_refused(tmp_path, link, to, because):
    (tmp_path / link).parent.mkdir(parents=True)
    (tmp_path / link).symlink_to(to)
    done = _install(tmp_path, 'systemd')
    assert done.returncode == 1
    assert because in done.stderr


def test_the_epilog_is_after_all_and_waits_for_no_network():
    unit = 'hepix-context-epilog.service'
    after = _words(unit, 'After')
    assert {'multi-user.target', 'cloud-final.service'} <= set(after)
    assert 'cloud-init.target' in after
    assert _words(unit, 'WantedBy') == ['multi-user.target']
    assert 'network-online' not in (HERE / 'systemd' / unit).read_text()


def test_the_prolog_is_before_the_network():
    unit = 'hepix-context-prolog.service'
    assert _words(unit, 'DefaultDependencies') == ['no']
    before = _words(unit, 'Before')
    assert {'network-pre.target', 'cloud-init-local.service'} <= set(before)


def test_the_deadline_looks_at_the_mark_of_the_agent():
    unit = 'hepix-context-deadline.service'
    mark = _words(unit, 'ConditionPathExists')
    assert mark == ['!/run/hepix-context/epilog']
    agent = machine.AGENT.read_text()
    assert '\nrun=/run/hepix-context\n' in agent
    assert ': > "$run/epilog"\n' in agent
    timer = 'hepix-context-deadline.timer'
    assert _words(timer, 'OnBootSec') == ['15min']


def test_the_debian_package_holds_what_is_installed(tmp_path):
    done = subprocess.run(
        ['sh', str(HERE / 'packages/build-deb'), '1.2.0', str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    package = tmp_path / 'hepix-context_1.2.0_all.deb'
    into = tmp_path / 'into'
    subprocess.run(['dpkg-deb', '-x', package, into], check=True)
    root = tmp_path / 'root'
    root.mkdir()
    assert _install(root, 'systemd').returncode == 0
    assert _files(into) == _files(root) | {COPYRIGHT}
    kept = subprocess.run(
        ['dpkg-deb', '-I', package, 'conffiles'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(kept.stdout.split()) == {
        name for name in _files(root) if name.startswith('/etc/')
    }


def _deb(top: Path, **environ: str) -> Path:
    top.mkdir()
    subprocess.run(
        ['sh', str(HERE / 'packages/build-deb'), '1.2.0', str(top)],
        env={**os.environ, **environ},
        check=True,
    )
    return top / 'hepix-context_1.2.0_all.deb'


def test_the_debian_package_can_be_made_again(tmp_path):
    """Whatever the umask is, and where it is built."""
    some = {'SOURCE_DATE_EPOCH': '1767225600'}
    one = _deb(tmp_path / 'one', **some)
    before = os.umask(0o077)
    try:
        again = _deb(tmp_path / 'again', **some, TMPDIR=str(tmp_path))
    finally:
        os.umask(before)
    assert one.read_bytes() == again.read_bytes()


def test_the_debian_package_comes_and_goes_without_a_trace(tmp_path):
    package = _deb(tmp_path / 'made')
    root = tmp_path / 'root'
    (root / 'var/lib/dpkg/info').mkdir(parents=True)
    (root / 'var/lib/dpkg/updates').mkdir()
    (root / 'var/lib/dpkg/status').touch()

    def dpkg(*words: str) -> None:
        subprocess.run(
            [
                *('dpkg', '--force-not-root', '--force-depends'),
                *('--force-bad-path', f'--root={root}'),
                *(f'--log={tmp_path}/log', *words),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )

    def ours() -> set[str]:
        return {
            name
            for name in _files(root)
            if not name.startswith('/var/lib/dpkg')
        }

    into = tmp_path / 'into'
    into.mkdir()
    assert _install(into, 'systemd').returncode == 0
    dpkg('--install', str(package))
    assert ours() >= _files(into)
    conf = root / 'etc/hepix-context.conf'
    conf.write_text('cd = no\n')
    dpkg('--force-confold', '--install', str(package))
    assert conf.read_text() == 'cd = no\n'
    dpkg('--remove', 'hepix-context')
    assert ours() == {name for name in _files(into) if '/etc/' in name}
    dpkg('--purge', 'hepix-context')
    assert ours() == set()


@pytest.mark.parametrize('version', ['', '1 2', '../1', 'v1', '1/2'])
def test_an_odd_version_makes_no_package(tmp_path, version):
    done = subprocess.run(
        ['sh', str(HERE / 'packages/build-deb'), version, str(tmp_path)],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_the_rpm_lists_what_is_installed(tmp_path):
    assert _install(tmp_path, 'systemd').returncode == 0
    text = (HERE / 'packages/hepix-context.spec').read_text()
    listed = text.partition('%files\n')[2].splitlines()
    found = {
        line.removeprefix('%config(noreplace) ').replace(
            '%{_unitdir}', '/usr/lib/systemd/system'
        )
        for line in listed
    }
    assert found == _files(tmp_path)


@pytest.mark.skipif(not shutil.which('rpmbuild'), reason='needs rpm')
def test_the_rpm_is_built_and_holds_what_is_installed(tmp_path):
    done = subprocess.run(
        [
            *('rpmbuild', '-bb', '--define', 'agent_version 1.2.0'),
            *('--define', f'agent_files {HERE}'),
            *('--define', f'_topdir {tmp_path}/made'),
            *('--define', f'_dbpath {tmp_path}/database'),
            str(HERE / 'packages/hepix-context.spec'),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (package,) = (tmp_path / 'made').rglob('*.rpm')
    assert package.name == 'hepix-context-1.2.0-1.noarch.rpm'

    def asked(*words: str) -> list[str]:
        found = subprocess.run(
            ['rpm', '-q', *words, '-p', str(package)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        return found.splitlines()

    root = tmp_path / 'root'
    root.mkdir()
    assert _install(root, 'systemd').returncode == 0
    assert set(asked('--list')) == _files(root)
    assert set(asked('--configfiles')) == {
        name for name in _files(root) if name.startswith('/etc/')
    }
    assert not asked('--scripts')
    # of what a base system may do without
    assert {'diffutils', 'findutils', 'grep', 'sed'} <= {
        line.split()[0] for line in asked('--requires')
    }
    owners = asked('--queryformat', '[%{FILEUSERNAME}:%{FILEGROUPNAME}\\n]')
    assert set(owners) == {'root:root'}


@pytest.mark.parametrize('shell', machine.SHELLS)
@pytest.mark.parametrize(
    'script, verb, calls, console',
    [
        ('prolog', 'start', ['prolog', 'deadline'], 'console'),
        ('prolog', 'start', ['prolog', 'deadline'], 'no/console'),
        ('prolog', 'stop', [], 'console'),
        ('epilog', 'stop', ['stop'], 'console'),
    ],
)
def test_scripts_of_old_init_call_the_agent(
    tmp_path, shell, script, verb, calls, console
):
    agent = tmp_path / 'agent'
    agent.write_text('#!/bin/sh\necho "$1" >> "$0.calls"\nexit 3\n')
    agent.chmod(0o755)
    (tmp_path / 'agent.calls').touch()
    run = tmp_path / 'run'
    run.mkdir()
    (run / 'epilog').touch()
    program = [str(shutil.which(shell))]
    if shell == 'busybox':
        program.append('sh')
    ended, open_ = os.pipe()
    with os.fdopen(ended) as reading:
        done = subprocess.run(
            [*program, str(HERE / 'sysv' / f'hepix-context-{script}'), verb],
            env={
                'HEPIX_CONTEXT_AGENT': str(agent),
                'HEPIX_CONTEXT_RUN': str(run),
                'HEPIX_CONTEXT_CONSOLE': str(tmp_path / console),
            },
            pass_fds=[open_],
            capture_output=True,
            check=False,
        )
        os.close(open_)
        # until what goes on in the background has ended, too
        reading.read()
    assert done.returncode == (3 if calls else 0)
    assert (tmp_path / 'agent.calls').read_text().split() == calls
    # An earlier boot's marks may be on a disk.
    assert run.exists() == (verb == 'stop')


@pytest.mark.parametrize('shell', machine.SHELLS)
@pytest.mark.parametrize(
    'script, verb', [('prolog', 'start'), ('epilog', 'start')]
)
def test_scripts_of_old_init_wait_for_no_agent_that_hangs(
    tmp_path, shell, script, verb
):
    """A script of the site may hang, and with it everything after it."""
    agent = tmp_path / 'agent'
    agent.write_text(
        '#!/bin/sh\n'
        f'[ "$1" != {script} ] || exec sleep 86400\n'
        'echo "$1" >> "$0.calls"\n'
    )
    agent.chmod(0o755)
    run = tmp_path / 'run'
    run.mkdir()
    # nobody is to mirror features here
    (run / 'features.pid').touch()
    program = [str(shutil.which(shell))]
    if shell == 'busybox':
        program.append('sh')
    done = subprocess.run(
        [*program, str(HERE / 'sysv' / f'hepix-context-{script}'), verb],
        env={
            'HEPIX_CONTEXT_AGENT': str(agent),
            'HEPIX_CONTEXT_RUN': str(run),
            'HEPIX_CONTEXT_CONSOLE': str(tmp_path / 'console'),
            'HEPIX_CONTEXT_LIMIT': '1',
        },
        capture_output=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 128 + signal.SIGKILL


def test_profiles_name_what_is_there(tmp_path):
    text = (HERE / 'profile/hepix-features.sh').read_text()
    text = text.replace('/etc/', f'{tmp_path}/')
    (tmp_path / 'jobfeatures').mkdir()
    done = subprocess.run(
        ['sh', '-c', f'{text}\nenv'],
        env={'PATH': machine.SYSTEM},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f'JOBFEATURES={tmp_path}/jobfeatures' in done.stdout
    assert not re.search('^MACHINEFEATURES', done.stdout, re.MULTILINE)
