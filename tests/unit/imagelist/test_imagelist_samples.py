# SPDX-License-Identifier: Apache-2.0
"""Lists found in the field, where they are at hand.

The other modules here cover the same forms with lists of their own.
``HEPIX_VM_SAMPLES`` names another folder.
"""

from __future__ import annotations

import json
import pathlib

import pytest

from hepix_vm import errors
from hepix_vm import imagelist
from tests.unit.imagelist import lists

SAMPLES = lists.samples()
pytestmark = pytest.mark.skipif(
    SAMPLES is None, reason='no folder of sample lists beside the checkout'
)


@pytest.fixture
def samples() -> pathlib.Path:
    assert SAMPLES is not None
    return SAMPLES


def signed_content(path: pathlib.Path) -> bytes:
    """The first part of an S/MIME message; nothing is verified."""
    message = path.read_bytes().replace(b'\r\n', b'\n')
    boundary = message.split(b'boundary="')[1].split(b'"')[0]
    part: bytes = message.split(b'\n--' + boundary + b'\n')[1]
    return part


@pytest.mark.parametrize(
    ('name', 'dialect', 'images'),
    [
        ('hepix/specification-example.json', 'hepix', 1),
        ('hepix/signed-2011.smime', 'hepix', 1),
        ('appdb/imagelist01.unsigned', 'appdb', 2),
        ('appdb/imagelist01.signed', 'appdb', 2),
        ('appdb/imagelist02.signed', 'appdb', 2),
        ('envelope/cloudkeeper01-all-CRLF.smime', 'appdb', 2),
        ('appdb/structures/image_list07.json', 'appdb', 2),
        ('appdb/structures/image_list10.json', 'appdb', 2),
    ],
)
def test_real_list_is_read_and_written(
    samples: pathlib.Path, name: str, dialect: str, images: int
) -> None:
    path = samples / name
    signed = path.suffix in ('.smime', '.signed')
    payload = signed_content(path) if signed else path.read_bytes()
    image_list = imagelist.parse(payload)
    assert image_list.dialect == dialect
    assert len(image_list.images) == images
    assert not any(problem.dropped for problem in image_list.problems)
    assert imagelist.parse(imagelist.render(image_list)) == image_list


@pytest.mark.parametrize(
    ('name', 'path', 'named'),
    [
        ('image_list01', '$.hv:imagelist', ''),
        ('image_list02', '$.hv:imagelist', ''),
        ('image_list03', '$.hv:imagelist', ''),
        ('image_list05', '$.hv:version', 'hv:endorser'),
        ('image_list06', '$.dc:source', 'hv:endorser'),
        ('hash01', '$.hv:imagelist', ''),
    ],
)
def test_partial_list_names_what_is_missing(
    samples: pathlib.Path, name: str, path: str, named: str
) -> None:
    payload = (samples / 'appdb/structures' / f'{name}.json').read_bytes()
    with pytest.raises(errors.InvalidList) as caught:
        imagelist.parse(payload)
    assert caught.value.path == path
    assert caught.value.found.startswith('nothing')
    assert named in caught.value.found


def test_stub_list_names_its_missing_keys(samples: pathlib.Path) -> None:
    payload = signed_content(samples / 'envelope/text-header-inside.smime')
    text = payload.partition(b'\n\n')[2]
    with pytest.raises(errors.InvalidList) as caught:
        imagelist.parse(text)
    assert caught.value.path == '$.hv:imagelist.dc:identifier'
    assert 'hv:endorser' in caught.value.found


def test_versions_agree_with_vmcatcher(samples: pathlib.Path) -> None:
    path = samples / 'versions/version_compare_vectors.json'
    vectors = json.loads(path.read_text())['vectors']
    without_digits = {'', 'a', 'b'}
    compared = 0
    for vector in vectors:
        old, new = vector['old'], vector['new']
        if {old, new} & without_digits:
            continue
        # Equal to names that differ among themselves: no order agrees.
        if '01' in (old, new) and vector['split_numeric_sort'] == 0:
            continue
        a, b = imagelist.version_key(old), imagelist.version_key(new)
        assert (a < b) - (a > b) == vector['split_numeric_sort'], vector
        compared += 1
    assert compared > 500
