# SPDX-License-Identifier: Apache-2.0
"""Variants in memory: made once, bounded, in the form that fits."""

import base64
import dataclasses
import gzip
import io
import threading
import zipfile

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives import serialization
import pytest

from hepix_vm.context import asking
from hepix_vm.context import bundle
from hepix_vm.context import facts
from hepix_vm.context import forms
from hepix_vm.context import identity
from hepix_vm.context import manifest
from hepix_vm.context import prepared
from hepix_vm.context import site as site_
from hepix_vm.context import variants
from hepix_vm import errors
from tests.unit.context import sites

What = asking.What
LAYERS = """
layers:
  - directory: common
  - directory: atlas
    when: {vo: atlas}
  - directory: big
    when: {flavor: 'big*'}
"""


@pytest.fixture
def top(tmp_path):
    top = tmp_path / 'context'
    sites.make(top / 'common')
    sites.write(top, 'layers.yaml', LAYERS)
    sites.write(top, 'atlas/vo', 'atlas\n')
    sites.write(top, 'big/host.in', '@host@\n')
    return top


@pytest.fixture
def site(top):
    return site_.read_directory(top)


def _facts(**values):
    return facts.Facts('0b7c8f7e-5ad6-4bd0-9d8e-3f1c2b7a6a11', 'p', **values)


def _variants(site, sign=None, **settings):
    return prepared.Variants(
        lambda now: site, prepared.Settings(**settings), sign
    )


@pytest.fixture
def composed(monkeypatch):
    """What was composed."""
    made = []
    really = variants.compose

    def compose(site, facts, limits):
        made.append(facts)
        return really(site, facts, limits)

    monkeypatch.setattr(prepared.variants, 'compose', compose)
    return made


def test_behind_neutron_the_bundle_is_a_pkzip_file(site):
    found = _variants(site).variant_of(_facts(), 0.0)
    body = found.bodies[What.BUNDLE]
    assert body.content_type == forms.PKZIP_TYPE
    made = variants.compose(site, _facts())
    with zipfile.ZipFile(io.BytesIO(body.content)) as archive:
        [name] = archive.namelist()
        assert archive.read(name) == made.bundle.tar
    assert found.sha256 == made.bundle.sha256_tar


def test_a_publication_of_the_same_serial_with_other_times_is_another(site):
    """Where somebody lost the state directory and began again."""
    first = dataclasses.replace(site, serial=1, published_at=5, expires_at=9)
    current = [first]
    made = prepared.Variants(lambda now: current[0], prepared.Settings(), None)
    made.variant_of(_facts(), 0.0)
    current[0] = dataclasses.replace(first, published_at=6, expires_at=None)
    text = made.variant_of(_facts(), 0.0).bodies[What.MANIFEST].content
    assert b'expires' not in text
    assert b'created: 1970-01-01T00:00:06Z' in text


def test_with_nothing_in_front_it_is_gzip(site):
    found = _variants(site, neutron=False).variant_of(_facts(), 0.0)
    body = found.bodies[What.BUNDLE]
    assert body.content_type == 'application/gzip'
    made = variants.compose(site, _facts())
    assert gzip.decompress(body.content) == made.bundle.tar


def test_text_and_manifest_do_not_depend_on_what_is_in_front(site):
    found = [
        _variants(site, neutron=neutron).variant_of(_facts(), 0.0).bodies
        for neutron in (True, False)
    ]
    assert found[0][What.BASE64] == found[1][What.BASE64]
    assert found[0][What.MANIFEST] == found[1][What.MANIFEST]
    tgz = base64.b64decode(found[0][What.BASE64].content)
    read = manifest.parse(found[0][What.MANIFEST].content)
    assert read.size_tar == len(gzip.decompress(tgz))
    assert What.SIGNATURE not in found[0]


def _key(curve=ec.SECP256R1):
    key = ec.generate_private_key(curve())
    return (
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        key.public_key().public_bytes(
            serialization.Encoding.PEM,
            serialization.PublicFormat.SubjectPublicKeyInfo,
        ),
    )


def test_with_a_key_the_manifest_is_signed(site):
    private, public = _key()
    sign = prepared.signer(private)
    found = _variants(site, sign).variant_of(_facts(), 0.0).bodies
    signature = base64.b64decode(found[What.SIGNATURE].content)
    manifest.verify(found[What.MANIFEST].content, signature, public)


@pytest.mark.parametrize(
    'pem',
    [b'', b'<html>', _key(ec.SECP384R1)[0]],
    ids=['nothing', 'no key', 'another curve'],
)
def test_a_key_that_cannot_sign_is_told_at_once(pem):
    with pytest.raises(errors.Misconfigured):
        prepared.signer(pem)


def test_without_a_key_nothing_signs():
    assert prepared.signer(None) is None


def test_equal_instances_share_one_variant(site, composed):
    found = _variants(site)
    first = found.variant_of(_facts(host='a', flavor='small'), 0.0)
    second = found.variant_of(_facts(host='b', flavor='tiny'), 0.0)
    assert first is second
    assert len(composed) == 1


def test_other_layers_and_other_values_are_other_variants(site, composed):
    found = _variants(site)
    endorsed = facts.Endorsed('CN=One', 'list', 'atlas', 'image')
    made = [
        found.variant_of(_facts(**values), 0.0)
        for values in (
            {},
            {'endorsed': endorsed},
            {'flavor': 'big.one', 'host': 'a'},
            {'flavor': 'big.one', 'host': 'b'},
            {'flavor': 'big.two', 'host': 'b'},
        )
    ]
    assert len({one.sha256 for one in made}) == 4
    assert made[3] is made[4]


