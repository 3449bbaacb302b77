# SPDX-License-Identifier: Apache-2.0
"""One endorser, three sites: an image goes round, and is taken back.

DESY makes an image and endorses it with the commands that endorsers have.
CERN takes all that DESY endorses, boots it first, and keeps the version
before; LAL approves by hand, for the projects of one VO; DESY itself takes
what an expression says. Each has a configuration, a catalogue and a Glance
of its own; CERN's is the one that Nova boots from.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

from novaclient import exceptions as nova_exc
import pytest

from tests.cloud import cloud as clouds
from tests.cloud import hepix
from tests import endorser as endorsers
from tests import faulty
from tests.functional import further
from tests.functional import images as acts
from tests.functional import publishing
from tests import guest

TITLE = 'Scientific Linux worker node'
VO = 'ilc'


class Desy:
    """The endorser, at a shell.

    :param url: where ``folder / 'web'`` is served
    """

    def __init__(self, folder: Path, url: str, run: faulty.Runner) -> None:
        self.folder = folder
        self.run = run
        self.web = folder / 'web'
        self.draft = folder / 'draft.json'
        self.signed = folder / 'worker.smime'
        self.list_url = f'{url}/worker.smime'
        self.endorser = endorsers.Endorser.create(
            folder / 'key', name='Erin of DESY'
        )
        self.anchors = folder / 'anchors'
        self.endorser.write_trust_anchors(self.anchors)
        self.certificate = folder / 'key' / 'endorser.pem'

    def do(self, *words: object) -> str:
        """Run a command of endorsers, well."""
        ran = self.run(list(words))
        assert ran.status == 0, f'{words}: {ran}'
        return ran.out

    def begin(self) -> None:
        """Begin the list."""
        self.do(
            *('list', 'new', '--endorser', self.certificate),
            *('--title', 'Images of DESY', '--description', 'For the grid'),
            *('--source', 'desy.example', '--uri', self.list_url),
            *('--email', 'images@desy.example'),
            *('--dialect', 'appdb', '--vo', VO),
            self.draft,
        )
        draft = self.draft.read_text()
        self.list_id = json.loads(draft)['hv:imagelist']['dc:identifier']

    def add(self, version: str, *more: object) -> bytes:
        """Make an image, or a new version of it; its bytes."""
        data = guest.image(mark=f'version {version}')
        path = self.folder / f'worker-{version}.raw'
        path.write_bytes(data)
        self.do(
            *('list', 'add', '--title', TITLE, '--image-version', version),
            *('--os', 'Linux', '--os-name', 'ScientificLinux'),
            *('--os-version', '6.3', '--format', 'raw', '--arch', 'x86_64'),
            *('--description', 'Worker node', *more, self.draft, path),
        )
        return data

    def publish(self, *versions: str) -> None:
        """Sign the draft, and put all where it is fetched."""
        self.do(
            *('list', 'sign', '--certificate', self.certificate),
            *('--key', self.folder / 'key' / 'endorser.key'),
            *('--trust-anchors', self.anchors),
            *('--output', self.signed, self.draft),
        )
        images = [self.folder / f'worker-{v}.raw' for v in versions]
        more = ['--images', *images] if images else []
        self.do('list', 'publish', self.signed, self.web, *more)

    def withdraw(self) -> None:
        """Take the image out of the list."""
        self.do(
            *('list', 'remove', '--retire-list-withdrawing-all'),
            self.draft,
        )
        self.publish()


class Site(publishing.Place):
    """A site that follows DESY by its own rules."""

    def follow_desy(self, desy: Desy, **rules: Any) -> None:
        """Subscribe."""
        del self.sections[f'subscription:{publishing.NAME}']
        self.configure(
            {
                'subscription:desy': {
                    'url': desy.list_url,
                    'list_identifier': desy.list_id,
                    'endorser_subject': desy.endorser.subject,
                    'endorser_issuer': desy.endorser.issuer,
                    'trust_anchors': str(desy.anchors),
                    **rules,
                }
            }
        )

    def outcomes(self) -> list[str]:
        """Sync and publish; what became of each image."""
        self.well('sync')
        return [one['outcome'] for one in self.well('publish')]

    def states(self, data: bytes) -> list[tuple[str, str, bool]]:
        """Status, visibility and whether it is hidden, of these bytes."""
        wanted = publishing.digest(data)
        return [
            (image['status'], image['visibility'], image['os_hidden'])
            for image in self.images().values()
            if image['os_hash_value'] == wanted
        ]

    def image(self, data: bytes) -> dict[str, Any]:
        """The one image of these bytes."""
        wanted = publishing.digest(data)
        (found,) = (
            image
            for image in self.images().values()
            if image['os_hash_value'] == wanted
        )
        return found


@dataclasses.dataclass(frozen=True)
class Exchange:
    """All who take part."""

    desy: Desy
    sites: dict[str, Site]


@contextlib.contextmanager
def _site(
    glance: further.Glance,
    cloud: clouds.Cloud,
    folder: Path,
    run: faulty.Runner,
) -> Iterator[Site]:
    folder.mkdir()
    with publishing.fronts(cloud, glance, folder / 'web') as proxy:
        made = Site(cloud, glance, folder, run, proxy)
        try:
            yield made
        finally:
            made.database.close()


@contextlib.contextmanager
def _cern(cloud: clouds.Cloud) -> Iterator[further.Glance]:
    """The cloud's own Glance, whose configuration is given back."""
    path = hepix.config_file(cloud.layout.work)
    before = path.read_text()
    try:
        yield further.Glance(
            name='glance',
            url=cloud.endpoints['glance'],
            database=cloud.site.database('glance'),
            config_file=path,
            log=cloud.log('glance'),
            store=cloud.layout.data / 'glance' / 'local',
        )
    finally:
        path.write_text(before)
        publishing.nova_reads_again(cloud)


