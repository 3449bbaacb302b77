# SPDX-License-Identifier: Apache-2.0
"""Who asks: every branch that refuses."""

import hashlib
import hmac
import io

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest

from hepix_vm.context import identity

SECRET = b'between nova and neutron'
UUID = '0b7c8f7e-5ad6-4bd0-9d8e-3f1c2b7a6a11'
PROJECT = '6f70656e737461636b20697320676f6f'


def signature(of=UUID, secret=SECRET):
    return hmac.new(secret, of.encode(), hashlib.sha256).hexdigest()


def headers(**changes):
    """The signed headers as a server puts them into an environ."""
    result = {
        'HTTP_X_INSTANCE_ID': UUID,
        'HTTP_X_TENANT_ID': PROJECT,
        'HTTP_X_INSTANCE_ID_SIGNATURE': signature(),
        'HTTP_X_FORWARDED_FOR': '10.1.2.3',
    }
    result.update(changes)
    return {name: value for name, value in result.items() if value}


def environ(**changes):
    """A whole request for the bundle."""
    return {
        'REQUEST_METHOD': 'GET',
        'SCRIPT_NAME': '/context',
        'PATH_INFO': '/default.tgz',
        'QUERY_STRING': '',
        'SERVER_NAME': '127.0.0.1',
        'SERVER_PORT': '8775',
        'SERVER_PROTOCOL': 'HTTP/1.1',
        'REMOTE_ADDR': '127.0.0.1',
        'wsgi.version': (1, 0),
        'wsgi.url_scheme': 'http',
        'wsgi.input': io.BytesIO(b'what the guest sent'),
        'wsgi.errors': io.StringIO(),
        'wsgi.multithread': True,
        'wsgi.multiprocess': True,
        'wsgi.run_once': False,
        **headers(**changes),
    }


def _identify(**changes):
    return identity.SignedIdentity(SECRET).identify(environ(**changes))


def test_a_signed_request_is_an_instance():
    assert _identify() == identity.Instance(UUID, PROJECT)


@pytest.mark.parametrize(
    'header',
    [
        'HTTP_X_INSTANCE_ID',
        'HTTP_X_TENANT_ID',
        'HTTP_X_INSTANCE_ID_SIGNATURE',
    ],
)
def test_each_header_must_be_there(header):
    refusal = _identify(**{header: None})
    assert refusal.status == 403
    assert refusal.reason == identity.Reason.HEADER_MISSING


@pytest.mark.parametrize(
    ('header', 'value'),
    [
        # two headers, as servers join them, whether named with "-" or "_"
        ('HTTP_X_INSTANCE_ID', f'{UUID},{UUID}'),
        ('HTTP_X_INSTANCE_ID', f'{UUID}, {UUID}'),
        ('HTTP_X_TENANT_ID', f'{PROJECT},{PROJECT}'),
        ('HTTP_X_INSTANCE_ID_SIGNATURE', f'{signature()},{signature()}'),
        # a header over two lines, as uWSGI and eventlet hand it on
        ('HTTP_X_INSTANCE_ID', f'{UUID}\r\n {UUID}'),
        ('HTTP_X_INSTANCE_ID', UUID.upper()),
        ('HTTP_X_INSTANCE_ID', UUID.replace('-', '')),
        ('HTTP_X_INSTANCE_ID', f'{UUID} '),
        ('HTTP_X_INSTANCE_ID', f'{UUID}\n'),
        ('HTTP_X_INSTANCE_ID', '../../etc/passwd'),
        ('HTTP_X_INSTANCE_ID', '\xe9' * 36),
        ('HTTP_X_TENANT_ID', '../admin'),
        ('HTTP_X_TENANT_ID', 'p' * 65),
        ('HTTP_X_TENANT_ID', f'{PROJECT}\r\nX: y'),
        ('HTTP_X_INSTANCE_ID_SIGNATURE', signature().upper()),
        ('HTTP_X_INSTANCE_ID_SIGNATURE', signature()[:-1]),
        ('HTTP_X_INSTANCE_ID_SIGNATURE', '\xff' * 64),
    ],
)
def test_a_header_of_another_form_is_refused(header, value):
    refusal = _identify(**{header: value})
    assert refusal.status == 403
    assert refusal.reason == identity.Reason.HEADER_MALFORMED
    assert refusal.detail.isascii()
    assert refusal.detail.isprintable()


@pytest.mark.parametrize(
    'wrong',
    [
        signature(secret=b'guessed'),
        signature(of=PROJECT),
        signature(of=UUID.replace('0', '1')),
        '0' * 64,
        hashlib.sha256(UUID.encode()).hexdigest(),
    ],
)
def test_a_wrong_signature_is_refused(wrong):
    refusal = _identify(HTTP_X_INSTANCE_ID_SIGNATURE=wrong)
    assert refusal.status == 403
    assert refusal.reason == identity.Reason.SIGNATURE_WRONG


def test_an_empty_secret_is_no_secret():
    with pytest.raises(ValueError, match='empty'):
        identity.SignedIdentity(b'')


def test_the_secret_is_in_no_text_about_it():
    assert 'between' not in repr(identity.SignedIdentity(SECRET))


#: What servers can make of bytes in a header.
TEXTS = st.text(st.characters(max_codepoint=255), max_size=200)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            'HTTP_X_INSTANCE_ID': TEXTS | st.just(UUID),
            'HTTP_X_TENANT_ID': TEXTS | st.just(PROJECT),
            'HTTP_X_INSTANCE_ID_SIGNATURE': TEXTS,
        },
    )
)
@settings(deadline=None)
def test_whatever_is_sent_is_refused_without_the_signature(sent):
    found = identity.SignedIdentity(SECRET).identify(
        {**environ(), 'HTTP_X_INSTANCE_ID_SIGNATURE': '0' * 64, **sent}
    )
    assert found.status == 403
    assert found.detail.isascii()
    assert found.detail.isprintable()
