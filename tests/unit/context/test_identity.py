# SPDX-License-Identifier: Apache-2.0
"""Who asks: every branch that refuses, and what nova is asked."""

import hashlib
import hmac
import io
import json
from wsgiref import validate

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


class Nova:
    """Answers as it is told and remembers what it was asked."""

    def __init__(self, status='200 OK', **answer):
        self.status = status
        self.body = json.dumps(
            {'uuid': UUID, 'project_id': PROJECT, **answer}
        ).encode()
        self.asked = []
        self.closed = 0

    def __call__(self, environ, start_response):
        self.asked.append(environ)
        start_response(self.status, [('Content-Type', 'application/json')])
        return self

    def __iter__(self):
        yield self.body[:7]
        yield self.body[7:]

    def close(self):
        self.closed += 1


def _identify(nova, **changes):
    return identity.NovaIdentity(nova, SECRET).identify(environ(**changes))


def test_a_signed_request_that_nova_confirms_is_an_instance():
    nova = Nova()
    assert _identify(nova) == identity.Instance(UUID, PROJECT)
    assert nova.closed == 1


def test_nova_is_asked_for_the_same_instance_and_nothing_else():
    nova = Nova()
    _identify(
        nova,
        HTTP_RANGE='bytes=0-1',
        HTTP_IF_NONE_MATCH='*',
        HTTP_ORIGIN='http://evil.example.org',
        HTTP_X_METADATA_PROVIDER='another',
        HTTP_X_FORWARDED_PREFIX='/x',
        CONTENT_LENGTH='19',
        QUERY_STRING='a=b',
    )
    [asked] = nova.asked
    assert asked['PATH_INFO'] == '/openstack/latest/meta_data.json'
    assert asked['SCRIPT_NAME'] == ''
    assert asked['REQUEST_METHOD'] == 'GET'
    assert asked['QUERY_STRING'] == ''
    assert asked['wsgi.input'].read() == b''
    assert {n: v for n, v in asked.items() if n.startswith('HTTP_')} == (
        headers()
    )


def test_the_question_follows_the_rules_of_wsgi():
    def strict(environ, start_response):
        start_response('200 OK', [('Content-Type', 'application/json')])
        return [Nova().body]

    nova = validate.validator(strict)
    request = environ()
    request['wsgi.input'] = io.BytesIO()
    found = identity.NovaIdentity(nova, SECRET).identify(request)
    assert isinstance(found, identity.Instance)


def test_an_application_that_writes_is_heard_too():
    def nova(environ, start_response):
        write = start_response('200 OK', [])
        write(Nova().body)
        return []

    assert _identify(nova) == identity.Instance(UUID, PROJECT)


@pytest.mark.parametrize(
    'header',
    [
        'HTTP_X_INSTANCE_ID',
        'HTTP_X_TENANT_ID',
        'HTTP_X_INSTANCE_ID_SIGNATURE',
    ],
)
def test_each_header_must_be_there(header):
    nova = Nova()
    refusal = _identify(nova, **{header: None})
    assert refusal.status == 403
    assert refusal.reason == identity.Reason.HEADER_MISSING
    assert nova.asked == []


@pytest.mark.parametrize(
    ('header', 'value'),
    [
        # two headers, as servers join them
        ('HTTP_X_INSTANCE_ID', f'{UUID},{UUID}'),
        ('HTTP_X_INSTANCE_ID', f'{UUID}, {UUID}'),
        ('HTTP_X_TENANT_ID', f'{PROJECT},{PROJECT}'),
        ('HTTP_X_INSTANCE_ID_SIGNATURE', f'{signature()},{signature()}'),
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
    nova = Nova()
    refusal = _identify(nova, **{header: value})
    assert refusal.status == 403
    assert refusal.reason == identity.Reason.HEADER_MALFORMED
    assert refusal.detail.isascii()
    assert refusal.detail.isprintable()
    assert nova.asked == []


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
def test_a_wrong_signature_is_refused_before_nova_is_asked(wrong):
    nova = Nova()
    refusal = _identify(nova, HTTP_X_INSTANCE_ID_SIGNATURE=wrong)
    assert refusal.status == 403
    assert refusal.reason == identity.Reason.SIGNATURE_WRONG
    assert nova.asked == []


def test_an_empty_secret_is_no_secret():
    with pytest.raises(ValueError, match='empty'):
        identity.NovaIdentity(Nova(), b'')


def test_the_secret_is_in_no_text_about_it():
    assert 'between' not in repr(identity.NovaIdentity(Nova(), SECRET))


@pytest.mark.parametrize(
    ('status', 'answer', 'reason'),
    [
        ('404 Not Found', 404, identity.Reason.INSTANCE_UNKNOWN),
        ('400 Bad Request', 403, identity.Reason.NOVA_REFUSED),
        ('401 Unauthorized', 403, identity.Reason.NOVA_REFUSED),
        ('403 Forbidden', 403, identity.Reason.NOVA_REFUSED),
        ('500 Internal Server Error', 503, identity.Reason.NOVA_FAILED),
        ('503 Service Unavailable', 503, identity.Reason.NOVA_FAILED),
        ('302 Found', 503, identity.Reason.NOVA_FAILED),
        ('204 No Content', 503, identity.Reason.NOVA_FAILED),
    ],
)
def test_what_nova_answers_decides(status, answer, reason):
    refusal = _identify(Nova(status))
    assert (refusal.status, refusal.reason) == (answer, reason)


@pytest.mark.parametrize(
    'found',
    [
        {'uuid': UUID.replace('0', '1')},
        {'project_id': 'another'},
        {'uuid': None},
    ],
)
def test_another_instance_than_the_headers_name_is_refused(found):
    """As when nova goes by the sender's address alone."""
    refusal = _identify(Nova(**found))
    assert refusal.status == 403
    assert refusal.reason == identity.Reason.INSTANCE_MISMATCH


@pytest.mark.parametrize(
    'body', [b'', b'{', b'[]', b'{}', b'null', b'"text"', b'\xff']
)
def test_an_answer_without_identity_is_a_failure(body):
    nova = Nova()
    nova.body = body
    refusal = _identify(nova)
    assert refusal.status == 503
    assert refusal.reason == identity.Reason.NOVA_FAILED


def test_an_endless_answer_is_cut_off_and_closed():
    class Endless(Nova):
        def __iter__(self):
            while True:
                yield bytes(1 << 20)

    nova = Endless()
    refusal = _identify(nova)
    assert refusal.reason == identity.Reason.NOVA_FAILED
    assert nova.closed == 1


def test_an_application_that_never_starts_is_a_failure():
    refusal = _identify(lambda environ, start_response: [b'{}'])
    assert refusal.reason == identity.Reason.NOVA_FAILED
