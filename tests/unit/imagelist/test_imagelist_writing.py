# SPDX-License-Identifier: Apache-2.0
"""Lists are written so that old and new consumers read them."""

from __future__ import annotations

import dataclasses
import datetime
import json
import time
from typing import Any

import pytest

from hepix_vm import errors
from hepix_vm import imagelist
from tests.unit.imagelist import lists


def parse(keys: lists.Keys) -> imagelist.ImageList:
    return imagelist.parse(lists.payload(keys))


def written(
    image_list: imagelist.ImageList, dialect: imagelist.Dialect | None = None
) -> dict[str, Any]:
    keys: dict[str, Any] = json.loads(imagelist.render(image_list, dialect))
    return keys


@pytest.mark.parametrize(
    'keys',
    [
        lists.hepix(),
        lists.appdb(),
        lists.hepix(x={'é': ['\u2603\n', 1.5, None]}),
        lists.hepix(**{'hv:images': []}),
        lists.hepix(**{'hv:endorser': [lists.endorser(), lists.endorser()]}),
        lists.hepix(**{'hv:endorser': lists.endorser(x='y', **{'ad:z': 1})}),
        lists.appdb(**{'ad:vo': ''}),
        lists.without(lists.appdb(), 'ad:vo'),
    ],
)
def test_written_list_reads_as_the_same(keys: lists.Keys) -> None:
    image_list = parse(keys)
    again = imagelist.parse(imagelist.render(image_list))
    assert again == image_list
    assert again.problems == ()


def test_hepix_list_is_written_with_the_keys_it_had() -> None:
    keys = lists.hepix(**{'hv:x': 1})
    assert written(parse(keys)) == {'hv:imagelist': keys}


def test_appdb_list_is_written_with_the_keys_it_had() -> None:
    keys = lists.appdb()
    image = keys['hv:images'][0]['hv:image']
    # Case is the one thing that reading does not keep.
    image['hv:hypervisor'] = 'kvm'
    image['hv:format'] = 'ova'
    image['sl:checksum:sha512'] = image['sl:checksum:sha512'].lower()
    assert written(parse(keys)) == {'hv:imagelist': keys}


def test_same_list_is_the_same_bytes_whatever_the_order() -> None:
    keys = lists.hepix(x=1, y=2)
    turned = dict(reversed(keys.items()))
    payload = imagelist.render(parse(keys))
    assert payload == imagelist.render(parse(turned))
    assert payload.isascii()
    assert payload.startswith(b'{\n  "hv:imagelist": {\n    "dc:date:created"')
    assert not any(line.endswith(b' ') for line in payload.splitlines())
    assert payload.endswith(b'}\n')


def test_old_consumers_find_what_they_need() -> None:
    keys = lists.hepix(**{'hv:images': []})
    one = written(parse(keys))['hv:imagelist']
    assert one['hv:images'] == []
    assert isinstance(one['hv:endorser'], dict)
    image = lists.without(lists.hepix_image(), 'sl:comments')
    keys = lists.hepix(**{'hv:images': [{'hv:image': image}]})
    entry = written(parse(keys))['hv:imagelist']['hv:images'][0]
    assert entry['hv:image']['sl:comments'] == ''


def test_appdb_list_can_be_written_for_hepix_tools() -> None:
    image_list = parse(lists.appdb())
    converted = imagelist.parse(
        imagelist.render(image_list, imagelist.Dialect.HEPIX)
    )
    (image,) = image_list.images
    assert converted == dataclasses.replace(
        image_list,
        dialect=imagelist.Dialect.HEPIX,
        vo=None,
        extra={},
        images=(dataclasses.replace(image, mpuri=None, extra={}),),
    )


