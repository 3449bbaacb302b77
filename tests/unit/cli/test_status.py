# SPDX-License-Identifier: Apache-2.0
"""``hepix-vm-status upgrade check``: is the deployment closed?"""

from __future__ import annotations

from importlib import util
import re

import pytest

from hepix_vm.cli import status
from hepix_vm.operations import status as operations
from tests.unit.cli import commands

FILTER = 'hepix_vm.nova.filter.HepixApprovedImageFilter'
GOOD_GLANCE = '[image_import_opts]\nimage_import_plugins = [%s]\n'
OURS = 'hepix_verify,hepix_record'
GOOD_NOVA = (
    '[filter_scheduler]\n'
    'available_filters = nova.scheduler.filters.all_filters\n'
    f'available_filters = {FILTER}\n'
    'enabled_filters = ComputeFilter,HepixApprovedImageFilter\n'
)
CHECKS = {
    'Catalogue',
    'Subscriptions',
    'Glance import plugins',
    'Nova scheduler filter',
}


class Deployment:
    """Files of a controller, and the command over them."""

    def __init__(self, site, hepix_vm, folder, capsys):
        self.site = site
        self.file = hepix_vm.file
        self.glance = folder / 'glance'
        self.glance.mkdir()
        self.nova = folder / 'nova.conf'
        self._capsys = capsys

    def check(self):
        """Run the checks: exit status, and result and text by check."""
        if not self.file.exists():
            commands.write_configuration(self.site, self.file)
        ran = commands.run(
            status.main,
            [
                '--config-file',
                self.file,
                '--glance-config-dir',
                self.glance,
                '--nova-config',
                self.nova,
                'upgrade',
                'check',
            ],
            self._capsys,
        )
        return ran.status, results(ran.out)


def results(text):
    """What was found, by check."""
    found = {}
    text = re.sub(r'\|\n\| {9}', ' ', text)
    for part in re.split(r'\+-+\+', text):
        match = re.search(
            r'Check: (.*?)\s*\|\s*\|\s*Result: (\w+)(.*)', part, re.DOTALL
        )
        if match:
            detail = ' '.join(match[3].replace('|', ' ').split())
            found[match[1]] = (match[2], detail.removeprefix('Details: '))
    return found


@pytest.fixture
def deployment(site, hepix_vm, tmp_path, capsys, monkeypatch):
    """A controller on which everything is as it should be."""
    if util.find_spec('taskflow') is None:
        # The plugins are loaded where Glance is installed.
        monkeypatch.setattr(
            operations, '_loadable', lambda: {'hepix_verify', 'hepix_record'}
        )
    made = Deployment(site, hepix_vm, tmp_path, capsys)
    (made.glance / 'glance-api.conf').write_text('[DEFAULT]\n')
    (made.glance / 'glance-image-import.conf').write_text(GOOD_GLANCE % OURS)
    made.nova.write_text(GOOD_NOVA)
    return made


def test_closed_deployment_passes(deployment):
    status_, found = deployment.check()
    assert set(found) == CHECKS
    assert {result for result, _ in found.values()} == {'Success'}
    assert status_ == 0


def finding(deployment, check, expected):
    """The others are well; this one is not."""
    status_, found = deployment.check()
    result, detail = found.pop(check)
    assert result == expected
    assert {result for result, _ in found.values()} == {'Success'}
    assert status_ == {'Warning': 1, 'Failure': 2}[expected]
    return detail


def test_catalogue_without_tables_fails(deployment, site, tmp_path):
    site.url = f'sqlite:///{tmp_path / "empty.sqlite"}'
    detail = finding(deployment, 'Catalogue', 'Failure')
    assert 'hepix-vm db sync' in detail


def test_site_that_follows_nothing_is_warned(deployment, site):
    site.configured.clear()
    detail = finding(deployment, 'Subscriptions', 'Warning')
    assert 'nothing can be approved' in detail


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'list_identifier': 'no-uuid'}, 'expected a UUID'),
        ({'endorser_subject': 'nobody'}, 'endorser_subject'),
        ({'trust_anchors': '/nonexistent'}, '/nonexistent'),
    ],
)
def test_subscription_that_cannot_be_used_fails(
    deployment, site, changes, said
):
    site.change('main', **changes)
    assert said in finding(deployment, 'Subscriptions', 'Failure')


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('', 'hepix_verify'),
        (GOOD_GLANCE % '', 'hepix_verify'),
        (GOOD_GLANCE % 'hepix_verify', 'hepix_record'),
        (GOOD_GLANCE % 'hepix_record,hepix_verify', 'last'),
        (GOOD_GLANCE % f'{OURS},no_op', 'last'),
        (GOOD_GLANCE % f'hepix_verify,{OURS}', 'exactly once'),
        ('[image_import_opts]\nimage_import_plugins = ' + OURS, 'unchecked'),
        ('nonsense', 'Failed to parse'),
        ('[image_import_opts', 'Failed to parse'),
    ],
)
def test_glance_that_imports_unchecked_fails(deployment, text, said):
    path = deployment.glance / 'glance-image-import.conf'
    path.write_text(text)
    assert said in finding(deployment, 'Glance import plugins', 'Failure')


def test_glance_that_may_convert_is_warned(deployment):
    path = deployment.glance / 'glance-image-import.conf'
    path.write_text(GOOD_GLANCE % 'hepix_verify,image_conversion,hepix_record')
    detail = finding(deployment, 'Glance import plugins', 'Warning')
    assert 'image_conversion' in detail


def test_plugin_that_cannot_be_loaded_fails(deployment, monkeypatch):
    monkeypatch.setattr(operations, '_loadable', lambda: {'hepix_verify'})
    detail = finding(deployment, 'Glance import plugins', 'Failure')
    assert 'hepix_record' in detail


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('', f'available_filters = {FILTER}'),
        (GOOD_NOVA.replace(f'available_filters = {FILTER}\n', ''), FILTER),
        (
            GOOD_NOVA.replace(',HepixApprovedImageFilter', ''),
            'enabled_filters',
        ),
        ('nonsense', 'Failed to parse'),
    ],
)
def test_nova_that_places_anything_fails(deployment, text, said):
    deployment.nova.write_text(text)
    detail = finding(deployment, 'Nova scheduler filter', 'Failure')
    assert said.replace(' ', '') in detail.replace(' ', '')


def test_machine_without_glance_and_nova_is_warned(deployment):
    for path in deployment.glance.iterdir():
        path.unlink()
    deployment.nova.unlink()
    status_, found = deployment.check()
    assert status_ == 1
    for check in ('Glance import plugins', 'Nova scheduler filter'):
        result, detail = found[check]
        assert result == 'Warning'
        assert 'not on this machine' in detail


def test_file_that_cannot_be_looked_at_fails(deployment):
    (deployment.glance / 'glance-api.conf').unlink()
    # A name that is too long for any file system: stat itself fails.
    deployment.nova = deployment.glance / ('x' * 300)
    detail = finding(deployment, 'Nova scheduler filter', 'Failure')
    assert 'may read it' in detail


def test_without_our_own_configuration_both_checks_of_it_fail(
    deployment, capsys, tmp_path
):
    deployment.file = tmp_path / 'other.conf'
    deployment.file.write_text('[fetch]\nparallel = many\n')
    deployment.file.chmod(0o600)
    status_, found = deployment.check()
    assert status_ == 2
    for check in ('Catalogue', 'Subscriptions'):
        assert found[check][0] == 'Failure'
        assert 'parallel' in found[check][1]


def test_names_in_the_messages_are_those_of_the_package():
    assert operations.FILTER == FILTER
