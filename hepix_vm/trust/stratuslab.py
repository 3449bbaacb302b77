# SPDX-License-Identifier: Apache-2.0
"""The envelope of a StratusLab marketplace: RDF/XML with an XML signature.

The signature is XML Signature Syntax and Processing (W3C, 2008), enveloped:
one reference to the whole document. ``signxml`` does the arithmetic; what is
read is what was signed, as it comes out of the canonical form.
"""

from __future__ import annotations

import base64
from typing import Any

from cryptography import exceptions as crypto_errors
from cryptography import x509
from lxml import etree
import signxml
from signxml import exceptions

from hepix_vm import errors
from hepix_vm import imagelist
from hepix_vm.imagelist import marketplace
from hepix_vm.trust import algorithms
from hepix_vm.trust import certificates
from hepix_vm.trust import codes
from hepix_vm.trust import envelopes
from hepix_vm.trust import policy as policies

_DS = '{http://www.w3.org/2000/09/xmldsig#}'
_NAME = 'Algorithm'
_XML = '{http://www.w3.org/XML/1998/namespace}'
_ENVELOPED = 'http://www.w3.org/2000/09/xmldsig#enveloped-signature'

_DIGESTS = ('SHA256', 'SHA384', 'SHA512')
_METHODS = tuple(
    name
    for digest in _DIGESTS
    for name in (
        f'RSA_{digest}',
        f'{digest}_RSA_MGF1',
        f'ECDSA_{digest}',
    )
)
_C14N = frozenset(method.value for method in signxml.CanonicalizationMethod)


def open_envelope(message: bytes, policy: policies.Policy) -> envelopes.Opened:
    """Open one signed entry; see :class:`hepix_vm.trust.envelopes.Envelope`.

    :raises hepix_vm.errors.Refused: ``malformed``, ``not-signed``,
        ``no-certificate``, ``algorithm``, ``weak-digest``, ``signature``,
        ``digest``, ``invalid-list``
    """
    # 2. envelope
    try:
        root = marketplace.load(message)
    except errors.InvalidList as error:
        raise codes.refused(codes.Code.MALFORMED, str(error)) from error
    signatures = list(root.iter(f'{_DS}Signature'))
    if not signatures:
        raise codes.refused(
            codes.Code.NOT_SIGNED, 'the entry has no XML signature'
        )
    if len(signatures) > 1 or signatures[0].getparent() is not root:
        raise codes.refused(
            codes.Code.MALFORMED,
            'expected one XML signature, a child of the entry',
        )
    # 3. structure and algorithms
    config = _config(signatures[0], policy)
    carried = _certificates(signatures[0], policy)
    # 4. and 5. digest and signature
    signed, signer = _verified(root, carried, config)
    # 14. the entry as a list
    try:
        document, created = _document(signed.signed_xml, signer, policy)
    except errors.InvalidList as error:
        raise codes.refused(
            codes.Code.INVALID_LIST,
            str(error),
            path=error.path,
            expected=error.expected,
            found=error.found,
        ) from error
    return envelopes.Opened(
        payload=signed.signed_data,
        document=document,
        certificate=signer.der,
        candidates=tuple(c.der for c in carried if c is not signer),
        signing_time=created,
    )


def _document(
    entry: etree._Element,
    signer: certificates.Certificate,
    policy: policies.Policy,
) -> tuple[bytes, Any]:
    """The list that an entry amounts to, and when it was endorsed.

    Its identifier is derived from the endorser and the image or tag, so
    that a marketplace cannot hand out another entry of that endorser.
    """
    about = marketplace.key(entry)
    endorser = f'{signer.subject.rfc4514()}\n{signer.issuer.rfc4514()}'
    possible = marketplace.list_identifiers(about, endorser)
    identifier = (
        policy.list_identifier
        if policy.list_identifier in possible
        else possible[0]
    )
    image_list = marketplace.as_list(entry, str(identifier))
    return imagelist.render(image_list), about.created


def _config(
    signature: etree._Element, policy: policies.Policy
) -> dict[str, Any]:
    """What is accepted, once it is clear that no other thing is used."""
    sha1 = policy.allow_sha1_dangerous
    methods = frozenset(
        signxml.SignatureMethod[name]
        for name in (*_METHODS, *(('RSA_SHA1',) if sha1 else ()))
    )
    digests = frozenset(
        signxml.DigestAlgorithm[name]
        for name in (*_DIGESTS, *(('SHA1',) if sha1 else ()))
    )
    references = signature.findall(f'{_DS}SignedInfo/{_DS}Reference')
    if len(references) != 1 or references[0].get('URI') != '':
        raise codes.refused(
            codes.Code.MALFORMED,
            'expected a signature over the whole entry, once',
        )
    _require(signature, 'SignatureMethod', {m.value for m in methods})
    _require(signature, 'DigestMethod', {d.value for d in digests})
    _require(signature, 'CanonicalizationMethod', _C14N)
    _require(signature, 'Transform', _C14N | {_ENVELOPED})
    used = signature.find(f'{_DS}SignedInfo/{_DS}SignatureMethod')
    if used is None:
        raise codes.refused(
            codes.Code.MALFORMED, 'the signature names no method'
        )
    return {
        'location': './',
        'signature_methods': frozenset(
            method for method in methods if method.value == used.get(_NAME)
        ),
        'digest_algorithms': digests,
        'default_reference_c14n_method': (
            signxml.CanonicalizationMethod.CANONICAL_XML_1_0
        ),
    }


