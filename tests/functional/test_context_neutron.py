# SPDX-License-Identifier: Apache-2.0
"""The site's context as a guest gets it: through the agents of Neutron."""

from __future__ import annotations

import base64
from collections.abc import Iterator
import contextlib
import dataclasses
import gzip
import hashlib
import json
import pathlib
import subprocess
import time
from typing import Any
import uuid

import pytest

from hepix_vm.context import forms
from hepix_vm.context import manifest
from tests import catalogue_rows
from tests.cloud import cloud as clouds
from tests.cloud import hepix
from tests.cloud import neutron as networks
from tests.cloud import waits
from tests.cloud import wires
from tests.functional import fronts
from tests.functional import images as acts
from tests.functional import metadata

LIMIT = metadata.LIMIT
BUNDLE = metadata.BUNDLE
CIDR = '10.7.0.0/24'
NOBODY = '10.7.0.250'
FORMS = (
    '/context/default.tgz',
    '/context/atlas.tgz',
    '/context/default.tgz.b64',
    '/context/manifest',
    '/context/manifest.sig',
    '/context/',
    '/machinefeatures/',
    '/jobfeatures/',
    '/jobfeatures/job_id',
)
LAYERS = """
variables: {site: EXAMPLE-T2}
layers:
  - directory: common
  - directory: tiny
    when: {flavor: tiny}
  - directory: huge
    when: {flavor: huge}
"""
FILES = {
    'layers.yaml': LAYERS,
    'common/prolog.sh': hepix.PROLOG,
    'common/epilog.sh': hepix.EPILOG,
    'common/site.in': '@site@ @project@ @flavor@ @vo@\n',
    'tiny/size': 'tiny\n',
    'huge/size': 'huge\n',
}


@dataclasses.dataclass(frozen=True, slots=True)
class Guest:
    """A server, and being it.

    :ivar server: as nova shows it
    :ivar wire: where its programs run
    :ivar signed: what the agent says of it
    """

    cloud: clouds.Cloud
    server: Any
    wire: wires.Guest
    signed: metadata.Headers

    def direct(self, path: str, service: str = 'nova-metadata') -> Any:
        """Ask as the agent does, without it."""
        url = self.cloud.site.url(service)
        return metadata.ask(url, self.signed, path)

    def hepix_vm(self, *words: str) -> None:
        """Run a command of the site's administrator."""
        config = hepix.config_file(self.cloud.layout.work)
        done = self.cloud.run('hepix-vm', '--config-file', str(config), *words)
        assert done.returncode == 0, done.stderr

    def fetch(self, path: str, *options: str) -> Any:
        """Ask as the guest does."""
        return metadata.fetch(self.wire, path, *options)


def _write_site(cloud: clouds.Cloud) -> None:
    site = hepix.context_directory(cloud.layout.work)
    for name, text in FILES.items():
        path = site / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    for name in ('prolog.sh', 'epilog.sh'):
        (site / name).unlink()


@contextlib.contextmanager
def _image(cloud: clouds.Cloud) -> Iterator[str]:
    rows = catalogue_rows.Rows(cloud.site.database(hepix.DATABASE))
    rows.subscription('trusted')
    data = acts.some_bytes(4096)
    rows.endorse(data)
    rows.close()
    outcome = acts.Images(cloud, 'admin').imported(data)
    assert outcome.status == 'success', outcome.message
    yield outcome.image['id']


@pytest.fixture(scope='module')
def guest(neutron: clouds.Cloud) -> Iterator[Guest]:
    """A server on a network, whose first request has been answered."""
    _write_site(neutron)
    with (
        wires.network(neutron, CIDR) as network,
        wires.port(neutron, network) as port,
        _image(neutron) as image,
    ):
        servers = acts.Servers(neutron, 'admin')
        made = servers.client.servers.create(
            'server', image, servers.flavor(), nics=[{'port-id': port['id']}]
        )
        made = servers.settled(made.id)
        assert made.status == 'ACTIVE', acts.fault(made)
        with wires.guest(neutron, network, port) as wire:
            signed = metadata.signed(neutron, made.id, made.tenant_id)
            one = Guest(neutron, made, wire, signed)
            _wait_for_site(one)
            yield one
        servers.delete(made.id)


def _wait_for_site(guest: Guest) -> None:
    """Wait until the layers are served, and the site's state is known."""
    waits.until(
        'the layers',
        lambda: b' size\n' in guest.direct('/context/manifest').body,
        LIMIT,
        log=guest.cloud.log('nova-metadata'),
    )
    waits.until(
        'features',
        lambda: guest.direct('/machinefeatures/').status == 200,
        LIMIT,
        log=guest.cloud.log('nova-metadata'),
    )


