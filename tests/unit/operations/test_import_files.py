# SPDX-License-Identifier: Apache-2.0
"""What atrope and cloudkeeper keep, and what hostile files can do."""

from __future__ import annotations

import json

import pytest
import yaml

from hepix_vm import errors
from hepix_vm.operations import importing
from hepix_vm.operations.predecessors import documents
from hepix_vm.operations.predecessors import values
from tests.unit.operations import old_tools

IMAGE = '858a817e-0ca2-473f-89d3-d5bdfc519601'
ENTRY = {
    'url': old_tools.URL,
    'enabled': True,
    'endorser': {'dn': old_tools.SUBJECT, 'ca': old_tools.ISSUER},
    'images': [],
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'config'


def atrope(path, **entries):
    path.write_text(yaml.safe_dump(entries))
    return importing.read('atrope', path)


def one(path, **changes):
    (found,) = atrope(path, grid=ENTRY | changes).followed
    return found


def cloudkeeper(path, **settings):
    path.write_text(yaml.safe_dump({'cloudkeeper': settings}))
    return importing.read('cloudkeeper', path)


def refused(tool, path, *said):
    with pytest.raises(errors.Misconfigured) as caught:
        importing.read(tool, path)
    for part in (str(path), *said):
        assert part in str(caught.value)
    assert '\n' not in str(caught.value)
    assert 'hush' not in str(caught.value)


# atrope


def test_atrope_has_the_url_and_the_endorser(path):
    assert one(path) == values.Followed(
        label='grid',
        url=old_tools.URL,
        endorsers=(values.Endorser(old_tools.SUBJECT, old_tools.ISSUER),),
        takes_all=True,
        name='grid',
    )


def test_atrope_reads_json_as_well(path):
    path.write_text(json.dumps({'grid': ENTRY}, indent=4))
    assert importing.read('atrope', path).followed[0].url == old_tools.URL


def test_atrope_may_choose_images_and_a_project(path):
    found = one(path, images=[IMAGE], project='bb02bda767b4490a')
    assert found.images == (IMAGE,)
    assert not found.takes_all
    assert found.projects == ('bb02bda767b4490a',)


def test_a_project_that_is_no_id_is_told(path):
    found = one(path, project='my project, and yours')
    assert found.projects == ()
    assert 'its project is no project id' in found.notes[0]


def test_a_token_of_atrope_stays_where_it_is(path):
    found = one(path, token='hush-hush')
    assert found.secret == values.Secret(
        "token of 'grid'", 'TOKEN:x-oauth-basic'
    )
    assert 'hush' not in repr(found)
    url = 'https://me:hush@lists.example.org/l?page=1&access_token=hush'
    found = one(path, url=url, token=None)
    assert found.url == 'https://lists.example.org/l?page=1&access_token='
    assert found.secret == values.Secret("the url of 'grid'")
    assert 'values of access_token were taken out' in found.notes[0]
    assert 'hush' not in repr(found)


def test_anchors_of_yaml_are_read(path):
    path.write_text(
        f"""
one: &one
  url: https://example.org/1
  endorser: &jane
    dn: '{old_tools.SUBJECT}'
    ca: '{old_tools.ISSUER}'
two:
  <<: *one
  url: https://example.org/2
"""
    )
    found = importing.read('atrope', path).followed
    assert [item.url[-1] for item in found] == ['1', '2']
    assert found[0].endorsers == found[1].endorsers != ()


def test_atrope_conf_names_the_sources_and_the_authorities(path, tmp_path):
    sources = tmp_path / 'state' / 'hepix.yaml'
    sources.parent.mkdir()
    sources.write_text(yaml.safe_dump({'grid': ENTRY}))
    path.write_text(
        f'# atrope\n\n[DEFAULT]\nstate_path = {sources.parent}\n'
        'ca_path = /srv/anchors\nunknown = 1\n'
        '[glance]\npassword = hush\n'
        '[sources]\nhepix_sources = $state_path/hepix.yaml\n'
    )
    (found,) = importing.read('atrope', path).followed
    assert found.trust_anchors == '/srv/anchors'
    assert found.url == old_tools.URL


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'enabled': False}, 'switched off'),
        ({'type': 'harbor', 'url': None}, "of type 'harbor'"),
        ({'url': None}, 'it has no URL'),
        ({'url': 'gopher://x/'}, 'its URL is none of'),
        ({'url': None, 'file_path': 'lists/x'}, 'no absolute path'),
    ],
    ids=['off', 'harbor', 'no url', 'scheme', 'relative'],
)
def test_what_atrope_does_not_fetch_is_left_out(path, changes, reason):
    found = atrope(path, grid=ENTRY | changes)
    assert found.followed == ()
    assert found.left_out[0].label == 'grid'
    assert reason in found.left_out[0].reason


def test_a_list_in_a_file_has_a_url(path):
    found = one(path, url=None, file_path='/srv/a list')
    assert found.url == 'file:///srv/a%20list'


@pytest.mark.parametrize(
    'endorser', [None, {}, {'dn': None, 'ca': None}], ids=str
)
def test_a_list_without_an_endorser(path, endorser):
    assert one(path, endorser=endorser).endorsers == ()


def test_an_endorser_whose_name_reads_in_two_ways(path):
    found = one(path, endorser={'dn': '/CN=a/b=c', 'ca': old_tools.ISSUER})
    assert found.endorsers == ()
    assert 'the subject of its endorser' in found.notes[0]


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'url': ['https://hush']}, "'grid' url: expected text, found a list"),
        ({'token': 7}, "'grid' token: expected text, found a number"),
        ({'images': IMAGE}, "'grid' images: expected a list, found text"),
        ({'endorser': 'me'}, "'grid' endorser: expected a mapping"),
        ({'endorser': {'dn': True}}, 'dn: expected text, found a truth value'),
    ],
    ids=['url', 'token', 'images', 'endorser', 'dn'],
)
def test_a_value_of_another_kind_in_sources(path, changes, said):
    path.write_text(yaml.safe_dump({'grid': ENTRY | changes}))
    refused('atrope', path, said)


