# SPDX-License-Identifier: Apache-2.0
"""What OpenSSL's path validation says, as our codes.

The numbers are those of ``X509_V_ERR_*`` in OpenSSL 3 and 4; they are part
of its interface.
"""

from __future__ import annotations

from collections.abc import Iterable

from hepix_vm import errors
from hepix_vm.trust import certificates
from hepix_vm.trust import codes
from hepix_vm.trust import crls

_NO_CRL = frozenset({3, 33})
_CODES: dict[int, codes.Code] = {
    2: codes.Code.NO_ANCHOR,
    3: codes.Code.CRL_MISSING,
    7: codes.Code.ISSUER_SIGNATURE,
    8: codes.Code.CRL_UNTRUSTED,
    9: codes.Code.NOT_YET_VALID,
    10: codes.Code.EXPIRED_CERTIFICATE,
    11: codes.Code.CRL_NOT_YET_VALID,
    12: codes.Code.CRL_EXPIRED,
    15: codes.Code.CRL_UNUSABLE,
    16: codes.Code.CRL_UNUSABLE,
    18: codes.Code.NO_ANCHOR,
    19: codes.Code.NO_ANCHOR,
    20: codes.Code.NO_ANCHOR,
    21: codes.Code.NO_ANCHOR,
    22: codes.Code.LIMIT,
    23: codes.Code.REVOKED,
    25: codes.Code.NOT_A_CA,
    32: codes.Code.NOT_A_CA,
    33: codes.Code.CRL_MISSING,
    34: codes.Code.CRITICAL_EXTENSION,
    35: codes.Code.CRL_UNTRUSTED,
    36: codes.Code.CRL_UNUSABLE,
    40: codes.Code.PROXY,
    42: codes.Code.CERTIFICATE_POLICY,
    43: codes.Code.CERTIFICATE_POLICY,
    44: codes.Code.CRL_UNUSABLE,
    47: codes.Code.NAME_CONSTRAINTS,
    48: codes.Code.NAME_CONSTRAINTS,
    49: codes.Code.NAME_CONSTRAINTS,
    51: codes.Code.NAME_CONSTRAINTS,
    52: codes.Code.NAME_CONSTRAINTS,
    53: codes.Code.NAME_CONSTRAINTS,
    79: codes.Code.NOT_A_CA,
}


def refusal(
    number: int,
    text: str,
    culprit: certificates.Certificate,
    flawed: Iterable[crls.Crl],
) -> errors.Refused:
    """The refusal for an error of OpenSSL.

    :param number: ``X509_V_ERR_*``
    :param text: OpenSSL's words
    :param culprit: the certificate at which the validation stopped
    :param flawed: CRLs that were not handed to OpenSSL
    """
    code = _CODES.get(number, codes.Code.CHAIN)
    detail = f'{text} (certificate of {culprit}, issued by {culprit.issuer})'
    if number in _NO_CRL:
        for crl in flawed:
            if crl.chaining_issuer == culprit.chaining_issuer and crl.flaw:
                code = crl.flaw.code
                detail = (
                    f'the CRL of {culprit.issuer} does not count: '
                    f'{crl.flaw.text}'
                )
    return codes.refused(
        code, detail, certificate=str(culprit), openssl=number
    )
