# SPDX-License-Identifier: Apache-2.0
"""The forms in which a bundle travels, read by the tools of guests."""

import base64
import gzip
import io
import random
import shutil
import subprocess
import zipfile

import pytest

from hepix_vm.context import bundle
from hepix_vm.context import forms
from tests.unit.context import sites

CONTENTS = [
    b'',
    b'x',
    bytes(100_000),
    random.Random(5).randbytes(100_000),
]


@pytest.fixture
def built(tmp_path):
    return sites.build(sites.make(tmp_path / 'context'))


def _through(command: list[str], content: bytes) -> bytes:
    ran = subprocess.run(
        command, input=content, check=True, capture_output=True, timeout=120
    )
    assert ran.stderr == b''
    return ran.stdout


@pytest.mark.parametrize('content', CONTENTS)
def test_gzip_and_pkzip_are_unpacked_by_gnu_gzip(content):
    tgz = forms.gzip(content)
    assert gzip.decompress(tgz) == content
    assert _through(['gzip', '-dc'], tgz) == content
    assert _through(['gzip', '-dc'], forms.pkzip(tgz)) == content


def test_the_wrappers_are_known_to_the_byte():
    """Neither a time nor the release of Python is in there."""
    tgz = forms.gzip(b'abc')
    assert tgz.hex() == ('1f8b08000000000002ff4b4c4a0600c241243503000000')
    assert forms.pkzip(tgz).hex() == (
        '504b030414000000080000002100c241243505000000030000000b000000'
        '636f6e746578742e7461724b4c4a0600504b010214031400000008000000'
        '2100c241243505000000030000000b0000000000000000000000a4810000'
        '0000636f6e746578742e746172504b05060000000001000100390000002e'
        '0000000000'
    )


@pytest.mark.parametrize('content', CONTENTS)
def test_pkzip_is_one_sound_member(content):
    with zipfile.ZipFile(io.BytesIO(forms.pkzip(forms.gzip(content)))) as zip_:
        assert zip_.testzip() is None
        [info] = zip_.infolist()
        assert info.filename == 'context.tar'
        assert info.date_time == (1980, 1, 1, 0, 0, 0)
        assert info.flag_bits == 0
        assert zip_.read(info) == content


def test_tar_unpacks_pkzip_like_gzip(built, tmp_path):
    pkzip = tmp_path / 'default.tgz'
    pkzip.write_bytes(forms.pkzip(built.tgz))
    listed = _through(['tar', '-tzf', str(pkzip)], b'').decode().split()
    assert 'prolog.sh' in listed
    assert _through(['tar', '-zxOf', str(pkzip), 'prolog.sh'], b'') == (
        sites.PROLOG.encode()
    )


@pytest.mark.parametrize('content', CONTENTS)
def test_base64_is_text_that_every_tool_reads(content):
    text = forms.base64(content)
    assert text == base64.encodebytes(content)
    assert max(map(len, text.split(b'\n')), default=0) <= 76
    assert _through(['base64', '-d'], text) == content
    if shutil.which('openssl') and content:
        assert _through(['openssl', 'base64', '-d'], text) == content


def test_the_largest_bundle_fits_an_answer_in_base64():
    largest = len(forms.base64(bytes(bundle.COMPRESSED_LIMIT)))
    assert largest <= bundle.ANSWER_LIMIT
    assert largest > bundle.ANSWER_LIMIT - 2048
