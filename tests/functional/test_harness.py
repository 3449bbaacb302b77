# SPDX-License-Identifier: Apache-2.0
"""The real cloud itself: what it offers to tests, and that it ends."""

from collections.abc import Iterator
import os
import pathlib
import signal
import socket
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request

import pytest

from tests.cloud import actions
from tests.cloud import cloud as clouds
from tests.cloud import errors
from tests.cloud import launch
from tests.cloud import options as opts
from tests.cloud import package
from tests.cloud import state as states
from tests.cloud import supervisor
from tests.cloud import switch
from tests.cloud import waits

START = 600
#: Needs packages that only "tox -e neutron" installs, and a machine on which
#: nobody else makes interfaces and mounts meanwhile.
NEUTRON = pytest.mark.skipif(
    not os.environ.get('HEPIX_VM_NEUTRON'), reason='see "tox -e neutron"'
)
PROBE = {
    'setup.cfg': """
        [metadata]
        name = probe
        [files]
        packages = probe
        [entry_points]
        console_scripts =
            probe-says = probe.parts:main
        glance.image_import.plugins =
            probe = probe.parts:get_flow
    """,
    'setup.py': """
        import setuptools
        setuptools.setup(setup_requires=['pbr'], pbr=True)
    """,
    'pyproject.toml': """
        [build-system]
        requires = ['pbr', 'setuptools']
        build-backend = 'pbr.build'
    """,
    'probe/__init__.py': '',
    'probe/data.txt': 'package data\n',
    'probe/filters.py': """
        from nova.scheduler import filters

        class ProbeFilter(filters.BaseHostFilter):
            RUN_ON_REBUILD = False

            def host_passes(self, host_state, spec_obj):
                return spec_obj.image.name != 'not-here'
    """,
    'probe/parts.py': """
        import os
        import pathlib

        from taskflow.patterns import linear_flow
        from taskflow import task


        class Mark(task.Task):
            def __init__(self, wrapper):
                super().__init__(name='probe-mark')
                self.wrapper = wrapper

            def execute(self, **_):
                with self.wrapper as action:
                    action.set_image_extra_properties(
                        {'probe': os.environ['PROBE_WORD']})


        def get_flow(**kwargs):
            flow = linear_flow.Flow(kwargs['task_type'])
            return flow.add(Mark(kwargs['action_wrapper']))


        def app_factory(global_config, **local_config):
            def app(environ, start_response):
                start_response('200 OK', [('Content-Type', 'text/plain')])
                return [b'probe context']
            return app


        def main():
            here = pathlib.Path(__file__).parent
            print(os.environ['OS_USERNAME'], (here / 'data.txt').read_text())
    """,
}


def _write_probe(folder: pathlib.Path) -> pathlib.Path:
    for name, text in PROBE.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip('\n'))
    subprocess.run(['git', '-C', folder, 'init', '--quiet'], check=True)
    return folder