def _require(
    signature: etree._Element, tag: str, allowed: frozenset[str] | set[str]
) -> None:
    for element in signature.iter(f'{_DS}{tag}'):
        algorithm = element.get(_NAME, '')
        if algorithm not in allowed:
            weak = any(w in algorithm.lower() for w in ('sha1', 'md5'))
            raise codes.refused(
                codes.Code.WEAK_DIGEST if weak else codes.Code.ALGORITHM,
                f'{tag} {algorithm[:100]!r} does not count',
                found=algorithm[:100],
            )


def _certificates(
    signature: etree._Element, policy: policies.Policy
) -> tuple[certificates.Certificate, ...]:
    found = signature.findall(
        f'{_DS}KeyInfo/{_DS}X509Data/{_DS}X509Certificate'
    )
    if len(found) > policy.limits.certificates:
        raise codes.refused(
            codes.Code.LIMIT,
            f'the signature carries {len(found)} certificates, at most '
            f'{policy.limits.certificates} allowed (limit certificates)',
            limit='certificates',
        )
    readable = []
    for element in found:
        try:
            encoded = base64.b64decode(element.text or '')
            if len(encoded) <= policy.limits.certificate_bytes:
                readable.append(certificates.read(encoded))
        except (ValueError, certificates.Unreadable):
            continue
    if not readable:
        raise codes.refused(
            codes.Code.NO_CERTIFICATE,
            "the signature does not carry its signer's certificate",
        )
    return tuple(readable)


def _verified(
    root: etree._Element,
    carried: tuple[certificates.Certificate, ...],
    config: dict[str, Any],
) -> tuple[signxml.VerifyResult, certificates.Certificate]:
    """What was signed, and whose certificate of those carried did it."""
    (method,) = config['signature_methods']
    is_ecdsa = method.name.startswith('ECDSA')
    kind = algorithms.EC_PUBLIC_KEY if is_ecdsa else algorithms.RSA_ENCRYPTION
    for certificate in carried:
        # signxml stumbles over a key of another kind, such as a CA's, and
        # cryptography over one that it does not know.
        if certificate.key_algorithm != kind:
            continue
        try:
            result = _Verifier(root).verify(
                root,
                x509_cert=certificate.x509,
                expect_config=signxml.SignatureConfiguration(
                    **config, **_at_its_time(certificate.x509)
                ),
            )
        except exceptions.InvalidDigest as error:
            raise codes.refused(
                codes.Code.DIGEST,
                'the entry has another digest than was signed',
            ) from error
        except (
            exceptions.InvalidSignature,
            exceptions.InvalidCertificate,
            # A curve that nobody knows; another may have signed.
            crypto_errors.UnsupportedAlgorithm,
        ):
            continue
        except (
            exceptions.SignXMLException,
            etree.LxmlError,
            ValueError,
        ) as error:
            raise codes.refused(
                codes.Code.MALFORMED,
                f'the XML signature cannot be read: {error}'[:200],
            ) from error
        return result, certificate
    raise codes.refused(
        codes.Code.SIGNATURE,
        'the signature was not made with the key of the certificate of '
        f'{carried[0]}',
    )


def _at_its_time(certificate: x509.Certificate) -> dict[str, Any]:
    """Later releases ask when; whether that is now is judged with the path."""
    known = signxml.SignatureConfiguration.__dataclass_fields__
    if 'verification_time' not in known:
        return {}
    return {'verification_time': certificate.not_valid_before_utc}


class _Verifier(signxml.XMLVerifier):  # type: ignore[misc]
    """Canonical XML 1.0 of SignedInfo as the recommendation has it.

    A subset of a document takes over the ``xml:`` attributes of what
    stands around it (Canonical XML 1.0, section 2.4), here ``xml:base``,
    which signxml leaves out as it looks at the signature alone. And
    libxml2 undeclares the default namespace within such a copy although
    all of SignedInfo is in it.
    """

    def __init__(self, root: etree._Element) -> None:
        super().__init__()
        self._around = {
            name: value
            for name, value in root.attrib.items()
            if str(name).startswith(_XML)
        }

    def _c14n(
        self, nodes: Any, algorithm: Any, inclusive_ns_prefixes: Any = None
    ) -> Any:
        if getattr(nodes, 'tag', None) != f'{_DS}SignedInfo':
            return super()._c14n(nodes, algorithm, inclusive_ns_prefixes)
        if algorithm in (
            signxml.CanonicalizationMethod.CANONICAL_XML_1_0,
            signxml.CanonicalizationMethod.CANONICAL_XML_1_0_WITH_COMMENTS,
        ):
            nodes.attrib.update(self._around)
        made = super()._c14n(nodes, algorithm, inclusive_ns_prefixes)
        return made.replace(b' xmlns=""', b'')
