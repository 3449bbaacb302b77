# SPDX-License-Identifier: Apache-2.0
"""A directory of trust anchors is read whole, and broken files are named."""

from __future__ import annotations

import os

from cryptography.hazmat.primitives import serialization
from cryptography import x509
from OpenSSL import crypto
import pytest

from hepix_vm import errors
from hepix_vm import trust
from hepix_vm.trust import anchor_files
from hepix_vm.trust import anchors
from hepix_vm.trust import certificates
from tests.assets import attacks_on_path
from tests.assets import lists
from tests.assets import pki
from tests.assets import writer

PEM = serialization.Encoding.PEM
DER = serialization.Encoding.DER


def _hash(holder):
    value = crypto.X509.from_cryptography(holder.certificate)
    return f'{value.subject_name_hash():08x}'


def _verdict(directory, policy=None, previous=None):
    loaded = trust.load(directory, previous)
    message = writer.usual(lists.payload(), pki.site().endorser)
    try:
        trust.verify(message, loaded, policy or trust.Policy(), pki.NOW)
    except errors.Refused as refusal:
        return refusal.code
    return 'ok'


@pytest.fixture
def igtf(tmp_path):
    """A directory as the IGTF lays it out."""
    site = pki.site()
    for holder in (site.root, site.issuing):
        stem = _hash(holder)
        tmp_path.joinpath(f'{stem}.0').write_bytes(holder.pem)
        tmp_path.joinpath(f'{stem}.signing_policy').write_text(
            attacks_on_path.signing_policy(holder.slash, '/C=DE/O=Grid/*')
        )
        tmp_path.joinpath(f'{stem}.namespaces').write_text('ignored')
        tmp_path.joinpath(f'{stem}.info').write_text('ignored')
    tmp_path.joinpath(f'{_hash(site.root)}.r0').write_bytes(
        site.root_crl.public_bytes(PEM)
    )
    tmp_path.joinpath(f'{_hash(site.issuing)}.r0').write_bytes(
        site.issuing_crl.public_bytes(DER)
    )
    return tmp_path


def test_igtf_layout(igtf):
    loaded = trust.load(igtf)
    assert len(loaded.anchors) == 2
    assert len(loaded.crls) == 2
    assert loaded.problems == ()
    assert {a.patterns for a in loaded.anchors} == {('/c=de/o=grid/*',)}
    assert _verdict(igtf, trust.Policy(signing_policy='require')) == 'ok'


def test_crls_say_how_old_they_are(igtf):
    for crl in trust.load(igtf).crls:
        assert crl.this_update == pki.NOW - pki.DAY
        assert crl.next_update == pki.NOW + 30 * pki.DAY
        assert crl.number == 1


def test_accepted_signer_says_when_a_crl_runs_out(igtf):
    message = writer.usual(lists.payload(), pki.site().endorser)
    endorsed = trust.verify(message, trust.load(igtf), trust.Policy(), pki.NOW)
    (signer,) = endorsed.signers
    assert signer.crl_next_update == pki.NOW + 30 * pki.DAY
    assert len(signer.path) == 3


