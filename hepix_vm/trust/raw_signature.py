# SPDX-License-Identifier: Apache-2.0
"""A detached raw signature of an image file, as an extra proof.

Made by ``openssl dgst -sha256 -sign KEY -out IMAGE.sig IMAGE``. Such a
signature names neither its signer nor an algorithm nor a date, so all of
them come from configuration; the certificate goes through the same checks
as a list's signer. The file is hashed by the caller, who streams it.
"""

from __future__ import annotations

import datetime
import hashlib

from cryptography import exceptions
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric import utils
from cryptography import x509

from hepix_vm import errors
from hepix_vm.trust import algorithms
from hepix_vm.trust import anchors as trust_anchors
from hepix_vm.trust import certificates
from hepix_vm.trust import codes
from hepix_vm.trust import policy as policies
from hepix_vm.trust import signers


def verify(
    digest: bytes,
    algorithm: str,
    signature: bytes,
    certificate: x509.Certificate,
    anchors: trust_anchors.TrustAnchors,
    policy: policies.Policy,
    now: datetime.datetime,
) -> signers.Signer:
    """Verify a raw signature over a file that was hashed already.

    :param digest: of the file
    :param algorithm: hashlib's name of the digest, ``sha256`` and longer;
        ``sha1`` only where the policy allows it
    :param signature: PKCS #1 v1.5 or ECDSA, the content of the file
    :param certificate: of the signer, from configuration
    :param now: time of the verification, with a time zone
    :returns: the signer, accepted as steps 7 to 12 of
        :mod:`hepix_vm.trust.verifier` do
    :raises hepix_vm.errors.Refused: ``weak-digest``, ``digest``,
        ``weak-key``, ``signature`` or a code of these steps
    :raises ValueError: ``now`` has no time zone
    """
    moment = signers.utc(now)
    try:
        algorithms.require_digest(
            algorithm,
            'the signature of the file',
            sha1=policy.allow_sha1_dangerous,
        )
        if len(digest) != hashlib.new(algorithm).digest_size:
            raise codes.refused(
                codes.Code.DIGEST,
                f'{len(digest)} bytes are no {algorithm} digest',
            )
        value = certificates.of(certificate)
        if not _verifies(value.public_key(), digest, algorithm, signature):
            raise codes.refused(
                codes.Code.SIGNATURE,
                f'the file was not signed with the key of {value}',
            )
        return signers.Check((), anchors, policy, moment).alone(value)
    except errors.Refused:
        raise
    except Exception as error:
        raise codes.unforeseen(error) from error


def _verifies(
    key: algorithms.PublicKey, digest: bytes, algorithm: str, signature: bytes
) -> bool:
    hashed = utils.Prehashed(algorithms.HASHES[algorithm]())
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, digest, padding.PKCS1v15(), hashed)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, digest, ec.ECDSA(hashed))
        else:
            return False  # Ed25519 signs no digest
    except (exceptions.InvalidSignature, ValueError):
        return False
    return True