@pytest.fixture(scope='module')
def hosts(guest: Guest) -> None:
    """What the compute host has is known to those who serve."""
    guest.hepix_vm('context', 'hosts', '--refresh')
    waits.until(
        'the processors of the host',
        lambda: guest.direct('/machinefeatures/total_cpu').status == 200,
        LIMIT,
        log=guest.cloud.log('nova-metadata'),
    )


def _expected(guest: Guest) -> dict[str, str]:
    return {
        'prolog.sh': hepix.PROLOG,
        'epilog.sh': hepix.EPILOG,
        'site': f"EXAMPLE-T2 {guest.server.tenant_id} tiny ''\n",
        'size': 'tiny\n',
    }


def _unpacked(folder: pathlib.Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob('*')
        if path.is_file()
    }


@pytest.mark.parametrize('path', FORMS)
def test_what_nova_answers_reaches_the_guest_byte_for_byte(guest, path):
    sent = guest.direct(path)
    came = guest.fetch(path)
    assert (sent.status, came.status) == (200, 200)
    assert came.body == sent.body
    assert len(came.body) > 0


def test_the_bundle_is_a_zip_file_with_the_tar_in_it(guest):
    came = guest.fetch(BUNDLE)
    tar = gzip.decompress(
        base64.b64decode(guest.fetch('/context/default.tgz.b64').body)
    )
    assert came.body == forms.pkzip(forms.gzip(tar))
    assert came.headers['content-type'] == forms.PKZIP_TYPE
    said = manifest.parse(guest.fetch('/context/manifest').body)
    assert said.sha256_tar == hashlib.sha256(tar).hexdigest()
    assert {file.path for file in said.files} == set(_expected(guest))


@pytest.mark.parametrize(
    'command',
    [
        'curl --silent --connect-timeout 10 -k {url} > default.tgz',
        'wget -q -O default.tgz {url}',
    ],
)
def test_an_old_guest_s_way_unpacks_it(guest, tmp_path, command):
    url = f'http://{wires.METADATA}{BUNDLE}'
    script = f'cd "$0" && {command.format(url=url)} && tar -zxf default.tgz'
    done = guest.wire.run('sh', '-c', script, str(tmp_path))
    assert (done.returncode, done.stderr) == (0, b'')
    (tmp_path / 'default.tgz').unlink()
    assert _unpacked(tmp_path) == _expected(guest)
    assert (tmp_path / 'prolog.sh').stat().st_mode & 0o777 == 0o755


def test_a_guest_checks_the_signature_with_openssl(guest, tmp_path):
    key = hepix.signing_key(guest.cloud.layout.work)
    subprocess.run(
        ('openssl', 'ec', '-in', key, '-pubout', '-out', tmp_path / 'pub'),
        check=True,
        capture_output=True,
        timeout=LIMIT,
    )
    script = (
        f'cd "$0"; url=http://{wires.METADATA}/context; '
        'curl -s $url/manifest > m; curl -s $url/manifest.sig | '
        'base64 -d > s; openssl dgst -sha256 -verify pub -signature s m'
    )
    done = guest.wire.run('sh', '-c', script, str(tmp_path))
    assert (done.returncode, done.stdout) == (0, b'Verified OK\n')


@pytest.mark.parametrize(
    'path',
    [
        '/context/passwd',
        '/context/default.tgz/more',
        '/context/default.tgz%00',
        '/context/default.tgz%0a',
        '/context/%2563',
        '/context/%c3%a9.tgz',
        '/context/.tgz',
        '/context/' + 'x' * 65 + '.tgz',
        '/context/' + 'x' * 3000 + '.tgz',
        '/context/ran/nothing',
        '/machinefeatures/no_such_key',
        '/machinefeatures/TOTAL_CPU',
        '/jobfeatures/job_id/more',
        '/jobfeatures/job_id%20',
    ],
)
def test_what_there_is_not_is_404_without_a_word(guest, path):
    """A body of nothing at all would become 502 in the agent."""
    came = guest.fetch(path)
    assert (came.status, came.body) == (404, b'\n')


@pytest.mark.parametrize(
    'path',
    [
        '/context/../../etc/passwd',
        '/context/..%2f..%2fetc%2fpasswd',
        '/context/%2e%2e/%2e%2e/etc/passwd',
        '/context/..;/default.tgz',
        '/context/%5c..%5cdefault.tgz',
        '/context/default.tgz/../../../../etc/passwd',
        '/context/' + '../' * 40 + 'etc/passwd.tgz',
    ],
)
def test_no_name_leads_out(guest, path):
    """The agent resolves dots itself: what is left of them nova refuses."""
    came = guest.fetch(path)
    assert came.status == 404
    assert b'root' not in came.body


@pytest.mark.parametrize('length', [10_000, 100_000])
def test_an_endless_name_ends_in_front_of_nova(guest, length):
    came = guest.fetch(f'/context/{"x" * length}.tgz')
    assert came.status in (400, 404, 414, 502)
    assert guest.fetch(BUNDLE).status == 200


