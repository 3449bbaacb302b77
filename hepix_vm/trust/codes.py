# SPDX-License-Identifier: Apache-2.0
"""The closed table of codes that a verification can end with.

A code is stable: logs, metrics, tests and the JSON of the command line
carry it. The order of the members is the order of the steps, see
:mod:`hepix_vm.trust.verifier`; the first failing step gives the code.
"""

from __future__ import annotations

import dataclasses
import enum

from hepix_vm import errors


class Code(enum.StrEnum):
    """How a verification ended; the value is what is shown and logged."""

    OK = 'ok'
    LIMIT = 'limit'
    NOT_SIGNED = 'not-signed'
    MALFORMED = 'malformed'
    NO_SIGNER = 'no-signer'
    TOO_MANY_SIGNERS = 'too-many-signers'
    ALGORITHM = 'algorithm'
    WEAK_DIGEST = 'weak-digest'
    DIGEST = 'digest'
    NO_CERTIFICATE = 'no-certificate'
    WEAK_KEY = 'weak-key'
    SIGNATURE = 'signature'
    SIGNED_IN_FUTURE = 'signed-in-future'
    PROXY = 'proxy'
    SELF_SIGNED = 'self-signed'
    CA_SIGNER = 'ca-signer'
    KEY_USAGE = 'key-usage'
    PURPOSE = 'purpose'
    NO_ANCHOR = 'no-anchor'
    ISSUER_SIGNATURE = 'issuer-signature'
    EXPIRED_CERTIFICATE = 'expired-certificate'
    NOT_YET_VALID = 'not-yet-valid'
    NOT_A_CA = 'not-a-ca'
    CRITICAL_EXTENSION = 'critical-extension'
    NAME_CONSTRAINTS = 'name-constraints'
    CERTIFICATE_POLICY = 'certificate-policy'
    CHAIN = 'chain'
    CRL_MISSING = 'crl-missing'
    CRL_EXPIRED = 'crl-expired'
    CRL_NOT_YET_VALID = 'crl-not-yet-valid'
    CRL_UNTRUSTED = 'crl-untrusted'
    CRL_UNUSABLE = 'crl-unusable'
    REVOKED = 'revoked'
    SIGNING_POLICY = 'signing-policy'
    PIN = 'pin'
    ENDORSER_MISMATCH = 'endorser-mismatch'
    THRESHOLD = 'threshold'
    INVALID_LIST = 'invalid-list'
    WRONG_IDENTIFIER = 'wrong-identifier'
    AMBIGUOUS_NAME = 'ambiguous-name'
    ENDORSER_DIFFERS = 'endorser-differs'
    LIST_FROM_FUTURE = 'list-from-future'
    LIST_EXPIRED = 'list-expired'
    ROLLBACK = 'rollback'
    EQUIVOCATION = 'equivocation'


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """What a code means and what an operator does about it."""

    meaning: str
    remedy: str


_ASK = 'Ask the endorser to sign the list again.'

