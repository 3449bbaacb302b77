# SPDX-License-Identifier: Apache-2.0
"""The openssl command verifies the same content in the same messages."""

from __future__ import annotations

import pytest

from hepix_vm import trust
from hepix_vm.trust import mime

from tests.assets import encodings
from tests.unit.trust import openssl

pytestmark = openssl.needed

# Right messages that the command of OpenSSL 3.0 refuses.
REFUSED_BY_OPENSSL = {
    # lines of base64 longer than its buffer
    'base64_in_one_line',
    # it canonicalises line ends before it looks at the digest
    'digest_over_lf_as_openssl_binary_does',
    'digest_over_lf_but_crlf_on_the_wire',
    'digest_over_mixed_line_ends_as_they_are',
    'ed25519_with_sha512',
    # it believes the CRLs of the message
    'expired_crl_embedded_in_the_message_does_not_count',
    'unreadable_extra_certificate',
}


@pytest.mark.parametrize(
    'name', sorted(set(encodings.ENCODINGS) - REFUSED_BY_OPENSSL)
)
def test_openssl_verifies_the_same_content(tmp_path, name):
    case = encodings.ENCODINGS[name]()
    verdict = openssl.verify(case, tmp_path)
    assert verdict.accepted, verdict.text
    # The command leaves the MIME headers inside and their base64.
    whole = mime.inner_payload(verdict.content, trust.Limits())
    assert whole == case.payload
