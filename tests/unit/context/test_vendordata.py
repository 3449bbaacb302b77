# SPDX-License-Identifier: Apache-2.0
"""Vendordata: what nova gets, and who is nova."""

import base64
import io
import json
import threading

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest

from hepix_vm.context import answering
from hepix_vm.context import application
from hepix_vm.context import identities
from hepix_vm.context import identity
from hepix_vm.context import noted
from hepix_vm.context import prepared
from hepix_vm.context import vendordata
from tests.unit.context import parts
from tests.unit.context import test_identity

SETTINGS = vendordata.Settings(
    frozenset({'service'}), 'http://169.254.169.254'
)
QUESTION = {
    'project-id': test_identity.PROJECT,
    'instance-id': test_identity.UUID,
    'image-id': 'd9b2f6a4-6c1e-4f0d-9a57-0e3f6f0c2b11',
    'user-data': None,
    'hostname': 'vm',
    'metadata': {'key': 'value'},
    'boot-roles': 'member',
}


@pytest.fixture
def made():
    return parts.parts()


@pytest.fixture
def app(made):
    return vendordata.Vendordata(made, SETTINGS)


def _ask(app, question=QUESTION, **environ):
    body = question
    if not isinstance(question, bytes):
        body = json.dumps(question).encode()
    request = {
        'CONTENT_LENGTH': str(len(body)),
        'CONTENT_TYPE': 'application/json',
        'wsgi.input': io.BytesIO(body),
        'HTTP_X_IDENTITY_STATUS': 'Confirmed',
        'HTTP_X_ROLES': 'reader,service',
        **environ,
    }
    return parts.ask(
        app,
        path=request.pop('PATH_INFO', '/vendordata'),
        method=request.pop('REQUEST_METHOD', 'POST'),
        script='',
        **{
            name: value for name, value in request.items() if value is not None
        },
    )


def test_nova_gets_everything_that_a_guest_gets(app, made):
    status, headers, body = _ask(app)
    assert status == 200
    assert headers['Content-Type'] == 'application/json'
    found = json.loads(body)
    assert base64.b64decode(found.pop('tgz_base64')) == b'bundle'
    assert found == {
        'serial': 7,
        'sha256_tar': parts.SHA256,
        'manifest': 'serial: 7\n',
        'signature': 'c2ln\n',
        'machinefeatures': 'http://169.254.169.254/machinefeatures',
        'jobfeatures': 'http://169.254.169.254/jobfeatures',
    }
    assert made.audit.notes == [
        noted.Fetch(
            test_identity.UUID,
            test_identity.PROJECT,
            'vendordata',
            parts.SHA256,
            7,
        )
    ]


def test_a_site_that_signs_nothing_says_so():
    unsigned = prepared.Prepared(0, parts.SHA256, {})
    app = vendordata.Vendordata(
        parts.parts(variant_of=lambda facts, now: unsigned), SETTINGS
    )
    assert json.loads(_ask(app)[2])['signature'] == ''


@pytest.mark.parametrize(
    'environ',
    [
        {'HTTP_X_IDENTITY_STATUS': None},
        {'HTTP_X_IDENTITY_STATUS': 'Invalid'},
        {'HTTP_X_ROLES': None},
        {'HTTP_X_ROLES': ''},
        {'HTTP_X_ROLES': 'member,reader'},
        {'HTTP_X_ROLES': 'services'},
        {'REQUEST_METHOD': 'PUT'},
    ],
)
def test_who_is_not_nova_gets_nothing(environ):
    def never(*arguments):
        raise AssertionError('nobody needs to be asked')

    app = vendordata.Vendordata(parts.parts(facts_of=never), SETTINGS)
    assert _ask(app, **environ)[::2] == (403, b'')


def test_another_path_is_unknown(app):
    assert _ask(app, PATH_INFO='/vendordata/x')[::2] == (404, b'')


