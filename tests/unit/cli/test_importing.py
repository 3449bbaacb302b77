# SPDX-License-Identifier: Apache-2.0
"""``import-from``: from what another tool keeps to a first sync."""

from __future__ import annotations

import pytest
import yaml

from hepix_vm.cli import importing
from hepix_vm.trust import names
from tests import endorser
from tests.unit.catalogue import following
from tests.unit.operations import old_tools

HOUR = 3600
DATA = b'an image'


class Moving:
    """A site that leaves another tool; its endorser goes on as before."""

    def __init__(self, site, hepix_vm, folder):
        self.endorser = following.endorser_named('Endorser of main')
        self.now = site.now
        self.identifier = following.identifier_of('moved')
        self.list = folder / 'grid.list'
        self.anchors = site.anchors
        self.file = folder / 'moved.conf'
        self.image = endorser.make_image(DATA)
        self._site = site
        self._run = hepix_vm.bare

    def publish(self, version, created=0):
        """The endorser signs a list of one image."""
        self.list.write_bytes(
            self.endorser.signed_list(
                self.identifier,
                version,
                self.image,
                created=endorser.utc(self.now + created),
            )
        )

    def slash(self):
        """Subject and issuer as the old tools have them."""
        return tuple(
            names.from_x509(name).slash()
            for name in (
                self.endorser.certificate.subject,
                self.endorser.certificate.issuer,
            )
        )

    def proposed(self, *arguments):
        """The proposal becomes the configuration, as it was printed."""
        ran = self._run('import-from', *arguments)
        assert ran.status == 0, ran.err
        text = ran.out.replace(
            'trust_anchors = /etc/grid-security/certificates',
            f'trust_anchors = {self.anchors}',
        )
        self.write(text)
        return ran

    def write(self, text):
        """Put groups into the configuration."""
        self.file.write_text(
            f'[catalogue]\nconnection = {self._site.url}\n{text}'
        )
        self.file.chmod(0o640)

    def __call__(self, *arguments):
        return self._run('--config-file', self.file, *arguments)

    def sync(self):
        """Code of the only subscription, as the command reports it."""
        (row,) = self('sync', '-f', 'json').json
        return row['code']


@pytest.fixture
def moving(site, hepix_vm, tmp_path):
    made = Moving(site, hepix_vm, tmp_path)
    made.publish('5', -HOUR)
    return made


@pytest.fixture
def database(moving, tmp_path):
    made = old_tools.VmCatcher(tmp_path / 'vmcatcher.db')
    row = made.subscription(
        moving.list.as_uri(), identifier=moving.identifier.upper()
    )
    created = endorser.utc(moving.now - HOUR)
    made.accepted(
        made.authorise(row, made.endorser(*moving.slash())),
        '5',
        f'{created:%Y-%m-%d %H:%M:%S}.000000',
    )
    return made


def test_a_site_moves_from_vmcatcher(moving, database):
    moving.proposed('vmcatcher', database.path)
    ran = moving('import-from', 'vmcatcher', database.path, '--apply-state')
    assert ran.status == 0
    assert ran.out == (f'grid: list {moving.identifier} version 5: written\n')
    again = moving('import-from', 'vmcatcher', database.path, '--apply-state')
    assert again.out.endswith('version 5: known already\n')

    moving.publish('4')
    assert moving.sync() == 'rollback'
    moving.publish('5', -HOUR)
    assert moving.sync() == 'ok'
    moving.publish('6')
    assert moving.sync() == 'ok'
    (image,) = moving('image', 'list', '-f', 'json').json
    assert image['verdict'] == 'refused'


def test_without_the_state_an_old_list_is_taken(moving, database):
    moving.proposed('vmcatcher', database.path)
    moving.publish('4')
    assert moving.sync() == 'ok'


def test_proposing_changes_nothing(moving, database, site):
    moving.proposed('vmcatcher', database.path)
    moving('import-from', 'vmcatcher', database.path)
    assert site.events('grid') == []


def test_state_of_a_list_that_is_not_configured_is_told(moving, database):
    moving.write('')
    ran = moving('import-from', 'vmcatcher', database.path, '--apply-state')
    assert ran.status == 1
    assert ran.out == (
        f'-: list {moving.identifier} version 5: not followed\n'
    )
    assert 'put its group into hepix_vm.conf first' in ran.err


def test_state_goes_to_the_list_whatever_its_name_is(moving, database, site):
    ran = moving.proposed('vmcatcher', database.path)
    text = moving.file.read_text()
    moving.file.write_text(
        text.replace('[subscription:grid]', '[subscription:x]')
    )
    assert 'subscription:grid' in ran.out
    moving('import-from', 'vmcatcher', database.path, '--apply-state')
    assert site.state('x').list_version == '5'


