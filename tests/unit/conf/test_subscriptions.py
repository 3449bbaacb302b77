# SPDX-License-Identifier: Apache-2.0
"""Whom a site trusts, as its configuration says it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from hepix_vm.catalogue import subscription as values
from hepix_vm import conf
from hepix_vm.conf import subscription
from hepix_vm import errors
from hepix_vm import trust

LIST = '0c6a3f0e-58c3-4d8b-b0a0-6f2b6e6f6d01'
NEEDED = {
    'url': 'https://example.org/list',
    'list_identifier': LIST,
    'endorser_subject': '/C=CH/O=Example/CN=Jane Doe',
    'endorser_issuer': 'CN=Example CA,O=Example,C=CH',
}
PIN = 'ab' * 32


@pytest.fixture
def read(tmp_path):
    """Subscriptions of a file with that text."""

    def read_text(text: str) -> dict[str, Any]:
        path = tmp_path / 'hepix_vm.conf'
        path.write_text(text)
        path.chmod(0o640)
        return subscription.subscriptions(conf.load([str(path)]))

    return read_text


def group(name: str = 'main', **options: Any) -> str:
    lines = [f'[subscription:{name}]']
    for option, value in (NEEDED | options).items():
        many = value if isinstance(value, list) else [value]
        lines += [f'{option} = {one}' for one in many if one is not None]
    return '\n'.join(lines) + '\n'


def test_defaults_are_the_safe_ones(read):
    assert read(group()) == {
        'main': values.Subscription(
            name='main',
            url='https://example.org/list',
            list_identifier=LIST,
            endorser_subject='/C=CH/O=Example/CN=Jane Doe',
            endorser_issuer='CN=Example CA,O=Example,C=CH',
            trust_anchors='/etc/grid-security/certificates',
            approval=values.Approval.LISTED,
            approve_new_versions=True,
            brake=values.Brake(images=20, percent=50, keep=False),
            replace_grace=86400,
            projects=None,
            vo_projects={},
            list_max_age=604800,
            crl='require',
            signing_policy='if-present',
            pins=frozenset(),
            accept_server_certificates=False,
            dangerous_accept_self_signed=False,
            dangerous_accept_sha1=False,
            threshold=1,
            co_endorsers=(),
            image_signature=None,
            limits=dataclasses.asdict(trust.Limits()),
        )
    }


def test_every_option_is_taken_over(read):
    (made,) = read(
        group(
            list_identifier=LIST.upper(),
            trust_anchors='/anchors',
            approval='all',
            approve_new_versions='false',
            projects='p1, p2',
            vo_projects=['one.vo: p1 , p2', 'two.vo:p3', 'one.vo:p4'],
            list_max_age=3600,
            crl='off',
            signing_policy='require',
            pins=f'{PIN}, {":".join(["CD"] * 32)}',
            accept_server_certificates='true',
            dangerous_accept_self_signed='true',
            dangerous_accept_sha1='true',
            threshold=2,
            co_endorsers=['CN=a | CN=b', '/CN=c|/CN=d'],
            image_signature_suffix='.sig',
            image_signature_certificate='/signer.pem',
            image_signature_digest='sha512',
        )
    ).values()
    assert made.list_identifier == LIST
    assert made.trust_anchors == '/anchors'
    assert made.approval is values.Approval.ALL
    assert made.approve_new_versions is False
    assert made.projects == {'p1', 'p2'}
    assert made.vo_projects == {
        'one.vo': {'p1', 'p2', 'p4'},
        'two.vo': {'p3'},
    }
    assert made.list_max_age == 3600
    assert (made.crl, made.signing_policy) == ('off', 'require')
    assert made.pins == {PIN, 'cd' * 32}
    assert made.accept_server_certificates is True
    assert made.dangerous_accept_self_signed is True
    assert made.dangerous_accept_sha1 is True
    assert made.threshold == 2
    assert made.co_endorsers == (('CN=a', 'CN=b'), ('/CN=c', '/CN=d'))
    assert made.image_signature == values.ImageSignature(
        '.sig', '/signer.pem', 'sha512'
    )


def test_limits_of_the_site_hold_for_every_list(read):
    made = read('[trust]\nmax_chain_depth = 3\n' + group())['main']
    assert made.limits['chain_depth'] == 3


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        ({'co_endorsers': 'CN=a'}, 'co_endorsers'),
        ({'co_endorsers': 'CN=a |'}, 'co_endorsers'),
        ({'image_signature_suffix': '.sig'}, 'go together'),
        ({'image_signature_certificate': '/x.pem'}, 'go together'),
    ],
)
def test_what_is_half_said_is_refused(read, options, expected):
    problem = read(group(**options))['main']
    assert isinstance(problem, errors.Misconfigured)
    assert expected in str(problem)


def test_age_of_the_site_holds_for_lists_without_their_own(read):
    text = '[catalogue]\nlist_max_age = 1000\n'
    made = read(text + group('one') + group('two', list_max_age=2000))
    assert made['one'].list_max_age == 1000
    assert made['two'].list_max_age == 2000


def test_subscriptions_are_sorted_and_other_groups_are_none(read):
    made = read(group('b') + '[other]\nx = y\n' + group('a'))
    assert list(made) == ['a', 'b']


def test_prefix_may_be_written_in_any_case(read):
    text = group().replace('[subscription:', '[Subscription:')
    assert read(text)['main'].url == NEEDED['url']


def test_group_of_the_sample_without_options_follows_nothing(read):
    assert read('[subscription:NAME]\n#url = <None>\n') == {}


def test_no_project_at_all_is_not_all_projects(read):
    assert read(group(projects=''))['main'].projects == frozenset()


@pytest.mark.parametrize(
    'name', ['', ' ', 'a b', '-a', 'a/b', '../a', 'ü', 'a' * 65, 'a:b']
)
def test_name_that_is_not_allowed_is_refused(read, name):
    with pytest.raises(errors.Misconfigured, match='expected a name of at m'):
        read(group(name))


@pytest.mark.parametrize('name', ['a', 'A.b-c_9', 'a' * 64])
def test_name_that_is_allowed(read, name):
    assert list(read(group(name))) == [name]


def test_names_that_only_case_tells_apart_are_refused(read):
    with pytest.raises(errors.Misconfigured, match='differ in more than case'):
        read(group('EGI') + group('egi'))


BROKEN = [
    ({'url': None}, 'option url is missing'),
    ({'list_identifier': None}, 'option list_identifier is missing'),
    ({'endorser_subject': None}, 'option endorser_subject is missing'),
    ({'endorser_issuer': ''}, 'option endorser_issuer is missing'),
    ({'list_identifier': '../../etc'}, 'expected a UUID'),
    ({'list_identifier': LIST[:-1]}, 'expected a UUID'),
    ({'pins': 'abc'}, 'expected 64 hex digits'),
    ({'pins': PIN + '00'}, 'expected 64 hex digits'),
    ({'vo_projects': 'one.vo'}, 'expected VO:PROJECT_ID'),
    ({'vo_projects': 'one.vo:'}, 'expected VO:PROJECT_ID'),
    ({'vo_projects': ':p1'}, 'expected VO:PROJECT_ID'),
    ({'vo_projects': ['one.vo:p1', '']}, 'expected VO:PROJECT_ID'),
    ({'approval': 'some'}, 'approval'),
    ({'crl': 'maybe'}, 'crl'),
    ({'list_max_age': 'long'}, 'list_max_age'),
    ({'list_max_age': '1'}, 'list_max_age'),
    ({'url': 'http://h/$nowhere'}, 'nowhere'),
    ({'project': 'p1'}, 'option project is not known'),
    ({'pin': PIN}, 'option pin is not known'),
]


@pytest.mark.parametrize(
    ('changes', 'said'), BROKEN, ids=[said for _, said in BROKEN]
)
def test_broken_group_is_its_own_error_and_the_others_count(
    read, changes, said
):
    made = read(group('broken', **changes) + group('good'))
    assert isinstance(made['good'], values.Subscription)
    problem = made['broken']
    assert isinstance(problem, errors.Misconfigured)
    assert 'group [subscription:broken]' in str(problem)
    assert said in str(problem)


def test_files_are_parsed_once_whatever_the_number_of_groups(
    read, monkeypatch
):
    parsed = []

    class Parser(subscription.cfg.ConfigParser):
        def parse(self):
            parsed.append(self.filename)
            return super().parse()

    text = ''.join(group(f'list{n}') for n in range(20))
    assert len(read(text)) == 20
    monkeypatch.setattr(subscription.cfg, 'ConfigParser', Parser)
    assert len(read(text)) == 20
    # oslo.config's own look at them, and ours at what they set.
    assert len(parsed) <= 2