@pytest.fixture(scope='module')
def probed(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[clouds.Cloud]:
    """A cloud whose options are all used, by a package made for this."""
    options = opts.CloudOptions(
        checkout=_write_probe(tmp_path_factory.mktemp('probe')),
        import_plugins=('probe',),
        scheduler_filters=('probe.filters.ProbeFilter',),
        context_app='probe.parts:app_factory',
        glance_policy={'delete_image': 'role:admin'},
        extra={'glance-api': {'DEFAULT': {'image_member_quota': 7}}},
        environment={'PROBE_WORD': 'seen'},
        prepare=lambda cloud: (cloud.layout.work / 'prepared').write_text(
            cloud.add_database('probe')
        ),
    )
    with (
        launch.work_directory() as work,
        launch.running(options, work) as cloud,
    ):
        yield cloud


@pytest.fixture(scope='module')
def image(probed: clouds.Cloud) -> str:
    """An active image of the user demo, imported with a plugin."""
    glance = probed.glance('demo')
    image_id = actions.stage_and_import(glance, 'small', os.urandom(1 << 20))
    assert actions.wait_for_import(probed, glance, image_id)
    return image_id


@pytest.mark.timeout(START)
def test_an_import_runs_the_plugin_of_the_checkout(
    probed: clouds.Cloud, image: str
) -> None:
    assert probed.glance('demo').images.get(image).probe == 'seen'


@pytest.mark.timeout(START)
def test_an_image_boots_and_its_server_is_deleted(
    probed: clouds.Cloud, image: str
) -> None:
    nova = probed.nova('demo')
    server_id = actions.boot(nova, 'guest', image)
    server = actions.wait_for_server(probed, nova, server_id)
    assert server.image['id'] == image
    actions.delete_server(probed, nova, server_id)


@pytest.mark.timeout(START)
def test_the_filter_of_the_checkout_decides(probed: clouds.Cloud) -> None:
    glance, nova = probed.glance('demo'), probed.nova('demo')
    image_id = actions.stage_and_import(glance, 'not-here', b'\0' * 65536)
    assert actions.wait_for_import(probed, glance, image_id)
    server_id = actions.boot(nova, 'guest', image_id)
    server = actions.wait_for_server(probed, nova, server_id, 'ERROR')
    assert 'No valid host' in actions.fault(server)
    actions.delete_server(probed, nova, server_id)


@pytest.mark.timeout(START)
def test_an_image_is_copied_to_the_second_store(
    probed: clouds.Cloud, image: str
) -> None:
    glance = probed.glance()
    glance.images.image_import(image, method='copy-image', stores=['local2'])

    def copied() -> bool:
        return 'local2' in glance.images.get(image).stores.split(',')

    waits.until('the copy', copied, START, log=probed.log('glance'))


@pytest.mark.timeout(START)
def test_the_context_application_answers_beside_the_metadata(
    probed: clouds.Cloud, image: str
) -> None:
    base = probed.endpoints['nova-metadata']
    with urllib.request.urlopen(base + '/context/x', timeout=60) as answer:
        assert answer.read() == b'probe context'

    nova = probed.nova('demo')
    server_id = actions.boot(nova, 'guest', image)
    actions.wait_for_server(probed, nova, server_id)
    project = probed.session('demo').get_project_id()
    headers = actions.metadata_headers(probed, server_id, project)
    url = base + '/latest/meta-data/instance-id'
    with urllib.request.urlopen(
        urllib.request.Request(url, headers=headers), timeout=60
    ) as answer:
        assert answer.read().startswith(b'i-')
    headers['X-Instance-ID-Signature'] = '0' * 64
    with pytest.raises(urllib.error.HTTPError, match='403'):
        urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=60
        )
    actions.delete_server(probed, nova, server_id)


@pytest.mark.timeout(START)
def test_policy_and_extra_configuration_count(
    probed: clouds.Cloud, image: str
) -> None:
    with pytest.raises(Exception, match='403'):
        probed.glance('demo').images.delete(image)
    configuration = probed.layout.etc / 'glance' / 'glance-api.conf'
    assert 'image_member_quota = 7' in configuration.read_text()
    assert (probed.layout.work / 'prepared').read_text() == (
        probed.site.database('probe')
    )


@pytest.mark.timeout(START)
def test_a_console_script_runs_as_a_user(probed: clouds.Cloud) -> None:
    done = probed.run('probe-says', user='demo')
    assert done.stdout == 'demo package data\n\n'
    assert done.returncode == 0


@pytest.mark.timeout(START)
def test_projects_are_apart(probed: clouds.Cloud, image: str) -> None:
    with pytest.raises(Exception, match='404'):
        probed.glance('other').images.get(image)
    probed.add_user('third', 'third')
    assert list(probed.nova('third').servers.list()) == []


@pytest.mark.timeout(START)
def test_services_come_back_after_a_restart(
    probed: clouds.Cloud, image: str
) -> None:
    probed.stop('glance')
    assert not probed.is_running('glance')
    probed.restart('glance', 'nova-scheduler', 'nova-compute')
    nova = probed.nova('demo')
    server_id = actions.boot(nova, 'again', image)
    actions.wait_for_server(probed, nova, server_id)
    actions.delete_server(probed, nova, server_id)


