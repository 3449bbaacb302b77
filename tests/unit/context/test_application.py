# SPDX-License-Identifier: Apache-2.0
"""The application: what a guest gets, and what it is refused."""

import logging
import math
import threading

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest

from hepix_vm.context import answering
from hepix_vm.context import application
from hepix_vm.context import asking
from hepix_vm.context import forms
from hepix_vm.context import identities
from hepix_vm.context import identity
from hepix_vm.context import noted
from hepix_vm.context import prepared
from tests.unit.context import parts
from tests.unit.context import test_identity

#: Seconds that a busy machine may take for what happens soon.
SOON = 120
OTHER = 'cd' * 32


@pytest.fixture
def made():
    return parts.parts()


@pytest.fixture
def app(made):
    return application.Application(made)


def _never(*arguments):
    raise AssertionError('nobody needs to be asked')


def _note(what, sha256=parts.SHA256, serial=7):
    return noted.Fetch(
        test_identity.UUID, test_identity.PROJECT, what, sha256, serial
    )


@pytest.mark.parametrize(
    ('path', 'kind', 'content', 'what'),
    [
        ('/default.tgz', forms.PKZIP_TYPE, b'PK bundle', 'tgz'),
        ('/my-own.tgz', forms.PKZIP_TYPE, b'PK bundle', 'tgz'),
        ('/default.tgz.b64', forms.TEXT_TYPE, b'YnVuZGxl\n', 'tgz.b64'),
        ('/manifest', forms.TEXT_TYPE, b'serial: 7\n', 'manifest'),
        ('/manifest.sig', forms.TEXT_TYPE, b'c2ln\n', 'manifest.sig'),
    ],
)
def test_every_form_is_given_noted_and_told(
    app, made, caplog, path, kind, content, what
):
    with caplog.at_level(logging.INFO):
        status, headers, body = parts.ask(app, path)
    assert (status, body) == (200, content)
    assert headers == {
        'Content-Type': kind,
        'Content-Length': str(len(content)),
    }
    assert made.audit.notes == [_note(what)]
    [line] = caplog.messages
    assert line.startswith('context served: ')
    assert test_identity.UUID in line
    assert parts.SHA256 in line


def test_the_mount_may_be_anywhere(app):
    assert parts.ask(app, '/context/manifest', script='')[0] == 200
    assert parts.ask(app, '/total_cpu', script='/machinefeatures')[0] == 200


def test_head_has_the_headers_and_no_body_and_is_no_fetch(app, made):
    status, headers, body = parts.ask(app, method='HEAD')
    assert status == 200
    assert headers['Content-Length'] == '9'
    assert body == b''
    assert made.audit.notes == []


def test_the_index_is_a_name_a_line(app):
    for path in ('', '/'):
        status, headers, body = parts.ask(app, path)
        assert (status, headers['Content-Type']) == (200, forms.TEXT_TYPE)
        assert body == (
            b'default.tgz\ndefault.tgz.b64\nmanifest\nmanifest.sig\n'
        )


def test_a_site_that_signs_nothing_has_no_signature():
    bodies = dict(parts.MADE.bodies)
    del bodies[asking.What.SIGNATURE]
    unsigned = prepared.Prepared(7, parts.SHA256, bodies)
    app = application.Application(
        parts.parts(variant_of=lambda facts, now: unsigned)
    )
    assert parts.ask(app, '/manifest.sig')[::2] == (404, b'')
    assert b'manifest.sig' not in parts.ask(app, '/')[2]


def test_features_are_bare_values_and_noted_without_a_digest(app, made):
    status, headers, body = parts.ask(
        app, '/total_cpu', script='/machinefeatures'
    )
    assert (status, body) == (200, b'8')
    assert headers['Content-Type'] == forms.TEXT_TYPE
    _, _, body = parts.ask(app, '/job_id', script='/jobfeatures')
    assert body == test_identity.UUID.encode()
    assert made.audit.notes == [_note('feature', '', 0)] * 2


def test_the_index_of_features_is_a_key_a_line(app):
    for path in ('', '/'):
        _, _, body = parts.ask(app, path, script='/machinefeatures')
        assert body == b'hs06\ntotal_cpu\n'


