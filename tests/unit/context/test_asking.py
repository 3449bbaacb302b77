# SPDX-License-Identifier: Apache-2.0
"""What paths ask for, and that there is one way to write each."""

import re

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest

from hepix_vm.context import asking

DIGEST = '0a' * 32


@pytest.mark.parametrize(
    ('path', 'what', 'detail'),
    [
        ('/context', 'index', ''),
        ('/context/', 'index', ''),
        ('/context/default.tgz', 'tgz', ''),
        ('/context/my-own_name.v2.tgz', 'tgz', ''),
        ('/context/' + 'n' * 64 + '.tgz', 'tgz', ''),
        ('/context/a.tgz.tgz', 'tgz', ''),
        ('/context/default.tgz.b64', 'tgz.b64', ''),
        ('/context/my.tgz.b64', 'tgz.b64', ''),
        ('/context/manifest', 'manifest', ''),
        ('/context/manifest.sig', 'manifest.sig', ''),
        (f'/context/ran/{DIGEST}', 'ran', DIGEST),
        (f'/context/failed/{DIGEST}', 'failed', DIGEST),
        ('/machinefeatures', 'machinefeatures', ''),
        ('/machinefeatures/', 'machinefeatures', ''),
        ('/machinefeatures/total_cpu', 'machinefeatures', 'total_cpu'),
        ('/jobfeatures', 'jobfeatures', ''),
        ('/jobfeatures/job_id', 'jobfeatures', 'job_id'),
        ('/jobfeatures/2012', 'jobfeatures', '2012'),
    ],
)
def test_what_a_path_asks_for(path, what, detail):
    assert asking.wanted(path) == asking.Wanted(asking.What(what), detail)


@pytest.mark.parametrize(
    'path',
    [
        '',
        '/',
        'context/default.tgz',
        '//context/default.tgz',
        '/context//',
        '/context//default.tgz',
        '/context/default.tgz/',
        '/context/./default.tgz',
        '/context/../context/default.tgz',
        '/context/../../etc/hepix_vm/hepix_vm.conf',
        '/context/..',
        '/context/.tgz',
        '/context/..tgz',
        '/context/-rf.tgz',
        '/context/_.tgz',
        '/context/' + 'n' * 65 + '.tgz',
        '/context/' + 'n' * 10_000 + '.tgz',
        '/context/a b.tgz',
        '/context/a%20b.tgz',
        '/context/%64efault.tgz',
        '/context/default%2etgz',
        '/context/..%2fdefault.tgz',
        '/context/default.tgz%00',
        '/context/default.tgz\0',
        '/context/default.tgz\n',
        '/context/default.tgz?x',
        '/context/default.tgz;x',
        '/context/d\xe9fault.tgz',
        '/context/\u0661.tgz',
        '/context/sub/default.tgz',
        '/context/default.tar',
        '/context/default.TGZ',
        '/CONTEXT/default.tgz',
        '/context/manifest/',
        '/context/manifests',
        '/context/prolog.sh',
        '/context/ran',
        '/context/ran/',
        f'/context/ran/{DIGEST[1:]}',
        f'/context/ran/{DIGEST}0',
        f'/context/ran/{DIGEST.upper()}',
        f'/context/ran/{DIGEST}/',
        f'/context/passed/{DIGEST}',
        '/contextual/default.tgz',
        '/machinefeatures/Total_cpu',
        '/machinefeatures/total-cpu',
        '/machinefeatures/total_cpu/',
        '/machinefeatures/' + 'k' * 65,
        '/machinefeatures/a/b',
        '/jobfeatures/../machinefeatures/total_cpu',
        '/vendordata',
        '/latest/meta-data',
        '/openstack/latest/meta_data.json',
    ],
)
def test_anything_else_asks_for_nothing(path):
    assert asking.wanted(path) is None


def test_the_path_is_the_same_wherever_the_application_is_mounted():
    for script, path in (
        ('', '/context/default.tgz'),
        ('/context', '/default.tgz'),
    ):
        environ = {'SCRIPT_NAME': script, 'PATH_INFO': path}
        assert asking.path_of(environ) == '/context/default.tgz'
    assert asking.path_of({}) == ''


@pytest.mark.parametrize(
    'variable', ['REQUEST_URI', 'RAW_URI', 'RAW_PATH_INFO']
)
@pytest.mark.parametrize(
    ('sent', 'answered'),
    [
        ('/context/default.tgz', True),
        ('/context/default.tgz?x=%2e', True),
        ('http://169.254.169.254/context/default.tgz', True),
        ('/prefix/context/default.tgz', True),
        ('/context/%64efault.tgz', False),
        ('/context/../context/default.tgz', False),
        ('/latest/..%2fcontext/default.tgz', False),
        ('//context/default.tgz', False),
    ],
)
def test_what_the_server_says_was_sent_must_be_plain(variable, sent, answered):
    """The server itself has made the usual path of it."""
    environ = {'PATH_INFO': '/context/default.tgz', variable: sent}
    found = asking.wanted(asking.path_of(environ))
    assert (found is not None) is answered


PIECES = st.sampled_from(
    [
        '/',
        'context',
        'machinefeatures',
        'ran',
        'default',
        '.tgz',
        '.b64',
        'manifest',
        '.sig',
        '.',
        '..',
        '%2e',
        '\0',
        '\n',
        '\\',
        DIGEST,
        'total_cpu',
        '\xff',
    ]
)


@given(
    st.lists(PIECES | st.text(max_size=3), max_size=12).map(''.join)
    | st.lists(PIECES, max_size=8).map(lambda found: '/' + ''.join(found))
)
@settings(deadline=None, max_examples=500)
def test_a_path_that_asks_for_something_has_one_reading(path):
    found = asking.wanted(path)
    if found is None:
        return
    assert len(path) <= asking.LONGEST
    assert re.fullmatch(r'[A-Za-z0-9._/-]+', path)
    assert '//' not in path
    assert not {'.', '..'} & set(path.split('/'))
    assert path.startswith(('/context', '/machinefeatures', '/jobfeatures'))
    # What follows from it is told apart by nothing but this.
    assert re.fullmatch(r'[a-z0-9_]*', found.detail)
