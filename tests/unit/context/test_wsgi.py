# SPDX-License-Identifier: Apache-2.0
"""What it takes to start the application inside nova's metadata service."""

import contextlib
import logging
import sys
import types

from oslo_config import cfg
import pytest

from hepix_vm.conf import inside
from hepix_vm.context import assembling
from hepix_vm.context import facts
from hepix_vm.context import identities
from hepix_vm.context import wsgi
from tests import catalogue_rows
from tests.unit.context import parts
from tests.unit.context import sites
from tests.unit.context import test_identity


@pytest.fixture
def nova_options(monkeypatch):
    """The options of a nova service, as far as we read them."""
    options = cfg.ConfigOpts()
    options.register_opts(
        [
            cfg.StrOpt(
                'metadata_proxy_shared_secret',
                default=test_identity.SECRET.decode(),
            )
        ],
        group='neutron',
    )
    options([], default_config_files=[], default_config_dirs=[])
    monkeypatch.setattr(wsgi.cfg, 'CONF', options)
    monkeypatch.setattr(wsgi, '_made', {})
    return options


@pytest.fixture
def nova(monkeypatch):
    """Stands for Nova's objects; remembers what it was asked."""
    asked = []

    def ask(uuids):
        asked.append(list(uuids))
        return {
            uuid: facts.Facts(
                uuid,
                test_identity.PROJECT,
                vcpus=2,
                # One that is still being built is asked for again soon.
                host='compute-1',
                launched_at=1_800_000_000,
            )
            if uuid == test_identity.UUID
            else identities.unknown(uuid)
            for uuid in uuids
        }

    module = types.ModuleType('hepix_vm.context.facts_nova')
    module.ask = ask
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return asked


@pytest.fixture
def ended(monkeypatch):
    """Ends the threads that assembling began."""
    with contextlib.ExitStack() as stack:
        for module, name in (
            (assembling.site_state, 'SiteState'),
            (assembling.audit, 'Audit'),
        ):
            really = getattr(module, name)

            def make(*arguments, really=really):
                made = really(*arguments)
                stack.callback(made.close)
                return made

            monkeypatch.setattr(module, name, make)
        shared = assembling.reader.shared

        def share(settings):
            made = shared(settings)
            stack.callback(made.close)
            return made

        monkeypatch.setattr(assembling.reader, 'shared', share)
        yield


@pytest.fixture
def site(tmp_path):
    return sites.make(tmp_path / 'context')


@pytest.fixture
def config(tmp_path, site, ended):
    path = tmp_path / 'catalogue.sqlite'
    catalogue_rows.Rows(f'sqlite:///{path}').close()
    file = tmp_path / 'hepix_vm.conf'
    file.write_text(
        # Threads end in this time, and what Nova said is not asked anew.
        f'[catalogue]\nconnection = sqlite:///{path}\nstore_timeout = 60\n'
        f'[context]\ndirectory = {site}\nfacts_ttl = 3600\nbehind = direct\n'
    )
    return file


def _factory(config, **local):
    return wsgi.app_factory(
        {'__file__': '/etc/nova/api-paste.ini', 'here': '/etc/nova'},
        hepix_vm_config=str(config),
        **local,
    )


def test_the_factory_wires_nova_the_secret_and_the_site(
    config, site, nova_options, nova
):
    app = _factory(config)
    # However long it takes, what Nova said is still new.
    app._wsgi._clock = lambda: 0.0
    status, headers, body = parts.ask(app)
    assert (status, body) == (200, sites.build(site).tgz)
    assert headers['Content-Type'] == 'application/gzip'
    wrong = test_identity.signature(secret=b'guessed')
    assert parts.ask(app, HTTP_X_INSTANCE_ID_SIGNATURE=wrong)[0] == 403
    assert parts.ask(app, HTTP_X_TENANT_ID='another')[0] == 404
    assert nova == [[test_identity.UUID]]


def test_the_mounts_of_a_process_are_one_application(
    config, nova_options, nova
):
    app = _factory(config)
    assert _factory(config) is app
    assert parts.ask(app)[0] == 200
    found = parts.ask(app, '/allocated_cpu', script='/jobfeatures')
    assert found[0] in (200, 503)
    assert len(nova) <= 2


def test_an_unknown_instance_is_404(config, nova_options, nova):
    other = test_identity.UUID.replace('0', '1')
    found = parts.ask(
        _factory(config),
        HTTP_X_INSTANCE_ID=other,
        HTTP_X_INSTANCE_ID_SIGNATURE=test_identity.signature(other),
    )
    assert found[::2] == (404, b'')


def test_nova_conf_names_our_configuration_when_the_paste_file_does_not(
    config, site, nova_options, nova
):
    inside.register(nova_options)
    nova_options.set_override('config_file', str(config), group='hepix_vm')
    app = wsgi.app_factory({'__file__': '/etc/nova/api-paste.ini'})
    assert parts.ask(app)[2] == sites.build(site).tgz


def test_what_paste_files_of_older_releases_say_is_no_fault(
    config, nova_options, nova
):
    assert parts.ask(_factory(config, metadata_app='meta'))[0] == 200


def test_behind_neutron_is_the_default(config, nova_options, nova):
    config.write_text(config.read_text().replace('behind = direct\n', ''))
    assert parts.ask(_factory(config))[2].startswith(b'PK')


def _unavailable(app, caplog, says):
    assert parts.ask(app) == (
        503,
        {'Content-Type': 'text/plain', 'Content-Length': '1'},
        b'\n',
    )
    [record] = [r for r in caplog.records if 'is not served' in r.getMessage()]
    assert record.levelno == logging.ERROR
    assert says in record.getMessage()


def test_without_a_secret_nothing_is_served(
    config, nova_options, nova, caplog
):
    nova_options.set_override(
        'metadata_proxy_shared_secret', '', group='neutron'
    )
    _unavailable(_factory(config), caplog, 'anybody could sign')


def test_outside_nova_nothing_is_served(config, monkeypatch, nova, caplog):
    monkeypatch.setattr(wsgi.cfg, 'CONF', cfg.ConfigOpts())
    monkeypatch.setattr(wsgi, '_made', {})
    _unavailable(_factory(config), caplog, 'inside nova-metadata only')


def test_without_our_configuration_nothing_is_served(
    tmp_path, nova_options, nova, caplog
):
    _unavailable(_factory(tmp_path / 'no.conf'), caplog, 'no.conf')


def test_with_a_wrong_option_nothing_is_served(
    config, nova_options, nova, caplog
):
    config.write_text('[context]\nmax_files = many\n')
    _unavailable(_factory(config), caplog, 'many')


def test_with_a_signing_key_that_cannot_be_read_nothing_is_served(
    config, nova_options, nova, caplog
):
    config.write_text(config.read_text() + 'signing_key = /absent/key.pem\n')
    _unavailable(_factory(config), caplog, '/absent/key.pem')


def test_with_a_signing_key_that_is_none_nothing_is_served(
    config, tmp_path, nova_options, nova, caplog
):
    (tmp_path / 'key.pem').write_text('no key')
    (tmp_path / 'key.pem').chmod(0o600)
    config.write_text(
        config.read_text() + f'signing_key = {tmp_path}/key.pem\n'
    )
    _unavailable(_factory(config), caplog, 'signing key')


def test_a_broken_site_directory_is_in_the_log_from_the_start(
    config, site, nova_options, nova, caplog
):
    (site / 'prolog.sh').unlink()
    app = _factory(config)
    assert 'prolog.sh' in caplog.text
    assert parts.ask(app)[0] == 503
