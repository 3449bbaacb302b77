# SPDX-License-Identifier: Apache-2.0
"""Site directories with layers, and the variants made of them."""

import dataclasses
import io
import tarfile

import pytest

from hepix_vm.context import archive
from hepix_vm.context import bundle
from hepix_vm.context import facts as facts_
from hepix_vm.context import manifest
from hepix_vm.context import site as site_
from hepix_vm.context import variants
from tests.unit.context import sites

NOBODY = facts_.Facts('uuid', 'project-1')
ATLAS = dataclasses.replace(
    NOBODY, endorsed=facts_.Endorsed('/CN=E', 'l', 'atlas', 'i'), host='h 1'
)

LAYERS = """\
variables: {squid: cache.example.org}
layers:
  - directory: base
  - directory: atlas
    when: {vo: atlas}
  - directory: late
"""


@pytest.fixture
def top(tmp_path):
    made = tmp_path / 'site'
    sites.make(made / 'base')
    sites.write(made, 'layers.yaml', LAYERS)
    sites.write(made, 'atlas/site/squid.conf', 'atlas\n')
    sites.write(made, 'atlas/only.in', '@vo@ @host@ @squid@ @serial@\n')
    sites.write(made, 'late/last', 'last\n')
    return made


def _refused(top):
    with pytest.raises(archive.BundleRefused) as caught:
        site_.read_directory(top)
    return str(caught.value)


def _content(variant):
    with tarfile.open(fileobj=io.BytesIO(variant.bundle.tar)) as tar:
        return {
            member.name: tar.extractfile(member).read()
            for member in tar
            if member.isfile()
        }


def test_the_later_layer_wins_file_by_file(top):
    site = site_.read_directory(top)
    atlas = _content(variants.compose(site, ATLAS))
    assert atlas['site/squid.conf'] == b'atlas\n'
    assert atlas['only'] == b"atlas 'h 1' cache.example.org 0\n"
    assert atlas['prolog.sh'] == sites.PROLOG.encode()
    assert atlas['last'] == b'last\n'
    other = _content(variants.compose(site, NOBODY))
    assert other['site/squid.conf'] == b'cache.example.org:3128\n'
    assert 'only' not in other
    assert other['last'] == b'last\n'


def test_a_variant_names_its_layers_and_explains_all(top):
    site = site_.read_directory(top)
    assert variants.compose(site, ATLAS).layers == ('base', 'atlas', 'late')
    assert variants.compose(site, NOBODY).layers == ('base', 'late')
    assert [
        (one.directory, one.matched, one.why)
        for one in variants.explain(site, NOBODY)
    ] == [
        ('base', True, 'no condition'),
        ('atlas', False, 'vo is not known, expected atlas'),
        ('late', True, 'no condition'),
    ]


def test_equal_keys_are_equal_bytes_and_others_are_not(top):
    site = site_.read_directory(top)
    same = dataclasses.replace(ATLAS, uuid='another', flavor='f', project='p')
    other = dataclasses.replace(ATLAS, host='h2')
    key = variants.variant_key(site, ATLAS)
    assert key == variants.variant_key(site, same)
    assert variants.compose(site, ATLAS) == variants.compose(site, same)
    assert key != variants.variant_key(site, other)
    assert (
        variants.compose(site, ATLAS).bundle.tar
        != variants.compose(site, other).bundle.tar
    )
    # Of an instance without that layer the host does not matter.
    assert variants.variant_key(site, NOBODY) == variants.variant_key(
        site, dataclasses.replace(NOBODY, host='h2')
    )


def test_a_changed_site_is_another_key(top):
    site = site_.read_directory(top)
    sites.write(top, 'late/last', 'changed\n')
    changed = site_.read_directory(top)
    assert variants.variant_key(site, NOBODY) != variants.variant_key(
        changed, NOBODY
    )


def test_the_manifest_is_of_the_bundle(top):
    variant = variants.compose(site_.read_directory(top), ATLAS)
    assert manifest.parse(variant.manifest) == manifest.Manifest(
        serial=0,
        created=None,
        expires=None,
        sha256_tar=variant.bundle.sha256_tar,
        size_tar=len(variant.bundle.tar),
        files=variant.bundle.files,
        directories=variant.bundle.directories,
    )
    assert variant.bundle.directories == ('empty',)