@pytest.mark.parametrize(
    ('issuer', 'said'),
    [
        ('/CN=Other CA', 'is none of those'),
        ('/CN=a/b=c', 'cannot be compared'),
    ],
)
def test_another_endorser_than_before_is_told(moving, database, issuer, said):
    moving.proposed('vmcatcher', database.path)
    text = moving.file.read_text()
    moving.file.write_text(
        text.replace(
            f'endorser_issuer = {moving.slash()[1]}',
            f'endorser_issuer = {issuer}',
        )
    )
    ran = moving('import-from', 'vmcatcher', database.path, '--apply-state')
    assert ran.status == 1
    assert 'written' in ran.out
    assert said in ran.err


def test_a_site_moves_from_atrope(moving, tmp_path):
    subject, issuer = moving.slash()
    sources = tmp_path / 'hepix.yaml'
    sources.write_text(
        yaml.safe_dump(
            {
                'grid': {
                    'file_path': str(moving.list),
                    'endorser': {'dn': subject, 'ca': issuer},
                },
                'old': {'enabled': False},
            }
        )
    )
    config = tmp_path / 'atrope.conf'
    config.write_text(
        f'[DEFAULT]\nca_path = {moving.anchors}\n'
        f'[sources]\nhepix_sources = {sources}\n'
    )
    ran = moving.proposed('atrope', config, '--fetch')
    assert 'left out: old' in ran.err
    moving.write(
        ran.out.replace(
            '# list_identifier = FILL IN',
            f'list_identifier = {moving.identifier}\n#',
        )
    )
    assert moving.sync() == 'ok'


def test_a_site_moves_from_cloudkeeper(moving, tmp_path):
    config = tmp_path / 'cloudkeeper.yml'
    config.write_text(
        yaml.safe_dump(
            {
                'cloudkeeper': {
                    'image-list': moving.list.as_uri(),
                    'ca-dir': str(moving.anchors),
                }
            }
        )
    )
    ran = moving.proposed('cloudkeeper', config, '--fetch')
    assert 'NOT VERIFIED' in ran.out
    assert moving.identifier in ran.out
    (row,) = moving('subscription', 'list', '-f', 'json').json
    assert row['state'] == 'misconfigured'

    text = ran.out
    for option, value in (
        ('list_identifier', moving.identifier),
        ('endorser_subject', moving.endorser.subject),
        ('endorser_issuer', moving.endorser.issuer),
    ):
        text = text.replace(f'# {option} = FILL IN', f'{option} = {value}\n#')
    moving.write(text)
    assert moving.sync() == 'ok'


@pytest.mark.parametrize('tool', ['atrope', 'cloudkeeper'])
def test_tools_that_keep_no_versions_have_no_state(moving, tmp_path, tool):
    config = tmp_path / 'config'
    url = moving.list.as_uri()
    config.write_text(
        yaml.safe_dump(
            {'grid': {'url': url}}
            if tool == 'atrope'
            else {'cloudkeeper': {'image-list': url}}
        )
    )
    moving.write('')
    ran = moving('import-from', tool, config, '--apply-state')
    assert ran.status == 2
    assert 'has kept no version' in ran.err
    assert ran.out == ''


def test_without_a_configuration_it_proposes(hepix_vm, database, monkeypatch):
    monkeypatch.setattr(importing.conf_, 'DEFAULT_FILE', '/nonexistent')
    ran = hepix_vm.bare('import-from', 'vmcatcher', database.path)
    assert ran.status == 0
    assert '[subscription:grid]' in ran.out


def test_names_of_the_configuration_are_left_alone(hepix_vm, site, database):
    site.follow('grid')
    ran = hepix_vm('import-from', 'vmcatcher', database.path)
    assert '[subscription:grid-2]' in ran.out


@pytest.mark.parametrize('more', [[], ['--apply-state'], ['--fetch']])
def test_what_cannot_be_read_is_one_line(hepix_vm, tmp_path, more):
    ran = hepix_vm('import-from', 'vmcatcher', tmp_path / 'absent', *more)
    assert ran.status == 2
    assert len(ran.err.strip().splitlines()) == 1
    assert ran.out == ''


def test_a_configuration_that_was_named_has_to_be_there(
    hepix_vm, tmp_path, database
):
    ran = hepix_vm.bare(
        '--config-file',
        tmp_path / 'absent',
        'import-from',
        'vmcatcher',
        database.path,
    )
    assert ran.status == 2
    assert 'expected a readable file' in ran.err
