# SPDX-License-Identifier: Apache-2.0
"""Neutron is there when it is asked for, in namespaces of its own."""

import dataclasses
import datetime
import pathlib
import subprocess
import sys

import pytest

from tests.cloud import errors
from tests.cloud import files
from tests.cloud import identity
from tests.cloud import neutron
from tests.cloud import options as opts
from tests.cloud import releases
from tests.cloud import services
from tests.cloud import site as sites
from tests.cloud import steps
from tests.cloud import supervisor
from tests.cloud import switch
from tests.unit.cloud import test_configuration as configurations

WITH = opts.CloudOptions(parts=opts.ALL | {'neutron'})


def make_site(work: pathlib.Path, options: opts.CloudOptions) -> sites.Site:
    return dataclasses.replace(
        configurations.make_site(work, options),
        network_venv=work / 'network-venv',
    )


def test_neutron_takes_the_place_of_the_stand_in(
    tmp_path: pathlib.Path,
) -> None:
    site = make_site(tmp_path, WITH)
    found = {step.name: step for step in services.nova(site)}
    api = found['network']
    assert isinstance(api, steps.Service)
    assert api.port == site.ports['network']
    assert api.argv[0] == str(tmp_path / 'network-venv' / 'bin' / 'uwsgi')
    assert 'neutron.wsgi.api:application' in api.argv
    assert {neutron.RPC, *neutron.AGENTS} < set(found)


def test_a_cloud_without_it_has_the_stand_in_and_no_file_of_it(
    tmp_path: pathlib.Path,
) -> None:
    site = make_site(tmp_path, opts.CloudOptions())
    names = {step.name for step in services.nova(site)}
    assert not names & {neutron.RPC, *neutron.AGENTS}
    files.write(site)
    assert not pathlib.Path(neutron.file(site)).exists()


def test_dhcp_may_read_what_is_the_owner_s_alone(
    tmp_path: pathlib.Path,
) -> None:
    site = make_site(tmp_path, WITH)
    files.write(site)
    named = neutron.settings(site, 'host')['DEFAULT']['dnsmasq_config_file']
    assert pathlib.Path(str(named)).read_text() == 'user=root\n'


def test_an_agent_begins_when_the_rpc_server_listens(
    tmp_path: pathlib.Path,
) -> None:
    site = make_site(tmp_path, WITH)
    found = {step.name: step for step in services.nova(site)}
    for name in neutron.AGENTS:
        assert neutron.RPC in found[name].needs


def test_the_agents_sign_with_the_secret_that_nova_checks(
    tmp_path: pathlib.Path,
) -> None:
    site = make_site(tmp_path, WITH)
    files.write(site)
    nova = configurations.read(site.etc('nova') / 'nova.conf')
    ours = configurations.read(pathlib.Path(neutron.file(site)))
    name = 'metadata_proxy_shared_secret'
    assert ours['DEFAULT'][name] == nova['neutron'][name] == 'shared'
    assert ours['DEFAULT']['host'] == nova['DEFAULT']['host']
    assert ours['DEFAULT']['nova_metadata_port'] == str(
        site.ports['nova-metadata']
    )
    assert ours['ovs']['datapath_type'] == 'netdev'


def test_extra_configuration_of_neutron_counts(tmp_path: pathlib.Path) -> None:
    more = {'neutron': {'DEFAULT': {'metadata_workers': 3}}}
    site = make_site(tmp_path, dataclasses.replace(WITH, extra=more))
    files.write(site)
    ours = configurations.read(pathlib.Path(neutron.file(site)))
    assert ours['DEFAULT']['metadata_workers'] == '3'


def test_the_switch_and_the_agents_run_in_the_node(
    tmp_path: pathlib.Path,
) -> None:
    site = make_site(tmp_path, WITH)
    entered = {
        step.name
        for step in (*switch.services(site), *services.nova(site))
        if isinstance(step, steps.Service)
        and step.argv[:3] == switch.inside(site)[:3]
    }
    assert entered == {'ovsdb-server', 'ovs-vswitchd', *neutron.AGENTS}
    assert switch.inside(site, 'a', 'b c')[4:] == ('a', 'b c')


def test_the_node_passes_on_what_its_agents_need(
    tmp_path: pathlib.Path,
) -> None:
    site = make_site(tmp_path, WITH)
    made = switch.services(site)[0]
    assert isinstance(made, steps.Service)
    assert made.argv[1] == str(supervisor.ROOT / 'tests/cloud/node.py')
    passed = {int(port) for port in made.argv[3:]}
    names = ('rabbitmq', 'keystone', 'network', 'nova-metadata')
    assert {site.ports[name] for name in names} <= passed


def test_an_agent_is_ready_when_it_reports_a_new_start(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # That of the one before, then its own, whenever it was asked first.
    now = datetime.datetime.now(datetime.UTC)
    past, future = (now + datetime.timedelta(days=n) for n in (-1, 1))
    said = [None, past, future]
    site = make_site(tmp_path, WITH)
    one = neutron.Reported(site, 'agent')
    monkeypatch.setattr(neutron.Reported, '_last', lambda self: said.pop(0))
    assert [one() for _ in range(3)] == [False, False, True]
    said = [future]
    assert neutron.Reported(site, 'agent')()


def test_nobody_listens_where_there_is_no_queue(
    tmp_path: pathlib.Path,
) -> None:
    site = make_site(tmp_path, WITH)
    # Nothing can listen there.
    site = dataclasses.replace(site, ports={'rabbitmq': 0})
    assert not neutron.listens(site)


def test_the_packages_of_neutron_are_pinned_by_themselves() -> None:
    found = releases.network(releases.NEWEST)
    pins = found.constraints.read_text().splitlines()[1:]
    pinned = [pin.partition('==')[0] for pin in pins]
    assert pinned == sorted(set(pinned), key=lambda one: f'{one}==')
    assert set(releases.NETWORK_PACKAGES) <= set(pinned)
    assert set(releases.NETWORK_PACKAGES) - set(releases.PACKAGES) == {
        'neutron'
    }


def test_both_environments_have_the_same_of_what_they_share() -> None:
    shared: dict[str, set[str]] = {}
    for release in (
        releases.named(releases.NEWEST),
        releases.network(releases.NEWEST),
    ):
        for pin in release.constraints.read_text().splitlines():
            name, _, version = pin.partition('==')
            shared.setdefault(name, set()).add(version)
    assert {n: v for n, v in shared.items() if len(v) > 1} == {}


def test_a_release_without_neutron_is_one_clear_error() -> None:
    with pytest.raises(errors.CloudError, match=r'no Neutron of 2025\.1'):
        releases.network('2025.1')


def test_neutron_has_an_account_where_it_is(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    monkeypatch.setattr(
        identity.Identity, '_create', lambda self, kind, **fields: 'id'
    )
    monkeypatch.setattr(
        identity.Identity,
        'add_user',
        lambda self, name, *_: made.append(name),
    )
    identity.Identity(make_site(tmp_path / 'a', WITH)).fill()
    assert 'neutron' in made
    made.clear()
    identity.Identity(make_site(tmp_path / 'b', opts.CloudOptions())).fill()
    assert made and 'neutron' not in made


def test_who_may_not_have_namespaces_is_told(tmp_path: pathlib.Path) -> None:
    call = f'from tests.cloud import node; node._call("setns", -1, {1 << 30})'
    done = subprocess.run(
        [sys.executable, '-c', call],
        cwd=supervisor.ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert 'setns: ' in done.stderr
    assert 'Traceback' not in done.stderr