def test_plain_pem_with_certificates_and_crls_by_content(tmp_path):
    site = pki.site()
    parts = [
        b'comment\n',
        site.root.pem,
        site.issuing.pem,
        site.root_crl.public_bytes(PEM),
        site.issuing_crl.public_bytes(PEM),
        site.root.key.private_bytes(
            PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    ]
    tmp_path.joinpath('bundle.pem').write_bytes(b''.join(parts))
    loaded = trust.load(tmp_path)
    assert (len(loaded.anchors), len(loaded.crls)) == (2, 2)
    assert loaded.problems == ()
    assert _verdict(tmp_path) == 'ok'


def test_signing_policy_of_a_plain_pem_by_its_hash(tmp_path):
    root = pki.site().root
    tmp_path.joinpath('root.pem').write_bytes(root.pem)
    tmp_path.joinpath(f'{_hash(root)}.signing_policy').write_text(
        attacks_on_path.signing_policy(root.slash, '/C=FR/*')
    )
    (anchor,) = trust.load(tmp_path).anchors
    assert anchor.patterns == ('/c=fr/*',)


def test_crl_of_every_number_counts(igtf):
    site = pki.site()
    revoking = site.issuing.crl([site.endorser], number=2)
    igtf.joinpath(f'{_hash(site.issuing)}.r7').write_bytes(
        revoking.public_bytes(PEM)
    )
    assert _verdict(igtf) == 'revoked'


def test_crl_of_a_ca_that_is_no_anchor_there_counts(igtf):
    site = pki.site()
    igtf.joinpath(f'{_hash(site.issuing)}.0').unlink()
    message = writer.usual(lists.payload(), site.endorser, [site.issuing])
    loaded = trust.load(igtf)
    assert trust.verify(message, loaded, trust.Policy(), pki.NOW)
    igtf.joinpath(f'{_hash(site.issuing)}.r0').unlink()
    with pytest.raises(errors.Refused) as caught:
        trust.verify(message, trust.load(igtf), trust.Policy(), pki.NOW)
    assert caught.value.code == 'crl-missing'


def test_one_certificate_under_three_names_is_one_anchor(igtf):
    site = pki.site()
    igtf.joinpath('0123abcd.0').write_bytes(site.root.pem)
    igtf.joinpath('Root-CA.pem').write_bytes(site.root.pem)
    loaded = trust.load(igtf)
    assert len(loaded.anchors) == 2
    (root,) = loaded.named(
        certificates.of(site.root.certificate).chaining_subject
    )
    assert len(root.files) == 3


def test_other_names_are_ignored(igtf):
    other = pki.root('C=XX/CN=Other', 'ec other')
    for name in (
        'ca.crt',
        'ABCDEF01.0',
        '0123abc.0',
        '0123abcd.0.rpmsave',
        '0123abcd.x',
    ):
        igtf.joinpath(name).write_bytes(other.pem)
    igtf.joinpath('0123abcd.0').mkdir()
    os.mkfifo(igtf / '0123abcd.1')
    loaded = trust.load(igtf)
    assert len(loaded.anchors) == 2
    assert loaded.problems == ()


def test_broken_files_are_named_and_the_rest_counts(igtf):
    igtf.joinpath('0123abcd.0').write_bytes(b'no certificate')
    igtf.joinpath('0123abcd.1').write_bytes(pki.site().root.pem[:-30])
    igtf.joinpath('0123abcd.2').write_bytes(b'')
    igtf.joinpath('0123abcd.3').write_bytes(b'\x30\x03\x02\x01\x01')
    igtf.joinpath('0123abcd.r0').write_bytes(
        b'-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n'
    )
    igtf.joinpath('0123abcd.r1').write_bytes(
        b'-----BEGIN X509 CRL-----\n****\n-----END X509 CRL-----\n'
    )
    igtf.joinpath('0123abcd.signing_policy').write_bytes(b'\xff')
    loaded = trust.load(igtf)
    assert sorted({p.file for p in loaded.problems}) == [
        '0123abcd.0',
        '0123abcd.1',
        '0123abcd.2',
        '0123abcd.3',
        '0123abcd.r0',
        '0123abcd.r1',
        '0123abcd.signing_policy',
    ]
    assert all(str(p).startswith(p.file + ': ') for p in loaded.problems)
    assert _verdict(igtf) == 'ok'


@pytest.mark.parametrize(
    ('name', 'content', 'text'),
    [
        ('0.r0', b'', 'it holds no complete certificate or CRL'),
        (
            'f.pem',
            lambda: pki.site().root.pem + pki.site().issuing.pem[:-30],
            'it holds no complete certificate or CRL',
        ),
        (
            'f.pem',
            lambda: pki.site().root.pem.replace(b'\nM', b'\n*M', 1),
            'error parsing asn1 value',
        ),
        (
            'f.pem',
            b'-----BEGIN CRL-----\nAAAA\n-----END CRL-----\n',
            'error parsing asn1 value',
        ),
    ],
    ids=range(4),
)
def test_problem_says_what_is_wrong(igtf, name, content, text):
    name = '0123abcd.r0' if name == '0.r0' else name
    data = content if isinstance(content, bytes) else content()
    igtf.joinpath(name).write_bytes(data)
    (problem,) = trust.load(igtf).problems
    assert problem.file == name
    assert text in problem.text


def test_signing_policy_under_an_older_hash_of_the_same_file(igtf):
    """Anchors lie under the hashes of old and of new OpenSSL releases."""
    site = pki.site()
    stem = _hash(site.issuing)
    igtf.joinpath('0123abcd.0').write_bytes(site.issuing.pem)
    igtf.joinpath(f'{stem}.signing_policy').rename(
        igtf / '0123abcd.signing_policy'
    )
    assert _verdict(igtf, trust.Policy(signing_policy='require')) == 'ok'
    igtf.joinpath('0123abcd.0').unlink()
    assert (
        _verdict(igtf, trust.Policy(signing_policy='require'))
        == 'signing-policy'
    )


def test_file_too_large_is_named(igtf, monkeypatch):
    largest = max(path.stat().st_size for path in igtf.iterdir())
    name = 'hepix_vm.trust.anchor_files.LARGEST_FILE'
    monkeypatch.setattr(name, largest)
    assert trust.load(igtf).problems == ()
    monkeypatch.setattr(name, 10)
    with pytest.raises(errors.Misconfigured, match='exceeds 10 bytes'):
        trust.load(igtf)


def test_unreadable_file_is_named(igtf, monkeypatch):
    site = pki.site()
    crl = igtf / f'{_hash(site.issuing)}.r0'
    broken = igtf / '0123abcd.r0'
    broken.symlink_to(crl)
    real = type(crl).read_bytes

    def read_bytes(path):
        if path.name == broken.name:
            raise PermissionError(13, 'Permission denied')
        return real(path)

    monkeypatch.setattr(type(crl), 'read_bytes', read_bytes)
    (problem,) = trust.load(igtf).problems
    assert problem.file == broken.name
    assert 'Permission denied' in problem.text


@pytest.mark.parametrize('mode', ['require', 'if-present'])
@pytest.mark.parametrize(
    'text', ['this is no policy\n', "access_id_CA X509 '/CN=Other'\n", '']
)
def test_broken_signing_policy_allows_nothing(igtf, mode, text):
    name = f'{_hash(pki.site().issuing)}.signing_policy'
    igtf.joinpath(name).write_text(text)
    loaded = trust.load(igtf)
    assert str(
        anchor_files.Problem(
            name, 'it does not say what CN=Issuing CA,O=Grid,C=DE may certify'
        )
    ) in map(str, loaded.problems)
    policy = trust.Policy(signing_policy=mode)
    assert _verdict(igtf, policy) == 'signing-policy'
    assert _verdict(igtf, trust.Policy(signing_policy='off')) == 'ok'


def test_crl_that_does_not_count_is_named(igtf):
    delta = pki.site().issuing.crl(
        extensions=[(x509.DeltaCRLIndicator(1), True)]
    )
    igtf.joinpath('0123abcd.r0').write_bytes(delta.public_bytes(PEM))
    (problem,) = trust.load(igtf).problems
    assert 'delta CRL' in problem.text


@pytest.mark.parametrize('name', ['missing', 'file'])
def test_directory_that_cannot_be_read(tmp_path, name):
    tmp_path.joinpath('file').write_text('')
    with pytest.raises(errors.Misconfigured, match='cannot be read'):
        trust.load(tmp_path / name)
    with pytest.raises(errors.Misconfigured, match='cannot be read'):
        trust.fingerprint(tmp_path / name)


def test_directory_without_anchors(tmp_path):
    with pytest.raises(
        errors.Misconfigured,
        match=r'holds no certificate as HASH.N or \*.pem$',
    ):
        trust.load(tmp_path)
    tmp_path.joinpath('ca.pem').write_bytes(
        pki.site().root_crl.public_bytes(PEM)
    )
    with pytest.raises(errors.Misconfigured, match='holds no certificate'):
        trust.load(tmp_path)


def test_fingerprint_moves_with_the_files(igtf):
    before = trust.fingerprint(igtf)
    assert trust.load(igtf).fingerprint == before == trust.fingerprint(igtf)
    igtf.joinpath('notes.txt').write_text('ignored')
    assert trust.fingerprint(igtf) == before
    igtf.joinpath('0123abcd.r0').write_bytes(b'x')
    after = trust.fingerprint(igtf)
    assert after != before
    igtf.joinpath('0123abcd.r0').write_bytes(b'xy')
    assert trust.fingerprint(igtf) != after


def test_fingerprint_of_a_file_that_goes_away(tmp_path):
    gone = tmp_path / '0123abcd.0'
    assert anchor_files.state_of([gone]) != (anchor_files.state_of([]))


def test_removed_anchor_stops_its_endorsers(igtf):
    assert _verdict(igtf) == 'ok'
    igtf.joinpath(f'{_hash(pki.site().root)}.0').unlink()
    assert _verdict(igtf) == 'no-anchor'


class TestCrlNeverGoesBack:
    """A CRL that is older than the one in use is not taken."""

    def _replace(self, igtf, crl):
        name = f'{_hash(pki.site().issuing)}.r0'
        igtf.joinpath(name).write_bytes(crl.public_bytes(PEM))

    def test_older_number(self, igtf):
        site = pki.site()
        self._replace(igtf, site.issuing.crl([site.endorser], number=5))
        current = trust.load(igtf)
        self._replace(igtf, site.issuing.crl(number=4))
        assert _verdict(igtf) == 'ok'
        assert _verdict(igtf, previous=current) == 'revoked'
        again = trust.load(igtf, current)
        (problem,) = again.problems
        assert problem.file == f'{_hash(site.issuing)}.r0'
        assert problem.text == (
            'the CRL of CN=Issuing CA,O=Grid,C=DE went back to '
            '2026-05-31T00:00:00Z; the one of 2026-05-31T00:00:00Z stays '
            'in use'
        )

    def test_older_time_where_numbers_are_missing(self, igtf):
        site = pki.site()
        newer = site.issuing.crl([site.endorser], number=None)
        self._replace(igtf, newer)
        current = trust.load(igtf)
        older = site.issuing.crl(number=None, start=pki.NOW - 3 * pki.DAY)
        self._replace(igtf, older)
        assert _verdict(igtf, previous=current) == 'revoked'

    def test_older_time_where_numbers_agree(self, igtf):
        site = pki.site()
        self._replace(igtf, site.issuing.crl([site.endorser]))
        current = trust.load(igtf)
        older = site.issuing.crl(start=pki.NOW - 3 * pki.DAY)
        self._replace(igtf, older)
        assert _verdict(igtf, previous=current) == 'revoked'

    def test_both_kept_if_the_newer_one_is_there_too(self, igtf):
        site = pki.site()
        self._replace(igtf, site.issuing.crl([site.endorser], number=5))
        current = trust.load(igtf)
        older = site.issuing.crl(number=4)
        for name in ('0123abcd.r0', '0123abcd.r1'):
            igtf.joinpath(name).write_bytes(older.public_bytes(DER))
        again = trust.load(igtf, current)
        assert len(again.crls) == 2
        assert _verdict(igtf, previous=current) == 'revoked'

    def test_two_older_ones_bring_the_newer_one_back_once(self, igtf):
        site = pki.site()
        self._replace(igtf, site.issuing.crl(number=5))
        current = trust.load(igtf)
        self._replace(igtf, site.issuing.crl(number=3))
        igtf.joinpath('0123abcd.r0').write_bytes(
            site.issuing.crl(number=4).public_bytes(DER)
        )
        assert len(trust.load(igtf, current).crls) == 2

    def test_newer_one_is_taken(self, igtf):
        site = pki.site()
        current = trust.load(igtf)
        self._replace(igtf, site.issuing.crl([site.endorser], number=2))
        assert _verdict(igtf, previous=current) == 'revoked'
        assert trust.load(igtf, current).problems == ()

    def test_lines_are_told_apart_by_key_and_point(self):
        site = pki.site()
        key = x509.AuthorityKeyIdentifier(b'\1' * 20, None, None)
        point = x509.IssuingDistributionPoint(
            [x509.UniformResourceIdentifier('http://ca.example.org/1')],
            None,
            False,
            False,
            None,
            False,
            False,
        )
        lines = {
            anchors.crl_values.of(crl, '').line
            for crl in (
                site.issuing_crl,
                site.issuing.crl(extensions=[(key, False)]),
                site.issuing.crl(extensions=[(point, True)]),
                site.root_crl,
            )
        }
        assert len(lines) == 4


def test_unreadable_certificate_from_objects():
    nameless = pki.site().root.issue(x509.Name([]), 'ec nameless')
    with pytest.raises(certificates.Unreadable, match='empty name'):
        anchors.from_certificates([nameless.certificate])
