# SPDX-License-Identifier: Apache-2.0
"""Lists signed with keys in a token: SoftHSM, through PKCS #11."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import subprocess

from asn1crypto import keys as asn1_keys
from cryptography.hazmat.primitives.asymmetric import rsa as crypto_rsa
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography import x509
import pkcs11
from pkcs11.util import rsa
import pytest

from hepix_vm.endorse import keys
from hepix_vm.endorse import sealing
from hepix_vm import errors
from tests.assets import pki
from tests.unit.endorse import people

PIN, LIMIT = '1234', 120
LIBRARIES = (
    '/usr/lib/softhsm/libsofthsm2.so',
    '/usr/lib64/softhsm/libsofthsm.so',
)


@dataclasses.dataclass(frozen=True)
class Hsm:
    """Tokens with keys that were put into them."""

    folder: pathlib.Path
    library: str

    def run(self, *arguments: object) -> None:
        subprocess.run(
            ['softhsm2-util', *map(str, arguments)],
            capture_output=True,
            check=True,
            timeout=LIMIT,
        )

    def token(self, label: str) -> None:
        self.run(
            *('--init-token', '--free', '--label', label),
            *('--pin', PIN, '--so-pin', '87654321'),
        )

    def put(self, token: str, label: str, number: str, private) -> None:
        path = self.folder / f'{label}.key'
        path.write_bytes(
            private.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        self.run(
            *('--import', path, '--token', token, '--label', label),
            *('--id', number, '--pin', PIN),
        )

    def source(
        self, one: pki.Holder, where: str, pin: str = PIN, query: str = ''
    ) -> keys.Source:
        certificate = self.folder / f'{one.certificate.serial_number:x}.pem'
        certificate.write_bytes(one.pem)
        return keys.Source(
            certificate,
            f'pkcs11:{where}?module-path={self.library}{query}',
            ask=lambda _what: pin,
        )


@pytest.fixture(scope='module')
def hsm(tmp_path_factory):
    """Two tokens: ``one`` with keys of three kinds, ``two`` with one key.

    The library reads its configuration once in a process.
    """
    folder = tmp_path_factory.mktemp('hsm')
    library = next(p for p in LIBRARIES if pathlib.Path(p).exists())
    assert shutil.which('softhsm2-util'), 'install softhsm2'
    (folder / 'tokens').mkdir()
    (folder / 'conf').write_text(
        f'directories.tokendir = {folder / "tokens"}\n'
        'objectstore.backend = file\nlog.level = ERROR\n'
    )
    os.environ['SOFTHSM2_CONF'] = str(folder / 'conf')
    made = Hsm(folder, library)
    made.token('one')
    made.token('two')
    made.put('one', 'rsa', '01', pki.key('rsa token'))
    made.put('one', 'p256', '02', pki.key('ec token'))
    made.put('one', 'p384', '03', pki.key('p384 token'))
    made.put('two', 'only', '04', pki.key('ec only'))
    yield made
    del os.environ['SOFTHSM2_CONF']


def seal(source, one):
    with keys.signatory(source) as signatory:
        return sealing.seal(
            people.draft(one),
            signatory,
            people.now(),
            anchored=sealing.Anchored(people.trust_anchors()),
        )


def refused(source, one):
    with pytest.raises(errors.Misconfigured) as caught:
        seal(source, one)
    assert PIN not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ('where', 'label'),
    [
        ('token=one;object=rsa', 'rsa token'),
        ('token=one;id=%02', 'ec token'),
        ('token=one;object=p384;id=%03', 'p384 token'),
        ('token=two', 'ec only'),
    ],
)
def test_signed_by_the_token(hsm, tmp_path, where, label):
    one = people.holder('C=DE/O=Grid/CN=Token', label)
    sealed = seal(hsm.source(one, where), one)
    (tmp_path / 'message').write_bytes(sealed.message)
    ca = people.write_anchors(tmp_path / 'anchors') / 'ca.pem'
    done = subprocess.run(
        [
            *('openssl', 'cms', '-verify', '-in', tmp_path / 'message'),
            *('-CAfile', ca, '-crl_check', '-out', tmp_path / 'out'),
        ],
        capture_output=True,
        check=False,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done.stderr.decode()


def test_second_endorser_joins_with_a_token(hsm):
    one = people.holder('C=DE/O=Grid/CN=Token', 'rsa token')
    first = sealing.seal(
        people.draft(people.holder(), one),
        people.signatory(people.holder()),
        people.now(),
    )
    with keys.signatory(hsm.source(one, 'token=one;object=rsa')) as signatory:
        both = sealing.join(first.message, signatory, people.now())
    assert both.missing == ()


def test_pin_from_a_file(hsm):
    one = people.holder('C=DE/O=Grid/CN=Token', 'ec only')
    pin = hsm.folder / 'pin'
    pin.touch(0o600)
    pin.write_text(f'{PIN}\n')
    asked = hsm.source(one, 'token=two', '', query=f'&pin-source=file:{pin}')
    assert seal(asked, one).missing == ()
    given = dataclasses.replace(
        hsm.source(one, 'token=two'), ask=None, passphrase_file=pin
    )
    assert seal(given, one).missing == ()


@pytest.mark.parametrize(
    ('where', 'label', 'why'),
    [
        ('token=three', 'ec token', "found 0 among: 'one', 'two'"),
        ('serial=none', 'ec token', 'found 0 among'),
        ('object=rsa', 'rsa token', 'found 2 among'),
        ('token=one', 'ec token', "found 'p256', 'p384'; give object"),
        ('token=one;object=none', 'ec token', 'found none'),
        ('token=one;object=p256', 'rsa token', 'RSA key'),
        ('token=one;object=p384', 'ec token', 'another key'),
    ],
)
def test_refused(hsm, where, label, why):
    one = people.holder('C=DE/O=Grid/CN=Token', label)
    assert why in refused(hsm.source(one, where), one)


def test_key_that_asks_for_the_pin_at_each_use(hsm):
    """As signature keys of PIV cards do."""
    token = pkcs11.lib(hsm.library).get_token(token_label='two')
    with token.open(rw=True, user_pin=PIN) as session:
        public, _private = session.generate_keypair(
            pkcs11.KeyType.RSA,
            2048,
            store=True,
            label='careful',
            private_template={pkcs11.Attribute.ALWAYS_AUTHENTICATE: True},
        )
        encoded = rsa.encode_rsa_public_key(public)
    one = _certified(crypto_rsa.RSAPublicNumbers(*_numbers(encoded)))
    sealed = seal(hsm.source(one, 'token=two;object=careful'), one)
    assert sealed.missing == ()


def _numbers(encoded):
    key = asn1_keys.RSAPublicKey.load(encoded)
    return int(key['public_exponent']), int(key['modulus'])


def _certified(numbers):
    """Somebody whose private key never left the token."""
    authority = people.authority()
    certificate = x509.CertificateBuilder(
        authority.certificate.subject,
        pki.name('C=DE/O=Grid/CN=Careful'),
        numbers.public_key(),
        x509.random_serial_number(),
        people.now().replace(tzinfo=None) - people.DAY,
        people.now().replace(tzinfo=None) + 90 * people.DAY,
    )
    names = x509.SubjectAlternativeName([x509.RFC822Name('a@example.org')])
    certificate = certificate.add_extension(names, critical=False)
    return pki.Holder(certificate.sign(authority.key, hashes.SHA256()), None)


def test_wrong_pin(hsm):
    one = people.holder('C=DE/O=Grid/CN=Token', 'ec only')
    said = refused(hsm.source(one, 'token=two', '9999'), one)
    assert 'the PIN is wrong' in said
    assert '9999' not in said
