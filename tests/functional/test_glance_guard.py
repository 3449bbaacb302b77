# SPDX-License-Identifier: Apache-2.0
"""A Glance that leaves a way open does not start, and says why."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import json
import pathlib
import re
import subprocess
from typing import Any

import pytest

from tests.cloud import cloud as clouds
from tests.cloud import configuration
from tests.cloud import errors
from tests.cloud import files
from tests.cloud import hepix
from tests.cloud import launch
from tests.cloud import options as opts
from tests.cloud import services
from tests.cloud import site as sites
from tests.cloud import steps
from tests.functional import importing

pytestmark = pytest.mark.timeout(900)

STARTED = 'URLMap'
PROGRAM = pathlib.Path(__file__).parent / 'glance_starting.py'
PROTECTIONS = (
    hepix.CHECKOUT / 'etc' / 'hepix_vm' / 'glance-property-protections.conf'
)


@dataclasses.dataclass(frozen=True, slots=True)
class Start:
    """How a start of Glance ended.

    :ivar outcome: class of its application, or what was raised
    """

    outcome: str
    log: str

    def refused(self, *said: str) -> None:
        """Glance did not start, and says so in one sentence."""
        told = re.findall('CRITICAL hepix_vm.glance.guard .*', self.log)
        assert len(told) == 1, self.log
        assert 'Glance does not start: ' in told[0]
        for words in said:
            assert words in told[0]
            assert words in self.outcome
        assert self.outcome.startswith('GlanceOpen: ')


class Alone:
    """Glance, to be started; for that it needs its database alone."""

    def __init__(self, cloud: clouds.Cloud) -> None:
        self.cloud = cloud
        self._log = cloud.layout.log / 'starts.log'
        self._process = self._begun()

    def _begun(self) -> subprocess.Popen[str]:
        layout = self.cloud.layout
        with self._log.open('ab') as log:
            return subprocess.Popen(
                [self.cloud.site.program('python'), str(PROGRAM)],
                env={
                    'PATH': f'{self.cloud.site.venv}/bin:/usr/bin:/bin',
                    'HOME': str(layout.work),
                    'PYTHONPATH': str(layout.site),
                    'XDG_CACHE_HOME': str(layout.data / 'cache'),
                },
                cwd=layout.work,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def forget_packages(self) -> None:
        """Have the installed packages looked through again."""
        self.end()
        importing.forget_packages(self.cloud)
        self._process = self._begun()

    def end(self) -> None:
        """End the process that has Glance loaded."""
        # It may still be importing Glance.
        self._process.kill()
        self._process.communicate()

    def site(
        self,
        policy: Mapping[str, str | None] | None = None,
        glance: Mapping[str, opts.Value] | None = None,
        accept: str = '',
        **changes: Any,
    ) -> sites.Site:
        """Configure Glance as shipped, but for what is named.

        :param policy: rules; None takes one away
        :param glance: options of ``[DEFAULT]``
        :param accept: value of ``accept_open``
        :param changes: of the options of the cloud
        """
        work = self.cloud.layout.work
        shipped = hepix.hepix_cloud_options(work)
        rules = {**shipped.glance_policy, **(policy or {})}
        extra = {
            'glance-api': {
                'hepix_vm': {'config_file': str(hepix.config_file(work))},
                'DEFAULT': {
                    'property_protection_file': str(PROTECTIONS),
                    **(glance or {}),
                },
            }
        }
        options = dataclasses.replace(
            shipped,
            glance_policy={k: v for k, v in rules.items() if v is not None},
            **{'extra': extra, **changes},
        )
        site = dataclasses.replace(self.cloud.site, options=options)
        files.write(site)
        ours = hepix.config_file(work)
        ours.parent.mkdir(exist_ok=True)
        ours.write_text(
            configuration.render(
                {
                    'catalogue': {'connection': f'sqlite:///{work}/catalogue'},
                    'glance_guard': {'accept_open': accept},
                    'context': {
                        'directory': str(PROTECTIONS.with_name('context'))
                    },
                }
            )
        )
        ours.chmod(0o640)
        return site

    def start(self, site: sites.Site) -> Start:
        """Have Glance start with a configuration that was written."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        before = self._log.stat().st_size
        self._process.stdin.write(f'{site.etc("glance")}\n')
        self._process.stdin.flush()
        outcome = json.loads(self._process.stdout.readline())
        return Start(outcome, self._log.read_text()[before:])


