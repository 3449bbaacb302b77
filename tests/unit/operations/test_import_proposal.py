# SPDX-License-Identifier: Apache-2.0
"""The proposal is a configuration, whatever a predecessor's file says."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest

from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import subscription
from hepix_vm import conf as conf_
from hepix_vm.conf import subscription as conf_subscription
from hepix_vm import errors
from hepix_vm.operations import importing
from hepix_vm.operations.predecessors import proposal
from hepix_vm.operations.predecessors import values
from tests import endorser
from tests.unit.catalogue import following
from tests.unit.operations import old_tools

IMAGE = '858a817e-0ca2-473f-89d3-d5bdfc519601'
JANE = values.Endorser(old_tools.SUBJECT, old_tools.ISSUER)
JOHN = values.Endorser('/C=CH/CN=John Roe', old_tools.ISSUER)
GRID = values.Followed(
    label='the grid',
    url=old_tools.URL,
    list_identifier=old_tools.IDENTIFIER,
    endorsers=(JANE,),
)


def proposed(*followed, configured=None, claims=None, **more):
    return importing.proposed(
        values.Predecessor('vmcatcher', followed, **more),
        configured or {},
        claims or {},
    )


def loaded(folder, text):
    """The subscriptions of a proposal, by our own configuration."""
    path = folder / 'proposal.conf'
    path.write_text(text)
    path.chmod(0o640)
    return conf_subscription.subscriptions(conf_.load([str(path)]))


def change(**changes):
    return dataclasses.replace(GRID, **changes)


def test_the_proposal_loads_as_what_was_followed(tmp_path):
    found = change(
        endorsers=(JANE, JOHN),
        trust_anchors='/srv/anchors/',
        projects=('one', 'two'),
        secret=values.Secret('somewhere'),
    )
    ((name, item),) = loaded(tmp_path, proposed(found)).items()
    assert name == item.name == 'grid.example.org'
    assert item.url == old_tools.URL
    assert item.list_identifier == old_tools.IDENTIFIER
    assert item.endorser_subject == JANE.subject
    assert item.endorser_issuer == JANE.issuer
    assert item.co_endorsers == ((JOHN.subject, JOHN.issuer),)
    assert item.threshold == 1
    assert item.trust_anchors == '/srv/anchors'
    assert item.approval is subscription.Approval.LISTED
    assert item.projects == frozenset({'one', 'two'})
    assert item.access.token_file == ('/etc/hepix_vm/grid.example.org.secret')


def test_what_only_the_operator_knows_is_missing_by_name(tmp_path):
    text = proposed(change(list_identifier=None, endorsers=()))
    (found,) = loaded(tmp_path, text).values()
    assert isinstance(found, errors.Misconfigured)
    for option in ('list_identifier', 'endorser_subject', 'endorser_issuer'):
        assert f'# {option} = FILL IN: ' in text


def test_comments_say_what_there_is_to_decide():
    text = proposed(
        change(
            seen=values.Seen('7', endorser.utc(0)),
            images=(IMAGE, 'x; rm -rf'),
            notes=('look here',),
            takes_all=True,
        ),
        left_out=(values.LeftOut('other', 'it is off'),),
        insecure=('it was insecure',),
        no_equivalent=('handlers',),
    )
    flat = ' '.join(text.replace('\n#', ' ').split())
    for said in (
        'accepted version 7, created 1970-01-01T00:00:00Z',
        '--apply-state',
        f'hepix-vm image approve {IMAGE}',
        '(x; rm -rf is no UUID)',
        'Note: look here.',
        '"approval = all" is the same',
        'Left out: other: it is off.',
        'Insecure with vmcatcher: - it was insecure',
        'Without an equivalent of vmcatcher: - handlers',
        'trust_anchors, with current CRLs',
    ):
        assert said in flat
    assert 'approve x' not in text


def test_a_list_that_is_followed_already_is_said():
    text = proposed(
        GRID,
        configured={
            'Grid.Example.ORG': subscription.Subscription(
                'Grid.Example.ORG', '', old_tools.IDENTIFIER, '', '', ''
            ),
            'broken': errors.Misconfigured('x'),
        },
    )
    assert '[subscription:Grid.Example.ORG] follows this list' in text
    assert '\n[subscription:grid.example.org-2]\n' in text


def test_a_secret_is_not_proposed_where_it_would_go_in_clear(tmp_path):
    found = change(url='http://example.org/', secret=values.Secret('a'))
    text = proposed(found)
    assert '\n# token_file = ' in text
    (item,) = loaded(tmp_path, text).values()
    assert item.access.token_file is None


def test_an_endorser_with_a_bar_is_told_not_written(tmp_path):
    odd = values.Endorser('/CN=a|b', '/CN=c')
    text = proposed(change(endorsers=(JANE, odd)))
    assert '# /CN=a|b (a "|" cannot' in text
    (item,) = loaded(tmp_path, text).values()
    assert item.co_endorsers == ()


@pytest.mark.parametrize(
    ('subject', 'told'),
    [
        ('/O=Hosts/CN=lists.example.org', True),
        ('CN=lists.example.org,O=Hosts', True),
        ('/CN=host/lists.example.org', True),
        ('/CN=Jane Q. Doe', False),
        ('/DC=example.org/CN=Jane', False),
    ],
)
def test_an_endorser_that_is_a_server_is_told(subject, told):
    found = change(endorsers=(values.Endorser(subject, '/CN=c'),))
    assert ('accept_server_certificates' in proposed(found)) is told


# Names


@pytest.mark.parametrize(
    ('changes', 'name'),
    [
        ({}, 'grid.example.org'),
        ({'name': 'vo grid/x'}, 'vo-grid-x'),
        ({'url': 'https://example.org/hepix/site.smime'}, 'site'),
        ({'url': 'https://example.org/images/list'}, 'example.org'),
        ({'url': 'https://example.org/'}, 'example.org'),
        ({'url': 'file:///'}, 'list'),
        ({'name': '--..'}, 'grid.example.org'),
        ({'name': 'Zürich'}, 'Z-rich'),
        ({'name': 'x' * 100}, 'x' * 64),
    ],
    ids=range(9),
)
def test_names_come_from_the_operator_or_the_url(changes, name):
    assert proposal.named([change(**changes)], []) == (
        (name, change(**changes)),
    )


def test_equal_names_are_numbered_within_their_length():
    items = [change(name='X' * 70), change(name='x' * 64), change(name='a')]
    found = [name for name, _ in proposal.named(items, ['A'])]
    assert found == ['X' * 64, 'x' * 62 + '-2', 'a-2']


# Whatever stands there


ODD = st.text(max_size=60) | st.sampled_from(
    ['"x"', "'x'", '$url', '$$', '${x}', '%(x)s', ' x ', '\\$', '#x', '= x']
)


@settings(max_examples=200, deadline=None)
@given(ODD, ODD, ODD)
def test_no_text_gets_out_of_its_comment(label, note, reason):
    text = proposed(
        change(label=label, notes=(note,), images=(note,)),
        left_out=(values.LeftOut(label, reason),),
        claims={
            GRID.url: proposal.Claim(label, note, ((label, reason),), True)
        },
    )
    options = [
        line
        for line in text.splitlines()
        if line.strip() and not line.startswith('#')
    ]
    assert [line.partition(' ')[0] for line in options] == [
        '[subscription:grid.example.org]',
        'url',
        'list_identifier',
        'endorser_subject',
        'endorser_issuer',
        'trust_anchors',
        'approval',
    ]


PRINTABLE = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x7E)
    | st.sampled_from('$"\'éß'),
    min_size=1,
    max_size=40,
).map(lambda text: f'/CN=x{text}')


@settings(
    max_examples=60,
    deadline=None,
)
@given(PRINTABLE)
def test_an_endorser_is_read_as_it_was_written(tmp_path_factory, subject):
    folder = tmp_path_factory.mktemp('odd')
    found = change(endorsers=(values.Endorser(subject.strip(), '/CN=c'),))
    (item,) = loaded(folder, proposed(found)).values()
    assert item.endorser_subject == subject.strip()


@pytest.mark.parametrize(
    'text',
    ['"x"', "'x'", '$x', '$', "'a\"b'", r'\$', r'\$A', r'\\$', '$$', r'$\$'],
)
def test_quotes_and_dollars_are_values_not_syntax(tmp_path, text):
    found = change(trust_anchors=text)
    (item,) = loaded(tmp_path, proposed(found)).values()
    assert item.trust_anchors == text


def test_a_directory_that_cannot_be_written_is_the_usual_one(tmp_path):
    found = change(trust_anchors='/srv\n[x]')
    (item,) = loaded(tmp_path, proposed(found)).values()
    assert item.trust_anchors == '/etc/grid-security/certificates'


# Claims


@pytest.fixture
def endorsed():
    return following.endorser_named('Endorser of claims')


def claimed(content, **changes):
    def fetch_list(url, settings, known):
        assert url == settings.access.url == GRID.url
        if isinstance(content, bytes):
            return fetch.Fetched(content, known)
        if isinstance(content, Exception):
            raise content
        return content

    found = values.Predecessor('cloudkeeper', (change(**changes),))
    return importing.claimed(found, fetch.FetchSettings(), fetch_list)


def test_a_claim_is_shown_as_a_claim_and_not_believed(tmp_path, endorsed):
    identifier = following.identifier_of('claims')
    claims = claimed(
        endorsed.signed_list(identifier, '3'), list_identifier=None
    )
    assert claims[GRID.url] == proposal.Claim(
        identifier, '3', ((endorsed.subject, endorsed.issuer),), True
    )
    text = proposed(change(list_identifier=None), claims=claims)
    assert 'NOT VERIFIED' in text
    assert f'#   claims list_identifier {identifier}' in text
    assert f'#   claims endorser_subject {endorsed.subject}' in text
    assert f'#   claims endorser_issuer {endorsed.issuer}' in text
    assert 'carries no signature' not in text
    (item,) = loaded(tmp_path, text).values()
    assert isinstance(item, errors.Misconfigured)


def test_a_list_without_a_signature_is_told(endorsed):
    from hepix_vm import imagelist

    content = imagelist.render(
        endorsed.make_list(following.identifier_of('claims'))
    )
    claims = claimed(content, endorsers=())
    assert not claims[GRID.url].signed
    assert 'carries no signature' in proposed(GRID, claims=claims)


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        (errors.TryAgain('it is away'), 'it is away'),
        (fetch.NotModified(), 'not modified'),
        (b'<html>', ''),
        (b'{}', ''),
        (b'', ''),
        (b'MIME-Version: 1.0\n\x00', ''),
    ],
    ids=['away', '304', 'html', 'json', 'empty', 'mime'],
)
def test_what_is_no_list_is_one_line(content, said):
    claim = claimed(content, endorsers=())[GRID.url]
    assert claim.problem
    assert said in claim.problem
    text = proposed(GRID, claims={GRID.url: claim})
    assert 'could not be shown' in text


def test_only_lists_of_unknown_identity_are_fetched():
    assert claimed(AssertionError('fetched')) == {}