@pytest.mark.parametrize('key', ['shutdowntime', 'job_id', 'anything'])
def test_a_feature_that_is_not_known_is_absent(app, key):
    found = parts.ask(app, f'/{key}', script='/machinefeatures')
    assert found[::2] == (404, b'')


def test_a_refusal_behind_neutron_is_a_line_end():
    """The agent loses one without any body."""
    app = application.Application(parts.parts(refusal=b'\n'))
    status, headers, body = parts.ask(app, '/nothing')
    assert (status, body) == (404, b'\n')
    assert headers == {'Content-Type': 'text/plain', 'Content-Length': '1'}
    status, headers, body = parts.ask(app, '/nothing', method='HEAD')
    assert (status, headers['Content-Length'], body) == (404, '1', b'')


@pytest.mark.parametrize('what', ['ran', 'failed'])
def test_an_instance_may_say_what_it_ran(app, made, what):
    for digest in (parts.SHA256, OTHER):
        status, _, body = parts.ask(app, f'/{what}/{digest}')
        assert (status, body) == (200, b'noted\n')
    assert made.audit.notes == [_note(what), _note(what, OTHER, 0)]


def test_no_instance_can_fill_the_catalogue_with_what_it_says(app, made):
    for number in range(application.REPORTS):
        assert parts.ask(app, f'/ran/{number:064}')[0] == 200
    assert parts.ask(app, f'/ran/{99:064}')[::2] == (404, b'')
    assert parts.ask(app, f'/ran/{0:064}')[0] == 200
    assert len(made.audit.notes) == application.REPORTS + 1


def test_who_has_said_something_is_remembered_within_bounds(monkeypatch):
    monkeypatch.setattr(application, 'REPORTING', 2)
    who = iter(identity.Instance(f'{number}', 'p') for number in range(5))
    app = application.Application(
        parts.parts(identify=lambda environ: next(who))
    )
    for _ in range(5):
        parts.ask(app, f'/ran/{OTHER}')
    assert len(app._reports) == 2


@pytest.mark.parametrize(
    'path',
    [
        '/default.tgz/',
        '//default.tgz',
        '/default.tar',
        '/../context/default.tgz',
        '/../../etc/hepix_vm/hepix_vm.conf',
        '/prolog.sh',
        '/\xe9',
        '/' + 'x' * 10000,
    ],
)
def test_another_name_is_unknown_and_the_body_is_empty(path, caplog):
    app = application.Application(parts.parts(identify=_never))
    with caplog.at_level(logging.INFO):
        status, headers, body = parts.ask(app, path)
    assert status == 404
    assert headers['Content-Length'] == '0'
    assert body == b''
    assert len(caplog.messages) == 1
    assert caplog.messages[0].isascii()
    assert len(caplog.messages[0]) < 500


@pytest.mark.parametrize(
    'method', ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE']
)
def test_only_reading_is_possible(app, made, method):
    status, headers, body = parts.ask(app, method=method)
    assert (status, body) == (403, b'')
    assert headers['Content-Length'] == '0'
    assert made.audit.notes == []


@pytest.mark.parametrize('status', [403, 404, 503])
@pytest.mark.parametrize(
    ('part', 'path'),
    [
        ('identify', '/default.tgz'),
        ('facts_of', '/default.tgz'),
        ('variant_of', '/default.tgz'),
        ('variant_of', '/'),
        ('variant_of', f'/ran/{OTHER}'),
        ('features_of', '/total_cpu'),
    ],
)
def test_a_refusal_is_passed_on_without_its_reason(part, path, status, caplog):
    refusal = identity.Refusal(
        status, identity.Reason.NOVA_FAILED, 'only for the log'
    )
    made = parts.parts(**{part: lambda *arguments: refusal})
    app = application.Application(made)
    script = '/machinefeatures' if part == 'features_of' else '/context'
    with caplog.at_level(logging.INFO):
        answer, headers, body = parts.ask(app, path, script=script)
    assert (answer, body) == (status, b'')
    assert headers['Content-Length'] == '0'
    assert 'reason=nova-failed: only for the log' in caplog.text
    assert f'status={status}' in caplog.text
    assert made.audit.notes == []