@pytest.fixture(scope='module')
def alone() -> Iterator[Alone]:
    """Glance, of which nothing runs but its database."""
    options = opts.CloudOptions(
        parts=frozenset({'mariadb'}), checkout=hepix.CHECKOUT
    )
    with (
        launch.work_directory() as work,
        launch.running(options, work) as cloud,
    ):
        one = Alone(cloud)
        try:
            yield one
        finally:
            one.end()


def test_glance_starts_as_shipped(alone: Alone) -> None:
    start = alone.start(alone.site())
    assert start.outcome == STARTED, start.log
    assert 'hepix_vm.glance.guard' not in start.log


WAYS: dict[str, tuple[str, dict[str, Any], str]] = {
    'upload': (
        'upload',
        {'policy': {'upload_image': None}},
        'policy upload_image lets a member',
    ),
    'upload by every service': (
        'upload',
        {'policy': {'upload_image': 'role:reader'}},
        'policy upload_image lets a reader',
    ),
    'add-location': (
        'add-location',
        {'policy': {'add_image_location': None}},
        'policy add_image_location lets a member',
    ),
    'set-location': (
        'set-location',
        {
            'policy': {'set_image_location': None},
            'glance': {'show_multiple_locations': True},
        },
        'policy set_image_location lets a member',
    ),
    'tasks': (
        'tasks',
        {'policy': {'tasks_api_access': 'role:member'}},
        'policy tasks_api_access lets a member',
    ),
    'reactivate': (
        'reactivate',
        {'policy': {'reactivate': None}},
        'policy reactivate lets a member',
    ),
    'properties': (
        'properties',
        {'glance': {'property_protection_file': None}},
        'users may write every property',
    ),
    'download': (
        'download',
        {'policy': {'download_image': None}},
        'policy download_image gives a member',
    ),
    'download from a store': (
        'download',
        {'policy': {'download_from_store': None}},
        'policy download_from_store gives a member',
    ),
    'download by every service': (
        'download',
        {'policy': {'hepix_exempt': 'service_roles:service'}},
        'gives a service on behalf of a member',
    ),
    'locations': (
        'locations',
        {
            'policy': {'fetch_image_location': None},
            'glance': {'enabled_backends': 'local:file,web:http'},
        },
        'policy fetch_image_location tells a service account',
    ),
    'direct URL': (
        'locations',
        {
            'glance': {
                'enabled_backends': 'local:file,web:http',
                'show_image_direct_url': True,
            },
        },
        'show_image_direct_url = False in glance-api.conf',
    ),
}


@pytest.mark.parametrize('case', sorted(WAYS))
def test_glance_does_not_start_while_a_way_is_open(
    alone: Alone, case: str
) -> None:
    way, changes, said = WAYS[case]
    alone.start(alone.site(**changes)).refused(
        f'{way} is open', said, f'accept_open = {way}" in [glance_guard]'
    )
    start = alone.start(alone.site(accept=way, **changes))
    assert start.outcome == STARTED, start.log
    told = re.findall('WARNING hepix_vm.glance.guard .*', start.log)
    assert len(told) == 1
    assert f'accepted by option: {way} is open: ' in told[0]


def test_every_way_that_is_open_is_named(alone: Alone) -> None:
    site = alone.site(policy={'upload_image': None, 'reactivate': None})
    alone.start(site).refused(
        'upload is open', 'reactivate is open', 'open = upload, reactivate"'
    )
    site = alone.site(
        accept='upload', policy={'upload_image': None, 'reactivate': None}
    )
    start = alone.start(site)
    start.refused('reactivate is open')
    assert 'upload is open' not in start.outcome


