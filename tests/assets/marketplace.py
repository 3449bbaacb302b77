# SPDX-License-Identifier: Apache-2.0
"""Entries of a StratusLab marketplace, signed as its tools did.

The canonical form of SignedInfo is written here by hand, as Canonical XML
1.0 has it: with the namespaces and the ``xml:base`` of what stands around.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
from typing import Any
from xml.sax import saxutils

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric import utils
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography import x509
from lxml import etree

from hepix_vm.trust import names

DS = 'http://www.w3.org/2000/09/xmldsig#'
C14N = 'http://www.w3.org/TR/2001/REC-xml-c14n-20010315#WithComments'
ENVELOPED = f'{DS}enveloped-signature'
DIGESTS = {
    'sha1': f'{DS}sha1',
    'sha256': 'http://www.w3.org/2001/04/xmlenc#sha256',
    'sha512': 'http://www.w3.org/2001/04/xmlenc#sha512',
}
METHODS = {
    ('rsa', 'sha1'): f'{DS}rsa-sha1',
    ('rsa', 'sha256'): 'http://www.w3.org/2001/04/xmldsig-more#rsa-sha256',
    ('rsa', 'sha512'): 'http://www.w3.org/2001/04/xmldsig-more#rsa-sha512',
    ('ec', 'sha256'): 'http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256',
}
_HASHES: dict[str, hashes.HashAlgorithm] = {
    'sha1': hashes.SHA1(),  # noqa: S303 - what old tools signed with
    'sha256': hashes.SHA256(),
    'sha512': hashes.SHA512(),
}
_AROUND = (
    ' xmlns:dcterms="http://purl.org/dc/terms/"'
    ' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
    ' xmlns:slreq="http://mp.stratuslab.eu/slreq#"'
    ' xmlns:slterms="http://mp.stratuslab.eu/slterms#"'
    ' xml:base="http://mp.stratuslab.eu/"'
)
_ENTRY = """\
<rdf:RDF{around}>
 <rdf:Description rdf:about="#{identifier}">
  <dcterms:identifier>{identifier}</dcterms:identifier>
  {alternative}
  <slreq:bytes>{size}</slreq:bytes>
  <slreq:checksum rdf:parseType="Resource"
   ><slreq:algorithm>SHA-1</slreq:algorithm
   ><slreq:value>{sha1}</slreq:value></slreq:checksum>
  <slreq:checksum rdf:parseType="Resource"
   ><slreq:algorithm>SHA-512</slreq:algorithm
   ><slreq:value>{sha512}</slreq:value></slreq:checksum>
  <slreq:endorsement rdf:parseType="Resource">
   <dcterms:created>{created}</dcterms:created>
   <slreq:endorser rdf:parseType="Resource">
    <slreq:email>{email}</slreq:email>
    <slreq:subject>{subject}</slreq:subject>
    <slreq:issuer>{issuer}</slreq:issuer>
   </slreq:endorser>
  </slreq:endorsement>
  <slterms:os>Example OS</slterms:os>
  <slterms:os-version>9</slterms:os-version>
  <slterms:os-arch>x86_64</slterms:os-arch>
  <dcterms:compression>{compression}</dcterms:compression>
  {locations}
  <dcterms:format>qcow2</dcterms:format>
  <dcterms:creator>Example Endorser</dcterms:creator>
  <dcterms:valid>{valid}</dcterms:valid>
  <dcterms:description>{description}</dcterms:description>
  <slterms:hypervisor>kvm</slterms:hypervisor>
  <dcterms:publisher>Example Grid</dcterms:publisher>
  {more}
 </rdf:Description>
