# SPDX-License-Identifier: Apache-2.0
"""Real messages of the field get the verdicts that they deserve.

The files are read where they lie, from ``HEPIX_VM_SAMPLES`` or beside the
checkout; without them the tests skip, and the cases of ``tests.assets``
cover the same.
"""

from __future__ import annotations

import datetime
import os
import pathlib
import shutil

import pytest

from hepix_vm import errors
from hepix_vm import trust
from hepix_vm.trust import cms
from hepix_vm.trust import mime

_BESIDE = pathlib.Path(__file__).parents[3].parent / 'shared' / 'samples'
SAMPLES = pathlib.Path(os.environ.get('HEPIX_VM_SAMPLES') or _BESIDE)
PIN = '6b3486efc56db2a57110f37a656534d0bdfa59a3c370bc7edbc698cb264293f0'
AT_2020 = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
AT_2026 = datetime.datetime(2026, 11, 25, tzinfo=datetime.UTC)
PINNED = {'pins': frozenset({PIN}), 'accept_self_signed_pinned': True}

pytestmark = pytest.mark.skipif(
    not SAMPLES.joinpath('envelope').is_dir(), reason='no samples here'
)


@pytest.fixture
def appdb():
    return trust.load(SAMPLES / 'appdb' / 'ca')


@pytest.fixture
def throw_away(tmp_path):
    """The CA of the envelopes and its CRL, in a directory of their own."""
    folder = SAMPLES / 'envelope'
    shutil.copy(folder / 'test-ca.pem', tmp_path / '01234567.0')
    shutil.copy(folder / 'test-ca-crl.pem', tmp_path / '01234567.r0')
    return trust.load(tmp_path)


def _read(name):
    return SAMPLES.joinpath(name).read_bytes()


def _code(verify, name, anchors, now, **knobs):
    try:
        verify(_read(name), anchors, trust.Policy(**knobs), now)
    except errors.Refused as refusal:
        return refusal.code
    return 'ok'


APPDB = [
    'appdb/imagelist01.signed',
    'appdb/imagelist02.signed',
    'envelope/cloudkeeper01-all-LF.smime',
    'envelope/cloudkeeper01-all-CRLF.smime',
]


@pytest.mark.parametrize('name', APPDB)
def test_pinned_service_certificate(appdb, name):
    message = trust.verify_message
    assert _code(message, name, appdb, AT_2020, **PINNED) == 'ok'
    assert _code(message, name, appdb, AT_2020) == 'self-signed'
    assert (
        _code(trust.verify, name, appdb, AT_2020, **PINNED)
        == 'endorser-differs'
    )


def test_changed_list(appdb):
    name = 'appdb/imagelist_invalid.signed'
    code = _code(trust.verify_message, name, appdb, AT_2020, **PINNED)
    assert code == 'digest'


@pytest.mark.parametrize(
    'name',
    [
        'appdb/imagelist01.unsigned',
        'hepix/not-json.json',
        'hepix/specification-example.json',
    ],
)
def test_unsigned_lists(appdb, name):
    assert _code(trust.verify, name, appdb, AT_2020) == 'not-signed'


@pytest.mark.parametrize(
    'name',
    ['envelope/opaque-pkcs7-mime.smime', 'envelope/text-header-inside.smime'],
)
def test_other_envelopes(throw_away, name):
    # Their signer is the one whom the CRL beside them revokes.
    message = trust.verify_message
    assert _code(message, name, throw_away, AT_2026, crl='off') == 'ok'
    assert _code(message, name, throw_away, AT_2026) == 'revoked'
    code = _code(trust.verify, name, throw_away, AT_2026, crl='off')
    assert code == 'invalid-list'


def test_revoked_signer_with_a_name_beyond_ascii(throw_away):
    name = 'envelope/signer-revoked-nonascii-dn.smime'
    with pytest.raises(errors.Refused) as caught:
        trust.verify_message(_read(name), throw_away, trust.Policy(), AT_2026)
    assert caught.value.code == 'revoked'
    assert 'CN=Ümläut User' in caught.value.values['signer'].subject.rfc4514()


def test_server_certificate(throw_away):
    name = 'envelope/signer-eku-serverauth-only.smime'
    message = trust.verify_message
    assert _code(message, name, throw_away, AT_2026) == 'purpose'
    assert (
        _code(message, name, throw_away, AT_2026, accept_server_auth=True)
        == 'ok'
    )


OLD = {
    'envelope/readme-signed-all-CRLF.smime': True,
    'envelope/readme-signed-all-LF.smime': True,
    'envelope/readme-signed-trailing-ws-stripped.INVALID.smime': False,
    'hepix/signed-2011.smime': True,
    'hepix/specification-example-edited-after-signing.smime': False,
}


@pytest.mark.parametrize('name', OLD)
def test_lists_of_2011(appdb, name):
    message = trust.verify_message
    assert _code(message, name, appdb, AT_2020) == 'weak-digest'
    expected = 'no-anchor' if OLD[name] else 'digest'
    code = _code(message, name, appdb, AT_2020, allow_sha1_dangerous=True)
    assert code == expected


@pytest.mark.parametrize('name', OLD)
def test_lists_of_2011_in_the_cms_step_alone(name):
    policy = trust.Policy(allow_sha1_dangerous=True)
    envelope = mime.open_envelope(_read(name), policy.limits)
    (info,) = cms.parse(envelope.signature, policy).signers
    content = info.matches(envelope.candidates())
    assert (content is not None) is OLD[name]