def test_a_stranger_learns_nothing_of_what_there_is():
    refusal = identity.Refusal(403, identity.Reason.HEADER_MISSING, '')
    app = application.Application(
        parts.parts(
            identify=lambda environ: refusal,
            facts_of=_never,
            variant_of=_never,
            features_of=_never,
        )
    )
    for path in ('/', '/default.tgz', '/manifest', f'/ran/{OTHER}'):
        assert parts.ask(app, path)[::2] == (403, b'')
    assert parts.ask(app, '/job_id', script='/jobfeatures')[0] == 403


@pytest.mark.parametrize('part', ['identify', 'facts_of', 'variant_of'])
def test_a_fault_of_ours_is_a_503_not_an_exception(part, caplog):
    def broken(*arguments):
        raise RuntimeError('it fell over')

    made = parts.parts(**{part: broken})
    app = application.Application(made)
    assert parts.ask(app)[::2] == (503, b'')
    assert 'it fell over' in caplog.text
    # The place that it took is free again.
    assert made.bound.at_work == 0


def test_more_at_work_than_allowed_are_refused_at_once():
    inside, go_on = threading.Event(), threading.Event()

    def slow(instance, now, at_most):
        inside.set()
        assert go_on.wait(SOON)
        return parts.FACTS

    app = application.Application(
        parts.parts(facts_of=slow, bound=answering.Bound(1))
    )
    found = []
    first = threading.Thread(target=lambda: found.append(parts.ask(app)))
    first.start()
    try:
        assert inside.wait(SOON)
        assert parts.ask(app)[::2] == (503, b'')
    finally:
        go_on.set()
        first.join(SOON)
    assert found[0][0] == 200
    assert parts.ask(app)[0] == 200


def test_what_serves_nothing_says_so():
    assert parts.ask(answering.unavailable) == (
        503,
        {'Content-Type': 'text/plain', 'Content-Length': '1'},
        b'\n',
    )


BYTES = st.text(st.characters(max_codepoint=255), max_size=300)


@given(
    BYTES | BYTES.map(lambda text: f'/context/{text}'),
    st.sampled_from(['GET', 'HEAD', 'POST', '', 'X' * 300, 'G\xe9T']),
    st.dictionaries(
        st.sampled_from(
            [
                'HTTP_X_INSTANCE_ID',
                'HTTP_X_TENANT_ID',
                'HTTP_X_INSTANCE_ID_SIGNATURE',
                'HTTP_RANGE',
                'HTTP_IF_NONE_MATCH',
                'CONTENT_LENGTH',
                'QUERY_STRING',
            ]
        ),
        BYTES,
    ),
)
@settings(deadline=None, max_examples=300)
def test_whatever_is_sent_has_one_of_four_answers(path, method, sent):
    signed = identity.SignedIdentity(test_identity.SECRET)
    app = application.Application(parts.parts(identify=signed.identify))
    heard = []
    request = {
        'REQUEST_METHOD': method,
        'PATH_INFO': path,
        **test_identity.headers(),
        **sent,
    }
    body = b''.join(app(request, lambda *answer: heard.append(answer)))
    [(status, headers)] = heard
    assert status[:3] in ('200', '403', '404', '503')
    assert status[:3] != '503'
    if status[:3] != '200':
        assert body == b''
        assert dict(headers)['Content-Length'] == '0'
    elif method == 'GET':
        assert dict(headers)['Content-Length'] == str(len(body))


@pytest.mark.parametrize(
    ('script', 'path', 'at_most'),
    [
        *[
            ('/context', f'/{name}', identities.CURRENT)
            for name in (
                '',
                'default.tgz',
                'default.tgz.b64',
                'manifest',
                'manifest.sig',
            )
        ],
        ('/machinefeatures', '/total_cpu', math.inf),
        ('/jobfeatures', '/', math.inf),
        ('/context', f'/ran/{OTHER}', math.inf),
    ],
)
def test_a_context_is_that_of_the_instance_as_it_is_now(script, path, at_most):
    heard = []

    def facts_of(instance, now, at_most):
        heard.append(at_most)
        return parts.FACTS

    app = application.Application(parts.parts(facts_of=facts_of))
    assert parts.ask(app, path, script=script)[0] == 200
    assert heard == [at_most]
