# SPDX-License-Identifier: Apache-2.0
"""What the site's context costs when many machines boot at once."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import hashlib
import hmac
import pathlib
import random
import statistics
import tempfile
import time
from typing import Any

from benchmarks import beside
from benchmarks import guests
from benchmarks import machines
from benchmarks import measuring
from benchmarks import processes
from benchmarks import rows
from hepix_vm.context import bundle
from hepix_vm.context import facts
from hepix_vm.context import prepared
from hepix_vm.context import site as site_
from hepix_vm.context import variants
from tests import catalogue_rows
from tests.cloud import cloud as clouds
from tests.cloud import hepix
from tests.cloud import launch
from tests.cloud import options as opts
from tests.cloud import services
from tests.cloud import state
from tests.cloud import steps
from tests.functional import fronts
from tests.functional import images as acts

#: As in the sample for uWSGI: all guests may wait.
_UWSGI = ('--processes', '2', '--listen', '1024')
_THREADS = 8
#: What a guest asks for, one after the other.
_OURS = (
    '/context/manifest',
    '/context/manifest.sig',
    '/context/default.tgz.b64',
    '/machinefeatures/grace_secs',
    '/jobfeatures/allocated_cpu',
)
_THEIRS = ('/openstack/latest/meta_data.json',) * len(_OURS)
_PEER = "nova-metadata's meta_data.json"
#: Seconds within which all guests begin.
_SPAN = 1.0
#: Processes that play the guests.
_CLIENTS = 2
#: Seconds from a server in Nova to its first question: less than it takes to
#: boot a kernel and to get an address.
_BOOT = 30.0
_MILLISECONDS = 1e3

_INSIDE = 'boot 1 000 instances, context inside nova-metadata'
_OWN = 'boot 1 000 instances, context in a process of its own'


@dataclasses.dataclass(frozen=True, slots=True)
class _Contender:
    """A service, what it is asked for, and how it went, round by round.

    :param service: name of its process and of its port
    """

    service: str
    paths: Sequence[str]
    waves: list[guests.Wave] = dataclasses.field(default_factory=list)
    processor: list[float] = dataclasses.field(default_factory=list)
    memory: list[float] = dataclasses.field(default_factory=list)

    def request(self) -> float:
        """Milliseconds of each request, while all are at it."""
        return _MILLISECONDS * statistics.median(
            (one.ended - one.began) / len(one.seconds) for one in self.waves
        )

    def p99(self) -> float:
        """Milliseconds that 99 of 100 requests do not exceed."""
        return _MILLISECONDS * statistics.median(
            measuring.Times(one.seconds, []).p99 for one in self.waves
        )

    def failures(self) -> int:
        """Of all rounds."""
        return sum(one.failures for one in self.waves)

    def answer(self) -> float:
        """Milliseconds of processors for each answer."""
        return _MILLISECONDS * statistics.median(
            taken / len(one.seconds)
            for taken, one in zip(self.processor, self.waves, strict=True)
        )


def measure(
    instances: int = 1000, rounds: int = 3, files: int = 500
) -> Iterator[rows.Row]:
    """All rows.

    :param instances: that boot at once
    :param rounds: each with instances of its own
    :param files: of the bundle that is built
    """
    yield from built(files)
    with (
        launch.work_directory() as work,
        launch.running(_options(work), work) as cloud,
    ):
        _write_site(hepix.context_directory(work), 20, 2048)
        server = _server(cloud)
        with _services(cloud):
            yield from _booted(cloud, server, instances, rounds)


def built(files: int, rounds: int = 10) -> Iterator[rows.Row]:
    """A bundle of many files, from the directory to all forms of it."""
    limits = bundle.Limits(members=2 * files + 2)
    known = facts.Facts('0b7c8f7e-5ad6-4bd0-9d8e-3f1c2b7a6001', 'project')
    with tempfile.TemporaryDirectory(prefix='hepix-vm-bench-') as name:
        folder = pathlib.Path(name)
        _write_site(folder, files, 1024)

        def build() -> None:
            site = site_.read_directory(folder, limits)
            made = variants.compose(site, known, limits)
            prepared.prepare(made, site.serial, True, None)

        tar = measuring.program('tar', '-czf', '/dev/null', '-C', name, '.')
        label = 'tar -cz (a process)'
        yield from beside.rows_of(
            'build a bundle of 500 files', build, label, tar, rounds
        )


def _write_site(folder: pathlib.Path, files: int, size: int) -> None:
    """So many scripts; half of what they say cannot be compressed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ('prolog.sh', 'epilog.sh'):
        (folder / name).write_text(hepix.PROLOG)
    for number in range(files - 2):
        said = random.Random(number).randbytes(size // 2).hex()  # noqa: S311
        (folder / f'script_{number:03}.sh').write_text(f'# {said}\n')


def _options(work: pathlib.Path) -> opts.CloudOptions:
    return hepix.hepix_cloud_options(
        work,
        more={
            'context': {
                'signing_key': str(hepix.signing_key(work)),
                'ratings_file': str(hepix.ratings_file(work)),
                'refresh_interval': '5',
            },
            'catalogue': {'refresh_interval': '1'},
        },
    )


def _server(cloud: clouds.Cloud) -> Any:
    """One that Nova has made itself."""
    data = acts.some_bytes(4096)
    url = cloud.site.database(hepix.DATABASE)
    with contextlib.closing(catalogue_rows.Rows(url)) as known:
        known.subscription('trusted')
        known.endorse(data)
    outcome = acts.Images(cloud, 'admin').imported(data)
    if outcome.status != 'success':
        raise RuntimeError(outcome.message)
    made = acts.Servers(cloud, 'admin').boot(outcome.image['id'])
    if made.status != 'ACTIVE':
        raise RuntimeError(acts.fault(made))
    return made


@contextlib.contextmanager
def _services(cloud: clouds.Cloud) -> Iterator[None]:
    """Both, as a site would have them for many guests."""
    cloud.stop('nova-metadata')
    with contextlib.ExitStack() as stack:
        for service in (_metadata(cloud), fronts.process(cloud, _UWSGI)):
            cloud.start(service)
            stack.callback(cloud.end_further, service.name)
        yield


def _metadata(cloud: clouds.Cloud) -> steps.Service:
    """nova-metadata with our application in it, at the proxy's port."""
    return services.wsgi(
        cloud.site,
        fronts.PROXY,
        'nova.wsgi.metadata:application',
        {'OS_NOVA_CONFIG_DIR': str(cloud.site.etc('nova'))},
        (),
        _THREADS,
        _UWSGI,
    )


def _booted(
    cloud: clouds.Cloud, server: Any, instances: int, rounds: int
) -> Iterator[rows.Row]:
    inside = _Contender(fronts.PROXY, _OURS)
    own = _Contender(fronts.PROCESS, _OURS)
    theirs = _Contender(fronts.PROXY, _THEIRS)
    # Ours goes on with what it learned after a round, in the pause.
    contenders = (theirs, inside, own)
    few = machines.copies(cloud.site, server.id, instances // 10)
    for one in contenders:
        _wave(cloud, one, few, server.tenant_id)
    for _ in range(rounds):
        # Nobody knows them yet.
        new = machines.copies(cloud.site, server.id, instances)
        time.sleep(_BOOT)
        for one in contenders:
            _round(cloud, one, new, server.tenant_id)
    yield from _rows(_INSIDE, inside, theirs)
    yield from _rows(_OWN, own, theirs)
    yield rows.Row(
        'boot 1 000 instances, the guests themselves, processor',
        _MILLISECONDS
        * statistics.median(
            one.processor / len(one.seconds) for one in inside.waves
        ),
        'ms',
        f'none ({_CLIENTS} processes; a connection for each request)',
    )


def _rows(
    name: str, ours: _Contender, theirs: _Contender
) -> Iterator[rows.Row]:
    yield rows.Row(
        f'{name}, a request', ours.request(), 'ms', _PEER, theirs.request()
    )
    yield rows.Row(f'{name}, p99', ours.p99(), 'ms', _PEER, theirs.p99())
    troubles = [one.trouble for one in ours.waves if one.trouble]
    yield rows.Row(
        f'{name}, failures',
        ours.failures(),
        'requests',
        f'{_PEER}; first of ours: {troubles[0]}' if troubles else _PEER,
        theirs.failures(),
    )
    yield rows.Row(
        f'{name}, processor',
        ours.answer(),
        'ms',
        f'{_PEER}, by the service alone',
        theirs.answer(),
    )
    yield rows.Row(
        f'{name}, memory',
        ours.memory[-1],
        'MB',
        'the same after the first round',
        ours.memory[0],
    )


def _round(
    cloud: clouds.Cloud, one: _Contender, new: Sequence[str], project: str
) -> None:
    leader = state.load(cloud.layout.work).started[one.service].leader.pid
    before = processes.of_session(leader)
    one.waves.append(_wave(cloud, one, new, project))
    after = processes.of_session(leader)
    one.processor.append(after.processor - before.processor)
    one.memory.append(after.memory)


def _wave(
    cloud: clouds.Cloud, one: _Contender, new: Sequence[str], project: str
) -> guests.Wave:
    host, _, port = (
        cloud.site.url(one.service).removeprefix('http://').partition(':')
    )
    requests = [
        [
            _request(cloud.metadata_secret, host, path, name, project)
            for path in one.paths
        ]
        for name in new
    ]
    return guests.wave((host, int(port)), requests, _SPAN, _CLIENTS)


def _request(
    secret: str, host: str, path: str, instance: str, project: str
) -> str:
    """As neutron's metadata agent sends it on."""
    signature = hmac.new(secret.encode(), instance.encode(), hashlib.sha256)
    return (
        f'GET {path} HTTP/1.1\r\n'
        f'Host: {host}\r\n'
        'Connection: close\r\n'
        'X-Forwarded-For: 10.0.0.5\r\n'
        f'X-Instance-ID: {instance}\r\n'
        f'X-Tenant-ID: {project}\r\n'
        f'X-Instance-ID-Signature: {signature.hexdigest()}\r\n'
        '\r\n'
    )
