# SPDX-License-Identifier: Apache-2.0
"""``hepix-vm-status upgrade check``: is the deployment closed?"""

from __future__ import annotations

import json
import re

import pytest

from hepix_vm.cli import status
from tests import closed_services as closed
from tests.unit.cli import commands

CHECKS = {'Catalogue', 'Subscriptions', 'Context', *closed.CHECKS}


class Deployment(closed.Services):
    """Files of a controller, and the command over them."""

    def __init__(self, site, hepix_vm, folder, capsys):
        super().__init__(folder)
        self.site = site
        self.file = hepix_vm.file
        self.more = {}
        self.neutron = folder / 'neutron'
        self.context = folder / 'context'
        self._capsys = capsys

    def append(self, text):
        """Have more in hepix_vm.conf."""
        self.configure()
        with self.file.open('a') as stream:
            stream.write(text)

    def configure(self):
        """Have the site's groups, and a context that is nowhere yet."""
        commands.write_configuration(self.site, self.file)
        with self.file.open('a') as stream:
            stream.write(
                '[context]\n'
                f'directory = {self.context}\n'
                f'state_directory = {self.context.with_name("state")}\n'
            )

    def run(self, *more):
        """Run the checks."""
        if not self.file.exists():
            self.configure()
        files = {
            '--config-file': self.file,
            '--glance-config-dir': self.glance,
            '--nova-config': self.nova,
            **self.more,
            '--cinder-config': self.cinder,
            '--neutron-config-dir': self.neutron,
        }
        words = [word for pair in files.items() for word in pair]
        return commands.run(
            status.main, [*words, 'upgrade', 'check', *more], self._capsys
        )

    def check(self):
        """Run the checks: exit status, and result and text by check."""
        ran = self.run()
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
    closed.pretend_installed(monkeypatch)
    folder = tmp_path / 'services'
    folder.mkdir()
    return Deployment(site, hepix_vm, folder, capsys)


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


def test_a_way_that_is_open_fails_and_says_the_line(deployment):
    path = deployment.glance / 'policy.yaml'
    path.write_text(re.sub('(?m)^"reactivate".*', '', path.read_text()))
    detail = finding(deployment, 'Glance: reactivate', 'Failure')
    assert '"reactivate": "rule:context_is_admin" in policy.yaml' in detail


def test_what_the_site_has_chosen_is_a_warning(deployment):
    path = deployment.glance / 'policy.yaml'
    path.write_text(re.sub('(?m)^"reactivate".*', '', path.read_text()))
    deployment.append(
        '[glance_guard]\naccept_open = reactivate\n[nova]\ndry_run = true\n'
    )
    status_, found = deployment.check()
    assert status_ == 1
    warned = {n for n, (result, _) in found.items() if result == 'Warning'}
    assert warned == {'Glance: reactivate', 'Site: dry-run'}


def test_a_way_that_there_is_not_cannot_be_accepted(deployment):
    deployment.append('[glance_guard]\naccept_open = back-door\n')
    status_, found = deployment.check()
    assert status_ == 2
    assert 'back-door' in found['Catalogue'][1]


def test_the_paste_file_of_nova_may_be_elsewhere(deployment):
    elsewhere = deployment.nova_paste.with_name('other.ini')
    deployment.nova_paste.rename(elsewhere)
    finding(deployment, 'Nova: api', 'Warning')
    deployment.more = {'--nova-paste': elsewhere}
    assert deployment.check()[0] == 0


def test_context_is_checked_where_a_site_has_some(deployment):
    deployment.context.mkdir()
    for name in ('prolog.sh', 'epilog.sh'):
        (deployment.context / name).write_text('#!/bin/sh\n')
    deployment.neutron.mkdir()
    agent = deployment.neutron / 'neutron_ovn_metadata_agent.ini'
    agent.write_text('[DEFAULT]\nmetadata_proxy_shared_secret = secret\n')
    deployment.append('metadata_proxy_shared_secret = secret\n')
    status_, found = deployment.check()
    assert status_ == 0
    assert 'Context' not in found
    assert len([name for name in found if name.startswith('Context: ')]) == 5
    deployment.append(
        'metadata_proxy_shared_secret = another\n'
        'behind = direct\nsigning_key = /nonexistent\n'
    )
    status_, found = deployment.check()
    assert status_ == 2
    failed = {n for n, (result, _) in found.items() if result == 'Failure'}
    assert failed == {
        'Context: signing key',
        'Context: secret',
        'Context: behind',
    }


def test_the_checks_are_there_as_json(deployment):
    ran = deployment.run('--json')
    assert {one['check'] for one in json.loads(ran.out)['checks']} == CHECKS


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
