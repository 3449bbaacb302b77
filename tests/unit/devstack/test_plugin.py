# SPDX-License-Identifier: Apache-2.0
"""What each phase of the DevStack plugin does to configuration files.

The real plugin runs under bash, as DevStack runs it (errexit, a new source
for each phase), with stand-ins for DevStack's functions.
"""

import configparser
import getpass
import os
import pathlib
import subprocess

from oslo_config import cfg
import pytest

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[2]
FILTER = 'hepix_vm.nova.filter.HepixApprovedImageFilter'
ALL = 'nova.scheduler.filters.all_filters'
NOVA_FILTERS = 'ComputeFilter,ImagePropertiesFilter,SameHostFilter'

PASTE = """\
[composite:metadata]
use = egg:Paste#urlmap
/: meta

[pipeline:meta]
pipeline = cors metaapp

[app:metaapp]
paste.app_factory = nova.api.metadata.handler:MetadataRequestHandler.factory
"""

PROGRAM = """\
#!/bin/sh
echo "$(basename "$0") $*" >> "$CALLS"
exit ${FAIL:-0}
"""


class Machine:
    """Files as DevStack leaves them before the plugin's phases."""

    def __init__(self, top: pathlib.Path) -> None:
        self.top = top
        self.calls = top / 'calls'
        self.services = 'g-api n-api n-sch n-api-meta n-cpu'
        self.variables: dict[str, str] = {}
        self.nova = self._file(
            'nova/nova.conf',
            '[DEFAULT]\ndebug = True\n\n[filter_scheduler]\n'
            f'enabled_filters = {NOVA_FILTERS}\n',
        )
        self.paste = self._file('nova/api-paste.ini', PASTE)
        self.glance = self._file(
            'glance/glance-api.conf',
            '[DEFAULT]\nshow_multiple_locations = False\n'
            'show_image_direct_url = False\n',
        )
        self.imports = self._file(
            'glance/glance-image-import.conf',
            '[image_import_opts]\nimage_import_plugins = []\n',
        )
        self.policy = top / 'glance/policy.d/hepix_vm.yaml'
        self.conf = top / 'hepix_vm/hepix_vm.conf'
        self.context = top / 'hepix_vm/context'
        for name in ('hepix-vm', 'hepix-vm-status'):
            self._file(f'bin/{name}', PROGRAM).chmod(0o755)

    def _file(self, name: str, content: str) -> pathlib.Path:
        path = self.top / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        return path

    def run(self, *phase: str) -> subprocess.CompletedProcess[str]:
        """Source settings and plugin for one phase."""
        return subprocess.run(
            [
                '/bin/bash',
                '-o',
                'errexit',
                '-c',
                'source "$HERE/standins.sh"; source "$PLUGIN/settings";'
                ' source "$PLUGIN/plugin.sh" "$@"; echo "[xtrace $-]"',
                'stack.sh',
                *phase,
            ],
            env={
                'PATH': os.environ['PATH'],
                'HERE': str(HERE),
                'PLUGIN': str(ROOT / 'devstack'),
                'CALLS': str(self.calls),
                'PROGRAMS': str(self.top / 'bin'),
                'SERVICES': self.services,
                'STACK_USER': getpass.getuser(),
                'DEST': '/nowhere',
                'DATA_DIR': str(self.top / 'data'),
                'HEPIX_VM_DIR': str(ROOT),
                'HEPIX_VM_CONF_DIR': str(self.top / 'hepix_vm'),
                'GLANCE_CONF_DIR': str(self.top / 'glance'),
                'GLANCE_API_CONF': str(self.glance),
                'NOVA_CONF': str(self.nova),
                'NOVA_API_PASTE_INI': str(self.paste),
                'NOVA_FILTERS': NOVA_FILTERS,
                'KEYSTONE_SERVICE_URI': 'http://127.0.0.1/identity',
                'ADMIN_PASSWORD': 'pass&word',
                'REGION_NAME': 'RegionOne',
                'DEVSTACK_INI_CONFIG': os.environ.get(
                    'DEVSTACK_INI_CONFIG', ''
                ),
                **self.variables,
            },
            cwd=self.top,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def phase(self, *phase: str) -> str:
        ran = self.run(*phase)
        assert ran.returncode == 0, ran.stderr
        assert ran.stderr == ''
        return ran.stdout

    def called(self) -> list[str]:
        if not self.calls.exists():
            return []
        found = self.calls.read_text().splitlines()
        return [line for line in found if not line.startswith('define_')]

    def files(self) -> dict[str, str]:
        """Every configuration file but our own, blank lines aside."""
        return {
            str(path.relative_to(self.top)): '\n'.join(
                line for line in path.read_text().splitlines() if line
            )
            for folder in ('nova', 'glance', 'hepix_vm')
            for path in sorted((self.top / folder).rglob('*'))
            if path.is_file()
        }


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def option(
    path: pathlib.Path, group: str, name: str, kind: type[cfg.Opt], **more
):
    """The value as the service would read it."""
    conf = cfg.ConfigOpts()
    conf.register_opt(kind(name, **more), group=group)
    conf([], default_config_files=[str(path)], default_config_dirs=[])
    return conf[group][name]


def plugins(path):
    """As Glance declares it: a list in brackets."""
    return option(
        path,
        'image_import_opts',
        'image_import_plugins',
        cfg.ListOpt,
        item_type=cfg.types.String(quotes=True),
        bounds=True,
    )


def available(machine):
    return option(
        machine.nova,
        'filter_scheduler',
        'available_filters',
        cfg.MultiStrOpt,
        default=[ALL],
    )


def enabled(machine):
    return option(
        machine.nova, 'filter_scheduler', 'enabled_filters', cfg.ListOpt
    )


def paste(machine):
    # PasteDeploy reads sections with a parser like this one.
    parser = configparser.ConfigParser(strict=True, interpolation=None)
    parser.read(machine.paste)
    return parser


def test_install_puts_the_package_beside_the_services(machine):
    machine.phase('stack', 'install')
    assert machine.called() == [f'setup_develop {ROOT}']


def test_phases_that_are_not_ours_do_nothing(machine):
    before = machine.files()
    for phase in ('pre-install', 'test-config'):
        machine.phase('stack', phase)
    assert machine.files() == before
    assert machine.called() == []


def test_the_settings_name_the_plugin(machine):
    machine.phase('stack', 'install')
    assert 'define_plugin hepix_vm' in machine.calls.read_text()


def test_a_disabled_service_is_left_alone(machine):
    settings = (ROOT / 'devstack' / 'settings').read_text()
    own = machine.top / 'devstack'
    own.mkdir()
    (own / 'settings').write_text(
        settings.replace('enable_service hepix-vm hepix-vm-sync', '')
    )
    (own / 'plugin.sh').write_text(
        (ROOT / 'devstack' / 'plugin.sh').read_text()
    )
    machine.variables['PLUGIN'] = str(own)
    before = machine.files()
    for phase in ('install', 'post-config', 'extra'):
        machine.phase('stack', phase)
    assert machine.files() == before
    assert machine.called() == []


def test_glance_imports_through_our_plugins(machine):
    machine.phase('stack', 'post-config')
    assert plugins(machine.imports) == ['hepix_verify', 'hepix_record']
    assert option(
        machine.glance, 'hepix_vm', 'config_file', cfg.StrOpt
    ) == str(machine.conf)


@pytest.mark.parametrize(
    ('found', 'others'),
    [
        ('[]', []),
        ('', []),
        ('[no_op]', ['no_op']),
        ("['image_conversion']", ['image_conversion']),
        (
            '[ "image_decompression" , image_conversion ]',
            ['image_decompression', 'image_conversion'],
        ),
        ('[hepix_record, a, hepix_verify, b]', ['a', 'b']),
        ('[hepix_verify,hepix_verify]', []),
    ],
)
def test_what_others_listed_stays_between_ours(machine, found, others):
    machine.imports.write_text(
        f'[image_import_opts]\nimage_import_plugins = {found}\n'
    )
    machine.phase('stack', 'post-config')
    assert plugins(machine.imports) == [
        'hepix_verify',
        *others,
        'hepix_record',
    ]
    machine.phase('unstack')
    assert plugins(machine.imports) == others


def test_glance_tells_no_places_and_protects_what_boots(machine):
    machine.phase('stack', 'post-config')
    machine.phase('stack', 'post-config')
    for name in ('show_multiple_locations', 'show_image_direct_url'):
        assert option(machine.glance, 'DEFAULT', name, cfg.BoolOpt) is False
    named = option(
        machine.glance, 'DEFAULT', 'property_protection_file', cfg.StrOpt
    )
    shipped = ROOT / 'etc/hepix_vm/glance-property-protections.conf'
    assert pathlib.Path(named).read_text() == shipped.read_text()


def test_a_list_in_glance_api_conf_hides_the_other_file(machine):
    with machine.glance.open('a') as stream:
        stream.write('[image_import_opts]\nimage_import_plugins = [no_op]\n')
    machine.phase('stack', 'post-config')
    assert plugins(machine.glance) == [
        'hepix_verify',
        'no_op',
        'hepix_record',
    ]
    machine.phase('unstack')
    assert plugins(machine.glance) == ['no_op']


def test_without_an_import_file_one_is_made(machine):
    machine.imports.unlink()
    machine.phase('stack', 'post-config')
    assert plugins(machine.imports) == ['hepix_verify', 'hepix_record']


def test_glance_gets_the_shipped_policy_beside_that_of_others(machine):
    other = machine.top / 'glance/policy.yaml'
    other.write_text('"get_image": ""\n')
    machine.phase('stack', 'post-config')
    shipped = ROOT / 'etc/hepix_vm/glance-policy.yaml'
    assert machine.policy.read_text() == shipped.read_text()
    assert other.read_text() == '"get_image": ""\n'
    machine.phase('unstack')
    assert not machine.policy.exists()
    assert other.exists()


def test_other_policy_directories_stay(machine):
    with machine.glance.open('a') as stream:
        stream.write('[oslo_policy]\npolicy_dirs = site.d\n')
    for _ in range(2):
        machine.phase('stack', 'post-config')
        assert option(
            machine.glance, 'oslo_policy', 'policy_dirs', cfg.MultiStrOpt
        ) == ['site.d', 'policy.d']


def test_nobody_may_name_locations(machine):
    machine.glance.write_text('[DEFAULT]\nshow_multiple_locations = True\n')
    machine.variables['GLANCE_SHOW_MULTIPLE_LOCATIONS'] = 'True'

    def shown():
        return option(
            machine.glance, 'DEFAULT', 'show_multiple_locations', cfg.BoolOpt
        )

    machine.phase('stack', 'post-config')
    assert not shown()
    machine.phase('unstack')
    assert shown()


def test_our_filter_comes_first_and_nova_s_own_stay(machine):
    machine.phase('stack', 'post-config')
    assert available(machine) == [ALL, FILTER]
    assert enabled(machine) == [
        'HepixApprovedImageFilter',
        *NOVA_FILTERS.split(','),
    ]
    machine.phase('unstack')
    assert available(machine) == [ALL]
    assert enabled(machine) == NOVA_FILTERS.split(',')


def test_filters_of_others_stay(machine):
    machine.nova.write_text(
        '[filter_scheduler]\n'
        f'available_filters = {ALL}\n'
        'available_filters = blazarnova.filters.BlazarFilter\n'
        'enabled_filters = ComputeFilter,BlazarFilter\n'
    )
    machine.phase('stack', 'post-config')
    assert available(machine) == [
        ALL,
        'blazarnova.filters.BlazarFilter',
        FILTER,
    ]
    assert enabled(machine) == [
        'HepixApprovedImageFilter',
        'ComputeFilter',
        'BlazarFilter',
    ]
    machine.phase('unstack')
    assert available(machine) == [ALL, 'blazarnova.filters.BlazarFilter']
    assert enabled(machine) == ['ComputeFilter', 'BlazarFilter']


def test_without_a_list_of_filters_devstack_s_own_is_kept(machine):
    machine.nova.write_text('[DEFAULT]\n')
    machine.phase('stack', 'post-config')
    assert enabled(machine) == [
        'HepixApprovedImageFilter',
        *NOVA_FILTERS.split(','),
    ]


def test_nova_learns_where_our_configuration_is(machine):
    machine.phase('stack', 'post-config')
    assert option(machine.nova, 'hepix_vm', 'config_file', cfg.StrOpt) == str(
        machine.conf
    )


def test_the_metadata_service_serves_the_context(machine):
    machine.phase('stack', 'post-config')
    found = paste(machine)
    assert dict(found['composite:metadata']) == {
        'use': 'egg:Paste#urlmap',
        '/': 'meta',
        '/context': 'hepix_context',
        '/machinefeatures': 'hepix_context',
        '/jobfeatures': 'hepix_context',
    }
    assert dict(found['app:hepix_context']) == {
        'paste.app_factory': 'hepix_vm.context.wsgi:app_factory',
        'hepix_vm_config': str(machine.conf),
    }
    machine.phase('unstack')
    assert machine.paste.read_text() == PASTE


def test_a_context_of_somebody_else_stops_the_plugin(machine):
    taken = PASTE.replace('/: meta\n', '/: meta\n/context: other\n')
    machine.paste.write_text(taken)
    ran = machine.run('stack', 'post-config')
    assert ran.returncode == 1
    assert '/context is taken already' in ran.stderr
    assert machine.paste.read_text() == taken


def test_an_unknown_paste_file_stops_the_plugin(machine):
    machine.paste.write_text('[app:other]\n')
    ran = machine.run('stack', 'post-config')
    assert ran.returncode == 1
    assert 'no [composite:metadata]' in ran.stderr


def test_our_configuration_is_private_and_complete(machine):
    machine.phase('stack', 'post-config')
    assert machine.conf.stat().st_mode & 0o777 == 0o600
    for group, name, value in (
        (
            'catalogue',
            'connection',
            'mysql+pymysql://root:secret@127.0.0.1/hepix_vm'
            '?charset=utf8&plugin=x',
        ),
        ('context', 'directory', str(machine.context)),
        ('fetch', 'spool_directory', f'{machine.top}/data/hepix_vm/spool'),
        ('openstack', 'auth_type', 'password'),
        ('openstack', 'auth_url', 'http://127.0.0.1/identity'),
        ('openstack', 'username', 'admin'),
        ('openstack', 'password', 'pass&word'),
        ('openstack', 'project_name', 'admin'),
    ):
        assert option(machine.conf, group, name, cfg.StrOpt) == value


def test_the_catalogue_is_made_once_the_files_are_there(machine):
    machine.phase('stack', 'post-config')
    assert machine.called() == [
        'recreate_database hepix_vm',
        f'hepix-vm --config-file {machine.conf} db sync',
    ]


def test_a_catalogue_that_cannot_be_made_stops_devstack(machine):
    machine.variables['FAIL'] = '1'
    assert machine.run('stack', 'post-config').returncode == 1


def test_the_context_begins_with_the_samples(machine):
    machine.phase('stack', 'post-config')
    for name in ('prolog.sh', 'epilog.sh'):
        sample = ROOT / 'etc/hepix_vm/context' / name
        placed = machine.context / name
        assert placed.read_text() == sample.read_text()
        assert placed.stat().st_mode & 0o777 == 0o755


def test_what_an_operator_changed_stays(machine):
    machine.phase('stack', 'post-config')
    (machine.context / 'prolog.sh').write_text('#!/bin/sh\n# mine\n')
    with machine.conf.open('a') as stream:
        stream.write('\n[subscription:atlas]\nurl = file:///list\n')
    machine.phase('stack', 'post-config')
    assert '# mine' in (machine.context / 'prolog.sh').read_text()
    assert '[subscription:atlas]' in machine.conf.read_text()


def test_extra_checks_and_says_what_to_do_next(machine):
    machine.phase('stack', 'post-config')
    said = machine.phase('stack', 'extra')
    assert machine.called()[-1] == (
        f'hepix-vm-status --config-file {machine.conf} upgrade check'
    )
    assert 'WARNING' not in said
    assert 'kill -s HUP devstack@hepix-vm-sync' in said


def test_the_daemon_runs_where_the_catalogue_is_made(machine):
    machine.phase('stack', 'extra')
    assert machine.called()[0] == (
        f'run_process hepix-vm-sync {machine.top / "bin"}/hepix-vm-sync '
        f'--config-file {machine.conf}'
    )
    machine.phase('unstack')
    assert machine.called()[-1] == 'stop_process hepix-vm-sync'


def test_the_daemon_may_be_left_out(machine):
    settings = (ROOT / 'devstack' / 'settings').read_text()
    own = machine.top / 'devstack'
    own.mkdir()
    (own / 'settings').write_text(settings.replace(' hepix-vm-sync\n', '\n'))
    (own / 'plugin.sh').write_text(
        (ROOT / 'devstack' / 'plugin.sh').read_text()
    )
    machine.variables['PLUGIN'] = str(own)
    machine.phase('stack', 'extra')
    machine.phase('unstack')
    assert machine.called() == [
        f'hepix-vm-status --config-file {machine.conf} upgrade check'
    ]


def test_a_check_that_fails_warns_and_goes_on(machine):
    machine.phase('stack', 'post-config')
    machine.variables['FAIL'] = '2'
    assert 'WARNING: hepix-vm-status' in machine.phase('stack', 'extra')


def test_a_second_run_changes_nothing(machine):
    machine.phase('stack', 'post-config')
    once = machine.files()
    machine.phase('stack', 'post-config')
    assert machine.files() == once
    assert machine.paste.read_text().count('hepix_vm: begin') == 2


def test_unstack_and_clean_take_out_what_was_put_in(machine):
    before = machine.files()
    for _ in range(2):
        machine.phase('stack', 'install')
        machine.phase('stack', 'post-config')
        machine.phase('stack', 'extra')
        assert machine.files() != before
        for _ in range(2):
            machine.phase('unstack')
        assert machine.conf.exists()
        for _ in range(2):
            machine.phase('clean')
        after = machine.files()
        # An empty section does nothing and may stay.
        for name in ('nova/nova.conf', 'glance/glance-api.conf'):
            after[name] = after[name].removesuffix('\n[hepix_vm]')
        assert after == before
    assert not machine.conf.parent.exists()
    assert not (machine.top / 'data/hepix_vm').exists()


def test_unstack_before_anything_was_configured_is_harmless(machine):
    for path in (machine.nova, machine.paste, machine.glance):
        path.unlink()
    machine.imports.unlink()
    machine.phase('unstack')
    machine.phase('clean')
    assert not machine.nova.exists()


def test_a_compute_node_gets_the_package_and_no_services_files(machine):
    machine.services = 'n-cpu'
    before = machine.paste.read_text(), machine.imports.read_text()
    machine.phase('stack', 'install')
    machine.phase('stack', 'post-config')
    machine.phase('stack', 'extra')
    assert machine.called() == [f'setup_develop {ROOT}']
    assert (machine.paste.read_text(), machine.imports.read_text()) == before
    assert enabled(machine) == NOVA_FILTERS.split(',')
    assert not machine.policy.exists()


def test_tracing_is_as_it_was(machine):
    assert 'x' not in machine.phase('stack', 'install').split('[xtrace ')[1]
