# SPDX-License-Identifier: Apache-2.0
"""What the configuration of Glance, Nova and Cinder leaves open."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from hepix_vm.glance import paths as glance_paths
from hepix_vm.glance import plugins
from hepix_vm.nova import paths as nova_paths
from hepix_vm.nova import placing
from hepix_vm.nova import volume_paths
from hepix_vm.operations import enforcement
from hepix_vm.operations import status
from hepix_vm.paths import policies
from tests import closed_services as closed

FILTER = nova_paths.FILTER
OURS = closed.OURS


class Services(closed.Services):
    """Configuration of a controller, and what is found in it."""

    wanted = enforcement.Wanted()

    def wants(self, **changes):
        """Have the site choose something else."""
        self.wanted = dataclasses.replace(self.wanted, **changes)

    def check(self):
        """The worst grade, and grade and text by check."""
        found = dict(
            [
                *enforcement.glance(self.glance, self.wanted),
                *enforcement.nova(self.nova, self.nova_paste, self.wanted),
                *enforcement.cinder(self.cinder, self.wanted),
            ]
        )
        worst = max(one.grade for one in found.values())
        return worst, {
            name: (one.grade, one.detail) for name, one in found.items()
        }


@pytest.fixture
def services(tmp_path, monkeypatch):
    """A controller on which everything is as it should be."""
    closed.pretend_installed(monkeypatch)
    return Services(tmp_path)


def test_closed_services_pass(services):
    worst, found = services.check()
    assert set(found) == closed.CHECKS
    assert worst is status.Grade.WELL


def finding(services, check, expected):
    """The others are well; this one is not."""
    worst, found = services.check()
    grade, detail = found.pop(check)
    assert worst is grade is expected
    assert {grade for grade, _ in found.values()} == {status.Grade.WELL}
    return detail


def alone(services, check, expected):
    """The check that replaces all others of a service."""
    worst, found = services.check()
    assert [name for name in found if name.startswith(check)] == [check]
    grade, detail = found[check]
    assert worst is grade is expected
    return detail


WELL = status.Grade.WELL
WARNING = status.Grade.WARNING
FAILURE = status.Grade.FAILURE


@pytest.mark.parametrize(
    ('listed', 'said'),
    [
        ('[]', 'hepix_verify'),
        ('[hepix_verify]', 'hepix_record'),
        ('[hepix_record,hepix_verify]', 'last'),
        (f'[{OURS},no_op]', 'last'),
        (f'[hepix_verify,{OURS}]', 'exactly once'),
    ],
)
def test_glance_that_imports_unchecked_fails(services, listed, said):
    path = services.glance / 'glance-image-import.conf'
    path.write_text(closed.GOOD_GLANCE % listed)
    assert said in finding(services, 'Glance import plugins', FAILURE)


def test_glance_without_a_list_of_plugins_fails(services):
    (services.glance / 'glance-image-import.conf').unlink()
    detail = finding(services, 'Glance import plugins', FAILURE)
    assert 'found [no_op]' in detail


def test_the_last_file_that_glance_reads_counts(services):
    path = services.glance / 'glance-api.conf'
    path.write_text(closed.GLANCE_API + closed.GOOD_GLANCE % '[no_op]')
    finding(services, 'Glance import plugins', FAILURE)


def test_folders_of_configuration_are_read(services):
    folder = services.glance / 'glance-api.conf.d'
    folder.mkdir()
    (folder / 'more.conf').write_text(
        '[DEFAULT]\nshow_multiple_locations = true\n'
    )
    (services.glance / 'policy.yaml').write_text('{}\n')
    _, found = services.check()
    assert found['Glance: set-location'][0] is FAILURE


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        (closed.GOOD_GLANCE % OURS, 'start with'),
        ('nonsense', 'Failed to parse'),
        ('[image_import_opts', 'Failed to parse'),
    ],
)
def test_glance_that_cannot_be_read_fails(services, text, said):
    path = services.glance / 'glance-image-import.conf'
    path.write_text(text)
    assert said in alone(services, 'Glance', FAILURE)


def test_policy_that_cannot_be_read_fails(services):
    (services.glance / 'policy.yaml').write_text('"upload_image": [')
    assert 'policy of glance' in alone(services, 'Glance', FAILURE)


def test_glance_that_may_convert_is_warned(services):
    path = services.glance / 'glance-image-import.conf'
    path.write_text(
        closed.GOOD_GLANCE % '[hepix_verify,image_conversion,hepix_record]'
    )
    detail = finding(services, 'Glance import plugins', WARNING)
    assert 'image_conversion' in detail
    services.wants(allow_conversion=True)
    assert services.check()[0] is WELL


def test_plugin_that_cannot_be_loaded_fails(services, monkeypatch):
    monkeypatch.setattr(plugins, 'loadable', lambda: {'hepix_verify'})
    detail = finding(services, 'Glance import plugins', FAILURE)
    assert 'hepix_record' in detail


@pytest.mark.parametrize(
    ('paste', 'said'),
    [
        (
            closed.GLANCE_PASTE.replace(' hepix_guard rootapp', ' rootapp'),
            'needs',
        ),
        (
            closed.GLANCE_PASTE.replace(
                'authtoken context hepix_guard',
                'hepix_guard authtoken context',
            ),
            'behind authtoken',
        ),
        (
            closed.GLANCE_PASTE.replace('= authtoken', '='),
            'asks nobody for a token',
        ),
        (
            closed.GLANCE_PASTE.replace('keystone =', 'default ='),
            'for a token',
        ),
        (closed.GLANCE_PASTE.replace('pipeline_f', 'f'), 'a pipeline "keyst'),
        ('[', 'expected a paste file'),
    ],
)
def test_glance_without_the_guard_is_warned(services, paste, said):
    (services.glance / 'glance-api-paste.ini').write_text(paste)
    detail = finding(services, 'Glance start-up guard', WARNING)
    assert said in detail


def test_glance_whose_paste_file_is_elsewhere_is_warned(services, tmp_path):
    path = services.glance / 'glance-api.conf'
    path.write_text(
        closed.GLANCE_API + 'config_file = /nonexistent/paste.ini\n'
    )
    detail = finding(services, 'Glance start-up guard', WARNING)
    assert '/nonexistent/paste.ini' in detail


def drop(text, rule):
    """A policy file without a rule, which the defaults then have."""
    lines = text.splitlines(keepends=True)
    return ''.join(one for one in lines if not one.startswith(f'"{rule}"'))


@pytest.mark.parametrize(
    ('way', 'rule'),
    [
        ('upload', 'upload_image'),
        ('add-location', 'add_image_location'),
        ('tasks', 'tasks_api_access'),
        ('reactivate', 'reactivate'),
        ('download', 'download_image'),
        ('download', 'download_from_store'),
    ],
)
def test_each_rule_of_glance_closes_a_way(services, way, rule):
    path = services.glance / 'policy.yaml'
    path.write_text(drop(path.read_text(), rule))
    detail = finding(services, f'Glance: {way}', FAILURE)
    assert f'{way} is open' in detail
    assert f'"{rule}"' in detail


def test_a_way_that_the_site_accepts_is_a_warning(services):
    path = services.glance / 'policy.yaml'
    path.write_text(drop(path.read_text(), 'reactivate'))
    services.wants(accepted=frozenset({'reactivate'}))
    detail = finding(services, 'Glance: reactivate', WARNING)
    assert 'accept_open' in detail


def test_a_way_that_is_closed_needs_no_acceptance(services):
    services.wants(accepted=frozenset({'reactivate'}))
    assert services.check()[0] is WELL


def test_without_glance_its_defaults_are_unknown(services, monkeypatch):
    monkeypatch.setattr(policies, 'installed', lambda _service: None)
    path = services.glance / 'policy.yaml'
    path.write_text(drop(path.read_text(), 'reactivate'))
    status_, found = services.check()
    assert status_ is WARNING
    assert found['Glance: reactivate'][0] is WARNING
    assert 'not installed here' in found['Glance: reactivate'][1]
    # What the file says by itself is known all the same.
    assert found['Glance: tasks'][0] is WELL
    # It refers to rules of Glance's own.
    assert found['Glance: upload'][0] is WARNING


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('', f'available_filters = {FILTER}'),
        (
            closed.GOOD_NOVA.replace(f'available_filters = {FILTER}\n', ''),
            FILTER,
        ),
        (
            closed.GOOD_NOVA.replace(',HepixApprovedImageFilter', ''),
            'enabled_filters',
        ),
    ],
)
def test_nova_that_places_anything_fails(services, text, said):
    token = '[service_user]\nsend_service_user_token = true\n'
    services.nova.write_text(text or token)
    detail = finding(services, 'Nova: scheduler', FAILURE)
    assert said.replace(' ', '') in detail.replace(' ', '')


def test_nova_that_cannot_be_read_fails(services):
    services.nova.write_text('nonsense')
    assert 'Failed to parse' in alone(services, 'Nova', FAILURE)


@pytest.mark.parametrize(
    'paste',
    [
        closed.NOVA_PASTE.replace('hepix_guard legacy', 'legacy'),
        closed.NOVA_PASTE.replace(
            'keystonecontext hepix_guard app',
            'hepix_guard keystonecontext app',
        ),
    ],
)
def test_nova_api_without_the_guard_fails(services, paste):
    services.nova_paste.write_text(paste)
    detail = finding(services, 'Nova: api', FAILURE)
    assert 'openstack_compute_api_v21' in detail
    assert 'hepix_guard' in detail


@pytest.mark.parametrize(
    ('paste', 'said'),
    [('', 'known form'), ('[', 'a paste file'), (None, 'No')],
)
def test_nova_api_of_an_unknown_form_is_unknown(services, paste, said):
    if paste is None:
        services.nova_paste.unlink()
    else:
        services.nova_paste.write_text(paste)
    detail = finding(services, 'Nova: api', WARNING)
    assert 'api is unknown' in detail
    assert said in detail


@pytest.mark.parametrize(
    ('option', 'check', 'result', 'said'),
    [
        (
            '[libvirt]\nrescue_kernel_id = 1234',
            'Nova: rescue-image',
            WARNING,
            'rescue may boot 1234',
        ),
        (
            '[glance]\nenable_rbd_download = true',
            'Nova: rbd-download',
            FAILURE,
            'without asking Glance',
        ),
        (
            '[image_cache]\nremove_unused_base_images = false',
            'Nova: cached-images',
            FAILURE,
            'withdrawn images',
        ),
    ],
)
def test_options_of_nova_that_open_a_way(
    services, option, check, result, said
):
    services.nova.write_text(f'{closed.GOOD_NOVA}{option}\n')
    assert said in finding(services, check, result)


def test_nova_without_a_service_token_is_warned(services):
    services.nova.write_text(closed.GOOD_NOVA.replace('true', 'false'))
    detail = finding(services, 'Nova service token', WARNING)
    assert 'send_service_user_token' in detail


@pytest.mark.parametrize(
    ('option', 'check'),
    [
        ({'dry_run': True}, 'Site: dry-run'),
        ({'where': placing.Where.AGGREGATES}, 'Site: aggregates'),
        ({'exempt_projects': frozenset('1')}, 'Site: projects'),
        ({'enforced_projects': frozenset('1')}, 'Site: projects'),
        ({'volume_boot': placing.VolumeBoot.ENDORSED}, 'Site: volume-boot'),
    ],
)
def test_options_of_the_site_that_open_a_way_are_warnings(
    services, option, check
):
    services.wants(placing=placing.Placing(**option))
    assert 'in [nova] of hepix_vm.conf' in finding(services, check, WARNING)


@pytest.mark.parametrize(('rule',), [(rule,) for rule in volume_paths.POLICY])
def test_users_that_rewrite_what_a_volume_was_made_of(services, rule):
    path = services.cinder_policy
    path.write_text(
        drop(closed.CINDER_POLICY, rule)
        + f'"{rule}": "role:admin or project_id:%(project_id)s"\n'
    )
    detail = finding(services, 'Cinder: volume-metadata', WARNING)
    assert rule in detail
    services.wants(
        placing=placing.Placing(volume_boot=placing.VolumeBoot.ENDORSED)
    )
    status_, found = services.check()
    assert status_ is FAILURE
    assert found['Cinder: volume-metadata'][0] is FAILURE


def test_without_cinder_its_defaults_are_unknown(services):
    services.cinder_policy.write_text('{}\n')
    detail = finding(services, 'Cinder: volume-metadata', WARNING)
    assert 'not installed here' in detail


@pytest.mark.parametrize(
    'text',
    [
        '[DEFAULT]\nimage_volume_cache_enabled = true\n',
        '[DEFAULT]\nallowed_direct_url_schemes = file\n',
        '[backend_defaults]\nimage_volume_cache_enabled = true\n',
        '[DEFAULT]\nenabled_backends = a,b\n'
        '[b]\nimage_volume_cache_enabled = true\n',
    ],
)
def test_volumes_that_are_made_without_asking_glance(services, text):
    services.cinder.write_text(text)
    detail = finding(services, 'Cinder: volume-copies', WARNING)
    assert 'Glance is not asked' in detail


def test_machine_without_services_is_warned(services):
    for path in services.glance.iterdir():
        path.unlink()
    services.nova.unlink()
    services.cinder.unlink()
    status_, found = services.check()
    assert status_ is WARNING
    for check in ('Glance', 'Nova', 'Cinder'):
        result, detail = found[check]
        assert result is WARNING
        assert 'not on this machine' in detail


def test_file_that_cannot_be_looked_at_fails(services):
    # A name that is too long for any file system: stat itself fails.
    services.nova = services.glance / ('x' * 300)
    assert 'may read it' in alone(services, 'Nova', FAILURE)


def test_names_in_the_messages_are_those_of_the_package():
    for name in (nova_paths.GUARD, glance_paths.GUARD):
        module, _, factory = name.partition(':')
        path = Path(__file__).parents[3] / (module.replace('.', '/') + '.py')
        assert f'def {factory}(' in path.read_text()


def test_lines_that_close_a_way_are_those_that_are_shipped():
    shipped = yaml.safe_load(
        (closed.SHIPPED / 'glance-policy.yaml').read_text()
    )
    for rule, text in glance_paths.POLICY.items():
        assert shipped[rule] == text