@pytest.mark.parametrize(
    ('listed', 'said'),
    [
        ((), 'must list hepix_verify exactly once, found []'),
        (('hepix_verify',), 'must list hepix_record exactly once'),
        (('hepix_record', 'hepix_verify'), 'must list hepix_record last'),
        (('hepix_verify', 'hepix_record', 'no_op'), 'hepix_record last'),
    ],
)
def test_glance_does_not_start_without_our_plugins_in_their_places(
    alone: Alone, listed: tuple[str, ...], said: str
) -> None:
    # No option accepts that.
    site = alone.site(import_plugins=listed, accept='upload,download')
    alone.start(site).refused(said)


def test_plugins_that_make_every_import_fail_are_told_only(
    alone: Alone,
) -> None:
    listed = ('hepix_verify', 'image_conversion', 'hepix_record')
    start = alone.start(alone.site(import_plugins=listed))
    assert start.outcome == STARTED, start.log
    assert 'every import will be refused: image_conversion' in start.log


@pytest.fixture
def entry_points(alone: Alone) -> Iterator[pathlib.Path]:
    """What the installed package says of its parts; put back afterwards."""
    layout = alone.cloud.layout
    (path,) = layout.site.glob('hepix_vm-*.dist-info/entry_points.txt')
    before = path.read_text()
    yield path
    path.write_text(before)
    alone.forget_packages()


def test_glance_does_not_start_while_a_plugin_is_not_installed(
    alone: Alone, entry_points: pathlib.Path
) -> None:
    text = entry_points.read_text()
    entry_points.write_text(re.sub('(?m)^hepix_record = .*', '', text))
    alone.forget_packages()
    alone.start(alone.site()).refused(
        'Glance lists import plugin hepix_record but did not load it'
    )


def test_glance_does_not_start_with_a_plugin_of_somebody_else(
    alone: Alone, entry_points: pathlib.Path
) -> None:
    text = entry_points.read_text()
    theirs = 'hepix_verify = glance.async_.flows.plugins.no_op:get_flow'
    entry_points.write_text(re.sub('(?m)^hepix_verify = .*', theirs, text))
    alone.forget_packages()
    alone.start(alone.site()).refused('import plugin hepix_verify')


@pytest.fixture
def broken(alone: Alone) -> Iterator[Any]:
    """Break modules of the installed package; put back afterwards."""
    before: dict[pathlib.Path, str] = {}

    def change(name: str, text: str) -> None:
        path = alone.cloud.layout.site / 'hepix_vm' / name
        before[path] = path.read_text()
        path.write_text(text)

    yield change
    for path, text in before.items():
        path.write_text(text)


def test_glance_does_not_start_while_a_plugin_cannot_be_imported(
    alone: Alone, broken: Any
) -> None:
    broken('glance/verify.py', 'import nothing_of_that_name\n')
    alone.start(alone.site()).refused('import plugin hepix_verify')


def test_glance_does_not_start_while_the_plugins_cannot_work(
    alone: Alone, broken: Any
) -> None:
    broken('glance/check.py', 'import nothing_of_that_name\n')
    alone.start(alone.site()).refused('nothing_of_that_name')


def test_glance_does_not_start_while_the_guard_itself_fails(
    alone: Alone, broken: Any
) -> None:
    broken('glance/protections.py', 'def looked(conf, judge):\n    1 / 0\n')
    alone.start(alone.site()).refused('ZeroDivisionError')


def test_glance_does_not_start_while_the_guard_cannot_be_imported(
    alone: Alone, broken: Any
) -> None:
    broken('glance/guard.py', 'import nothing_of_that_name\n')
    start = alone.start(alone.site())
    assert 'nothing_of_that_name' in start.outcome
    assert start.outcome.startswith('RuntimeError: Unable to load')


def test_glance_does_not_start_without_our_configuration(
    alone: Alone,
) -> None:
    site = alone.site()
    path = hepix.config_file(alone.cloud.layout.work)
    path.unlink()
    alone.start(site).refused(str(path), 'No such file')


def test_only_ways_that_there_are_can_be_accepted(alone: Alone) -> None:
    alone.start(alone.site(accept='back-door')).refused('back-door')


