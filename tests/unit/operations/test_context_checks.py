# SPDX-License-Identifier: Apache-2.0
"""Whether context can reach its guests as it is configured."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives import serialization
import pytest

from hepix_vm.context import archive
from hepix_vm.context import generations
from hepix_vm.context import source
from hepix_vm import errors
from hepix_vm.operations import context_checks
from hepix_vm.operations import status

NOW = 1_790_000_000
PASTE = f"""
[composite:metadata]
use = egg:Paste#urlmap
/: meta
/context: hepix_context
/machinefeatures: hepix_context
/jobfeatures: hepix_context
[app:meta]
paste.app_factory = nova.api.metadata.handler:MetadataRequestHandler.factory
[app:hepix_context]
paste.app_factory = {context_checks.FACTORY}
"""
NOVA = """
[neutron]
service_metadata_proxy = true
metadata_proxy_shared_secret = secret
"""
AGENT = '[DEFAULT]\nmetadata_proxy_shared_secret = secret\n'
SCRIPTS = tuple(
    archive.Member(name, 0o755, b'#!/bin/sh\n') for name in archive.SCRIPTS
)
TITLES = {'content', 'signing key', 'served', 'secret', 'behind'}
Grade = status.Grade


def key(curve: type[ec.EllipticCurve] = ec.SECP256R1) -> bytes:
    return ec.generate_private_key(curve()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


class Place:
    """Files of a controller, and what is found in them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nova = folder / 'nova.conf'
        self.paste = folder / 'api-paste.ini'
        self.agent = folder / 'metadata_agent.ini'
        self.site = folder / 'context'
        self.site.mkdir()
        for script in archive.SCRIPTS:
            (self.site / script).write_text('#!/bin/sh\n')
        self.nova.write_text(NOVA)
        self.paste.write_text(PASTE)
        self.agent.write_text(AGENT)
        self.signing_key: object = key()
        self.context = context_checks.Context(
            source.Source(self.site, folder / 'state', published=False),
            self._key,
        )

    def _key(self):
        if isinstance(self.signing_key, Exception):
            raise self.signing_key
        return self.signing_key

    def says(self, **changes):
        """Have hepix_vm.conf say something else."""
        self.context = dataclasses.replace(self.context, **changes)

    def publish(self, expires_at=None):
        self.says(
            source=dataclasses.replace(self.context.source, published=True)
        )
        order = generations.Order(NOW - 9, expires_at, 'me', '', 10)
        tar = archive.pack(archive.ordered(SCRIPTS, 'x'), 'x')
        generations.publish(self.context.source.state_directory, tar, order)

    def look(self):
        found = context_checks.look(
            self.context, self.nova, self.paste, [self.agent], NOW
        )
        return {
            title.removeprefix('Context: '): (one.grade, one.detail)
            for title, one in found
        }

    def finding(self, check, expected):
        """The others are well; this one is not."""
        found = self.look()
        assert set(found) == TITLES
        grade, detail = found.pop(check)
        assert grade is expected
        assert {grade for grade, _ in found.values()} == {Grade.WELL}
        return detail

    def well(self):
        found = self.look()
        assert set(found) == TITLES
        assert {grade for grade, _ in found.values()} == {Grade.WELL}
        return {title: detail for title, (_, detail) in found.items()}


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_all_is_well_inside_nova_metadata(place):
    found = place.well()
    assert found['content'].endswith('can be served as it stands')
    assert 'PKZIP' in found['behind']


def test_a_site_without_context_is_not_bothered(place):
    for script in archive.SCRIPTS:
        (place.site / script).unlink()
    place.site.rmdir()
    for file in (place.nova, place.paste, place.agent):
        file.unlink()
    ((title, finding),) = context_checks.look(
        place.context, place.nova, place.paste, [place.agent], NOW
    )
    assert (title, finding.grade) == ('Context', Grade.WELL)
    assert 'nothing serves it' in finding.detail


# Content and key


def test_a_directory_that_cannot_be_served(place):
    (place.site / 'prolog.sh').unlink()
    assert 'prolog.sh' in place.finding('content', Grade.FAILURE)


def test_nothing_published(place):
    place.says(
        source=dataclasses.replace(place.context.source, published=True)
    )
    detail = place.finding('content', Grade.FAILURE)
    assert 'run "hepix-vm context publish"' in detail


def test_what_is_published(place):
    place.publish(expires_at=NOW + 1)
    assert place.well()['content'] == 'generation 1 is published'


def test_what_has_expired(place):
    place.publish(expires_at=NOW - 5)
    detail = place.finding('content', Grade.WARNING)
    assert 'generation 1 has expired 5 s ago' in detail


def test_without_a_key_nothing_is_signed(place):
    place.signing_key = None
    assert 'nothing is signed' in place.well()['signing key']


@pytest.mark.parametrize(
    'given',
    [
        b'no key',
        key(ec.SECP384R1),
        errors.Misconfigured('everybody may read it'),
    ],
    ids=['no key', 'another curve', 'not secret'],
)
def test_a_key_that_cannot_be_used(place, given):
    place.signing_key = given
    place.finding('signing key', Grade.FAILURE)


# Where it is served


