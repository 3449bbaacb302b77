# SPDX-License-Identifier: Apache-2.0
"""What a list may look like, and how broken ones are refused."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest

from hepix_vm import errors
from hepix_vm import imagelist
from tests.unit.imagelist import lists

AT = '$.hv:imagelist'
ENTRY = f'{AT}.hv:images[0].hv:image'


def parse(keys: lists.Keys, **limits: int) -> imagelist.ImageList:
    return imagelist.parse(lists.payload(keys), imagelist.Limits(**limits))


def refusal(keys: lists.Keys, **limits: int) -> errors.InvalidList:
    with pytest.raises(errors.InvalidList) as caught:
        parse(keys, **limits)
    return caught.value


def dropped(**changes: Any) -> imagelist.Problem:
    """The one problem of a list whose one image is changed so."""
    image = lists.hepix_image(**changes)
    return dropped_entry({'hv:image': image})


def dropped_entry(entry: Any) -> imagelist.Problem:
    good = {'hv:image': lists.hepix_image(**{'dc:identifier': lists.LIST})}
    parsed = parse(lists.hepix(**{'hv:images': [entry, good]}))
    assert [image.identifier for image in parsed.images] == [lists.LIST]
    (problem,) = parsed.problems
    assert problem.dropped
    return problem


def only(keys: lists.Keys) -> imagelist.ImageEntry:
    (image,) = parse(keys).images
    return image


def hepix_with(**changes: Any) -> lists.Keys:
    image = lists.hepix_image(**changes)
    return lists.hepix(**{'hv:images': [{'hv:image': image}]})


def appdb_with(**changes: Any) -> lists.Keys:
    image = lists.appdb_image(**changes)
    return lists.appdb(**{'hv:images': [{'hv:image': image}]})


def test_hepix_list_is_read() -> None:
    assert parse(lists.hepix()) == imagelist.ImageList(
        identifier=lists.LIST,
        title='Example images',
        description='What the example endorses',
        created=datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC),
        expires=datetime.datetime(2026, 11, 29, tzinfo=datetime.UTC),
        source='example.org',
        version='0.0.1',
        uri='https://images.example.org/list',
        endorsers=(
            imagelist.Endorser(
                creator='An Endorser',
                subject='/C=CH/O=Example Grid/CN=An Endorser',
                issuer='/C=CH/O=Example Grid/CN=Example CA',
                email='endorser@example.org',
            ),
        ),
        images=(
            imagelist.ImageEntry(
                identifier=lists.IMAGE,
                title='Worker node',
                description='A worker node\nwith two lines',
                uri='http://images.example.org/worker.img',
                size=2147483648,
                version='3',
                sha512='0123456789abcdef' * 8,
                arch='x86_64',
                os='Linux',
                os_version='EL 9.4',
                comments='as installed',
                hypervisors=('kvm', 'xen'),
            ),
        ),
    )
    assert parse(lists.hepix()).problems == ()
    assert only(lists.hepix()).place == ENTRY


def test_appdb_list_is_read() -> None:
    parsed = parse(lists.appdb())
    assert parsed.dialect is imagelist.Dialect.APPDB
    assert parsed.vo == 'example.vo'
    assert parsed.extra == {'ad:swid': '42'}
    (image,) = parsed.images
    assert image.size == 121243136
    assert image.ram_minimum == 512 * 2**20
    assert image.core_minimum == 2
    assert image.format == 'ova'
    assert image.hypervisors == ('kvm',)
    assert image.sha512 == 'fedcba9876543210' * 8
    assert image.os_name == 'Example OS'
    assert image.comments is None
    assert image.mpuri == (
        f'https://db.example.org/vo/image/{lists.OTHER_IMAGE}:484/'
    )
    assert image.expires == datetime.datetime(
        2030, 1, 2, 3, 4, 5, tzinfo=datetime.UTC
    )
    assert image.extra == {
        'ad:group': 'General group',
        'ad:ram_recommended': '1024',
        'ad:user:fullname': 'Some Body',
    }


@pytest.mark.parametrize(
    ('keys', 'dialect'),
    [
        (lists.hepix(), 'hepix'),
        (lists.hepix(**{'ad:vo': ''}), 'appdb'),
        (hepix_with(**{'ad:group': 'x'}), 'appdb'),
        (lists.hepix(**{'hv:images': []}), 'hepix'),
    ],
)
def test_dialect_is_told_by_its_keys(keys: lists.Keys, dialect: str) -> None:
    assert parse(keys).dialect == dialect


def test_list_without_images_key_is_empty_like_one_with_none() -> None:
    absent = parse(lists.without(lists.hepix(), 'hv:images'))
    assert absent == parse(lists.hepix(**{'hv:images': []}))
    assert absent.images == ()
    assert absent.problems == ()


def test_list_without_outer_key_is_read_with_a_warning() -> None:
    parsed = imagelist.parse(json.dumps(lists.hepix()).encode())
    assert parsed == parse(lists.hepix())
    assert parsed.images[0].place == '$.hv:images[0].hv:image'
    (problem,) = parsed.problems
    assert not problem.dropped
    assert str(problem) == (
        'at $: expected the key "hv:imagelist" around the list, '
        'found the list itself'
    )


def test_endorsers_may_be_an_array() -> None:
    second = lists.endorser(**{'hv:dn': '/CN=Second', 'hv:x': [1]})
    both = [lists.endorser(), second]
    parsed = parse(lists.hepix(**{'hv:endorser': both}))
    assert [endorser.subject for endorser in parsed.endorsers] == [
        '/C=CH/O=Example Grid/CN=An Endorser',
        '/CN=Second',
    ]
    assert parsed.endorsers[1].extra == {'hv:x': [1]}


def test_unknown_keys_are_kept_and_change_nothing() -> None:
    extra = {'x': [None, True, 1.5, 'two\nlines', {'y': {}}], 'odd key': 1}
    parsed = parse(lists.hepix(**extra))
    assert parsed.extra == extra
    assert parsed == parse(lists.hepix(**extra))
    assert parsed.problems == ()
    assert only(hepix_with(**extra)).extra == extra


def test_keys_beside_an_outer_key_are_ignored_and_told() -> None:
    document = {'hv:imagelist': lists.hepix(), 'a': 1, 'b': 2}
    document['hv:imagelist']['hv:endorser']['c'] = 3
    document['hv:imagelist']['hv:images'][0]['d e'] = 4
    parsed = imagelist.parse(json.dumps(document).encode())
    assert parsed == parse(lists.hepix())
    assert [str(problem) for problem in parsed.problems] == [
        'at $.a: expected no key beside "hv:imagelist", found 2, ignored',
        f'at {AT}.hv:endorser.c: expected no key beside "hv:x509", '
        'found 1, ignored',
        f'at {AT}.hv:images[0]["d e"]: expected no key beside "hv:image", '
        'found 1, ignored',
    ]
    assert not any(problem.dropped for problem in parsed.problems)


def test_identifiers_are_canonical() -> None:
    keys = hepix_with(**{'dc:identifier': lists.IMAGE.upper()})
    keys['dc:identifier'] = lists.LIST.upper()
    parsed = parse(keys)
    assert parsed.identifier == lists.LIST
    assert parsed.images[0].identifier == lists.IMAGE


@pytest.mark.parametrize(
    ('written', 'read'),
    [
        ('kvm', ('kvm',)),
        ('KVM, Xen ,kvm,', ('kvm', 'xen')),
        ('QEMU', ('qemu',)),
    ],
)
def test_hypervisors_are_split_and_lowered(
    written: str, read: tuple[str, ...]
) -> None:
    assert only(hepix_with(**{'hv:hypervisor': written})).hypervisors == read


@pytest.mark.parametrize('written', ['', '0', 0])
def test_minimum_of_nothing_is_none(written: Any) -> None:
    minima = {'hv:ram_minimum': written, 'hv:core_minimum': written}
    image = only(appdb_with(**minima))
    assert (image.ram_minimum, image.core_minimum) == (None, None)


@pytest.mark.parametrize('key', ['hv:format', 'ad:mpuri', 'sl:osname'])
def test_option_of_empty_text_is_none(key: str) -> None:
    image = only(appdb_with(**{key: ''}))
    assert None in (image.format, image.mpuri, image.os_name)


@pytest.mark.parametrize('ram', [1073741824, '1073741824'])
def test_memory_of_a_hepix_list_is_bytes(ram: Any) -> None:
    assert only(hepix_with(**{'hv:ram_minimum': ram})).ram_minimum == 2**30


@pytest.mark.parametrize('ram', [1024, '1024'])
def test_memory_of_an_appdb_list_is_mib(ram: Any) -> None:
    assert only(appdb_with(**{'hv:ram_minimum': ram})).ram_minimum == 2**30


@pytest.mark.parametrize(
    ('keys', 'unit', 'found'),
    [
        (hepix_with(**{'hv:ram_minimum': 512}), 'bytes (HEPiX)', '512'),
        (hepix_with(**{'hv:ram_minimum': 2**44 + 1}), 'bytes', '17592186044'),
        (appdb_with(**{'hv:ram_minimum': '536870912'}), 'MiB (AppDB)', '53'),
    ],
)
def test_memory_in_the_wrong_unit_is_told_not_guessed(
    keys: lists.Keys, unit: str, found: str
) -> None:
    parsed = parse(keys)
    assert parsed.images[0].ram_minimum is None
    (problem,) = parsed.problems
    assert problem.place == f'{ENTRY}.hv:ram_minimum'
    assert unit in problem.expected
    assert problem.found.startswith(found)
    assert not problem.dropped


@pytest.mark.parametrize('ram', [2**20, 2**44])
def test_memory_at_its_bounds_is_believed(ram: int) -> None:
    assert only(hepix_with(**{'hv:ram_minimum': ram})).ram_minimum == ram


def test_largest_number_of_cores_is_believed() -> None:
    assert only(hepix_with(**{'hv:core_minimum': 65_536})).core_minimum == (
        65_536
    )


def test_only_comments_and_descriptions_have_several_lines() -> None:
    text = 'one\ntwo'
    assert only(hepix_with(**{'sl:comments': text})).comments == text
    for key in ('sl:osname', 'hv:format'):
        problem = dropped(**{key: text})
        assert problem.place == f'{ENTRY}.{key}'
        assert problem.expected == 'a string without control characters'


DIGEST = '@sha256:' + '0' * 64
SAFE = 'an http, https or oci URI with a host and no credentials'


@pytest.mark.parametrize(
    ('key', 'value', 'expected'),
    [
        ('hv:uri', 'http://h/ x', SAFE),
        ('hv:uri', 'http://[x/', SAFE),
        ('hv:uri', 'http://u@h/', SAFE),
        ('hv:uri', 'http:///x', SAFE),
        (
            'hv:uri',
            'oci://h/n:1',
            'an oci URI that ends in NAME@sha256:DIGEST',
        ),
        (
            'hv:uri',
            f'oci://h/x://h/n{DIGEST}',
            'an oci URI that ends in NAME@sha256:DIGEST',
        ),
        ('sl:checksum:sha512', 'abc', '128 hexadecimal digits'),
        ('hv:version', 'none', 'a version that contains a digit'),
        ('hv:hypervisor', ', ,', 'names of hypervisors with commas between'),
        ('hv:hypervisor', '', 'a string that is not empty'),
    ],
)
def test_broken_value_is_told_with_what_was_expected(
    key: str, value: str, expected: str
) -> None:
    problem = dropped(**{key: value})
    assert (problem.expected, problem.place) == (expected, f'{ENTRY}.{key}')
    assert problem.found.startswith(f'"{value}'[:50])


def test_broken_address_of_a_list_is_told() -> None:
    error = refusal(lists.hepix(**{'hv:uri': 'oci://h/n'}))
    assert error.expected == (
        'an oci URI that ends in NAME@sha256:DIGEST or NAME:TAG'
    )
    assert error.found == '"oci://h/n"'


def test_absurd_number_of_cores_is_told_and_ignored() -> None:
    parsed = parse(hepix_with(**{'hv:core_minimum': 65_537}))
    assert parsed.images[0].core_minimum is None
    (problem,) = parsed.problems
    assert problem == imagelist.Problem(
        f'{ENTRY}.hv:core_minimum',
        'at most 65536 cores',
        '65537, ignored',
        dropped=False,
    )


def test_second_image_with_an_identifier_is_dropped() -> None:
    other = lists.hepix_image(**{'dc:identifier': lists.IMAGE.upper()})
    entries = [{'hv:image': lists.hepix_image()}, {'hv:image': other}]
    parsed = parse(lists.hepix(**{'hv:images': entries}))
    assert parsed == parse(lists.hepix())
    (problem,) = parsed.problems
    assert problem == imagelist.Problem(
        f'{AT}.hv:images[1].hv:image.dc:identifier',
        'an identifier of its own',
        f'{lists.IMAGE} again, first at {ENTRY}',
        dropped=True,
    )


def test_identifier_of_a_broken_image_cannot_be_taken_by_a_later_one() -> None:
    broken = lists.hepix_image(**{'hv:size': 'big'})
    entries = [{'hv:image': broken}, {'hv:image': lists.hepix_image()}]
    parsed = parse(lists.hepix(**{'hv:images': entries}))
    assert parsed.images == ()
    assert [problem.place for problem in parsed.problems] == [
        f'{ENTRY}.hv:size',
        f'{AT}.hv:images[1].hv:image.dc:identifier',
    ]


def test_missing_keys_of_a_list_are_all_named() -> None:
    keys = lists.without(lists.hepix(), 'dc:title', 'hv:uri', 'hv:endorser')
    error = refusal(keys)
    assert str(error) == (
        f'at {AT}.dc:title: expected this key, '
        'found nothing (nor hv:uri, hv:endorser)'
    )


@pytest.mark.parametrize('key', sorted(set(lists.hepix()) - {'hv:images'}))
def test_list_needs_each_of_its_keys(key: str) -> None:
    error = refusal(lists.without(lists.hepix(), key))
    assert (error.path, error.found) == (f'{AT}.{key}', 'nothing')


@pytest.mark.parametrize('key', lists.endorser()['hv:x509'])
def test_endorser_needs_each_of_its_keys(key: str) -> None:
    endorser = {'hv:x509': lists.without(lists.endorser()['hv:x509'], key)}
    error = refusal(lists.hepix(**{'hv:endorser': endorser}))
    path = f'{AT}.hv:endorser.hv:x509.{key}'
    assert (error.path, error.found) == (path, 'nothing')


@pytest.mark.parametrize(
    'key', sorted(set(lists.hepix_image()) - {'sl:comments'})
)
def test_image_needs_each_of_its_keys(key: str) -> None:
    image = lists.without(lists.hepix_image(), key)
    problem = dropped_entry({'hv:image': image})
    assert (problem.place, problem.found) == (f'{ENTRY}.{key}', 'nothing')


@pytest.mark.parametrize(
    ('entry', 'place', 'found'),
    [
        ('x', f'{AT}.hv:images[0]', '"x"'),
        ({}, ENTRY, 'nothing'),
        ({'hv:image': []}, ENTRY, 'an array of 0 values'),
        (lists.hepix_image(), ENTRY, 'nothing'),
    ],
)
def test_entry_that_is_no_image_is_dropped(
    entry: Any, place: str, found: str
) -> None:
    problem = dropped_entry(entry)
    assert (problem.place, problem.found) == (place, found)
    assert problem.expected == 'an object'


@pytest.mark.parametrize(
    ('key', 'value', 'expected'),
    [
        ('dc:identifier', '../../etc/passwd', 'a UUID'),
        ('dc:identifier', lists.IMAGE.replace('-', ''), 'a UUID'),
        ('dc:identifier', f'{{{lists.IMAGE}}}', 'a UUID'),
        ('dc:identifier', lists.IMAGE + '\n', 'a UUID'),
        ('dc:identifier', 7, 'a UUID'),
        ('dc:title', None, 'a string'),
        ('dc:title', 'x' * 256, 'a string of at most 255 characters'),
        ('dc:title', 'two\nlines', 'a string without control characters'),
        ('dc:title', 'a\u202eb', 'a string without control characters'),
        ('dc:title', 'a\x9bb', 'a string without control characters'),
        ('dc:description', '\x1b[2J', 'a string without control characters'),
        ('dc:description', 'x' * 16385, 'a string of at most 16384'),
        ('hv:size', -1, 'a whole number, 0 or more'),
        ('hv:size', 1.0, 'a whole number, 0 or more'),
        ('hv:size', True, 'a whole number, 0 or more'),
        ('hv:size', '', 'a whole number, 0 or more'),
        ('hv:size', '+1', 'a whole number, 0 or more'),
        ('hv:size', '1e3', 'a whole number, 0 or more'),
        ('hv:size', '\u0661', 'a whole number, 0 or more'),
        ('hv:size', '9' * 21, 'a whole number, 0 or more'),
        ('hv:size', '9' * 5000, 'a whole number, 0 or more'),
        ('hv:size', 2**63, 'a whole number, 0 or more'),
        ('hv:version', 3, 'a string'),
        ('hv:version', 'latest', 'a version that contains a digit'),
        ('hv:version', '1\t2', 'a string without control characters'),
        ('sl:checksum:sha512', 'a' * 127, '128 hexadecimal digits'),
        ('sl:checksum:sha512', 'g' * 128, '128 hexadecimal digits'),
        ('sl:checksum:sha512', 0, '128 hexadecimal digits'),
        ('sl:arch', '', 'a string that is not empty'),
        ('sl:os', {}, 'a string'),
        ('sl:osversion', 9, 'a string'),
        ('sl:osname', [], 'a string'),
        ('sl:comments', 1, 'a string'),
        ('hv:hypervisor', '', 'a string that is not empty'),
        ('hv:hypervisor', ',', 'names of hypervisors'),
        ('hv:hypervisor', 'kvm;reboot', 'names of hypervisors'),
        ('hv:hypervisor', ['kvm'], 'a string'),
        ('hv:format', 1, 'a string'),
        ('hv:core_minimum', 'two', 'a whole number'),
        ('hv:ram_minimum', None, 'a whole number'),
        ('dc:date:expires', '', 'a date YYYY-MM-DDTHH:MM:SSZ'),
        ('x', 'a\x07', 'a string without control characters'),
        ('x', [{'y': '\x7f'}], 'a string without control characters'),
    ],
)
def test_image_with_a_broken_value_is_dropped(
    key: str, value: Any, expected: str
) -> None:
    problem = dropped(**{key: value})
    assert problem.place.startswith(f'{ENTRY}.{key}')
    assert problem.expected.startswith(expected)
    assert len(problem.found) < 200


def test_place_of_a_fault_deep_in_unknown_keys_is_exact() -> None:
    problem = dropped(x=[1, {'y z': '\x7f'}])
    assert problem.place == f'{ENTRY}.x[1]["y z"]'
    problem = dropped(x={'y\x7f': 1})
    assert problem.place == f'{ENTRY}.x["y\\u007f"]'


@pytest.mark.parametrize('number', ['0', 0, '00', 2**63 - 1])
def test_size_may_be_a_number_or_its_digits(number: Any) -> None:
    image = only(hepix_with(**{'hv:size': number}))
    assert image.size == int(number)


@pytest.mark.parametrize(
    'uri',
    [
        'http://example.org/a',
        'HTTPS://Example.org:8443/a?b=c;d#e',
        'https://[2001:db8::1]:443/a',
        'https://[2001:db8::1]/a',
        'https://192.0.2.1/a%20b',
        "https://example.org/$(reboot)'!",
    ],
)
def test_uri_that_is_safe_to_fetch_is_kept_as_written(uri: str) -> None:
    assert only(hepix_with(**{'hv:uri': uri})).uri == uri


@pytest.mark.parametrize(
    'uri',
    [
        '',
        'example.org/a',
        'file:///etc/passwd',
        'ftp://example.org/a',
        'javascript:alert(1)',
        'http:///a',
        'http://:80/a',
        'http://user@example.org/a',
        'http://user:word@example.org/a',
        'http://example.org:0/a',
        'http://example.org:65536/a',
        'http://example.org:http/a',
        'http://example.org/a b',
        'http://example.org/a"b',
        'http://example.org/a`b`',
        'http://example.org\\@other.org/',
        'http://example.org/%zz',
        'http://ex%61mple.org/',
        'http://[::1/a',
        'http://a]b/',
        'http://exämple.org/',
        'http://example.org/\n',
        'http://example.org/' + 'a' * 2030,
        7,
    ],
)
def test_image_with_a_hostile_uri_is_dropped(uri: Any) -> None:
    assert dropped(**{'hv:uri': uri}).place == f'{ENTRY}.hv:uri'


DIGEST = f'sha256:{"0f" * 32}'


@pytest.mark.parametrize(
    'uri',
    [
        f'oci://example.org/a@{DIGEST}',
        f'oci://example.org:8443/vo/worker__9.x-y@{DIGEST}',
        f'oci+http://[::1]:5000/vo/sub/name@{DIGEST}',
    ],
)
def test_image_in_a_registry_is_named_by_its_digest(uri: str) -> None:
    assert only(hepix_with(**{'hv:uri': uri})).uri == uri


@pytest.mark.parametrize(
    'uri',
    [
        'oci://example.org/vo/name:tag',
        'oci://example.org/vo/name',
        f'oci://example.org/vo/name:tag@{DIGEST}',
        f'oci://example.org/vo/name@{DIGEST[:-1]}',
        f'oci://example.org/vo/name@{DIGEST.upper()}',
        f'oci://example.org/vo/name@sha512:{"0f" * 64}',
        f'oci://example.org/@{DIGEST}',
        f'oci://example.org/vo//name@{DIGEST}',
        f'oci://example.org/../name@{DIGEST}',
        f'oci://example.org/VO/name@{DIGEST}',
        f'oci://example.org/vo/name@{DIGEST}?x',
        f'oci://example.org/vo/name@{DIGEST}#x',
        f'oci://user@example.org/vo/name@{DIGEST}',
        f'oci:///vo/name@{DIGEST}',
        f'oci+https://example.org/vo/name@{DIGEST}',
    ],
)
def test_image_in_a_registry_by_anything_else_is_dropped(uri: str) -> None:
    assert dropped(**{'hv:uri': uri}).place == f'{ENTRY}.hv:uri'


@pytest.mark.parametrize(
    'uri',
    [
        'oci://example.org/vo/list:v1.0_a-b',
        'oci+http://localhost:5000/list:9',
        f'oci://example.org/vo/list@{DIGEST}',
    ],
)
def test_list_in_a_registry_is_named_by_a_tag_or_a_digest(uri: str) -> None:
    keys = lists.hepix(**{'hv:uri': uri})
    assert imagelist.parse(lists.payload(keys)).uri == uri


@pytest.mark.parametrize(
    'uri',
    ['oci://example.org/vo/list', 'oci://example.org/vo/list:-', 'oci://h/:a'],
)
def test_list_in_a_registry_by_anything_else_is_refused(uri: str) -> None:
    keys = lists.hepix(**{'hv:uri': uri})
    with pytest.raises(errors.InvalidList, match='NAME:TAG'):
        imagelist.parse(lists.payload(keys))


@pytest.mark.parametrize(
    'date',
    [
        '2026-11-01T00:00:00',
        '2026-11-01 00:00:00Z',
        '2026-11-01T00:00:00z',
        '2026-11-01T00:00:00.5Z',
        '2026-11-01T00:00:00+00:00',
        '2026-11-01',
        '٢٠٢٦-11-01T00:00:00Z',
        '2026-02-30T00:00:00Z',
        '2026-11-01T24:00:00Z',
        '2026-12-31T23:59:60Z',
        '0000-01-01T00:00:00Z',
        '2026-11-01T00:00:00Z\n',
        1793491200,
    ],
)
def test_list_with_another_form_of_date_is_refused(date: Any) -> None:
    error = refusal(lists.hepix(**{'dc:date:created': date}))
    assert error.path == f'{AT}.dc:date:created'
    assert error.expected.startswith('a date')


@pytest.mark.parametrize(
    ('key', 'value', 'path'),
    [
        ('dc:identifier', 'x', 'dc:identifier'),
        ('dc:title', 'x' * 256, 'dc:title'),
        ('dc:description', '\x08', 'dc:description'),
        ('dc:date:expires', 'never', 'dc:date:expires'),
        ('dc:source', 1, 'dc:source'),
        ('hv:version', 'latest', 'hv:version'),
        ('hv:version', '1' * 256, 'hv:version'),
        ('hv:uri', 'gopher://example.org', 'hv:uri'),
        ('hv:images', {}, 'hv:images'),
        ('hv:images', None, 'hv:images'),
        ('hv:endorser', 'x', 'hv:endorser'),
        ('hv:endorser', [], 'hv:endorser'),
        ('hv:endorser', [{}] * 33, 'hv:endorser'),
        ('hv:endorser', ['x'], 'hv:endorser[0]'),
        ('hv:endorser', {}, 'hv:endorser.hv:x509'),
        ('hv:endorser', [lists.endorser(), {}], 'hv:endorser[1].hv:x509'),
        (
            'hv:endorser',
            lists.endorser(**{'hv:dn': ''}),
            'hv:endorser.hv:x509.hv:dn',
        ),
        (
            'hv:endorser',
            lists.endorser(**{'hv:ca': ['x']}),
            'hv:endorser.hv:x509.hv:ca',
        ),
        ('ad:vo', 1, 'ad:vo'),
        ('x', '\x1b', 'x'),
    ],
)
def test_list_with_a_broken_value_is_refused(
    key: str, value: Any, path: str
) -> None:
    error = refusal(lists.hepix(**{key: value}))
    assert error.path == f'{AT}.{path}'
    assert str(error).startswith(f'at {AT}.{path}: expected ')


def test_more_images_than_the_limit_are_refused() -> None:
    entries = [{}] * 3
    keys = lists.hepix(**{'hv:images': entries})
    assert len(parse(keys, images=3).problems) == 3
    error = refusal(keys, images=2)
    assert str(error) == (
        f'at {AT}.hv:images: expected at most 2 images, '
        'found an array of 3 values'
    )


@pytest.mark.parametrize(
    ('payload', 'message'),
    [
        (b'[]', 'at $: expected an object, found an array of 0 values'),
        (b'null', 'at $: expected an object, found null'),
        (b'{}', 'at $.hv:imagelist: expected an object, found nothing'),
        (b'{"a": 1}', 'at $.hv:imagelist: expected an object, found nothing'),
        (
            b'{"hv:imagelist": 3}',
            'at $.hv:imagelist: expected an object, found 3',
        ),
    ],
)
def test_document_that_holds_no_list_is_refused(
    payload: bytes, message: str
) -> None:
    with pytest.raises(errors.InvalidList) as caught:
        imagelist.parse(payload)
    assert str(caught.value) == message


def test_what_was_found_is_shortened() -> None:
    error = refusal(lists.hepix(**{'dc:identifier': 'é' * 1000}))
    assert len(error.found) < 100
    assert error.found.endswith('... (6002 characters)')
    assert error.found.isascii()
