# SPDX-License-Identifier: Apache-2.0
"""Image lists under generated input."""

from __future__ import annotations

import contextlib
import datetime
import json
import re
import string
from unittest import mock

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from hepix_vm import errors
from hepix_vm import imagelist
from hepix_vm.imagelist import fields
from tests.unit.imagelist import lists

# Two busy cores: no deadline.
settings.register_profile('imagelist', deadline=None, max_examples=100)
quietly = settings(settings.get_profile('imagelist'))

line = st.text(
    st.characters(
        codec='utf-8', categories=('L', 'N', 'P', 'S', 'Zs', 'M', 'So')
    ),
    max_size=40,
)
some = line.filter(bool)
numbers = st.integers(0, 2**63 - 1)
moments = st.datetimes(
    timezones=st.just(datetime.UTC),
).map(lambda when: when.replace(microsecond=0))
versions = st.text(
    string.ascii_letters + string.digits + '.,-_/+~ ', max_size=20
).map(lambda text: text + '1')
uris = st.builds(
    '{}://{}/{}'.format,
    st.sampled_from(['http', 'https']),
    st.sampled_from(['example.org', 'a:8080', '[::1]', '192.0.2.7:1']),
    st.text(string.ascii_letters + string.digits + '/?&=.-_', max_size=20),
) | st.builds(
    'oci://{}/{}@sha256:{}'.format,
    st.sampled_from(['example.org', 'a:8080', '[::1]', '192.0.2.7:1']),
    st.sampled_from(['a', 'vo/a', 'v.o/a__b/c-d9']),
    st.text('0123456789abcdef', min_size=64, max_size=64),
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | line
)
json_values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(line, inner, max_size=3)
    ),
    max_leaves=8,
)


def extras(prefix: str) -> st.SearchStrategy[dict[str, imagelist.JSON]]:
    return st.dictionaries(
        line.map(lambda text: prefix + text), json_values, max_size=3
    )


def optional(
    strategy: st.SearchStrategy[str],
) -> st.SearchStrategy[str | None]:
    return st.none() | strategy


endorsers = st.builds(imagelist.Endorser, line, some, some, line, extras('x:'))


def images(appdb: bool) -> st.SearchStrategy[imagelist.ImageEntry]:
    mebibytes = st.integers(1, 2**24).map(lambda number: number * 2**20)
    return st.builds(
        imagelist.ImageEntry,
        identifier=st.uuids().map(str),
        title=line,
        description=line.map(lambda text: f'{text}\n\t{text}'),
        uri=uris,
        size=numbers,
        version=versions,
        sha512=st.text('0123456789abcdef', min_size=128, max_size=128),
        arch=some,
        os=line,
        os_version=line,
        os_name=optional(some),
        comments=optional(some),
        hypervisors=st.lists(
            st.sampled_from(['kvm', 'xen', 'qemu', 'hyper-v']),
            min_size=1,
            unique=True,
        ).map(tuple),
        format=optional(st.sampled_from(['qcow2', 'vdi.gz', 'raw'])),
        core_minimum=st.none() | st.integers(1, 65_536),
        ram_minimum=(
            st.none() | mebibytes
            if appdb
            else st.none() | st.integers(2**20, 2**44)
        ),
        expires=st.none() | moments,
        mpuri=optional(some) if appdb else st.none(),
        extra=extras('ad:x:') if appdb else extras('x:'),
    )


def image_lists(appdb: bool) -> st.SearchStrategy[imagelist.ImageList]:
    return st.builds(
        imagelist.ImageList,
        identifier=st.uuids().map(str),
        title=line,
        description=line,
        created=moments,
        expires=moments,
        source=line,
        version=versions,
        uri=uris,
        endorsers=st.lists(endorsers, min_size=1, max_size=3).map(tuple),
        images=st.lists(
            images(appdb), max_size=4, unique_by=lambda one: one.identifier
        ).map(tuple),
        vo=optional(some) if appdb else st.none(),
        extra=extras('ad:x:') if appdb else extras('x:'),
        dialect=st.just(
            imagelist.Dialect.APPDB if appdb else imagelist.Dialect.HEPIX
        ),
    )