def test_hepix_list_can_be_written_for_appdb_tools() -> None:
    ram = 2**30 + 1
    entry = {'hv:image': lists.hepix_image(**{'hv:ram_minimum': ram})}
    image_list = parse(lists.hepix(**{'hv:images': [entry]}))
    payload = imagelist.render(image_list, imagelist.Dialect.APPDB)
    image = json.loads(payload)['hv:imagelist']['hv:images'][0]['hv:image']
    assert image['hv:size'] == '2147483648'
    assert image['hv:ram_minimum'] == '1025'
    converted = imagelist.parse(payload)
    assert converted.dialect is imagelist.Dialect.APPDB
    assert converted.vo is None
    # Memory that is not whole MiB grows: the minimum still holds.
    assert converted.images[0].ram_minimum == 1025 * 2**20


def test_unknown_keys_never_stand_in_for_known_ones() -> None:
    image_list = parse(lists.hepix())
    (image,) = image_list.images
    sly = dataclasses.replace(image, extra={'hv:format': 'raw', 'x': 1})
    rendered = dataclasses.replace(image_list, images=(sly,))
    (again,) = imagelist.parse(imagelist.render(rendered)).images
    assert (again.format, again.extra) == (None, {'x': 1})


def test_dates_are_written_in_utc() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=2))
    image_list = dataclasses.replace(
        parse(lists.hepix()),
        created=datetime.datetime(2026, 11, 1, 2, 0, 0, tzinfo=zone),
    )
    keys = written(image_list)['hv:imagelist']
    assert keys['dc:date:created'] == '2026-11-01T00:00:00Z'


def test_dates_do_not_depend_on_the_zone_of_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image_list = parse(lists.hepix())
    expected = imagelist.render(image_list)
    monkeypatch.setenv('TZ', 'Asia/Tokyo')
    time.tzset()
    try:
        assert imagelist.render(image_list) == expected
    finally:
        monkeypatch.undo()
        time.tzset()


def test_date_without_zone_is_not_written() -> None:
    naive = datetime.datetime(2026, 11, 1)  # noqa: DTZ001
    image_list = dataclasses.replace(parse(lists.hepix()), created=naive)
    with pytest.raises(ValueError, match='time zone'):
        imagelist.render(image_list)


@pytest.mark.parametrize(
    ('changes', 'path'),
    [
        ({'title': 'a\x1b'}, '$.hv:imagelist.dc:title'),
        ({'endorsers': ()}, '$.hv:imagelist.hv:endorser'),
        ({'identifier': 'x'}, '$.hv:imagelist.dc:identifier'),
        ({'extra': {'x': float('nan')}}, '$'),
    ],
)
def test_list_that_would_be_refused_is_not_written(
    changes: dict[str, Any], path: str
) -> None:
    image_list = dataclasses.replace(parse(lists.hepix()), **changes)
    with pytest.raises(errors.InvalidList) as caught:
        imagelist.render(image_list)
    assert caught.value.path == path


@pytest.mark.parametrize(
    ('changes', 'key', 'expected', 'found'),
    [
        ({'size': -1}, 'hv:size', 'a whole number, 0 or more', '-1'),
        (
            {'uri': 'file:///etc/passwd'},
            'hv:uri',
            'an http, https or oci URI with a host and no credentials',
            '"file:///etc/passwd"',
        ),
        (
            {'ram_minimum': 512},
            'hv:ram_minimum',
            'memory from 1 MiB to 16 TiB in bytes (HEPiX)',
            '512, ignored',
        ),
    ],
)
def test_list_that_would_lose_something_is_not_written(
    changes: dict[str, Any], key: str, expected: str, found: str
) -> None:
    image_list = parse(lists.hepix())
    broken = dataclasses.replace(image_list.images[0], **changes)
    image_list = dataclasses.replace(image_list, images=(broken,))
    with pytest.raises(errors.InvalidList) as caught:
        imagelist.render(image_list)
    place = '$.hv:imagelist.hv:images[0].hv:image'
    assert caught.value.path == f'{place}.{key}'
    assert (caught.value.expected, caught.value.found) == (expected, found)


def test_values_can_be_members_of_sets() -> None:
    image_list = parse(lists.appdb())
    assert len({image_list, parse(lists.appdb())}) == 1
