# SPDX-License-Identifier: Apache-2.0
"""Bundles, manifests, patterns and scripts of any content."""

from __future__ import annotations

import contextlib
import fnmatch
import gzip
import io
import string
import zipfile

from hypothesis import example
from hypothesis import given
from hypothesis import strategies as st

from hepix_vm.context import archive
from hepix_vm.context import bundle
from hepix_vm.context import documents
from hepix_vm.context import facts as facts_
from hepix_vm.context import forms
from hepix_vm.context import iso9660
from hepix_vm.context import layers
from hepix_vm.context import lint_secrets
from hepix_vm.context import lint_shell
from hepix_vm.context import manifest
from hepix_vm.context import shell
from hepix_vm.context import templates
from hepix_vm import errors

HEX = st.text('0123456789abcdef', min_size=64, max_size=64)
PARTS = st.text(string.ascii_letters + string.digits + '_', min_size=1)
TIMES = st.none() | st.integers(0, 253402300799)


@st.composite
def members(draw: st.DrawFn) -> list[archive.Member]:
    """A tree of a few files and directories."""
    names = draw(
        st.lists(
            st.lists(PARTS.map(lambda p: p[:60]), min_size=1, max_size=3),
            max_size=6,
        )
    )
    files = {
        '/'.join(parts): draw(st.binary(max_size=3000)) for parts in names
    }
    folders = {
        name.rsplit('/', up)[0]
        for name in files
        for up in range(1, name.count('/') + 1)
    }
    return [archive.Member(name, True, None) for name in folders] + [
        archive.Member(name, draw(st.booleans()), content)
        for name, content in files.items()
        if name not in folders
    ]


@given(members(), st.randoms(use_true_random=False))
def test_an_archive_is_the_same_from_any_order_and_read_back(found, draw):
    ordered = archive.ordered(found, '')
    tar = archive.pack(ordered, '')
    draw.shuffle(found)
    assert archive.pack(archive.ordered(found, ''), '') == tar
    assert archive.pack(tuple(archive.unpack(tar, 100, '')), '') == tar


@given(members())
def test_a_cd_is_whole_sectors_with_every_content_in_it(found):
    ordered = archive.ordered(found, '')
    image = iso9660.image(ordered, 'LABEL')
    assert len(image) % iso9660.SECTOR == 0
    assert image == iso9660.image(ordered, 'LABEL')
    for member in ordered:
        assert (member.content or b'') in image


@given(st.binary(max_size=5000))
def test_every_form_carries_the_content(content):
    tgz = forms.gzip(content)
    assert gzip.decompress(tgz) == content
    with zipfile.ZipFile(io.BytesIO(forms.pkzip(tgz))) as found:
        assert found.read('context.tar') == content


@given(
    st.builds(
        manifest.Manifest,
        serial=st.integers(0, 10**17),
        created=TIMES,
        expires=TIMES,
        sha256_tar=HEX,
        size_tar=st.integers(0, 10**12),
        files=st.dictionaries(PARTS, st.integers(0, 10**9), max_size=5).map(
            lambda sizes: tuple(
                bundle.BundleFile(path, 0o644, sizes[path], 'a' * 64)
                for path in sorted(sizes)
            )
        ),
    )
)
def test_a_manifest_is_read_back(found):
    assert manifest.parse(manifest.render(found)) == found


@given(
    st.lists(
        st.sampled_from(
            [
                *('hepix-context-manifest: 1\n', 'serial: 1\n', '\n', ' '),
                *('created: 2026-11-22T13:00:00Z\n', 'size-tar: 5\n'),
                *(f'sha256-tar: {"a" * 64}\n', f'file: {"b" * 64} 0644 1 x\n'),
                *('expires: 2026-11-22T13:00:61Z\n', '\r', '\0', 'x'),
            ]
        ),
        max_size=12,
    ).map(lambda pieces: ''.join(pieces).encode())
    | st.binary(max_size=200)
)
def test_a_manifest_has_one_form_and_anything_else_is_refused(text):
    try:
        found = manifest.parse(text)
    except manifest.ManifestRefused as error:
        assert '\n' not in str(error)
    else:
        assert manifest.render(found) == text


@given(st.text('ab*', max_size=12), st.text('ab', max_size=12))
def test_a_star_is_that_of_a_shell(pattern, value):
    assert layers.matches(pattern, value) == fnmatch.fnmatchcase(
        value, pattern
    )


@given(st.text('a*', max_size=2000), st.text('ab', max_size=2000))
def test_no_pattern_takes_long(pattern, value):
    layers.matches(pattern, value)


@given(
    st.binary(max_size=300)
    | st.text('layers:\n -{}[]&*!?|>%@`"\',#directory when', max_size=200).map(
        str.encode
    )
)
def test_a_file_of_layers_is_a_plan_or_refused(content):
    try:
        layers.plan(content, 'x')
    except archive.BundleRefused as error:
        assert '\n' not in str(error)
    with contextlib.suppress(errors.Misconfigured):
        documents.load(content, 'x')


SHELL = st.text('ab \n\t;&|()<>{}$`"\'\\#=-/casein)esac.doif', max_size=300)


@given(SHELL | st.text(max_size=200))
@example('"`')
@example('a<<b\nc')
@example('a<<b <<c\n')
def test_any_text_is_read_as_a_script(text):
    found = shell.read(text)
    for command in found.commands:
        assert command.words or command.written
        for word in (*command.words, *command.written):
            assert 1 <= word.line <= text.count('\n') + 1
        list(lint_shell.faults(command))
        lint_shell.inner(command)
        lint_shell.leaves(command)
        lint_shell.sourced(command)
    for start, end in (*found.quotes, *found.documents):
        assert 0 <= start <= end <= len(text)
    list(lint_secrets.secrets(text))


@given(st.binary(max_size=300), st.text(max_size=50))
def test_a_template_without_variables_is_itself(content, value):
    if b'@' in content:
        content = content.replace(b'@', b'')
    template = templates.parse(content, {}, 'x')
    assert template.filled({'vo': value}) == content


@given(st.text(max_size=50))
def test_a_value_in_a_template_has_no_line_end(value):
    word = templates.word(value)
    assert not {10, 13, 0, 27} & set(word)


@given(st.builds(facts_.Facts, PARTS, st.text(max_size=3)))
def test_what_is_known_is_never_empty(found):
    assert all(facts_.known(found).values())