@pytest.mark.parametrize('method', ['POST', 'PUT', 'DELETE', 'OPTIONS'])
def test_a_guest_can_write_nothing(guest, method):
    came = guest.fetch(BUNDLE, '--request', method, '--data', 'x')
    assert (came.status, came.body) == (403, b'\n')


def test_a_query_changes_nothing(guest):
    assert guest.fetch(f'{BUNDLE}?a=../b&c').body == guest.fetch(BUNDLE).body


def _header(name: str, value: str) -> tuple[str, str]:
    return ('--header', f'{name}: {value}')


def test_who_a_guest_says_to_be_does_not_count(guest):
    other = metadata.signed(
        guest.cloud, str(uuid.uuid4()), str(uuid.uuid4().hex)
    )
    forged = [
        part for name, value in other[1:] for part in _header(name, value)
    ]
    for headers in (forged, [*forged, *forged]):
        came = guest.fetch('/jobfeatures/job_id', *headers)
        assert (came.status, came.body.decode()) == (200, guest.server.id)


@pytest.mark.parametrize(
    'forged',
    [
        _header('X-Neutron-Network-ID', str(uuid.UUID(int=0))),
        _header('X-Neutron-Router-ID', str(uuid.UUID(int=0))),
        _header('X-Forwarded-For', NOBODY),
        (*_header('X-Forwarded-For', NOBODY), *_header('X-Forwarded-For', '')),
        _header('X-Forwarded-For', '::1'),
        (*_header('Host', 'other'), *_header('Forwarded', f'for={NOBODY}')),
        _header('X-Metadata-Provider', str(uuid.UUID(int=0))),
    ],
)
def test_a_forged_header_never_makes_another_of_a_guest(guest, forged):
    """It is itself, or there is no answer."""
    came = guest.fetch('/jobfeatures/job_id', *forged)
    if came.status == 200:
        assert came.body.decode() == guest.server.id
    else:
        assert came.status in (400, 403, 404, 408, 500, 502, 503, 504)


_MANY = """
import socket, sys
some = []
for number in range(int(sys.argv[2])):
    one = socket.socket()
    one.setblocking(False)
    one.connect_ex((sys.argv[1], 80))
    some.append(one)
for one in some[::2]:
    try:
        one.send(b'GET /context/default.tgz HTTP/1.1\\r\\nX: ')
    except OSError:
        pass
print(len(some), flush=True)
sys.stdin.read()
"""


def test_two_thousand_connections_of_a_guest_are_its_own_loss(guest):
    """The proxy of its network is full, and nobody else notices."""
    limit = 'ulimit -n 4096 && exec "$@"'
    with _process(
        guest, 'sh', '-c', limit, 'sh', 'python3', '-c', _MANY,
        wires.METADATA, '2000',
    ) as many:  # fmt: skip
        assert many.stdout is not None
        assert many.stdout.readline() == b'2000\n'
        assert guest.direct(BUNDLE).status == 200
    waits.until(
        'the guest itself to be answered again',
        lambda: _answered(guest),
        LIMIT,
        log=guest.cloud.log(networks.METADATA_AGENT),
    )


def _answered(guest: Guest) -> bool:
    url = f'http://{wires.METADATA}{BUNDLE}'
    done = guest.wire.run('curl', '-s', '-f', '--max-time', '60', url)
    return done.returncode == 0