def test_glance_does_not_start_with_a_policy_that_cannot_be_read(
    alone: Alone,
) -> None:
    site = alone.site()
    (site.etc('glance') / 'policy.yaml').write_text('"upload_image": [')
    alone.start(site).refused('the policy of glance cannot be read')


def test_glance_does_not_start_before_it_checks_tokens(alone: Alone) -> None:
    site = alone.site()
    path = site.etc('glance') / 'glance-api-paste.ini'
    before = path.read_text()
    path.write_text(
        before.replace(
            'authtoken context hepix_guard', 'hepix_guard authtoken'
        )
    )
    alone.start(site).refused('behind authtoken')
    path.write_text(
        before.replace('authtoken context hepix_guard', 'hepix_guard context')
    )
    alone.start(site).refused('everybody is an administrator')


def test_protections_that_let_users_pass_are_seen(
    alone: Alone, tmp_path: pathlib.Path
) -> None:
    file = tmp_path / 'protections.conf'
    text = PROTECTIONS.read_text()
    file.write_text(text.replace('update = admin,service', 'update = @', 1))
    site = alone.site(glance={'property_protection_file': str(file)})
    alone.start(site).refused('a reader update the property kernel_id')


def served(site: sites.Site) -> steps.Service:
    """Glance under uWSGI, as clouds have it."""
    found = [
        step
        for step in services.apis(site)
        if step.name == 'glance' and isinstance(step, steps.Service)
    ]
    return dataclasses.replace(found[0], needs=())


def test_the_server_ends_when_glance_does_not_start(alone: Alone) -> None:
    site = alone.site(policy={'upload_image': None})
    with pytest.raises(errors.CloudError, match='glance ended with 22'):
        alone.cloud.start(served(site))
    log = alone.cloud.log('glance').read_text()
    assert 'CRITICAL hepix_vm.glance.guard' in log
    assert 'upload is open: policy upload_image lets a member' in log


def test_the_server_answers_when_the_site_accepts_it(alone: Alone) -> None:
    site = alone.site(policy={'upload_image': None}, accept='upload')
    # Ready when it answers.
    alone.cloud.start(served(site))
    alone.cloud.end_further('glance')


def told(alone: Alone, site: sites.Site) -> tuple[int, dict[str, Any]]:
    """What hepix-vm-status finds in the same files, outside of Glance."""
    alone.cloud.run(
        'hepix-vm',
        *('--config-file', str(hepix.config_file(site.layout.work))),
        *('db', 'sync'),
    )
    ran = alone.cloud.run(
        'hepix-vm-status',
        *('--config-file', str(hepix.config_file(site.layout.work))),
        *('--glance-config-dir', str(site.etc('glance'))),
        *('--nova-config', str(site.etc('nova') / 'nova.conf')),
        *('--cinder-config', str(site.etc('cinder') / 'cinder.conf')),
        *('--neutron-config-dir', str(site.etc('neutron'))),
        *('upgrade', 'check', '--json'),
    )
    found = json.loads(ran.stdout.splitlines()[-1])['checks']
    return ran.returncode, {
        one['check']: (one['result'], one['details']) for one in found
    }


def test_the_command_finds_the_same_as_the_guard(alone: Alone) -> None:
    status, found = told(alone, alone.site())
    wrong = {name for name, (result, _) in found.items() if result}
    # There are no subscriptions, and servers do not boot from volumes here.
    assert wrong <= {'Subscriptions', 'Cinder: volume-metadata'}, found
    assert status == 1
    status, found = told(alone, alone.site(policy={'reactivate': None}))
    assert status == 2
    result, detail = found['Glance: reactivate']
    assert result == 2
    assert 'policy reactivate lets a member' in detail
    assert '"reactivate": "rule:context_is_admin"' in detail
    assert not [
        n for n, (r, _) in found.items() if r == 2 and n[:6] != 'Glance'
    ]
    site = alone.site(nova_guard=None, scheduler_filters=(), glance_guard=None)
    status, found = told(alone, site)
    assert status == 2
    assert {n for n, (r, _) in found.items() if r == 2} == {
        'Nova: scheduler',
        'Nova: api',
    }
    assert found['Glance start-up guard'][0] == 1
