# SPDX-License-Identifier: Apache-2.0
"""Oddities of the trust anchors that grid sites really have.

The IGTF's own files are read from ``HEPIX_VM_IGTF`` or where Debian's
packages ``igtf-policy-*`` put them; what they showed is made here, too.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil

from cryptography import x509
import pytest

from hepix_vm import trust
from hepix_vm.trust import certificates
from tests.assets import attacks_on_path
from tests.assets import pki
from tests.assets import writer
from tests.unit.trust import judging


def _root_case(anchor, key):
    """An endorser of a root whose certificate is odd."""
    top = pki.Holder(anchor, key)
    leaf = attacks_on_path._leaf(ca=top)
    return attacks_on_path._case('ok', leaf, anchors=(top,), crls=(top.crl(),))


def test_root_signed_with_sha1_is_trusted_because_it_lies_there():
    top = attacks_on_path.rsa_root()
    weak = x509.load_der_x509_certificate(
        attacks_on_path._weaken(top.certificate)
    )
    assert certificates.digest_of(weak) == 'sha1'
    # Its own signature is not even right any more: nobody looks at it.
    assert not certificates.of(weak).self_signed
    assert judging.code_of(_root_case(weak, top.key)) == 'ok'


@pytest.mark.parametrize('serial', [0, -1])
def test_root_with_a_serial_that_should_not_be(serial):
    # Found nowhere else in it, whatever its key is.
    long = int.from_bytes(b'a serial of 20 bytes', 'big')
    top = pki.root('C=DE/CN=Odd Root', 'ec odd root', serial=long)
    tbs = writer.body(top.certificate.tbs_certificate_bytes)
    one = writer.integer(long)
    assert tbs.count(one) == 1
    odd = b'\x02\x01' + serial.to_bytes(1, 'big', signed=True)
    loaded = x509.load_der_x509_certificate(
        attacks_on_path.signed_anew(writer.seq(tbs.replace(one, odd)), top.key)
    )
    assert loaded.serial_number == serial
    assert judging.code_of(_root_case(loaded, top.key)) == 'ok'


def test_root_with_a_key_usage_that_is_not_critical():
    usage = (pki.usage(key_cert_sign=True, crl_sign=True), False)
    top = pki.root(
        'C=DE/CN=Odd Root',
        'ec odd root',
        [(x509.BasicConstraints(True, None), False), usage],
    )
    case = _root_case(top.certificate, top.key)
    assert judging.code_of(case) == 'ok'


def test_anchor_with_latin_1_in_a_t61string_is_named(tmp_path):
    top = pki.root('C=DE/CN=Muller', 'ec odd root')
    text = writer.tlv(0x0C, b'Muller')
    latin = writer.tlv(0x14, 'Müller'.encode('latin-1'))
    tbs = writer.body(top.certificate.tbs_certificate_bytes)
    assert tbs.count(text) == 2
    data = attacks_on_path.signed_anew(
        writer.seq(tbs.replace(text, latin)), top.key
    )
    tmp_path.joinpath('01234567.0').write_bytes(data)
    tmp_path.joinpath('01234568.0').write_bytes(pki.site().root.pem)
    loaded = trust.load(tmp_path)
    assert len(loaded.anchors) == 1
    (problem,) = loaded.problems
    assert problem.file == '01234567.0'
    assert 'cannot be read' in problem.text


_IGTF = pathlib.Path(
    os.environ.get('HEPIX_VM_IGTF') or '/usr/share/igtf-policy'
)


@pytest.mark.skipif(not _IGTF.is_dir(), reason='no igtf-policy here')
def test_directory_of_the_igtf(tmp_path):
    for path in _IGTF.glob('*/*'):
        shutil.copy(path, tmp_path / path.name)
    site = pki.site()
    tmp_path.joinpath('00000000.0').write_bytes(site.root.pem)
    tmp_path.joinpath('00000001.0').write_bytes(site.issuing.pem)
    loaded = trust.load(tmp_path)
    assert loaded.problems == ()
    assert len(loaded.anchors) > 60
    with_policy = [a for a in loaded.anchors if a.patterns]
    assert len(with_policy) == len(loaded.anchors) - 2
    every_crl = dataclasses.replace(
        loaded,
        crls=judging.anchors_of(judging.cases.Case(b'')).crls,
    )
    message = writer.usual(b'{}', site.endorser)
    assert trust.verify_message(message, every_crl, trust.Policy(), pki.NOW)