def test_without_the_file_common_is_the_one_layer(tmp_path):
    sites.make(tmp_path / 'common')
    site = site_.read_directory(tmp_path)
    assert [layer.rule.directory for layer in site.layers] == ['common']
    assert 'site/squid.conf' in _content(variants.compose(site, NOBODY))


def test_without_both_the_directory_is_the_layer(tmp_path):
    site = site_.read_directory(sites.make(tmp_path / 'x'))
    assert [layer.rule.directory for layer in site.layers] == ['']
    assert variants.compose(site, NOBODY).layers == ('',)


def test_templates_work_without_layers(tmp_path):
    top = sites.make(tmp_path / 'x')
    sites.write(top, 'site/x.conf.in', '@project@', 0o755)
    variant = variants.compose(site_.read_directory(top), NOBODY)
    assert _content(variant)['site/x.conf'] == b'project-1'
    [file] = [f for f in variant.bundle.files if f.path == 'site/x.conf']
    assert file.mode == 0o755


def test_a_script_may_be_a_template(top):
    (top / 'base/prolog.sh').rename(top / 'base/prolog.sh.in')
    assert 'prolog.sh' in _content(
        variants.compose(site_.read_directory(top), NOBODY)
    )


@pytest.mark.parametrize(
    ('change', 'says'),
    [
        (lambda t: (t / 'cms').mkdir(), 'site/cms: it is in no layer'),
        (lambda t: sites.write(t, 'README', ''), 'README: it is in no layer'),
        (
            lambda t: (
                (t / 'late/last').rename(t / 'late_last')
                and (t / 'late').rmdir()
            ),
            'it is in no layer',
        ),
        (
            lambda t: sites.write(
                t, 'layers.yaml', LAYERS + '  - directory: gone\n'
            ),
            'layer gone: there is no such directory',
        ),
        (
            lambda t: (
                sites.write(t, 'layers.yaml', LAYERS + '  - directory: file\n')
                or sites.write(t, 'file', '')
            ),
            'expected the directory of a layer, found a file',
        ),
        (
            lambda t: sites.write(t, 'late/site', ''),
            'site is a file in layer late and a directory in layer base',
        ),
        (
            lambda t: (
                (t / 'late/last').unlink()
                or sites.write(t, 'late/prolog.sh/x', '')
            ),
            'prolog.sh is a file in layer base and a directory in layer late',
        ),
        (
            lambda t: sites.write(t, 'late/last.in', ''),
            'it is there itself and as a template last.in',
        ),
        (
            lambda t: sites.write(t, 'late/x.in', '@nothing@'),
            'late/x.in:1: @nothing@ is no variable',
        ),
        (
            lambda t: (t / 'base/prolog.sh').rename(t / 'atlas/prolog.sh'),
            'prolog.sh at the root of a layer without conditions',
        ),
        (
            lambda t: sites.write(t, 'atlas/context/x', ''),
            'site/atlas: "context" at its root',
        ),
    ],
)
def test_what_would_spoil_a_variant_is_refused_at_once(top, change, says):
    change(top)
    assert says in _refused(top)


def test_a_directory_named_like_the_file_of_layers_is_no_such_file(tmp_path):
    top = sites.make(tmp_path / 'x')
    (top / 'layers.yaml').mkdir()
    assert 'expected a mapping' in _refused(top)


def test_the_whole_directory_counts_against_the_limits(top):
    with pytest.raises(archive.BundleRefused, match='max_unpacked_size'):
        site_.read_directory(top, bundle.Limits(unpacked=12000))
    with pytest.raises(archive.BundleRefused, match='max_files'):
        site_.read_directory(top, bundle.Limits(members=10))


def test_a_variant_that_grows_over_the_limit_is_refused(top):
    sites.write(top, 'late/x.in', '@vo@' * 1000)
    site = site_.read_directory(top)
    limits = bundle.Limits(unpacked=1 << 20)
    large = dataclasses.replace(
        ATLAS, endorsed=facts_.Endorsed('e', 'l', 'a' * 2000, 'i')
    )
    with pytest.raises(archive.BundleRefused, match='max_unpacked_size'):
        variants.compose(site, large, limits)


def test_a_manifest_over_an_answer_is_refused(tmp_path, monkeypatch):
    site = site_.read_directory(sites.make(tmp_path / 'x'))
    monkeypatch.setattr(bundle, 'ANSWER_LIMIT', 200)
    with pytest.raises(archive.BundleRefused, match='max_files'):
        variants.compose(site, NOBODY)