TABLE: dict[Code, Entry] = {
    Code.OK: Entry(
        'The message is accepted.',
        'Nothing.',
    ),
    Code.LIMIT: Entry(
        'The message is larger or more deeply nested than a limit allows.',
        'Look at the message; raise the named limit only if it is genuine.',
    ),
    Code.NOT_SIGNED: Entry(
        'The file is not an S/MIME signed message.',
        'Fetch the signed list, not the bare JSON; check the URL.',
    ),
    Code.MALFORMED: Entry(
        'The envelope or the signature structure breaks its format.',
        'Fetch again; if it stays so, ' + _ASK[0].lower() + _ASK[1:],
    ),
    Code.NO_SIGNER: Entry(
        'The structure carries certificates but no signature.',
        _ASK,
    ),
    Code.TOO_MANY_SIGNERS: Entry(
        'There are more signatures than the policy expects.',
        'Configure a threshold if several endorsers sign this list.',
    ),
    Code.ALGORITHM: Entry(
        'An algorithm is unknown, or two statements about it disagree.',
        'Ask the endorser to sign with SHA-256 and RSA, ECDSA or Ed25519.',
    ),
    Code.WEAK_DIGEST: Entry(
        'SHA-1 or MD5 protects the list, a certificate or a CRL.',
        'Ask the endorser, or the CA, to sign with SHA-256 or better.',
    ),
    Code.DIGEST: Entry(
        'The content is not what was signed.',
        'Fetch again; content that was edited or damaged stays refused.',
    ),
    Code.NO_CERTIFICATE: Entry(
        "The message does not carry its signer's certificate.",
        'Ask the endorser to embed the certificate.',
    ),
    Code.WEAK_KEY: Entry(
        'A key of the chain is too small, too large or of a refused kind.',
        'Ask the endorser for a certificate with RSA of 2048 bits or more, '
        'P-256, P-384, P-521 or Ed25519.',
    ),
    Code.SIGNATURE: Entry(
        "The signature was not made with the certificate's key.",
        'Treat the message as forged; ask the endorser.',
    ),
    Code.SIGNED_IN_FUTURE: Entry(
        'The signature claims a time that has not come.',
        "Compare this machine's clock; ask the endorser to correct theirs.",
    ),
    Code.PROXY: Entry(
        'The signer is a proxy certificate.',
        'Ask the endorser to sign with the certificate itself.',
    ),
    Code.SELF_SIGNED: Entry(
        'The signer certified itself and no pin vouches for it.',
        'Ask for a certificate of a trusted CA, or pin the key on purpose.',
    ),
    Code.CA_SIGNER: Entry(
        'The signer is the certificate of a CA.',
        'Ask the endorser to sign with an end-entity certificate.',
    ),
    Code.KEY_USAGE: Entry(
        "The signer's keyUsage allows neither digitalSignature nor "
        'nonRepudiation.',
        'Ask the endorser for a certificate that may sign.',
    ),
    Code.PURPOSE: Entry(
        'The extended key usage of the signer or of a CA above it does not '
        'include signing lists.',
        'Ask for a certificate with emailProtection or clientAuth; for a '
        'host certificate see the option that accepts serverAuth.',
    ),
    Code.NO_ANCHOR: Entry(
        'No way leads from the signer to a trust anchor.',
        'Install the CA, and its intermediate CAs, in the anchor directory '
        'if the site trusts it.',
    ),
    Code.ISSUER_SIGNATURE: Entry(
        'A CA of the right name is known, but its key did not sign.',
        'Treat as forged, unless the CA changed its key: then update the '
        'anchors.',
    ),
    Code.EXPIRED_CERTIFICATE: Entry(
        'A certificate of the chain has expired.',
        'Ask the endorser to renew it and sign again; update the anchors.',
    ),
    Code.NOT_YET_VALID: Entry(
        'A certificate of the chain is not valid yet.',
        "Compare this machine's clock with the time in the message.",
    ),
    Code.NOT_A_CA: Entry(
        'A certificate above the signer may not issue certificates, or not '
        'at that depth.',
        'Treat as forged; ask the CA.',
    ),
    Code.CRITICAL_EXTENSION: Entry(
        'A certificate has a critical extension that is not understood.',
        'Ask the CA for a certificate without it.',
    ),
    Code.NAME_CONSTRAINTS: Entry(
        'A name lies outside what a CA above it may certify.',
        'Treat as forged; ask the CA.',
    ),
    Code.CERTIFICATE_POLICY: Entry(
        'The certificate policies along the chain do not fit.',
        'Ask the CA.',
    ),
    Code.CHAIN: Entry(
        'The path validation failed for another reason, which is named.',
        'Read the detail; ask the CA.',
    ),
    Code.CRL_MISSING: Entry(
        'A CA of the chain has no revocation list here.',
        'Run fetch-crl, or put its CRL beside the anchors.',
    ),
    Code.CRL_EXPIRED: Entry(
        'The revocation list of a CA is out of date.',
        'Run fetch-crl and see why it did not run.',
    ),
    Code.CRL_NOT_YET_VALID: Entry(
        'The revocation list of a CA comes from the future.',
        "Compare this machine's clock; fetch the CRL again.",
    ),
    Code.CRL_UNTRUSTED: Entry(
        'The revocation list is not signed by the CA, or the CA may not '
        'sign any.',
        'Fetch the CRL again; if it stays so, ask the CA.',
    ),
    Code.CRL_UNUSABLE: Entry(
        'The revocation list is a delta, covers a part only, is indirect or '
        'has an unknown critical extension.',
        'Install the complete CRL of that CA.',
    ),
    Code.REVOKED: Entry(
        'A certificate of the chain is revoked.',
        'Stop trusting what it endorsed; ask the endorser for a list signed '
        'with a new certificate.',
    ),
    Code.SIGNING_POLICY: Entry(
        "A subject lies outside its CA's signing_policy, or that file is "
        'missing or unreadable although it is required.',
        'Update the anchors; treat a foreign name as forged.',
    ),
    Code.PIN: Entry(
        "The signer's key is not one of the pinned ones.",
        'Ask the endorser on a second way whether the key changed; then '
        'pin the new one.',
    ),
    Code.ENDORSER_MISMATCH: Entry(
        'The signer is not the endorser that was subscribed.',
        'Treat as forged, unless the endorser was replaced: then edit the '
        'subscription.',
    ),
    Code.THRESHOLD: Entry(
        'Fewer distinct endorsers signed than the policy demands.',
        'Wait for the further signatures.',
    ),
    Code.INVALID_LIST: Entry(
        'The signed content is not an image list.',
        'Tell the endorser the place that the detail names.',
    ),
    Code.WRONG_IDENTIFIER: Entry(
        'The list is another one than was subscribed.',
        'Check the URL and the identifier of the subscription.',
    ),
    Code.AMBIGUOUS_NAME: Entry(
        "A distinguished name in the list's hv:endorser can be read in more "
        'than one way.',
        'Ask the endorser to write it in RFC 4514 form.',
    ),
    Code.ENDORSER_DIFFERS: Entry(
        'The hv:endorser of the list names somebody else than the signer.',
        'Ask the endorser to correct hv:dn and hv:ca and sign again.',
    ),
    Code.LIST_FROM_FUTURE: Entry(
        'The list says it was created at a time that has not come.',
        "Compare this machine's clock; ask the endorser.",
    ),
    Code.LIST_EXPIRED: Entry(
        'The list has expired.',
        'Ask the endorser to renew it.',
    ),
    Code.ROLLBACK: Entry(
        'The list is older than one that was accepted before.',
        'See which server delivers an old copy; an intended step back '
        'needs a reset of the subscription.',
    ),
    Code.EQUIVOCATION: Entry(
        'Two different lists carry the same version.',
        'Alarm: ask the endorser which one is genuine; the first one is kept.',
    ),
}


def refused(code: Code, detail: str, **values: object) -> errors.Refused:
    """The exception for one code; the caller raises it.

    :param code: why
    :param detail: one sentence for a person
    :param values: what disagreed, by name
    """
    return errors.Refused(code.value, detail, values)


def unforeseen(error: Exception) -> errors.Refused:
    """The refusal for an error that no step expects."""
    return refused(
        Code.MALFORMED,
        f'the message could not be read: {type(error).__name__}: {error}'[
            :200
        ],
    )
