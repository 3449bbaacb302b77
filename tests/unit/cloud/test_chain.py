# SPDX-License-Identifier: Apache-2.0
"""Real machines in networks of Neutron: where they run, what nova asks."""

import configparser
import dataclasses
import pathlib

import pytest

from tests.cloud import files
from tests.cloud import hypervisor
from tests.cloud import neutron
from tests.cloud import options as opts
from tests.cloud import services
from tests.cloud import site as sites
from tests.cloud import steps
from tests.cloud import switch
from tests.unit.cloud import test_neutron

CHAIN = opts.CloudOptions(parts=opts.ALL | {'libvirt', 'neutron'})


@pytest.fixture(autouse=True)
def no_binding(monkeypatch: pytest.MonkeyPatch) -> None:
    """What links files of Debian's packages is not asked here."""
    monkeypatch.setattr(services, '_bind_libvirt', lambda site: None)


def compute(site: sites.Site) -> steps.Service:
    found = {step.name: step for step in services.nova(site)}
    made = found['nova-compute']
    assert isinstance(made, steps.Service)
    return made


def test_machines_run_where_the_switch_is(tmp_path: pathlib.Path) -> None:
    site = test_neutron.make_site(tmp_path, CHAIN)
    made = compute(site)
    beginning = switch.inside(site)
    assert made.argv[: len(beginning)] == beginning
    assert 'ovs-bridge' in made.needs
    assert str(pathlib.Path(hypervisor.__file__)) in made.argv


def test_machines_without_a_switch_run_where_all_is(
    tmp_path: pathlib.Path,
) -> None:
    parts = CHAIN.parts - {neutron.PART}
    options = dataclasses.replace(CHAIN, parts=parts)
    made = compute(test_neutron.make_site(tmp_path, options))
    assert 'ovs-bridge' not in made.needs
    assert 'nsenter' not in ' '.join(made.argv)


def nova(site: sites.Site) -> configparser.ConfigParser:
    files.write(site)
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.read(site.etc('nova') / 'nova.conf')
    return parser


def test_nova_asks_nobody_for_vendordata_unless_told_to(
    tmp_path: pathlib.Path,
) -> None:
    found = nova(test_neutron.make_site(tmp_path, CHAIN))
    assert 'vendordata_dynamic_targets' not in found['api']


def test_nova_asks_the_process_of_the_context_for_vendordata(
    tmp_path: pathlib.Path,
) -> None:
    options = dataclasses.replace(CHAIN, vendordata='/vendordata')
    site = test_neutron.make_site(tmp_path, options)
    found = nova(site)
    url = site.url('context')
    assert found['api']['vendordata_dynamic_targets'] == (
        f'hepix@{url}/vendordata'
    )
    assert found['vendordata_dynamic_auth']['username'] == 'nova'


@pytest.mark.parametrize('kind', ['qemu', 'kvm'])
def test_machines_run_on_what_they_are_told_to(
    tmp_path: pathlib.Path, kind: str
) -> None:
    options = dataclasses.replace(CHAIN, virt_type=kind)
    found = nova(test_neutron.make_site(tmp_path, options))
    assert found['libvirt']['virt_type'] == kind