@pytest.mark.parametrize(
    'question',
    [
        b'',
        b'{',
        b'[]',
        b'null',
        b'"text"',
        b'\xff',
        b'[' * 100_000,
        {},
        {**QUESTION, 'instance-id': '../../etc'},
        {**QUESTION, 'instance-id': None},
        {**QUESTION, 'instance-id': ['a']},
        {**QUESTION, 'instance-id': test_identity.UUID.upper()},
        {**QUESTION, 'project-id': 7},
        {**QUESTION, 'project-id': 'p q'},
    ],
)
def test_a_question_of_another_form_is_refused(app, question):
    assert _ask(app, question)[::2] == (403, b'')


@pytest.mark.parametrize(
    'length',
    [None, '', '-1', '1e3', '\xb2', '9' * 30, str(vendordata.LARGEST + 1)],
)
def test_a_length_that_is_none_or_too_large_is_refused(app, length):
    request = {
        'REQUEST_METHOD': 'POST',
        'PATH_INFO': '/vendordata',
        'HTTP_X_IDENTITY_STATUS': 'Confirmed',
        'HTTP_X_ROLES': 'service',
        'wsgi.input': None,
    }
    if length is not None:
        request['CONTENT_LENGTH'] = length
    heard = []
    assert list(app(request, lambda *answer: heard.append(answer))) == []
    assert heard[0][0].startswith('403')


@pytest.mark.parametrize('part', ['facts_of', 'variant_of'])
@pytest.mark.parametrize('status', [404, 503])
def test_a_refusal_of_a_part_is_passed_on(part, status, caplog):
    refusal = identity.Refusal(status, identity.Reason.NOVA_FAILED, 'why')
    app = vendordata.Vendordata(
        parts.parts(**{part: lambda *arguments: refusal}), SETTINGS
    )
    with caplog.at_level('INFO'):
        assert _ask(app)[::2] == (status, b'')
    assert 'nova-failed' in caplog.text


def test_a_fault_of_ours_is_a_503(caplog):
    def broken(*arguments):
        raise RuntimeError('it fell over')

    app = vendordata.Vendordata(parts.parts(facts_of=broken), SETTINGS)
    assert _ask(app)[::2] == (503, b'')
    assert 'it fell over' in caplog.text


def test_guests_and_nova_share_one_bound():
    inside, go_on = threading.Event(), threading.Event()

    def slow(instance, now, at_most):
        inside.set()
        assert go_on.wait(120)
        return parts.FACTS

    made = parts.parts(facts_of=slow, bound=answering.Bound(1))
    app = vendordata.Vendordata(made, SETTINGS)
    guests = application.Application(made)
    found = []
    first = threading.Thread(target=lambda: found.append(_ask(app)))
    first.start()
    try:
        assert inside.wait(120)
        assert _ask(app)[::2] == (503, b'')
        assert parts.ask(guests)[::2] == (503, b'')
        # Who is not nova takes no place of one who is.
        assert _ask(app, HTTP_X_ROLES='member')[::2] == (403, b'')
    finally:
        go_on.set()
        first.join(120)
    assert found[0][0] == 200
    assert made.bound.at_work == 0
    assert parts.ask(guests)[0] == 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(['instance-id', 'project-id', 'x']), inner
        )
    ),
    max_leaves=6,
)


@given(st.binary(max_size=50) | JSON)
@settings(deadline=None)
def test_whatever_is_asked_is_refused_or_answered(question):
    app = vendordata.Vendordata(parts.parts(), SETTINGS)
    assert _ask(app, question)[0] in (200, 403)


def test_a_drive_is_that_of_the_instance_as_it_is_now():
    heard = []

    def facts_of(instance, now, at_most):
        heard.append(at_most)
        return parts.FACTS

    app = vendordata.Vendordata(parts.parts(facts_of=facts_of), SETTINGS)
    assert _ask(app)[0] == 200
    assert heard == [identities.SOON]