@pytest.mark.parametrize('prefix', context_checks.PREFIXES)
def test_a_prefix_that_nova_metadata_does_not_have(place, prefix):
    text = place.paste.read_text()
    place.paste.write_text(text.replace(f'{prefix}: hepix_context\n', ''))
    detail = place.finding('served', Grade.FAILURE)
    assert f'"{prefix}: hepix_context" in [composite:metadata]' in detail


def test_an_app_of_somebody_else_is_not_ours(place):
    text = place.paste.read_text()
    place.paste.write_text(
        text.replace('/context: hepix_context', '/context: meta')
    )
    assert '/context' in place.finding('served', Grade.FAILURE)


def test_nothing_serves_it(place):
    place.paste.unlink()
    detail = place.finding('served', Grade.WARNING)
    assert 'nothing on this machine serves it' in detail


def test_a_process_of_its_own(place):
    place.paste.unlink()
    place.nova.unlink()
    place.says(secret='secret')
    assert 'process of its own' in place.well()['served']


# Who signs


def test_nova_that_does_not_believe_the_proxy(place):
    place.nova.write_text(NOVA.replace('true', 'false'))
    detail = place.finding('secret', Grade.FAILURE)
    assert 'service_metadata_proxy = true in [neutron]' in detail


def test_nova_without_a_secret(place):
    place.nova.write_text('[neutron]\nservice_metadata_proxy = true\n')
    detail = place.finding('secret', Grade.FAILURE)
    assert 'anybody could sign' in detail


def test_secrets_that_differ(place):
    place.agent.write_text(AGENT.replace('= secret', '= another'))
    detail = place.finding('secret', Grade.FAILURE)
    assert 'not the same' in detail
    assert 'another' not in detail.replace('another one', '')
    place.agent.write_text('')
    place.finding('secret', Grade.FAILURE)
    place.agent.unlink()
    place.well()
    place.says(secret='third')
    place.finding('secret', Grade.FAILURE)


def test_a_machine_that_knows_no_secret(place):
    place.agent.unlink()
    place.nova.unlink()
    place.paste.unlink()
    found = place.look()
    assert found['secret'][0] is Grade.WARNING
    assert 'run this where context is served' in found['secret'][1]


def test_files_beside_nova_conf_are_read(place):
    place.nova.write_text('')
    folder = place.nova.with_name('nova.conf.d')
    folder.mkdir()
    (folder / '10-neutron.conf').write_text(NOVA)
    place.well()


# What stands in front


def test_gzip_without_neutron(place):
    place.agent.unlink()
    place.nova.unlink()
    place.paste.unlink()
    place.says(neutron=False)
    grade, detail = place.look()['behind']
    assert grade is Grade.WELL
    assert 'no sign of neutron' in detail


def test_gzip_where_somebody_signs(place):
    """Whether that is neutron cannot be seen on this machine."""
    place.agent.unlink()
    place.paste.unlink()
    place.nova.unlink()
    place.says(secret='secret', neutron=False)
    detail = place.finding('behind', Grade.WARNING)
    assert 'it takes behind = neutron' in detail
    place.says(secret='')
    place.nova.write_text(NOVA)
    assert place.look()['behind'][0] is Grade.WARNING


@pytest.mark.parametrize(
    ('release', 'expected', 'said'),
    [
        (None, Grade.FAILURE, 'the agent spoils gzip; it takes behind'),
        (26, Grade.FAILURE, 'the agent spoils gzip; it takes behind'),
        (25, Grade.WARNING, 'from release 26 on; here is 25'),
    ],
)
def test_gzip_behind_neutron(place, monkeypatch, release, expected, said):
    monkeypatch.setattr(context_checks, 'neutron_release', lambda: release)
    place.says(neutron=False)
    detail = place.finding('behind', expected)
    assert said in detail
    assert 'a metadata agent is configured on this machine and' in detail
    assert 'service_metadata_proxy is on' in detail
    place.agent.unlink()
    detail = place.finding('behind', expected)
    assert detail.startswith('[neutron] service_metadata_proxy is on')


@pytest.mark.parametrize(
    ('version', 'expected'), [('26.0.1', 26), ('9', 9), ('x', None)]
)
def test_the_release_of_neutron(monkeypatch, version, expected):
    monkeypatch.setattr(
        context_checks.metadata, 'version', lambda name: version
    )
    assert context_checks.neutron_release() == expected


def test_no_release_of_neutron(monkeypatch):
    def version(name):
        raise context_checks.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(context_checks.metadata, 'version', version)
    assert context_checks.neutron_release() is None


@pytest.mark.parametrize('name', ['nova', 'paste', 'agent'])
def test_a_file_that_cannot_be_read_is_one_finding(place, name):
    file = getattr(place, name)
    file.write_text('no section\n')
    ((title, finding),) = context_checks.look(
        place.context, place.nova, place.paste, [place.agent], NOW
    )
    assert (title, finding.grade) == ('Context', Grade.FAILURE)


def test_a_folder_that_cannot_be_looked_into_is_one_finding(place):
    ((title, finding),) = context_checks.look(
        place.context, place.nova, place.paste, [Path('/' + 'x' * 300)], NOW
    )
    assert (title, finding.grade) == ('Context', Grade.FAILURE)
    assert 'run this as an account that may read it' in finding.detail