@pytest.mark.timeout(START)
def test_another_process_finds_the_cloud(probed: clouds.Cloud) -> None:
    again = launch.attach(probed.layout.work)
    assert again.endpoints == probed.endpoints
    assert again.session('demo').get_project_id() == (
        probed.session('demo').get_project_id()
    )
    done = subprocess.run(
        [
            sys.executable,
            '-m',
            'tests.cloud',
            'status',
            '--work-dir',
            probed.layout.work,
        ],
        cwd=supervisor.ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout
    assert 'nova-scheduler   runs' in done.stdout


@pytest.mark.timeout(START)
def test_two_clouds_live_side_by_side() -> None:
    options = opts.CloudOptions(parts=opts.IDENTITY)
    with (
        launch.work_directory() as one,
        launch.work_directory() as two,
        launch.running(options, one) as first,
        launch.running(options, two) as second,
    ):
        assert not set(first.site.ports.values()) & set(
            second.site.ports.values()
        )
        first.add_project('only-here')
        names = {
            cloud: {
                project['name']
                for project in cloud.session()
                .get(cloud.endpoints['keystone'] + '/v3/projects')
                .json()['projects']
            }
            for cloud in (first, second)
        }
        assert names[first] - names[second] == {'only-here'}
        first.end()
        assert not first.is_running('rabbitmq')
        assert second.is_running('rabbitmq')
        assert second.session().get_project_id()


def _of_machine() -> tuple[list[str], str]:
    """The interfaces and the mounts that everybody sees."""
    interfaces = [name for _, name in socket.if_nameindex()]
    return interfaces, pathlib.Path('/proc/self/mounts').read_text()


def _bridges(cloud: clouds.Cloud, *change: str) -> list[str]:
    argv = switch.vsctl(*change, '--', 'list-br')
    done = subprocess.run(
        switch.inside(cloud.site, *argv),
        check=True,
        capture_output=True,
        text=True,
        timeout=START,
    )
    return done.stdout.split()


@NEUTRON
@pytest.mark.timeout(START)
def test_switches_of_two_clouds_know_nothing_of_each_other() -> None:
    options = opts.CloudOptions(parts=frozenset({'mariadb', 'neutron'}))
    before = _of_machine()
    with (
        launch.work_directory() as one,
        launch.work_directory() as two,
        launch.running(options, one) as first,
        launch.running(options, two) as second,
    ):
        assert _bridges(first, 'add-br', 'more') == ['br-int', 'more']
        assert _bridges(second, 'init') == ['br-int']
        assert _of_machine() == before
        first.end()
        assert _bridges(second, 'init') == ['br-int']
    assert _of_machine() == before


# A shell's background jobs have SIGINT ignored, and tests may run in one.
CHILD = """
import pathlib
import signal
import sys
import time

from tests.cloud import launch
from tests.cloud import options

signal.signal(signal.SIGINT, signal.default_int_handler)
work = pathlib.Path(sys.argv[1])
options = options.CloudOptions(parts=frozenset(sys.argv[2:]))
with launch.running(options, work):
    print('started', flush=True)
    time.sleep(3600)
"""


@pytest.mark.timeout(START)
@pytest.mark.parametrize(
    ('number', 'parts'),
    [
        (signal.SIGINT, {'mariadb'}),
        (signal.SIGTERM, {'mariadb'}),
        # RabbitMQ has many processes, some in sessions of their own.
        (signal.SIGKILL, {'mariadb', 'rabbitmq'}),
        # A switch has processes in namespaces of their own.
        pytest.param(signal.SIGKILL, {'mariadb', 'neutron'}, marks=NEUTRON),
    ],
)
def test_nothing_is_left_of_a_cloud_whose_starter_is_ended(
    number: signal.Signals, parts: set[str]
) -> None:
    before = _of_machine() if 'neutron' in parts else None
    with launch.work_directory() as work:
        child = subprocess.Popen(
            [sys.executable, '-c', CHILD, work, *parts],
            cwd=supervisor.ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == 'started\n'
            known = states.load(work)
            assert len(known.belonging()) >= len(parts)
            os.kill(child.pid, number)
            child.wait(120)
            child.stdout.close()
        finally:
            child.kill()
            child.wait(120)
        waits.until(
            'the processes to end',
            lambda: not known.belonging(),
            120,
            log=work / 'log' / 'watch.log',
        )
    assert before is None or _of_machine() == before


@pytest.mark.timeout(START)
def test_down_ends_a_cloud_that_was_left_running() -> None:
    with launch.work_directory() as work:
        options = opts.CloudOptions(parts=frozenset({'mariadb'}))
        cloud = launch.start(options, work, launch.reporter())
        cloud.detach()
        assert cloud.is_running('mariadb')
        subprocess.run(
            [sys.executable, '-m', 'tests.cloud', 'down', '--work-dir', work],
            cwd=supervisor.ROOT,
            check=True,
            timeout=120,
        )
        assert not states.load(work).belonging()


@pytest.mark.timeout(START)
def test_a_service_that_cannot_start_is_named_with_its_log(
    tmp_path: pathlib.Path,
) -> None:
    options = opts.CloudOptions(
        parts=opts.IDENTITY,
        extra={'keystone': {'token': {'provider': 'no-such-provider'}}},
    )
    work = tmp_path / 'w'
    with (
        pytest.raises(
            errors.CloudError, match=r'(?s)keystone.*no-such-provider'
        ),
        launch.running(options, work),
    ):
        pass
    assert not states.load(work).belonging()


def test_the_package_is_built_from_a_copy(tmp_path: pathlib.Path) -> None:
    source = _write_probe(tmp_path / 'source')
    before = sorted(source.rglob('*'))
    target = tmp_path / 'copy'
    target.mkdir()
    package.copy(source, target)
    assert (target / 'probe' / 'data.txt').is_file()
    assert sorted(source.rglob('*')) == before
