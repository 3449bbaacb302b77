# SPDX-License-Identifier: Apache-2.0
"""The shipped samples say what their services understand."""

import configparser
import contextlib
import importlib
import itertools
import pathlib
import shutil
import socket
import subprocess

from oslo_config import cfg
from oslo_policy import policy
import pytest

from tests.cloud import hepix
from tests.unit.context import sites
from tests.unit.devstack import test_plugin

SAMPLES = test_plugin.ROOT / 'etc' / 'hepix_vm'

#: Glance's own rules that ours refer to or replace, as glance 33 has them.
GLANCE = {
    'context_is_admin': 'role:admin',
    'service_api': 'role:service or role:admin',
    'download_image': 'role:admin or role:member',
    'download_from_store': 'role:admin or role:member',
    'fetch_image_location': 'rule:service_api',
    'upload_image': 'role:admin or role:member',
    'set_image_location': 'role:admin or role:member',
    'add_image_location': 'role:admin or role:member',
    'tasks_api_access': 'role:admin',
    'deactivate': 'role:admin or role:member',
    'reactivate': 'role:admin or role:member',
    'get_image': '',
}

#: What is ours in the file.
OURS = {'hepix_exempt', 'hepix_download'}

MEMBER = {
    'roles': ['member', 'reader'],
    'service_roles': [],
    'project_id': 'a',
}
ADMIN = {
    'roles': ['admin', 'member', 'reader'],
    'service_roles': [],
    'project_id': 'b',
}
BY_NOVA = MEMBER | {'service_roles': ['service']}
OTHER_BY_NOVA = BY_NOVA | {'project_id': 'c'}
SERVICE = {'roles': ['service'], 'service_roles': [], 'project_id': 'd'}
ALL = (MEMBER, ADMIN, BY_NOVA, OTHER_BY_NOVA, SERVICE)


@pytest.fixture
def enforcer(tmp_path):
    """As Glance makes it, with our file in ``policy.d``."""
    (tmp_path / 'glance-api.conf').write_text('')
    (tmp_path / 'policy.d').mkdir()
    shutil.copy(SAMPLES / 'glance-policy.yaml', tmp_path / 'policy.d')
    conf = cfg.ConfigOpts()
    conf(
        [],
        default_config_files=[str(tmp_path / 'glance-api.conf')],
        default_config_dirs=[],
    )
    made = policy.Enforcer(conf, use_conf=True, overwrite=False)
    made.register_defaults(
        [policy.RuleDefault(name, check) for name, check in GLANCE.items()]
    )
    return made


@pytest.mark.parametrize(
    ('rule', 'allowed'),
    [
        ('upload_image', [ADMIN, BY_NOVA]),
        ('set_image_location', []),
        ('add_image_location', [ADMIN, SERVICE]),
        ('tasks_api_access', []),
        ('deactivate', [ADMIN]),
        ('reactivate', [ADMIN]),
        # Of an image that the catalogue has never heard of.
        ('download_image', []),
        ('download_from_store', []),
        ('fetch_image_location', []),
        ('get_image', list(ALL)),
    ],
)
def test_the_policy_closes_the_ways_that_run_no_plugin(
    enforcer, rule, allowed
):
    assert [
        who for who in ALL if enforcer.enforce(rule, {'project_id': 'a'}, who)
    ] == allowed


def test_each_rule_of_the_policy_is_one_that_glance_has(enforcer):
    enforcer.load_rules()
    assert (
        set(enforcer.file_rules)
        == set(GLANCE)
        - {
            'context_is_admin',
            'service_api',
            'get_image',
        }
        | OURS
    )
    assert enforcer.check_rules(raise_on_violation=True)


def test_each_rule_of_the_policy_is_explained():
    lines = (SAMPLES / 'glance-policy.yaml').read_text().splitlines()
    for before, line in itertools.pairwise(lines):
        if line.startswith('"') and not before.startswith('"'):
            assert before.startswith('# ')


def test_the_samples_are_what_the_devstack_plugin_configures():
    nova = SAMPLES / 'nova.conf.sample'
    assert test_plugin.option(
        nova, 'filter_scheduler', 'available_filters', cfg.MultiStrOpt
    ) == [test_plugin.ALL, test_plugin.FILTER]
    assert (
        test_plugin.option(
            nova, 'filter_scheduler', 'enabled_filters', cfg.ListOpt
        )[0]
        == 'HepixApprovedImageFilter'
    )
    for file in ('nova.conf.sample', 'glance-api.conf.sample'):
        assert (
            test_plugin.option(
                SAMPLES / file, 'hepix_vm', 'config_file', cfg.StrOpt
            )
            == '/etc/hepix_vm/hepix_vm.conf'
        )
    imports = SAMPLES / 'glance-image-import.conf.sample'
    assert test_plugin.plugins(imports) == ['hepix_verify', 'hepix_record']