def test_other_yaml_than_sources(path):
    path.write_text('cloudkeeper: hush')
    refused('atrope', path, "'cloudkeeper': expected a mapping with url")


def test_an_atrope_conf_that_oslo_config_cannot_read(path):
    path.write_text('[DEFAULT]\n  = hush\n')
    refused('atrope', path, 'oslo.config cannot read it')


def test_an_atrope_conf_whose_sources_are_not_there(path, tmp_path):
    path.write_text(f'[sources]\nhepix_sources = {tmp_path}/absent\n')
    with pytest.raises(errors.Misconfigured, match='absent: expected a read'):
        importing.read('atrope', path)


# cloudkeeper


def test_cloudkeeper_2_has_one_list(path):
    found = cloudkeeper(
        path,
        **{
            'image-list': 'https://hush:x-oauth-basic@lists.example.org/l',
            'ca-dir': '/srv/anchors/',
        },
    )
    (item,) = found.followed
    assert item.url == 'https://lists.example.org/l'
    assert item.secret == values.Secret('the URL (image-list)')
    assert item.trust_anchors == '/srv/anchors/'
    assert item.takes_all
    assert item.list_identifier is None
    assert item.endorsers == ()
    assert 'hush' not in repr(found)


@pytest.mark.parametrize(
    'lists',
    [
        ['https://example.org/1', 'https://example.org/2'],
        'https://example.org/1 https://example.org/2',
    ],
    ids=['list', 'text'],
)
def test_cloudkeeper_1_has_several_lists(path, lists):
    found = cloudkeeper(path, **{'image-lists': lists, 'image-list': None})
    assert [(item.label, item.url) for item in found.followed] == [
        ('image-lists, entry 1', 'https://example.org/1'),
        ('image-lists, entry 2', 'https://example.org/2'),
    ]


def test_cloudkeeper_may_name_a_file_of_lists(path, tmp_path):
    lists = tmp_path / 'image-lists.conf'
    lists.write_text(
        'https://example.org/1\n\n# a comment\nhttps://example.org/2\n'
    )
    found = cloudkeeper(path, **{'image-lists-file': str(lists)})
    assert [item.url[-1] for item in found.followed] == ['1', '2']
    assert found.left_out[0].label == f'{lists}, line 3'


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        ('cloudkeeper: {image-list: }', 'found none; cloudkeeper may'),
        ('cloudkeeper: 7', 'found a number'),
        ('grid: {url: hush}', '"cloudkeeper", found nothing'),
        ('cloudkeeper: {image-list: [hush]}', 'image-list: expected text'),
        ('cloudkeeper: {image-lists: {a: hush}}', 'expected a list'),
        ('- hush', 'expected a mapping, found a list'),
        ('', 'expected a mapping, found nothing'),
        ('https://hush\nhttps://hush', 'expected a mapping, found text'),
    ],
    ids=range(8),
)
def test_other_yaml_than_cloudkeepers(path, content, said):
    path.write_text(content)
    refused('cloudkeeper', path, said)


def test_a_file_of_lists_that_is_not_there(path, tmp_path):
    with pytest.raises(errors.Misconfigured, match='absent: expected a read'):
        cloudkeeper(path, **{'image-lists-file': f'{tmp_path}/absent'})


# Hostile files


BOMB = 'a0: &a0 {x: 1}\n' + '\n'.join(
    f'a{n}: &a{n} {{<<: [{", ".join([f"*a{n - 1}"] * 20)}]}}'
    for n in range(1, 12)
)


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        (BOMB, 'more than 10000 pairs'),
        ('a: &a b\nc: [' + '*a,' * 1001 + ']', 'more than 1000 references'),
        ('[' * 5000, 'nested too deep, or within itself'),
        ('a: !!python/object/apply:os.system [hush]', 'expected YAML'),
        ('a: !!python/name:os.system hush', 'expected YAML'),
        ('a: hush\nb: {hush', 'in line 2'),
        ('a: 2026-99-99', 'a value that cannot be read'),
        ('a: ' + '9' * 10_000, 'a value that cannot be read'),
        ('? [hush]\n: b', 'expected YAML'),
        ('a: b\n---\nc: hush', 'expected YAML'),
        ('a: \x01hush', 'expected YAML'),
        ('a: b\n' * 300_000, 'expected at most 1048576 bytes'),
    ],
    ids=range(12),
)
@pytest.mark.parametrize('tool', ['atrope', 'cloudkeeper'])
def test_a_hostile_file_is_one_error(path, tool, content, said):
    path.write_text(content)
    refused(tool, path, said)


@pytest.mark.parametrize('tool', ['atrope', 'cloudkeeper'])
def test_bytes_that_are_no_utf_8(path, tool):
    path.write_bytes(b'a: \xff')
    refused(tool, path, 'expected UTF-8, found other bytes at 3')


def test_a_file_that_refers_to_itself_is_read_where_that_is_harmless(path):
    for content in ('a: &a [*a]', 'a: &a {<<: *a}'):
        path.write_text(content)
        assert set(documents.mapping(path)) == {'a'}


def test_kinds_have_names():
    assert documents.kind({1}) == 'set'
    assert documents.kind(1.5) == 'a number'