@contextlib.contextmanager
def _process(guest: Guest, *argv: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        guest.wire.argv(*argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        try:
            yield child
        finally:
            child.kill()


_DIRAC = """
import json, sys, urllib.error, urllib.request
found = {}
for kind in ('machinefeatures', 'jobfeatures'):
    base = f'http://{sys.argv[1]}/{kind}'
    index = urllib.request.urlopen(base + '/', timeout=60).read().decode()
    for key in index.split():
        with urllib.request.urlopen(f'{base}/{key}', timeout=60) as answer:
            found[key] = answer.read().decode()
    try:
        urllib.request.urlopen(f'{base}/no_such_key', timeout=60)
    except urllib.error.HTTPError as error:
        found[f'{kind}/no_such_key'] = [error.code, error.read().decode()]
print(json.dumps(found))
"""


def test_a_program_that_wants_bare_numbers_reads_every_key(guest, hosts):
    """As DIRAC does: the text is the number, and an error is none."""
    done = guest.wire.run('python3', '-c', _DIRAC, wires.METADATA)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for kind in ('machinefeatures', 'jobfeatures'):
        assert found.pop(f'{kind}/no_such_key') == [404, '\n']
    assert found.pop('job_id') == guest.server.id
    assert all(text == text.strip() for text in found.values())
    # A share of a rating need not be whole.
    share = float(found.pop('hs06_job'))
    numbers = {key: int(text) for key, text in found.items()}
    assert share == pytest.approx(640 / numbers['total_cpu'], abs=0.001)
    assert numbers['hs06'] == 640
    assert numbers['allocated_cpu'] == 1
    assert numbers['max_rss_bytes'] == 64 * 2**20
    assert numbers['scratch_limit_bytes'] == 2**30
    assert numbers['wall_limit_secs'] == numbers['cpu_limit_secs'] == 259200
    assert abs(numbers['jobstart_secs'] - time.time()) < 86400
    assert numbers['grace_secs'] == numbers['grace_secs_job'] > 0
    assert 'shutdowntime' not in numbers
    assert 'shutdowntime_job' not in numbers


def test_a_shell_script_reads_a_key_and_takes_no_page_for_one(guest, hosts):
    """As the scripts of glideinWMS and of pilots do."""
    base = f'http://{wires.METADATA}'
    script = (
        f'base={base}; JOBFEATURES=$base/jobfeatures; '
        'MACHINEFEATURES=$base/machinefeatures; '
        'for key in "$JOBFEATURES/allocated_cpu" "$MACHINEFEATURES/hs06" '
        '"$MACHINEFEATURES/shutdowntime" "$JOBFEATURES/nothing"; do '
        'value=$(curl -s "$key"); printf "[%s]" "$value"; done; '
        'wget -q -O - "$MACHINEFEATURES/shutdowntime"; printf "%s" $?'
    )
    done = guest.wire.run('sh', '-c', script)
    assert done.stdout == b'[1][640][][]8'


def test_an_order_to_end_reaches_the_guest_and_goes_again(guest, hosts):
    at = int(time.time()) + 7 * 86400
    key = '/jobfeatures/shutdowntime_job'
    log = guest.cloud.log('nova-metadata')
    guest.hepix_vm('drain', guest.server.id, '--at', str(at))
    waits.until(
        'the order',
        lambda: guest.fetch(key).body == str(at).encode(),
        LIMIT,
        log=log,
    )
    guest.hepix_vm('drain', 'clear', guest.server.id)
    waits.until(
        'the order to be gone',
        lambda: guest.fetch(key).status == 404,
        LIMIT,
        log=log,
    )


def _own_metadata(guest: Guest) -> str:
    came = guest.fetch('/openstack/latest/meta_data.json')
    assert came.status == 200
    told: str = json.loads(came.body)['uuid']
    return told


def test_nova_s_own_metadata_is_as_it_was(guest):
    assert _own_metadata(guest) == guest.server.id
    assert guest.fetch('/contextual').status == 404


def test_a_guest_is_known_by_what_it_fetched(guest):
    """Under its own name, whatever it called the bundle."""
    assert guest.fetch('/context/atlas.tgz').status == 200
    log = guest.cloud.log('nova-metadata')
    waits.until(
        'the line in the log',
        lambda: f'instance={guest.server.id}' in log.read_text(),
        LIMIT,
        log=log,
    )


@pytest.fixture
def front(guest: Guest) -> Iterator[None]:
    """A process of its own, and a proxy that the agent asks instead."""
    with fronts.running(guest.cloud):
        fronts.point_agent(guest.cloud, 'front')
        yield
    fronts.point_agent(guest.cloud, 'nova-metadata')


def _wait_for_same(guest: Guest, path: str, expected: bytes) -> None:
    """The sample has two processes, and each has to look around first."""
    waits.until(
        f'{path} as nova-metadata has it',
        lambda: (
            guest.direct(path, 'front').body == expected
            and guest.fetch(path).body == expected
        ),
        LIMIT,
        log=guest.cloud.log(fronts.PROCESS),
    )


def test_a_process_of_its_own_serves_the_same(guest, hosts, front):
    """All else goes on to nova; last, because the agent starts anew."""
    for path in FORMS:
        # Each process signs for itself, and no two signatures are alike.
        if not path.endswith('.sig'):
            _wait_for_same(guest, path, guest.direct(path).body)
    assert guest.fetch('/context/manifest.sig').status == 200
    assert _own_metadata(guest) == guest.server.id
    for path in ('/context/nothing', '/jobfeatures/nothing'):
        came = guest.fetch(path)
        assert (came.status, came.body) == (404, b'\n')
    came = guest.fetch('/contextual')
    assert came.status == 404
    assert b'Not Found' in came.body
    # The proxy of the rule hands on what the agent signed, and no more.
    wrong = [*guest.signed[:3], ('X-Instance-ID-Signature', '0' * 64)]
    url = guest.cloud.site.url('front')
    assert metadata.ask(url, wrong).status == 403
    assert metadata.ask(url, [*guest.signed, *guest.signed]).status == 403