def test_the_paste_sample_names_the_factories():
    parser = configparser.ConfigParser()
    parser.read(SAMPLES / 'nova-api-paste.ini.sample')
    assert parser.sections() == ['filter:hepix_guard', 'app:hepix_context']
    assert dict(parser['filter:hepix_guard']) == {
        'paste.filter_factory': hepix.NOVA_GUARD
    }
    assert dict(parser['app:hepix_context']) == {
        'paste.app_factory': 'hepix_vm.context.wsgi:app_factory',
        'hepix_vm_config': '/etc/hepix_vm/hepix_vm.conf',
    }


def test_the_sample_scripts_make_a_bundle():
    made = sites.build(SAMPLES / 'context')
    assert [file.path for file in made.files] == ['epilog.sh', 'prolog.sh']


@pytest.mark.parametrize('name', ['prolog.sh', 'epilog.sh'])
@pytest.mark.parametrize('word', ['start', 'stop', 'start', 'other'])
def test_the_sample_scripts_run_in_any_order(name, word):
    ran = subprocess.run(
        ['/bin/sh', '-eu', str(SAMPLES / 'context' / name), word],
        env={'PATH': '/nowhere'},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0
    assert ran.stderr == ''
    assert word in ran.stdout


@pytest.mark.parametrize('name', ['prolog.sh', 'epilog.sh'])
def test_the_sample_scripts_may_be_sourced(name):
    ran = subprocess.run(
        [
            '/bin/sh',
            '-c',
            '. "$1" start; echo still here',
            'sh',
            str(SAMPLES / 'context' / name),
        ],
        env={'PATH': '/nowhere'},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.stdout.endswith('still here\n')


def test_no_sample_names_a_machine():
    for file in sorted(pathlib.Path(SAMPLES).rglob('*')):
        if file.is_file():
            text = file.read_text()
            assert '/work/' not in text
            assert '/root/' not in text


def test_the_sample_of_a_process_of_its_own_names_what_there_is():
    parser = configparser.ConfigParser()
    parser.read(SAMPLES / 'context-uwsgi.ini')
    module, _, name = parser['uwsgi']['module'].partition(':')
    assert name == 'make()'
    assert callable(importlib.import_module(module).make)


@pytest.mark.parametrize(
    'sample', ['context-haproxy.cfg', 'context-apache.conf']
)
def test_proxies_send_every_prefix_to_that_process(sample):
    parser = configparser.ConfigParser()
    parser.read(SAMPLES / 'context-uwsgi.ini')
    text = (SAMPLES / sample).read_text()
    assert parser['uwsgi']['http-socket'] in text
    for prefix in ('context', 'machinefeatures', 'jobfeatures'):
        assert f'/{prefix}' in text


@pytest.mark.skipif(not shutil.which('haproxy'), reason='no haproxy here')
def test_haproxy_takes_the_sample():
    ran = subprocess.run(
        ['haproxy', '-c', '-f', str(SAMPLES / 'context-haproxy.cfg')],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.fixture
def haproxy(tmp_path):
    """The sample, with nobody behind it; the address of guests."""
    text = (SAMPLES / 'context-haproxy.cfg').read_text()
    with contextlib.ExitStack() as stack:
        guests, nova, nobody = (
            stack.enter_context(socket.socket()) for _ in range(3)
        )
        for one in (guests, nova, nobody):
            one.bind(('127.0.0.1', 0))
        for one in (guests, nova):
            one.listen()
        for stands, ours in (
            ('192.0.2.10:8775', f'fd@{guests.fileno()}'),
            ('198.51.100.10:8786', f'fd@{nova.fileno()}'),
            ('127.0.0.1:8785', f'127.0.0.1:{nobody.getsockname()[1]}'),
        ):
            assert stands in text
            text = text.replace(stands, ours)
        path = tmp_path / 'haproxy.cfg'
        path.write_text(text)
        ran = stack.enter_context(
            subprocess.Popen(
                ['haproxy', '-db', '-f', str(path)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(guests.fileno(), nova.fileno()),
            )
        )
        stack.callback(ran.terminate)
        yield guests.getsockname()


@pytest.mark.skipif(not shutil.which('haproxy'), reason='no haproxy here')
@pytest.mark.parametrize(
    ('headers', 'status'), [('', 503), ('X-Instance-ID: a\r\n' * 2, 403)]
)
def test_what_haproxy_itself_refuses_has_no_page(haproxy, headers, status):
    request = f'GET /context/ HTTP/1.0\r\n{headers}\r\n'
    # What comes before it is ready waits in the socket.
    with socket.create_connection(haproxy, timeout=300) as connection:
        connection.sendall(request.encode())
        answer = b''.join(iter(lambda: connection.recv(65536), b''))
    assert answer.startswith(f'HTTP/1.1 {status} '.encode())
    assert answer.endswith(b'\r\n\r\n\n')
