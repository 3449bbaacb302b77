# SPDX-License-Identifier: Apache-2.0
"""The application: what a guest gets, and what it takes to start it."""

import logging
import sys
import types
from wsgiref import util
from wsgiref import validate

from oslo_config import cfg
import pytest

from hepix_vm.conf import inside
from hepix_vm.context import bundle
from hepix_vm.context import identity
from hepix_vm.context import served
from hepix_vm.context import wsgi
from tests.unit.context import sites
from tests.unit.context import test_identity

KNOWN = identity.Instance(test_identity.UUID, test_identity.PROJECT)


@pytest.fixture
def site(tmp_path):
    return sites.make(tmp_path / 'context')


def _source(site):
    return served.ServedBundle(
        served.ContextSettings(site, None, bundle.DEFAULT_LIMITS, 5.0)
    )


@pytest.fixture
def app(site):
    return wsgi.ContextApp(_source(site), lambda environ: KNOWN)


def ask(app, path='/default.tgz', method='GET', **environ):
    """One request, checked against the rules of WSGI."""
    request = {
        'REQUEST_METHOD': method,
        'SCRIPT_NAME': '/context',
        'PATH_INFO': path,
        'QUERY_STRING': '',
        **test_identity.headers(),
        **environ,
    }
    util.setup_testing_defaults(request)
    heard = []
    pieces = validate.validator(app)(
        request, lambda status, headers: heard.append((status, headers))
    )
    body = b''.join(pieces)
    pieces.close()
    [(status, headers)] = heard
    return int(status[:3]), dict(headers), body


def test_a_known_instance_gets_the_bundle(app, site, caplog):
    with caplog.at_level(logging.INFO):
        status, headers, body = ask(app)
    made = bundle.build(site)
    assert status == 200
    assert body == made.tgz
    assert headers == {
        'Content-Type': 'application/gzip',
        'Content-Length': str(len(made.tgz)),
    }
    served_line = caplog.messages[-1]
    assert served_line.startswith('context served: ')
    assert test_identity.UUID in served_line
    assert made.sha256_tar in served_line


def test_head_has_the_headers_and_no_body(app, site):
    status, headers, body = ask(app, method='HEAD')
    assert status == 200
    assert headers['Content-Length'] == str(len(bundle.build(site).tgz))
    assert body == b''


@pytest.mark.parametrize(
    'path',
    [
        '',
        '/',
        '/default.tgz/',
        '//default.tgz',
        '/default.tar',
        '/DEFAULT.TGZ',
        '/default.tgz\n',
        '/default.tgz\0',
        '/../context/default.tgz',
        '/../../etc/hepix_vm/hepix_vm.conf',
        '/prolog.sh',
        '/\xe9',
        '/' + 'x' * 10000,
    ],
)
def test_another_name_is_unknown_and_the_body_is_empty(site, path, caplog):
    def never(environ):
        raise AssertionError('nobody needs to be asked')

    app = wsgi.ContextApp(_source(site), never)
    with caplog.at_level(logging.INFO):
        status, headers, body = ask(app, path)
    assert status == 404
    assert headers['Content-Length'] == '0'
    assert body == b''
    assert len(caplog.messages) == 1
    assert caplog.messages[0].isascii()
    assert len(caplog.messages[0]) < 500


@pytest.mark.parametrize(
    'method', ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE']
)
def test_only_reading_is_possible(app, method):
    status, headers, body = ask(app, method=method)
    assert (status, body) == (403, b'')
    assert headers['Content-Length'] == '0'


@pytest.mark.parametrize('status', [403, 404, 503])
def test_a_refusal_is_passed_on_without_its_reason(site, status, caplog):
    refusal = identity.Refusal(
        status, identity.Reason.SIGNATURE_WRONG, 'only for the log'
    )
    app = wsgi.ContextApp(_source(site), lambda environ: refusal)
    with caplog.at_level(logging.INFO):
        answer, headers, body = ask(app)
    assert (answer, body) == (status, b'')
    assert headers['Content-Length'] == '0'
    assert 'reason=signature-wrong: only for the log' in caplog.text
    assert f'status={status}' in caplog.text


def test_without_a_bundle_it_is_unavailable(tmp_path, caplog):
    app = wsgi.ContextApp(_source(tmp_path / 'no'), lambda environ: KNOWN)
    status, _, body = ask(app)
    assert (status, body) == (503, b'')
    assert 'reason=no-bundle' in caplog.text


def test_a_stranger_does_not_learn_whether_there_is_a_bundle(tmp_path):
    app = wsgi.ContextApp(
        _source(tmp_path / 'no'),
        lambda environ: identity.Refusal(
            403, identity.Reason.HEADER_MISSING, ''
        ),
    )
    assert ask(app)[0] == 403