def test_a_new_site_has_new_variants(top, site):
    served = [site]
    found = prepared.Variants(
        lambda now: served[-1], prepared.Settings(), None
    )
    old = found.variant_of(_facts(), 0.0)
    sites.write(top, 'common/more', '')
    served.append(site_.read_directory(top))
    assert found.variant_of(_facts(), 1.0).sha256 != old.sha256


def test_without_a_site_there_is_none():
    refusal = _variants(None).variant_of(_facts(), 0.0)
    assert refusal.status == 503
    assert refusal.reason == identity.Reason.NO_BUNDLE


def test_a_variant_that_cannot_be_made_is_refused_and_told_once(
    site, composed, caplog
):
    found = _variants(site, limits=bundle.Limits(answer=10))
    for _ in range(3):
        refusal = found.variant_of(_facts(), 0.0)
        assert refusal.status == 503
        assert refusal.reason == identity.Reason.VARIANT_REFUSED
    # The next one is not told of as the first one.
    other = '0b7c8f7e-5ad6-4bd0-9d8e-3f1c2b7a6a12'
    refusal = found.variant_of(facts.Facts(other, 'p'), 0.0)
    assert other in refusal.detail
    assert len(composed) == 1
    assert caplog.text.count('max_answer_size') == 1


def test_what_is_kept_is_bounded(site, composed):
    one = _variants(site).variant_of(_facts(flavor='big', host='h0'), 0.0)
    found = _variants(site, most=3 * one.size() + 100)
    composed.clear()
    for number in range(6):
        found.variant_of(_facts(flavor='big', host=f'h{number}'), 0.0)
    assert len(found._kept) == 3
    assert found._size == sum(kept.size() for kept in found._kept.values())
    assert len(composed) == 6


def test_what_nobody_asked_for_longest_goes_first(site, composed):
    one = _variants(site).variant_of(_facts(flavor='big', host='h0'), 0.0)
    found = _variants(site, most=3 * one.size() + 100)
    composed.clear()
    for host in ('h0', 'h1', 'h2', 'h0', 'h3', 'h0', 'h2'):
        found.variant_of(_facts(flavor='big', host=host), 0.0)
    # The fourth took the place of h1; the others were asked for later.
    assert [facts.host for facts in composed] == ['h0', 'h1', 'h2', 'h3']


def test_the_newest_is_kept_however_large(site, composed):
    found = _variants(site, most=1)
    assert found.variant_of(_facts(), 0.0) is found.variant_of(_facts(), 0.0)
    assert len(composed) == 1


def test_many_that_come_at_once_have_one_made(site, monkeypatch):
    inside, go_on = threading.Event(), threading.Event()
    really = variants.compose
    made = []

    def slow(*arguments):
        inside.set()
        assert go_on.wait(120)
        made.append(arguments)
        return really(*arguments)

    monkeypatch.setattr(prepared.variants, 'compose', slow)
    found = _variants(site)
    answers = []
    threads = [
        threading.Thread(
            target=lambda: answers.append(found.variant_of(_facts(), 0.0))
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    assert inside.wait(120)
    go_on.set()
    for thread in threads:
        thread.join(120)
    assert len(made) == 1
    assert len(answers) == 8
    assert len({id(answer) for answer in answers}) == 1


@pytest.mark.parametrize(
    ('layers', 'needed'),
    [
        (LAYERS, True),
        ('layers: [{directory: common}]', False),
        ('layers: [{directory: common, when: {host: a}}]', False),
    ],
)
def test_whether_endorsements_matter_is_known(tmp_path, layers, needed):
    top = tmp_path / 'context'
    sites.make(top / 'common')
    if 'when' in layers and 'vo' not in layers:
        layers = layers.replace('[', '[{directory: base}, ', 1)
        sites.make(top / 'base')
    if 'vo' in layers:
        sites.write(top, 'atlas/vo', '')
        sites.write(top, 'big/vo', '')
    sites.write(top, 'layers.yaml', layers)
    site = site_.read_directory(top)
    assert prepared.needs_endorsement(site) is needed


def test_a_template_makes_endorsements_matter(tmp_path):
    top = tmp_path / 'context'
    sites.make(top)
    sites.write(top, 'list.in', '@list@\n')
    assert prepared.needs_endorsement(site_.read_directory(top))


@pytest.mark.parametrize(
    ('awaited', 'reason'),
    [
        (facts.ENDORSED, identity.Reason.CATALOGUE_AWAY),
        (('hypervisor_type',), identity.Reason.HOST_UNKNOWN),
        (
            ('hypervisor_type', *facts.ENDORSED),
            identity.Reason.CATALOGUE_AWAY,
        ),
    ],
)
def test_no_layer_is_left_out_for_want_of_knowledge(top, awaited, reason):
    sites.write(top, 'big/kind.in', '@hypervisor_type@\n')
    found = _variants(site_.read_directory(top))
    refusal = found.variant_of(_facts(host='h', awaited=awaited), 0.0)
    assert (refusal.status, refusal.reason) == (503, reason)
    assert isinstance(
        found.variant_of(_facts(host='h'), 0.0), prepared.Prepared
    )


@pytest.mark.parametrize('variable', ['host', 'hypervisor_type'])
def test_no_layer_is_left_out_where_nova_hides_the_host(top, variable):
    sites.write(top, 'big/where.in', f'@{variable}@\n')
    awaited = ('host', 'hypervisor_type')
    found = _variants(site_.read_directory(top))
    refusal = found.variant_of(_facts(awaited=awaited), 0.0)
    assert refusal.reason is identity.Reason.HOST_UNKNOWN
    assert 'the account in [openstack]' in refusal.detail


def test_what_no_layer_looks_at_is_not_awaited(site):
    found = _variants(site)
    made = found.variant_of(_facts(awaited=('hypervisor_type',)), 0.0)
    assert isinstance(made, prepared.Prepared)
