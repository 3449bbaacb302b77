# SPDX-License-Identifier: Apache-2.0
"""What is known of a server of the site, from Nova and the catalogue."""

from keystoneauth1 import session as sessions
from keystoneauth1 import token_endpoint
import pytest
import requests_mock
import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import hosts
from hepix_vm.context import facts as facts_
from hepix_vm import errors
from hepix_vm.operations import context_facts
from hepix_vm.operations import site as site_
from tests import catalogue_rows
from tests.unit.context import test_facts_api as nova_api

NOW = 1795352400
IMAGE = '5a7b1f0e-0000-4000-8000-000000000001'


@pytest.fixture
def site(tmp_path):
    path = tmp_path / 'catalogue.db'
    rows = catalogue_rows.in_file(path)
    rows.subscription('trusted', list_identifier='list-1')
    rows.endorse(b'image', identifier='image-1', vo='atlas')
    rows.record(IMAGE, b'image')
    rows.close()
    made = database.Database(f'sqlite:///{path}')
    session = sessions.Session(
        auth=token_endpoint.Token(nova_api.NOVA, 'a token')
    )
    yield site_.Site(
        catalogue=made,
        subscriptions={},
        fetch=fetch.FetchSettings(),
        cloud=site_.Cloud(session=lambda: session),
    )
    made.close()


@pytest.fixture
def nova():
    with requests_mock.Mocker() as mocker:
        yield mocker


def _show(nova, **changes):
    nova.get(
        f'{nova_api.NOVA}/servers/{nova_api.ONE}',
        json={'server': nova_api.server(**changes)},
    )


def test_nova_the_catalogue_and_the_hosts_say_what_a_server_is(site, nova):
    _show(nova, image={'id': IMAGE})
    with site.catalogue.writing() as transaction:
        hosts.put(
            transaction,
            [hosts.Host('compute-1', 8, 'a model', (), 'QEMU', NOW)],
        )
    found = context_facts.of_server(site, nova_api.ONE, NOW)
    known = facts_.known(found)
    known.pop('endorser', None)
    assert known == {
        'project': 'p',
        'availability_zone': 'nova',
        'host': 'compute-1',
        'hypervisor_type': 'QEMU',
        'flavor': 'm1.medium',
        'image': IMAGE,
        'list': 'list-1',
        'vo': 'atlas',
        'identifier': 'image-1',
    }


def test_an_image_that_nobody_endorsed_leaves_that_unknown(site, nova):
    _show(nova)
    found = context_facts.of_server(site, nova_api.ONE, NOW)
    assert found.endorsed is None
    assert found.flavor == 'm1.medium'


def test_a_server_without_an_image_has_no_endorsement(site, nova):
    _show(nova, image='')
    found = context_facts.of_server(site, nova_api.ONE, NOW)
    assert (found.image, found.endorsed) == (None, None)


def test_a_server_that_is_not_there_is_one_sentence(site, nova):
    nova.get(f'{nova_api.NOVA}/servers/{nova_api.ONE}', status_code=404)
    with pytest.raises(errors.Misconfigured, match='UUID of a server'):
        context_facts.of_server(site, nova_api.ONE, NOW)


@pytest.mark.parametrize('text', ['', 'detail', 'a server', '../flavors'])
def test_what_is_no_uuid_is_not_asked_for(site, nova, text):
    with pytest.raises(errors.Misconfigured, match='expected its UUID'):
        context_facts.of_server(site, text, NOW)
    assert nova.request_history == []


def test_a_uuid_in_capitals_is_the_same_server(site, nova):
    _show(nova)
    found = context_facts.of_server(site, nova_api.ONE.upper(), NOW)
    assert found.uuid == nova_api.ONE


def test_a_nova_that_does_not_answer_is_asked_again_later(site, nova):
    nova.get(f'{nova_api.NOVA}/servers/{nova_api.ONE}', status_code=500)
    with pytest.raises(errors.TryAgain, match='500'):
        context_facts.of_server(site, nova_api.ONE, NOW)
    _show(nova)
    nova.get(f'{nova_api.NOVA}/servers/{nova_api.ONE}', json={'server': {}})
    with pytest.raises(errors.TryAgain, match='KeyError'):
        context_facts.of_server(site, nova_api.ONE, NOW)


def test_a_catalogue_that_is_not_there_is_told(tmp_path, site, nova):
    _show(nova)
    with site.catalogue.writing() as transaction:
        transaction.execute(sa.text('DROP TABLE context_hosts'))
    with pytest.raises(errors.LocalFault, match='catalogue failed'):
        context_facts.of_server(site, nova_api.ONE, NOW)
