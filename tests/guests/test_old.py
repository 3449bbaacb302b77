# SPDX-License-Identifier: Apache-2.0
"""Guests of old at our own server, with the tools that they have."""

from __future__ import annotations

from collections.abc import Iterator
import json
from pathlib import Path
import re
import shutil
import subprocess
import sys

import pytest

from tests.guests import machine
from tests.guests import origin
from tests.guests import site

OLD = Path(__file__).with_name('old-guest')
FILES = {**site.SCRIPTS, 'site/squid.conf': b'cache.example.org\n'}
START = ['prolog start']
OURS = {'init.sh', 'manifest', 'manifest.sig'}
GUIDE = origin.ROOT / 'doc/source/admin/context.rst'


@pytest.fixture(scope='module', params=['direct', 'neutron'])
def real(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[origin.Origin]:
    """Our server in each of its places."""
    top = tmp_path_factory.mktemp(request.param)
    key = site.Key().private
    with origin.serving(top, request.param, FILES, key) as made:
        yield made


class Guest:
    """A machine with an agent of old."""

    def __init__(
        self, top: Path, network: machine.Network, path: str = machine.SYSTEM
    ) -> None:
        self.top = top
        self.context = top / 'hepix' / 'context'
        self._network = network
        self._path = path
        self._cds: list[str] = []
        self.says('[hepix]\ncontext=default\nrequiressl=\n')
        self.context.parent.mkdir()

    def says(self, user_data: str) -> None:
        """What the user gave it."""
        (self.top / 'user-data').write_text(f'[other]\nx=1\n{user_data}')

    def cd(self, folder: Path) -> None:
        """Mount one more."""
        self._cds.append(str(folder))

    def run(self, verb: str) -> subprocess.CompletedProcess[str]:
        """Start it, end its start, or shut it down."""
        return self.sh('"$0" "$1"', str(OLD), verb)

    def sh(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run some shell in it."""
        return subprocess.run(
            [*machine.inside(self._network), 'sh', '-c', *words],
            cwd=self.top,
            env={
                'PATH': self._path,
                'CALLS': str(self.top / 'calls'),
                'CONTEXT_DIR': str(self.context),
                'CDS': ' '.join(self._cds),
                'USER_DATA': str(self.top / 'user-data'),
            },
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    @property
    def calls(self) -> list[str]:
        """What the site's scripts noted, all in the right place."""
        noted = self.top / 'calls'
        lines = noted.read_text().splitlines() if noted.exists() else []
        place = f' in {self.context}'
        assert all(line.endswith(place) for line in lines), lines
        return [line.removesuffix(place) for line in lines]

    @property
    def files(self) -> dict[str, bytes]:
        """What it unpacked."""
        return _files(self.context)


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file()
    }


@pytest.fixture
def old(tmp_path: Path, real: origin.Origin) -> Guest:
    """One at our server."""
    return Guest(tmp_path, real)


@pytest.fixture(scope='module')
def disc(
    real: origin.Origin, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What is on the CD that a site makes, as others read it."""
    if not shutil.which('isoinfo'):
        pytest.skip('needs genisoimage')
    into = tmp_path_factory.mktemp('disc') / 'cd'
    image = into.with_suffix('.iso')
    real.hepix_vm('context', 'iso', '--output', str(image))
    reader = ('isoinfo', '-R', '-i', str(image))
    listed = subprocess.run(
        [*reader, '-l'], capture_output=True, text=True, check=True
    ).stdout
    folder = ''
    for line in listed.splitlines():
        if line.startswith('Directory listing of '):
            folder = line.removeprefix('Directory listing of ').strip()
        elif line.startswith('-'):
            name = f'{folder}{line.split()[-1]}'
            target = into / name[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open('wb') as to:
                subprocess.run([*reader, '-x', name], stdout=to, check=True)
            target.chmod(0o755 if line[3] == 'x' else 0o644)
    return into


@pytest.fixture
def cd(disc: Path, tmp_path: Path) -> Path:
    """One of them."""
    return shutil.copytree(disc, tmp_path / 'cd')


def test_it_fetches_unpacks_and_runs(old):
    done = old.run('start')
    assert (done.returncode, done.stderr) == (0, '')
    assert old.calls == START
    assert old.files == FILES
    old.run('epilog')
    old.run('stop')
    assert old.calls == [
        *('prolog start', 'epilog start', 'epilog stop', 'prolog stop')
    ]


@pytest.mark.parametrize('name', ['atlas', 'my-own_2.1', 'passwd', 'tgz'])
def test_the_name_that_a_user_chose_is_the_sites(old, name):
    old.says(f'[hepix]\ncontext={name}\nrequiressl=\n')
    old.run('start')
    assert old.calls == START
    assert old.files == FILES


@pytest.mark.parametrize(
    'name',
    [
        '../../etc/passwd',
        '../default',
        '%2e%2e/default',
        '..%2f..%2fetc%2fpasswd',
        'default%00',
        'default%0a',
        'caf%c3%a9',
        '.default',
        'x' * 65,
    ],
)
def test_a_name_that_is_none_is_nothing_at_all(old, real, name):
    done = old.sh(
        'curl -s --path-as-is -o body -w "%{http_code}" "$0"',
        f'http://{site.ADDRESS}/context/{name}.tgz',
    )
    assert done.stdout == '404'
    assert (old.top / 'body').read_bytes() in (b'', b'\n')
    old.says(f'[hepix]\ncontext={name}\nrequiressl=\n')
    old.run('start')
    assert old.calls == []
    assert old.files == {}


def test_both_forms_are_what_they_are_called(old, real):
    """And the tools of each unpack it."""
    base = f'http://{site.ADDRESS}/context'
    old.sh('curl -s -k -o d.tgz "$0/default.tgz"', base)
    body = (old.top / 'd.tgz').read_bytes()
    if real.top.name.startswith('neutron'):
        assert body.startswith(b'PK\3\4')
        unpack = 'unzip -p d.tgz | tar -xf - -C "$CONTEXT_DIR"'
        assert old.sh('unzip -tq d.tgz').returncode == 0
    else:
        assert body.startswith(b'\x1f\x8b')
        unpack = 'gzip -t d.tgz && tar -zxf d.tgz -C "$CONTEXT_DIR"'
    old.context.mkdir()
    for one in (unpack, 'gzip -dc < d.tgz | tar -xf - -C "$CONTEXT_DIR"'):
        done = old.sh(one)
        assert (done.returncode, done.stderr) == (0, '')
        assert old.files == FILES
        shutil.rmtree(old.context)
        old.context.mkdir()


@pytest.mark.parametrize('body', [b'', b'\n'])
@pytest.mark.parametrize('status', [403, 404, 503])
def test_what_our_server_refuses_with_is_no_archive(
    server, tmp_path, status, body
):
    server.say({'/context/default.tgz': site.Answer(status, body)})
    old = Guest(tmp_path, server)
    done = old.run('start')
    assert 'tar: ' in done.stderr
    assert old.calls == []
    assert old.files == {}
    assert server.asked == ['/context/default.tgz']


def test_a_refusal_leaves_what_a_cd_brought(server, tmp_path):
    server.say({'/context/default.tgz': site.Answer(503, b'\n')})
    old = Guest(tmp_path, server)
    (tmp_path / 'cd').mkdir()
    for name, content in site.SCRIPTS.items():
        (tmp_path / 'cd' / name).write_bytes(content)
        (tmp_path / 'cd' / name).chmod(0o755)
    old.cd(tmp_path / 'cd')
    old.run('start')
    assert old.calls == START
    assert old.files == site.SCRIPTS


@pytest.mark.parametrize(
    'user_data',
    ['[hepix]\ncontext=default\n', '[hepix]\ncontext=default\nrequiressl=no'],
)
def test_https_is_asked_for_and_nobody_is_there(old, real, user_data):
    """It ends at once, and the site hears of nothing."""
    asked = len(real.agent.asked)
    old.says(user_data)
    done = old.run('start')
    assert 'tar: ' in done.stderr
    assert (old.calls, old.files) == ([], {})
    assert len(real.agent.asked) == asked
    # As for https itself: refused, not without an answer.
    url = f'https://{site.ADDRESS}/context/default.tgz'
    done = old.sh('curl -s --connect-timeout 10 -k "$0"', url)
    assert (done.returncode, done.stdout) == (7, '')


def test_the_guide_says_what_helps_against_https(old):
    """The user-data that it shows does."""
    block = re.search(r'::\n\n((?: .*\n)* +requiressl=\n)', GUIDE.read_text())
    assert block is not None
    old.says(re.sub('(?m)^ +', '', block[1]))
    old.run('start')
    assert old.calls == START


def test_without_user_data_it_never_asks_and_that_is_seen(old, real):
    asked = len(real.agent.asked)
    old.says('')
    old.run('start')
    assert old.calls == []
    assert len(real.agent.asked) == asked


def test_a_cd_and_the_network_both_run(old, cd):
    """The prolog twice; what stays is the network's."""
    assert set(_files(cd)) == FILES.keys() | OURS
    (cd / 'site/squid.conf').write_bytes(b'an older one\n')
    old.cd(cd)
    assert old.run('start').returncode == 0
    assert old.calls == START * 2
    assert FILES.items() <= old.files.items()
    old.run('epilog')
    assert old.calls[2:] == ['epilog start']


def test_a_cd_alone_is_enough(old, cd):
    """Its init.sh, which they source, leaves the scripts to them."""
    old.says('')
    old.cd(cd)
    assert old.run('start').stderr == ''
    assert old.calls == START


@pytest.mark.parametrize('shell', machine.SHELLS)
@pytest.mark.parametrize('copied', [False, True])
def test_the_agent_of_opennebula_runs_both(
    real, cd, tmp_path, paths, shell, copied
):
    """It knows init.sh alone, on the CD or copied away from it."""
    old = Guest(tmp_path, real, paths[shell])
    script = 'cd "$0" && sh ./init.sh'
    if copied:
        shutil.copy(cd / 'init.sh', tmp_path / 'init.sh')
        script = 'MOUNT_DIR=$0 sh ./init.sh'
    done = old.sh(script, str(cd))
    assert (done.returncode, done.stderr) == (0, '')
    assert old.calls == ['prolog start', 'epilog start']
    assert old.context.stat().st_mode & 0o777 == 0o700
    # That agent sources context.sh, and breaks where it has a PATH.
    assert not (cd / 'context.sh').exists()


_DIRAC = """
import json, sys, urllib.error, urllib.request
found = {}
for line in sys.stdin.read().split():
    try:
        with urllib.request.urlopen(line, timeout=300) as answer:
            found[line.rpartition('/')[2]] = int(answer.read())
    except urllib.error.HTTPError as error:
        found[line.rpartition('/')[2]] = [error.code, error.read().decode()]
print(json.dumps(found))
"""


def test_pilots_that_read_urls_get_bare_numbers_or_nothing(old, real):
    job = f'http://{site.ADDRESS}/jobfeatures'
    keys = ['allocated_cpu', 'max_rss_bytes', 'jobstart_secs', 'no_such_key']
    done = subprocess.run(
        [*machine.inside(real), sys.executable, '-c', _DIRAC],
        input='\n'.join(f'{job}/{key}' for key in keys),
        capture_output=True,
        text=True,
        check=True,
    )
    missing = '' if real.top.name.startswith('direct') else '\n'
    assert json.loads(done.stdout) == {
        'allocated_cpu': 2,
        'max_rss_bytes': 4096 * 2**20,
        'jobstart_secs': 1795352400,
        'no_such_key': [404, missing],
    }
    script = (
        'for key in allocated_cpu shutdowntime_job; do '
        'value=$(curl -s "$0/$key"); printf "[%s]" "$value"; done'
    )
    assert old.sh(script, job).stdout == '[2][]'
