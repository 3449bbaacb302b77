# SPDX-License-Identifier: Apache-2.0
"""What a signer's certificate may be used for."""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from hepix_vm.trust import certificates
from hepix_vm.trust import codes
from hepix_vm.trust import policy as policies

_ANY = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE


def require_signer(
    certificate: certificates.Certificate, policy: policies.Policy
) -> None:
    """Refuse a certificate that may not sign lists.

    :raises hepix_vm.errors.Refused: ``key-usage``, ``purpose``
    """
    usage = certificate.extension(x509.KeyUsage)
    if usage is not None and not (
        usage.digital_signature or usage.content_commitment
    ):
        raise codes.refused(
            codes.Code.KEY_USAGE,
            f'the keyUsage of {certificate} allows neither digitalSignature '
            'nor nonRepudiation',
        )
    _require_common((certificate,), policy)


def require_nesting(
    path: tuple[certificates.Certificate, ...], policy: policies.Policy
) -> None:
    """Refuse a path whose CAs do not all allow one common purpose.

    :raises hepix_vm.errors.Refused: ``purpose``
    """
    _require_common(path, policy)


def _require_common(
    path: tuple[certificates.Certificate, ...], policy: policies.Policy
) -> None:
    left = {
        ExtendedKeyUsageOID.EMAIL_PROTECTION,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    }
    if policy.accept_server_auth:
        left.add(ExtendedKeyUsageOID.SERVER_AUTH)
    for certificate in path:
        usage = certificate.extension(x509.ExtendedKeyUsage)
        if usage is None or _ANY in usage:
            continue
        found = set(usage)
        left &= found
        if not left:
            raise codes.refused(
                codes.Code.PURPOSE,
                f'the extended key usage of {certificate} does not include '
                'signing lists: '
                + ', '.join(sorted(oid.dotted_string for oid in found)),
                found=sorted(oid.dotted_string for oid in found),
            )