def test_a_fault_of_ours_is_a_503_not_an_exception(site, caplog):
    def broken(environ):
        raise RuntimeError('nova fell over')

    app = wsgi.ContextApp(_source(site), broken)
    status, _, body = ask(app)
    assert (status, body) == (503, b'')
    assert 'nova fell over' in caplog.text


def test_headers_from_a_real_signature_go_all_the_way(site):
    nova = test_identity.Nova()
    who = identity.NovaIdentity(nova, test_identity.SECRET)
    app = wsgi.ContextApp(_source(site), who.identify)
    assert ask(app)[0] == 200
    wrong = test_identity.signature(secret=b'guessed')
    assert ask(app, HTTP_X_INSTANCE_ID_SIGNATURE=wrong)[0] == 403
    nova.status = '404 Not Found'
    assert ask(app)[0] == 404


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
    return options


@pytest.fixture
def loaded(monkeypatch):
    """Stands for paste; remembers what it was asked to load."""
    asked = []

    def loadapp(uri, name):
        asked.append((uri, name))
        return test_identity.Nova()

    package = types.ModuleType('paste')
    package.deploy = types.SimpleNamespace(loadapp=loadapp)
    monkeypatch.setitem(sys.modules, 'paste', package)
    return asked


@pytest.fixture
def config(tmp_path, site):
    file = tmp_path / 'hepix_vm.conf'
    file.write_text(f'[context]\ndirectory = {site}\n')
    return file


def _factory(config, **local):
    return wsgi.app_factory(
        {'__file__': '/etc/nova/api-paste.ini', 'here': '/etc/nova'},
        hepix_vm_config=str(config),
        **local,
    )


def test_the_factory_wires_nova_the_secret_and_the_site(
    config, site, nova_options, loaded
):
    app = _factory(config)
    assert loaded == [('config:/etc/nova/api-paste.ini', 'meta')]
    status, _, body = ask(app)
    assert (status, body) == (200, bundle.build(site).tgz)
    wrong = test_identity.signature(secret=b'guessed')
    assert ask(app, HTTP_X_INSTANCE_ID_SIGNATURE=wrong)[0] == 403


def test_nova_conf_names_our_configuration_when_the_paste_file_does_not(
    config, site, nova_options, loaded
):
    inside.register(nova_options)
    nova_options.set_override('config_file', str(config), group='hepix_vm')
    app = wsgi.app_factory({'__file__': '/etc/nova/api-paste.ini'})
    assert ask(app)[2] == bundle.build(site).tgz


def test_nova_s_application_may_have_another_name(
    config, nova_options, loaded
):
    _factory(config, metadata_app='my_meta')
    assert loaded[0][1] == 'my_meta'


def _unavailable(app, caplog, says):
    assert ask(app) == (
        503,
        {'Content-Type': 'text/plain', 'Content-Length': '0'},
        b'',
    )
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert says in record.getMessage()
    assert 'is not served' in record.getMessage()


def test_without_a_secret_nothing_is_served(
    config, nova_options, loaded, caplog
):
    nova_options.set_override(
        'metadata_proxy_shared_secret', '', group='neutron'
    )
    _unavailable(_factory(config), caplog, 'anybody could sign')


def test_outside_nova_nothing_is_served(config, monkeypatch, loaded, caplog):
    monkeypatch.setattr(wsgi.cfg, 'CONF', cfg.ConfigOpts())
    _unavailable(_factory(config), caplog, 'inside nova-metadata only')


def test_without_our_configuration_nothing_is_served(
    tmp_path, nova_options, loaded, caplog
):
    _unavailable(_factory(tmp_path / 'no.conf'), caplog, 'no.conf')


def test_with_a_wrong_option_nothing_is_served(
    config, nova_options, loaded, caplog
):
    config.write_text('[context]\nmax_files = many\n')
    _unavailable(_factory(config), caplog, 'many')


def test_without_nova_s_application_nothing_is_served(
    config, nova_options, loaded, caplog
):
    def loadapp(uri, name):
        raise LookupError(f'no section {name}')

    sys.modules['paste'].deploy.loadapp = loadapp
    _unavailable(_factory(config), caplog, 'no section meta')


def test_a_broken_site_directory_is_in_the_log_from_the_start(
    config, site, nova_options, loaded, caplog
):
    (site / 'prolog.sh').unlink()
    app = _factory(config)
    assert 'prolog.sh' in caplog.text
    assert ask(app)[0] == 503
    sites.write(site, 'prolog.sh', sites.PROLOG)