@pytest.fixture
def exchange(cloud: clouds.Cloud, tmp_path: Path) -> Iterator[Exchange]:
    home = tmp_path / 'endorser'
    (home / 'web').mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        run = stack.enter_context(faulty.runner())
        glances = {
            'CERN': stack.enter_context(_cern(cloud)),
            'LAL': stack.enter_context(further.glance(cloud, 'lal')),
            'DESY': stack.enter_context(further.glance(cloud, 'desy')),
        }
        sites = {
            name: stack.enter_context(
                _site(glance, cloud, tmp_path / name, run)
            )
            for name, glance in glances.items()
        }
        url = stack.enter_context(publishing.asked.web_server(home / 'web'))
        desy = Desy(home, url, run)
        desy.begin()
        publishing.nova_reads_again(cloud)
        yield Exchange(desy, sites)


@pytest.mark.timeout(1800)
def test_an_image_goes_round_three_sites_and_is_withdrawn(
    cloud: clouds.Cloud, exchange: Exchange
) -> None:
    desy, (cern, lal, home) = exchange.desy, exchange.sites.values()
    partner = cloud.add_project('demo')
    cern.sections['quarantine'] = {
        'flavor': clouds.FLAVOR,
        'console_line': 'LAST LINE',
    }
    cern.sections['publish'] = {'keep': 1}
    cern.follow_desy(desy, approval='all', quarantine='true')
    lal.follow_desy(desy, approval='listed', vo_projects=f'{VO}:{partner}')
    lal.sections['glance_import'] = {
        'publishing_projects': cloud.add_project('admin')
    }
    lal.configure()
    home.follow_desy(
        desy,
        approval='matching',
        approve_if='os_name = ScientificLinux version >= 1.1',
    )
    servers = acts.Servers(cloud)

    # An image is made at DESY and published; each site takes it its way.
    first = desy.add('1.0')
    desy.publish('1.0')
    assert cern.outcomes() == ['published']
    assert cern.states(first) == [('active', 'public', False)]
    assert 'quarantine' in cern.hepix('history', 'show').out
    assert lal.outcomes() == []
    (listed,) = lal.well('image', 'list')
    assert listed['code'] == 'not-approved'
    lal.well('image', 'approve', listed['identifier'], '--reason', 'tried')
    assert lal.outcomes() == ['published']
    assert lal.states(first) == [('active', 'shared', False)]
    shared = lal.image(first)['id']
    members = lal.client.image_members.list(shared)
    assert [member['member_id'] for member in members] == [partner]
    assert home.outcomes() == []
    assert home.states(first) == []

    # It is instantiated.
    at_cern = cern.image(first)['id']
    living = servers.boot(at_cern)
    assert living.status == 'ACTIVE'

    # A better version: the old one leaves when the new one is there.
    second = desy.add('1.1', '--update', TITLE)
    desy.publish('1.1')
    for site in (cern, lal, home):
        assert 'published' in site.outcomes()
    assert cern.states(second) == [('active', 'public', False)]
    assert lal.states(second) == [('active', 'shared', False)]
    assert home.states(second) == [('active', 'public', False)]
    for site in (cern, lal):
        assert site.states(first) == [('deactivated', 'private', True)]
        assert site.image(second)['name'] == TITLE
    boots = servers.boot(cern.image(second)['id'])
    assert boots.status == 'ACTIVE'

    # The endorser withdraws, and it acts everywhere.
    desy.withdraw()
    for site in (cern, lal, home):
        ran = site.hepix('sync')
        assert ran.status in (0, 1), ran
        for data in (first, second):
            assert [
                state for state in site.states(data) if state[0] == 'active'
            ] == []
        assert 'published' not in site.outcomes()
    ran = cern.hepix('server', 'list', '--not-approved', '-f', 'json')
    reported = {one['server'] for one in json.loads(ran.out)}
    assert {living.id, boots.id} <= reported
    with pytest.raises(nova_exc.Forbidden, match=r'is refused \(withdrawn\)'):
        servers.boot(cern.image(second)['id'])
    servers.delete(living.id, boots.id)
