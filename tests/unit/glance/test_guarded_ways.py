# SPDX-License-Identifier: Apache-2.0
"""What Glance's configuration says of ways that have no rule of their own."""

from __future__ import annotations

import pytest

from hepix_vm import errors
from hepix_vm.glance import paths as glance_paths
from hepix_vm.glance import protections
from hepix_vm import paths
from hepix_vm.paths import policies
from tests import closed_services as closed


@pytest.fixture
def looked(tmp_path, monkeypatch):
    """Look at a Glance with other options, rules or protections."""
    closed.pretend_installed(monkeypatch)
    services = closed.Services(tmp_path)

    def look(way, options='', rules='', protected=None):
        folder = services.glance / 'glance-api.conf.d'
        folder.mkdir(exist_ok=True)
        (folder / 'more.conf').write_text(f'[DEFAULT]\n{options}\n')
        if rules:
            (services.glance / 'policy.yaml').write_text(rules)
        if protected is not None:
            (services.glance / 'protections.conf').write_text(protected)
        conf = glance_paths.configuration(
            [services.glance / 'glance-api.conf'], [folder]
        )
        found = glance_paths.looked(conf, policies.judge(conf, 'glance'))
        assert tuple(one.name for one in found) == glance_paths.NAMES
        return next(one for one in found if one.name == way)

    return look


RBD = 'enabled_backends = one:file,two:rbd\n'
FETCH = '"fetch_image_location": "rule:service_api"\n'


@pytest.mark.parametrize(
    ('options', 'rules', 'state'),
    [
        ('', FETCH, paths.State.CLOSED),
        (RBD, FETCH, paths.State.OPEN),
        (RBD, '', paths.State.CLOSED),
        (f'{RBD}show_image_direct_url = true', '', paths.State.OPEN),
        (f'{RBD}show_multiple_locations = true', '', paths.State.OPEN),
        ('show_image_direct_url = true', '', paths.State.CLOSED),
        # Without the option Glance has these: file and http.
        ('enabled_backends =', FETCH, paths.State.OPEN),
    ],
)
def test_places_of_data_are_told_or_not(looked, options, rules, state):
    assert looked('locations', options, rules).state is state


def test_a_release_without_a_request_for_places_tells_nobody(
    looked, monkeypatch
):
    older = [
        one
        for one in closed.GLANCE_DEFAULTS
        if 'image_location' not in one.name
    ]
    monkeypatch.setattr(policies, 'installed', lambda _service: older)
    assert looked('locations', RBD, FETCH).state is paths.State.CLOSED
    assert looked('add-location').state is paths.State.CLOSED


def test_without_glance_who_is_told_places_is_unknown(looked, monkeypatch):
    monkeypatch.setattr(policies, 'installed', lambda _service: None)
    found = looked('locations', RBD, '{}\n')
    assert found.state is paths.State.UNKNOWN
    assert 'fetch_image_location' in found.lines[0]


@pytest.mark.parametrize(
    ('rules', 'state'),
    [
        ('"set_image_location": "!"', paths.State.CLOSED),
        ('"set_image_location": "role:member"', paths.State.OPEN),
    ],
)
def test_locations_that_are_shown_can_be_set(looked, rules, state):
    found = looked('set-location', 'show_multiple_locations = true', rules)
    assert found.state is state


@pytest.mark.parametrize('service_role', ['service_roles:service', '@'])
def test_a_rule_that_lets_every_service_have_data_is_open(
    looked, service_role
):
    text = (closed.SHIPPED / 'glance-policy.yaml').read_text()
    exempt = '"hepix_exempt": "!"'
    assert exempt in text
    rules = text.replace(exempt, f'"hepix_exempt": "{service_role}"')
    found = looked('download', '', rules)
    assert found.state is paths.State.OPEN
    assert 'a service on behalf of a member' in found.why


@pytest.mark.parametrize(
    'rule', ['not hepix_approved:any', 'hepix_approved:any or role:reader']
)
def test_our_check_is_no_word_that_closes_a_rule(looked, rule):
    rules = f'"download_image": "{rule}"\n"download_from_store": "!"\n'
    assert looked('download', '', rules).state is paths.State.OPEN


SECTION = '[{name}]\ncreate = {0}\nread = @\nupdate = {1}\ndelete = {2}\n'


def section(*permitted, name='.*'):
    return SECTION.format(*permitted, name=name)


@pytest.mark.parametrize(
    ('text', 'state'),
    [
        ('', paths.State.CLOSED),
        (section('admin', 'admin', 'admin,service'), paths.State.CLOSED),
        (section('!', '!', '!'), paths.State.CLOSED),
        (section('', '', ''), paths.State.CLOSED),
        (section('@', 'admin', 'admin'), paths.State.OPEN),
        (section('admin', 'Member', 'admin'), paths.State.OPEN),
        (section('admin', 'admin', 'admin, reader'), paths.State.OPEN),
        # The first that is found in the name decides.
        (
            section('admin', 'admin', 'admin', name='k') + section(*'@@@'),
            paths.State.OPEN,
        ),
        (
            section('admin', 'admin', 'admin', name='_') + section(*'@@@'),
            paths.State.OPEN,
        ),
        (
            section('admin', 'admin', 'admin', name='_|mappings')
            + section(*'@@@'),
            paths.State.CLOSED,
        ),
        # Glance puts one of its own in the place of it.
        (section(*'@@@', name='os_glance|kernel'), paths.State.CLOSED),
    ],
)
def test_property_protections_are_read_as_glance_reads_them(
    looked, text, state
):
    assert looked('properties', protected=text).state is state


@pytest.mark.parametrize(
    ('rules', 'state'),
    [
        ('"writers": "role:admin"\n', paths.State.CLOSED),
        ('"writers": "role:member"\n', paths.State.OPEN),
        ('"writers": "service_roles:service"\n', paths.State.CLOSED),
    ],
)
def test_property_protections_may_name_policies(looked, rules, state):
    found = looked(
        'properties',
        'property_protection_rule_format = policies',
        rules,
        section('writers', 'writers', 'writers'),
    )
    assert found.state is state


def test_policies_of_protections_that_are_not_there_are_unknown(
    looked, monkeypatch
):
    monkeypatch.setattr(policies, 'installed', lambda _service: None)
    found = looked(
        'properties',
        'property_protection_rule_format = policies',
        '{}\n',
        section('writers', 'writers', 'writers'),
    )
    assert found.state is paths.State.UNKNOWN


@pytest.mark.parametrize(
    'text',
    ['[a', section('@', '@', '@', name='('), '[a]\ncreate = @\n'],
)
def test_protections_that_cannot_be_read_are_an_error(looked, text):
    with pytest.raises(errors.Misconfigured, match='property protections'):
        looked('properties', protected=text)


def test_protections_that_are_not_there_are_an_error(looked):
    with pytest.raises(errors.Misconfigured, match='No such file'):
        looked('properties', 'property_protection_file = /nonexistent/file')


def test_what_decides_what_boots_is_guarded():
    assert 'kernel_id' in protections.GUARDED
    assert 'img_block_device_mapping' in protections.GUARDED
    assert 'base_image_ref' in protections.GUARDED
    assert 'min_disk' not in protections.GUARDED