def read(payload: bytes) -> imagelist.ImageList | None:
    """What reading gives; anything but a refusal would fail the test."""
    with contextlib.suppress(errors.InvalidList):
        return imagelist.parse(payload)
    return None


@quietly
@given(st.binary(max_size=200))
def test_bytes_are_read_or_refused(payload: bytes) -> None:
    assert read(payload) is None


@quietly
@given(json_values)
def test_json_is_read_or_refused(value: imagelist.JSON) -> None:
    read(json.dumps(value).encode())
    read(json.dumps({'hv:imagelist': value}).encode())
    read(lists.payload(lists.hepix(**{'hv:images': [value]})))
    read(lists.payload(lists.hepix(**{'hv:endorser': value})))


@quietly
@given(
    st.sampled_from([lists.payload(lists.hepix()).decode('latin-1')]),
    st.lists(
        st.tuples(st.integers(0, 2000), st.binary(max_size=3)), max_size=5
    ),
)
def test_damaged_list_is_read_or_refused(
    text: str, cuts: list[tuple[int, bytes]]
) -> None:
    payload = text.encode('latin-1')
    for at, put in cuts:
        payload = payload[:at] + put + payload[at + 1 :]
    read(payload)


@quietly
@given(
    st.sampled_from(sorted(lists.hepix())),
    st.sampled_from(sorted(lists.appdb_image())),
    json_values,
)
def test_any_value_under_any_key_is_read_or_refused(
    key: str, image_key: str, value: imagelist.JSON
) -> None:
    read(lists.payload(lists.hepix(**{key: value})))
    image = lists.appdb_image(**{image_key: value})
    image_list = read(
        lists.payload(lists.hepix(**{'hv:images': [{'hv:image': image}]}))
    )
    # A broken image never costs the list.
    assert image_list is not None
    dropped = [one for one in image_list.problems if one.dropped]
    assert len(image_list.images) + len(dropped) == 1


@quietly
@given(st.booleans().flatmap(image_lists))
def test_written_list_reads_as_the_same(
    image_list: imagelist.ImageList,
) -> None:
    payload = imagelist.render(image_list)
    again = imagelist.parse(payload)
    assert again == image_list
    assert again.problems == ()
    assert imagelist.render(again) == payload


@quietly
@given(image_lists(appdb=True))
def test_list_converted_twice_is_the_same_bytes(
    image_list: imagelist.ImageList,
) -> None:
    hepix = imagelist.render(image_list, imagelist.Dialect.HEPIX)
    converted = imagelist.parse(hepix)
    assert converted.dialect is imagelist.Dialect.HEPIX
    assert imagelist.render(converted) == hepix


free = st.text(max_size=12).map(lambda text: text + '0')


@quietly
@given(free | versions, free | versions, free | versions)
def test_order_of_versions_is_total(a: str, b: str, c: str) -> None:
    x, y, z = map(imagelist.version_key, (a, b, c))
    assert [x < y, x == y, x > y].count(True) == 1
    low, middle, high = sorted((x, y, z))
    assert low <= middle <= high
    assert low <= high


@quietly
@given(versions, st.integers(1, 5))
def test_longer_version_is_newer(version: str, more: int) -> None:
    key = imagelist.version_key
    assert key(version) < key(f'{version}.{more}')


@quietly
@given(st.integers(0, 10**30), st.integers(0, 10**30))
def test_whole_numbers_compare_as_numbers(a: int, b: int) -> None:
    x, y = imagelist.version_key(f'00{a}'), imagelist.version_key(str(b))
    assert (x < y) == (a < b)
    assert (x == y) == (a == b)


@quietly
@given(
    st.sampled_from(['http://', 'https://', 'HTTP://', 'oci://']),
    st.text('a0.-_/:@?#[]%Z ~', max_size=12),
)
def test_short_way_for_plain_uris_says_what_the_long_one_does(
    scheme: str, rest: str
) -> None:
    def outcome() -> str:
        try:
            return fields.uri(scheme + rest, '$', 99, image=True)
        except errors.InvalidList as error:
            return str(error)

    short = outcome()
    with mock.patch.object(fields, '_PLAIN_URI', re.compile('(?!)')):
        assert outcome() == short
