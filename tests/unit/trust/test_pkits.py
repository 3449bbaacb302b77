# SPDX-License-Identifier: Apache-2.0
"""Path validation on the test suite of NIST (PKITS).

Its files come from the package ``cryptography-vectors``, which has the version
of ``cryptography``. The tests skip only where it is not installed, as in the
environments of the services.
"""

from __future__ import annotations

import datetime
import functools
import importlib.util
import pathlib

from cryptography import x509
import pytest

from hepix_vm import errors
from hepix_vm import trust
from hepix_vm.trust import anchors
from hepix_vm.trust import budget
from hepix_vm.trust import certificates
from hepix_vm.trust import chain
from hepix_vm.trust import crls

NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC)


def _folder() -> pathlib.Path | None:
    found = importlib.util.find_spec('cryptography_vectors')
    if found is None or found.origin is None:
        return None
    return pathlib.Path(found.origin).parent / 'x509' / 'PKITS_data'


FOLDER = _folder()
pytestmark = pytest.mark.skipif(
    FOLDER is None, reason='cryptography-vectors is not installed'
)
# Right paths that need what we decided against: DSA, explicit policies,
# delta and indirect CRLs, CRLs of another key, no name.
REFUSED_ON_PURPOSE = {
    'ValidDSASignaturesTest4EE': 'weak-digest',
    'ValidBasicSelfIssuedCRLSigningKeyTest6EE': 'crl-unusable',
    'ValidBasicSelfIssuedNewWithOldTest4EE': 'crl-unusable',
    'ValidIDPwithindirectCRLTest22EE': 'crl-unusable',
    'ValidIDPwithindirectCRLTest24EE': 'crl-missing',
    'ValidIDPwithindirectCRLTest25EE': 'crl-missing',
    'ValidSeparateCertificateandCRLKeysTest19EE': 'crl-missing',
    'ValidcRLIssuerTest28EE': 'crl-unusable',
    'ValidcRLIssuerTest29EE': 'crl-unusable',
    'ValidcRLIssuerTest30EE': 'crl-missing',
    'ValidcRLIssuerTest33EE': 'crl-missing',
    'ValiddeltaCRLTest5EE': 'revoked',
    'ValidonlySomeReasonsTest18EE': 'crl-unusable',
    'ValidonlySomeReasonsTest19EE': 'crl-unusable',
    # Readable only by later releases of cryptography.
    'ValidNegativeSerialNumberTest14EE': 'crl-missing',
}


def _end_entities():
    if FOLDER is None:
        return []
    return sorted(
        path.stem
        for path in FOLDER.joinpath('certs').glob('*Test*EE.crt')
        if path.stem.startswith(('Valid', 'Invalid'))
    )


def _read(path):
    try:
        return certificates.read(path.read_bytes())
    except certificates.Unreadable:
        return None


@functools.cache
def _world():
    folder = FOLDER.joinpath('certs')
    candidates = [
        value
        for path in sorted(folder.glob('*.crt'))
        if not path.stem.endswith('EE') and (value := _read(path))
    ]
    lists = []
    for path in sorted(FOLDER.joinpath('crls').glob('*.crl')):
        try:
            lists.append(
                crls.of(x509.load_der_x509_crl(path.read_bytes()), path.name)
            )
        except ValueError:
            continue
    root = _read(folder / 'TrustAnchorRootCertificate.crt')
    loaded = anchors.TrustAnchors((anchors.Anchor(root),), tuple(lists))
    return candidates, loaded


def _verdict(name):
    value = _read(FOLDER / 'certs' / f'{name}.crt')
    if value is None:
        return 'unreadable'
    candidates, loaded = _world()
    try:
        chain.validate(
            value,
            candidates,
            loaded,
            trust.Policy(),
            NOW,
            budget.SignatureBudget(60),
        )
    except errors.Refused as refusal:
        return refusal.code
    return 'ok'


@pytest.mark.parametrize('name', _end_entities())
def test_path(name):
    verdict = _verdict(name)
    if name.startswith('Invalid'):
        assert verdict != 'ok'
    elif verdict not in ('certificate-policy', 'unreadable'):
        assert verdict in ('ok', REFUSED_ON_PURPOSE.get(name))
