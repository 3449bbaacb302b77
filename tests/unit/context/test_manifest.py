# SPDX-License-Identifier: Apache-2.0
"""The text that says what a bundle is, and the site's signature on it."""

import subprocess

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives import serialization
import pytest

from hepix_vm.context import bundle
from hepix_vm.context import manifest
from hepix_vm import errors

WHOLE = manifest.Manifest(
    serial=7,
    created=1795352400,
    expires=1797944400,
    sha256_tar='a' * 64,
    size_tar=10240,
    files=(
        bundle.BundleFile('epilog.sh', 0o755, 0, 'b' * 64),
        bundle.BundleFile('site/a+b', 0o644, 35, 'c' * 64),
    ),
    directories=('run', 'site/spool'),
)
TEXT = f"""\
hepix-context-manifest: 1
serial: 7
created: 2026-11-22T13:00:00Z
expires: 2026-12-22T13:00:00Z
sha256-tar: {'a' * 64}
size-tar: 10240
file: {'b' * 64} 0755 0 epilog.sh
file: {'c' * 64} 0644 35 site/a+b
directory: run
directory: site/spool
"""


def _pem(key, kind=serialization.PrivateFormat.PKCS8, passphrase=None):
    return key.private_bytes(
        serialization.Encoding.PEM,
        kind,
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption(),
    )


def _public(key):
    return key.public_key().public_bytes(
        serialization.Encoding.PEM,
        serialization.PublicFormat.SubjectPublicKeyInfo,
    )


@pytest.fixture(scope='module')
def key():
    return ec.generate_private_key(ec.SECP256R1())


def test_a_manifest_is_text_and_back():
    assert manifest.render(WHOLE).decode() == TEXT
    assert manifest.parse(TEXT.encode()) == WHOLE


def test_what_is_not_known_is_absent():
    short = manifest.Manifest(0, None, None, 'a' * 64, 1, ())
    text = manifest.render(short)
    assert b'created' not in text
    assert b'expires' not in text
    assert manifest.parse(text) == short


@pytest.mark.parametrize(
    ('old', 'new'),
    [
        ('manifest: 1', 'manifest: 2'),
        ('serial: 7\n', ''),
        ('serial: 7', 'serial: 07'),
        ('serial: 7', 'serial: -7'),
        ('serial: 7', 'serial: ' + '9' * 30),
        ('serial: 7', 'serial:7'),
        ('serial: 7', 'serial: 7 '),
        ('serial: 7', 'serial: \uff17'),
        ('created: 2026-11-22', 'created: 2026-13-22'),
        ('created: 2026-11-22', 'created: 0001-01-01'),
        ('T13:00:00Z', 'T13:00:00+00:00'),
        ('a' * 64, 'A' * 64),
        ('a' * 64, 'a' * 63),
        ('size-tar: 10240', 'size-tar: x'),
        ('0755', '4755'),
        ('0755', '755'),
        (' 0755 0 ', ' 0755  0 '),
        (' 35 ', ' -1 '),
        ('site/a+b', '../a+b'),
        ('site/a+b', '/a+b'),
        ('site/a+b', 'a b'),
        ('site/a+b', 'a'),
        ('site/a+b', 'epilog.sh'),
        ('site/a+b\n', 'site/a+b\nmore: 1\n'),
        ('site/a+b\n', 'site/a+b\n\n'),
        ('directory: run', 'directory: ../run'),
        ('directory: run', 'directory: /run'),
        ('directory: run', 'directory: site/spool'),
        ('directory: run', 'directory: site/t'),
        ('site/spool\n', 'site/spool'),
        ('site/spool\n', 'site/spool\nfile: x\n'),
        ('site/spool\n', f'site/t\nfile: {"d" * 64} 0644 0 z\n'),
        ('\n', '\r\n'),
    ],
)
def test_anything_else_is_refused(old, new):
    assert old in TEXT
    with pytest.raises(manifest.ManifestRefused, match='manifest'):
        manifest.parse(TEXT.replace(old, new).encode())


def test_the_place_of_a_fault_is_told():
    with pytest.raises(manifest.ManifestRefused) as caught:
        manifest.parse(TEXT.replace('serial: 7', 'serial: x').encode())
    assert str(caught.value).startswith('manifest:2: expected')


def test_a_signature_is_the_site_s_on_this_text(key):
    signature = manifest.sign(TEXT.encode(), _pem(key))
    manifest.verify(TEXT.encode(), signature, _public(key))
    with pytest.raises(manifest.ManifestRefused):
        manifest.verify(TEXT.encode() + b'x', signature, _public(key))
    with pytest.raises(manifest.ManifestRefused):
        manifest.verify(TEXT.encode(), signature[:-1], _public(key))
    other = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(manifest.ManifestRefused):
        manifest.verify(TEXT.encode(), signature, _public(other))


def test_openssl_checks_it_as_a_guest_does(key, tmp_path):
    pem = _pem(key, serialization.PrivateFormat.TraditionalOpenSSL)
    (tmp_path / 'sig').write_bytes(manifest.sign(TEXT.encode(), pem))
    (tmp_path / 'pub').write_bytes(_public(key))
    command = ['openssl', 'dgst', '-sha256', '-verify', tmp_path / 'pub']
    command += ['-signature', tmp_path / 'sig']
    for text, status in ((TEXT, 0), (TEXT + 'x', 1)):
        ran = subprocess.run(
            command,
            input=text.encode(),
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert ran.returncode == status, ran.stderr


def test_a_key_that_the_documented_command_made_signs():
    made = subprocess.run(
        ['openssl', 'ecparam', '-name', 'prime256v1', '-genkey', '-noout'],
        check=True,
        capture_output=True,
        timeout=120,
    )
    public = subprocess.run(
        ['openssl', 'ec', '-pubout'],
        input=made.stdout,
        check=True,
        capture_output=True,
        timeout=120,
    )
    manifest.verify(
        b'text', manifest.sign(b'text', made.stdout), public.stdout
    )


def test_another_kind_of_key_does_not_sign():
    for pem, says in (
        (_pem(ec.generate_private_key(ec.SECP384R1())), 'curve P-256'),
        (_pem(ed25519.Ed25519PrivateKey.generate()), 'curve P-256'),
        (
            _pem(ec.generate_private_key(ec.SECP256R1()), passphrase=b'x'),
            'without a passphrase',
        ),
        (b'', 'expected a private key in PEM'),
        (b'-----BEGIN PRIVATE KEY-----\nx', 'expected a private key in PEM'),
    ):
        with pytest.raises(errors.Misconfigured, match=says):
            manifest.sign(b'text', pem)


def test_another_kind_of_key_does_not_verify(key):
    wide = ec.generate_private_key(ec.SECP384R1())
    for pem, says in (
        (_public(wide), 'curve P-256'),
        (_pem(key), 'expected a public key'),
        (b'', 'expected a public key'),
    ):
        with pytest.raises(errors.Misconfigured, match=says):
            manifest.verify(b'text', b'', pem)