</rdf:RDF>"""


def entry(
    certificate: x509.Certificate,
    created: datetime.datetime,
    data: bytes = b'the bytes of an image',
    **changes: Any,
) -> bytes:
    """What an endorser says of an image, not signed yet.

    :param changes: ``tag``, ``email``, ``valid``, ``deprecated``,
        ``locations``, ``description`` and others of the template
    """
    tag = changes.pop('tag', None)
    deprecated = changes.pop('deprecated', None)
    locations = changes.pop('locations', ['http://images.example.org/disk'])
    valid = changes.pop('valid', created + datetime.timedelta(days=180))
    more = changes.pop('more', '')
    sha1 = hashlib.sha1(data, usedforsecurity=False)
    values = {
        'identifier': base64.urlsafe_b64encode(sha1.digest()).decode()[:27],
        'size': len(data),
        'sha1': sha1.hexdigest(),
        'sha512': hashlib.sha512(data).hexdigest(),
        'created': moment(created),
        'valid': valid if isinstance(valid, str) else moment(valid),
        'email': 'endorser@example.org',
        'subject': names.from_x509(certificate.subject).rfc4514(),
        'issuer': names.from_x509(certificate.issuer).rfc4514(),
        'compression': '',
        'description': 'made for a test',
    } | changes
    if deprecated is not None:
        more += f'<slterms:deprecated>{deprecated}</slterms:deprecated>'
    return _ENTRY.format(
        around=_AROUND,
        alternative=(
            ''
            if tag is None
            else f'<dcterms:alternative>{tag}</dcterms:alternative>'
        ),
        locations=''.join(
            f'<slterms:location>{place}</slterms:location>'
            for place in locations
        ),
        more=more,
        **{k: saxutils.escape(str(v)) for k, v in values.items()},
    ).encode()


def moment(when: datetime.datetime) -> str:
    """A date as entries have it."""
    return f'{when:%Y-%m-%dT%H:%M:%SZ}'


def sign(
    content: bytes,
    certificate: x509.Certificate,
    key: Any,
    digest: str = 'sha256',
    **changes: Any,
) -> bytes:
    """Put an enveloped signature at the end of an entry.

    :param changes: ``method``, ``content_digest``, ``c14n``, ``uri``,
        ``transforms``, ``certificates``, ``references`` (how many)
    """
    kind = 'rsa' if isinstance(key, rsa.RSAPrivateKey) else 'ec'
    content_digest = changes.get('content_digest', digest)
    canonical = etree.tostring(etree.fromstring(content), method='c14n')
    reference = _element(
        'Reference',
        {'URI': changes.get('uri', '')},
        _element(
            'Transforms',
            {},
            *(
                _element('Transform', {'Algorithm': algorithm})
                for algorithm in changes.get('transforms', [ENVELOPED])
            ),
        ),
        _element('DigestMethod', {'Algorithm': DIGESTS[content_digest]}),
        _element(
            'DigestValue',
            {},
            base64.b64encode(
                hashlib.new(content_digest, canonical).digest()
            ).decode(),
        ),
    )
    inner = ''.join(
        (
            _element(
                'CanonicalizationMethod',
                {'Algorithm': changes.get('c14n', C14N)},
            ),
            _element(
                'SignatureMethod',
                {'Algorithm': changes.get('method', METHODS[kind, digest])},
            ),
            reference * changes.get('references', 1),
        )
    )
    # Default namespace first, then by prefix, then the attributes.
    signed = f'<SignedInfo xmlns="{DS}"{_AROUND}>{inner}</SignedInfo>'
    value = _signature(key, signed.encode(), digest)
    shown = ''.join(
        f'<X509Certificate>{one}</X509Certificate>'
        for one in changes.get('certificates', [encoded(certificate)])
    )
    signature = (
        f'<Signature xmlns="{DS}"><SignedInfo>{inner}</SignedInfo>'
        f'<SignatureValue>{value}</SignatureValue>'
        f'<KeyInfo><X509Data>{shown}</X509Data></KeyInfo></Signature>'
    )
    return content.replace(b'</rdf:RDF>', f'{signature}</rdf:RDF>'.encode())


def encoded(certificate: x509.Certificate) -> str:
    """A certificate as a signature carries it."""
    der = certificate.public_bytes(serialization.Encoding.DER)
    return base64.b64encode(der).decode()


def feed(*entries: bytes) -> bytes:
    """What a marketplace answers to a question."""
    return b'<?xml version="1.0"?>\n<metadata>%s</metadata>' % b''.join(
        entries
    )


def _element(name: str, attributes: dict[str, str], *inside: str) -> str:
    text = ''.join(f' {k}="{v}"' for k, v in attributes.items())
    return f'<{name}{text}>{"".join(inside)}</{name}>'


def _signature(key: Any, data: bytes, digest: str) -> str:
    if isinstance(key, rsa.RSAPrivateKey):
        made = key.sign(data, padding.PKCS1v15(), _HASHES[digest])
    else:
        size = (key.curve.key_size + 7) // 8
        r, s = utils.decode_dss_signature(
            key.sign(data, ec.ECDSA(_HASHES[digest]))
        )
        made = r.to_bytes(size) + s.to_bytes(size)
    return base64.b64encode(made).decode()
