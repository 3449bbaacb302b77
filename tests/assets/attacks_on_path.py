# SPDX-License-Identifier: Apache-2.0
"""Messages whose signer, path or CRLs must be refused."""

from __future__ import annotations

import datetime
import functools
import ipaddress
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from hepix_vm import trust
from hepix_vm.trust import names
from tests.assets import cases
from tests.assets import lists
from tests.assets import pki
from tests.assets import writer

ATTACKS = cases.Register()
Case = cases.Case
DAY = pki.DAY
NOW = pki.NOW
EMAIL = (
    x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]),
    False,
)


def _case(
    code: str,
    holder: pki.Holder,
    *,
    embedded: tuple[pki.Holder, ...] = (),
    anchors: tuple[pki.Holder, ...] | None = None,
    crls: tuple[x509.CertificateRevocationList, ...] | None = None,
    **more: Any,
) -> Case:
    """A message of a signer, judged by a site with these anchors."""
    if anchors is not None:
        more['anchors'] = tuple(a.certificate for a in anchors)
    if crls is not None:
        more['crls'] = crls
    payload = lists.payload(holder)
    return Case(writer.usual(payload, holder, embedded), code, **more)


def _leaf(
    *extensions: pki.Extension,
    ca: pki.Holder | None = None,
    label: str = 'ec endorser',
    **more: Any,
) -> pki.Holder:
    subject = more.pop('subject', 'C=DE/O=Grid/OU=DESY/CN=Jo Endorser')
    return (ca or pki.site().issuing).issue(subject, label, extensions, **more)


# Whose certificate it is


@ATTACKS.add
def look_alike_root_with_the_same_name() -> Case:
    fake = pki.root(label='ec fake root')
    return _case('issuer-signature', _leaf(ca=fake), embedded=(fake,))


@ATTACKS.add
def look_alike_issuing_ca_with_the_same_name() -> Case:
    site = pki.site()
    fake = pki.Holder(site.issuing.certificate, pki.key('ec fake issuing'))
    return _case('issuer-signature', _leaf(ca=fake))


@ATTACKS.add
def whole_look_alike_chain_in_the_message() -> Case:
    fake = pki.root(label='ec fake root')
    issuing = fake.issue(
        'C=DE/O=Grid/CN=Issuing CA', 'ec fake issuing', pki.ca_extensions(0)
    )
    return _case(
        'issuer-signature', _leaf(ca=issuing), embedded=(issuing, fake)
    )


@ATTACKS.add
def unknown_root_in_the_message() -> Case:
    other = pki.root('C=XX/O=Evil/CN=Evil CA', 'ec evil')
    return _case('no-anchor', _leaf(ca=other), embedded=(other,))


@ATTACKS.add
def unknown_issuer() -> Case:
    other = pki.root('C=XX/O=Evil/CN=Evil CA', 'ec evil')
    return _case('no-anchor', _leaf(ca=other))


@ATTACKS.add
def wrong_issuer_key() -> Case:
    return _case('issuer-signature', _leaf(signing_key=pki.key('ec somebody')))


@ATTACKS.add
def intermediate_is_an_anchor_but_its_root_is_not() -> Case:
    site = pki.site()
    return _case('no-anchor', site.endorser, anchors=(site.issuing,))


@ATTACKS.add
def signer_lies_among_the_anchors_but_its_root_does_not() -> Case:
    site = pki.site()
    return _case('no-anchor', site.endorser, anchors=(site.endorser,))


@ATTACKS.add
def two_cas_that_certify_each_other() -> Case:
    first = pki.root('C=XX/CN=First', 'ec first')
    second = pki.root('C=XX/CN=Second', 'ec second')
    crossed = (
        first.issue('C=XX/CN=Second', 'ec second', pki.ca_extensions()),
        second.issue('C=XX/CN=First', 'ec first', pki.ca_extensions()),
    )
    return _case('no-anchor', _leaf(ca=first), embedded=crossed)


@ATTACKS.add
def self_signed() -> Case:
    return _case('self-signed', _alone())


@ATTACKS.add
def self_signed_among_the_anchors() -> Case:
    alone = _alone()
    return _case('self-signed', alone, anchors=(alone,), crls=())


@ATTACKS.add
def self_signed_with_its_pin_but_not_the_mode() -> Case:
    alone = _alone()
    return _case(
        'self-signed',
        alone,
        anchors=(alone,),
        policy={'pins': frozenset({spki(alone)})},
    )


@ATTACKS.add
def self_signed_with_another_pin() -> Case:
    alone = _alone()
    return _case('pin', alone, anchors=(alone,), policy=_pinned('0' * 64))


@ATTACKS.add
def self_signed_with_its_pin_but_not_an_anchor() -> Case:
    alone = _alone()
    return _case('no-anchor', alone, policy=_pinned(spki(alone)))


@ATTACKS.add
def self_signed_with_its_pin_expired() -> Case:
    alone = _alone(end=NOW - DAY)
    return _case(
        'expired-certificate',
        alone,
        anchors=(alone,),
        policy=_pinned(spki(alone)),
    )


@ATTACKS.add
def self_signed_with_its_pin_not_yet_valid() -> Case:
    alone = _alone(start=NOW + DAY)
    return _case(
        'not-yet-valid', alone, anchors=(alone,), policy=_pinned(spki(alone))
    )


@ATTACKS.add
def self_signed_with_its_pin_for_servers_only() -> Case:
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    alone = pki.self_signed('C=AU/O=Widgits', 'rsa alone', [(usage, False)])
    return _case(
        'purpose', alone, anchors=(alone,), policy=_pinned(spki(alone))
    )


@ATTACKS.add
def self_signed_with_its_pin_and_an_unknown_critical_extension() -> Case:
    alone = pki.self_signed('C=AU/O=Widgits', 'rsa alone', [_UNKNOWN])
    return _case(
        'critical-extension',
        alone,
        anchors=(alone,),
        policy=_pinned(spki(alone)),
    )


def _alone(**more: Any) -> pki.Holder:
    return pki.self_signed(
        'C=AU/O=Widgits',
        'rsa alone',
        [(x509.BasicConstraints(True, None), True)],
        **more,
    )


def _pinned(pin: str) -> dict[str, Any]:
    return {'pins': frozenset({pin}), 'accept_self_signed_pinned': True}


def spki(holder: pki.Holder) -> str:
    """The pin of a certificate's key."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(
        holder.certificate.public_key().public_bytes(
            serialization.Encoding.DER,
            serialization.PublicFormat.SubjectPublicKeyInfo,
        )
    )
    return digest.finalize().hex()


@ATTACKS.add
def pin_of_another_key() -> Case:
    return _case(
        'pin',
        pki.site().endorser,
        policy={'pins': frozenset({'0' * 64, '1' * 64})},
    )


def _subscribed(subject: str, issuer: str) -> dict[str, Any]:
    return {
        'endorser': trust.Endorser(
            names.parse(subject), trust.names.parse(issuer)
        )
    }


@ATTACKS.add
def another_endorser_of_the_same_ca() -> Case:
    site = pki.site()
    return _case(
        'endorser-mismatch',
        _leaf(subject='C=DE/O=Grid/CN=Mallory'),
        policy=_subscribed(site.endorser.slash, site.endorser.issuer_slash),
    )


@ATTACKS.add
def the_endorsers_name_from_another_ca() -> Case:
    site = pki.site()
    other = site.root.issue(
        'C=DE/O=Grid/CN=Other CA', 'ec other ca', pki.ca_extensions()
    )
    return _case(
        'endorser-mismatch',
        _leaf(ca=other, subject='C=DE/O=Grid/OU=DESY/CN=Jo Endorser'),
        embedded=(other,),
        crls=(*site.crls, other.crl()),
        policy=_subscribed(site.endorser.slash, site.endorser.issuer_slash),
    )


@ATTACKS.add
def slash_in_a_name_does_not_make_the_victims_name() -> Case:
    subject = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.COUNTRY_NAME, 'DE'),
            x509.NameAttribute(
                x509.NameOID.ORGANIZATION_NAME, 'Grid/CN=Victim'
            ),
        ]
    )
    return _case(
        'endorser-mismatch',
        pki.site().issuing.issue(subject, 'ec mallory'),
        policy=_subscribed(
            '/C=DE/O=Grid/CN=Victim', '/C=DE/O=Grid/CN=Issuing CA'
        ),
    )


@ATTACKS.add
def name_in_another_case() -> Case:
    site = pki.site()
    return _case(
        'endorser-mismatch',
        _leaf(subject='C=DE/O=Grid/OU=DESY/CN=JO ENDORSER'),
        policy=_subscribed(site.endorser.slash, site.endorser.issuer_slash),
    )


@ATTACKS.add
def parts_in_another_order() -> Case:
    site = pki.site()
    return _case(
        'endorser-mismatch',
        _leaf(subject='CN=Jo Endorser/OU=DESY/O=Grid/C=DE'),
        policy=_subscribed(site.endorser.slash, site.endorser.issuer_slash),
    )


@ATTACKS.add
def two_attributes_in_one_part() -> Case:
    subject = x509.Name(
        [
            x509.RelativeDistinguishedName(
                [
                    x509.NameAttribute(x509.NameOID.COMMON_NAME, 'Jo'),
                    x509.NameAttribute(x509.NameOID.USER_ID, 'jo'),
                ]
            )
        ]
    )
    return _case(
        'endorser-mismatch',
        pki.site().issuing.issue(subject, 'ec mallory'),
        policy=_subscribed('/UID=jo/CN=Jo', '/C=DE/O=Grid/CN=Issuing CA'),
    )


# What the certificate may be used for


@ATTACKS.add
def server_auth_only() -> Case:
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    return _case('purpose', _leaf((usage, False)))


@ATTACKS.add
def code_signing_only_although_servers_are_accepted() -> Case:
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
    return _case(
        'purpose', _leaf((usage, True)), policy={'accept_server_auth': True}
    )


@ATTACKS.add
def purpose_that_a_ca_above_excludes() -> Case:
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    ca = _ca((usage, False))
    return _ca_case('purpose', ca, _leaf(EMAIL, ca=ca))


@ATTACKS.add
def purpose_that_a_ca_above_a_signer_without_one_excludes() -> Case:
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    ca = _ca((usage, False))
    return _ca_case('purpose', ca, _leaf(ca=ca))


@ATTACKS.add
def purposes_that_signer_and_ca_do_not_share() -> Case:
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    ca = _ca((usage, False))
    return _ca_case('purpose', ca, _leaf(EMAIL, ca=ca))


@ATTACKS.add
def key_encipherment_only() -> Case:
    usage = pki.usage(key_encipherment=True)
    return _case('key-usage', _leaf((usage, True)))


_UNKNOWN = (
    x509.UnrecognizedExtension(
        x509.ObjectIdentifier('1.2.3.4.5'), b'\x05\x00'
    ),
    True,
)


@ATTACKS.add
def unknown_critical_extension() -> Case:
    return _case('critical-extension', _leaf(_UNKNOWN))


@ATTACKS.add
def unknown_critical_extension_of_a_ca() -> Case:
    ca = _ca(_UNKNOWN)
    return _ca_case('critical-extension', ca, _leaf(ca=ca))


@ATTACKS.add
def ca_as_signer() -> Case:
    return _case('ca-signer', _leaf(*pki.ca_extensions()))


@ATTACKS.add
def issuing_ca_signs_a_list_itself() -> Case:
    return _case('ca-signer', pki.site().issuing)


@ATTACKS.add
def proxy_of_rfc_3820() -> Case:
    return _proxy('1.3.6.1.5.5.7.1.14', '123456', critical=True)


@ATTACKS.add
def proxy_of_the_draft() -> Case:
    return _proxy('1.3.6.1.4.1.3536.1.222', '123456', critical=False)


def _proxy(oid: str, common_name: str, *, critical: bool) -> Case:
    # ProxyCertInfo: SEQUENCE { SEQUENCE { id-ppl-inheritAll } }
    info = writer.seq(writer.seq(writer.oid('1.3.6.1.5.5.7.21.1')))
    extension = (
        x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), info),
        critical,
    )
    endorser = pki.site().endorser
    proxy = endorser.issue(
        f'C=DE/O=Grid/OU=DESY/CN=Jo Endorser/CN={common_name}',
        'ec proxy',
        [extension],
    )
    return _case('proxy', proxy, embedded=(endorser,))


@ATTACKS.add
def legacy_proxy() -> Case:
    return _legacy('proxy')


@ATTACKS.add
def legacy_limited_proxy() -> Case:
    return _legacy('limited proxy')


def _legacy(word: str) -> Case:
    endorser = pki.site().endorser
    proxy = endorser.issue(
        f'C=DE/O=Grid/OU=DESY/CN=Jo Endorser/CN={word}', 'ec proxy'
    )
    return _case('proxy', proxy, embedded=(endorser,))


# Dates


@ATTACKS.add
def leaf_expired() -> Case:
    return _case('expired-certificate', _leaf(end=NOW - DAY))


@ATTACKS.add
def leaf_not_yet_valid() -> Case:
    return _case('not-yet-valid', _leaf(start=NOW + DAY))


@ATTACKS.add
def issuing_ca_expired() -> Case:
    ca = _ca(end=NOW - DAY)
    return _ca_case('expired-certificate', ca, _leaf(ca=ca))


@ATTACKS.add
def issuing_ca_not_yet_valid() -> Case:
    ca = _ca(start=NOW + DAY)
    return _ca_case('not-yet-valid', ca, _leaf(ca=ca))


@ATTACKS.add
def root_expired() -> Case:
    return _root_dates('expired-certificate', end=NOW - DAY)


@ATTACKS.add
def root_not_yet_valid() -> Case:
    return _root_dates('not-yet-valid', start=NOW + DAY)


def _root_dates(code: str, **dates: datetime.datetime) -> Case:
    top = pki.root('C=DE/CN=Dated Root', 'ec dated root', **dates)
    return _case(code, _leaf(ca=top), anchors=(top,), crls=(top.crl(),))


def _ca(
    *extensions: pki.Extension,
    basic: tuple[pki.Extension, ...] | None = None,
    label: str = 'ec special ca',
    ca: pki.Holder | None = None,
    subject: str = 'C=DE/O=Grid/CN=Special CA',
    **more: Any,
) -> pki.Holder:
    """An intermediate CA with something special about it."""
    usual = pki.ca_extensions() if basic is None else basic
    return (ca or pki.site().root).issue(
        subject, label, (*usual, *extensions), **more
    )


def _ca_case(code: str, ca: pki.Holder, leaf: pki.Holder, **more: Any) -> Case:
    """The special CA is embedded and has a CRL."""
    crls = (*pki.site().crls, ca.crl())
    return _case(code, leaf, embedded=(ca,), crls=crls, **more)


# Revocation


def _crls(
    *, root: Any = None, issuing: Any = None
) -> tuple[x509.CertificateRevocationList, ...]:
    site = pki.site()
    return (root or site.root_crl, issuing or site.issuing_crl)


@ATTACKS.add
def leaf_revoked() -> Case:
    site = pki.site()
    revoking = site.issuing.crl([site.endorser])
    return _case('revoked', site.endorser, crls=_crls(issuing=revoking))


@ATTACKS.add
def intermediate_revoked() -> Case:
    site = pki.site()
    revoking = site.root.crl([site.issuing])
    return _case('revoked', site.endorser, crls=_crls(root=revoking))


@ATTACKS.add
def revoked_where_crls_are_optional() -> Case:
    case = leaf_revoked()
    return Case(
        case.message, 'revoked', crls=case.crls, policy={'crl': 'if-present'}
    )


@ATTACKS.add
def intermediate_revoked_where_crls_are_optional() -> Case:
    site = pki.site()
    revoking = site.root.crl([site.issuing])
    return _case(
        'revoked',
        site.endorser,
        crls=(revoking,),
        policy={'crl': 'if-present'},
    )


@ATTACKS.add
def revoked_leaf_with_an_older_crl_embedded() -> Case:
    site = pki.site()
    older = site.issuing.crl(start=NOW - 2 * DAY, end=NOW + 60 * DAY)
    revoking = site.issuing.crl([site.endorser], number=2)
    content = writer.crlf(lists.payload())
    cms = writer.signed_data(
        [writer.signer_info(content, site.endorser)],
        [site.endorser.der],
        crls=[older.public_bytes(serialization.Encoding.DER)],
    )
    return Case(
        writer.multipart(content, cms),
        'revoked',
        crls=_crls(issuing=revoking),
    )


@ATTACKS.add
def crl_in_the_message_only() -> Case:
    site = pki.site()
    content = writer.crlf(lists.payload())
    cms = writer.signed_data(
        [writer.signer_info(content, site.endorser)],
        [site.endorser.der],
        crls=[
            crl.public_bytes(serialization.Encoding.DER) for crl in site.crls
        ],
    )
    return Case(writer.multipart(content, cms), 'crl-missing', crls=())


@ATTACKS.add
def older_crl_beside_the_one_that_revokes() -> Case:
    site = pki.site()
    revoking = site.issuing.crl([site.endorser], number=2, start=NOW - DAY)
    older = site.issuing.crl(number=1, start=NOW - 5 * DAY)
    crls = (site.root_crl, older, revoking)
    return _case('revoked', site.endorser, crls=crls)


@ATTACKS.add
def crl_of_the_leaf_missing() -> Case:
    site = pki.site()
    return _case('crl-missing', site.endorser, crls=(site.root_crl,))


@ATTACKS.add
def crl_of_the_intermediate_missing() -> Case:
    site = pki.site()
    return _case('crl-missing', site.endorser, crls=(site.issuing_crl,))


@ATTACKS.add
def crl_expired() -> Case:
    old = pki.site().issuing.crl(start=NOW - 9 * DAY, end=NOW - DAY)
    return _issuing_crl('crl-expired', old)


@ATTACKS.add
def crl_expired_where_crls_are_optional() -> Case:
    old = pki.site().issuing.crl(start=NOW - 9 * DAY, end=NOW - DAY)
    case = _issuing_crl('crl-expired', old)
    return Case(
        case.message, case.code, crls=case.crls, policy={'crl': 'if-present'}
    )


@ATTACKS.add
def crl_from_the_future() -> Case:
    early = pki.site().issuing.crl(start=NOW + DAY)
    return _issuing_crl('crl-not-yet-valid', early)


@ATTACKS.add
def crl_forged() -> Case:
    forged = pki.site().issuing.crl(signing_key=pki.key('ec forger'))
    return _issuing_crl('crl-untrusted', forged)


@ATTACKS.add
def crl_corrupt() -> Case:
    data = bytearray(
        pki.site().issuing_crl.public_bytes(serialization.Encoding.DER)
    )
    data[-1] ^= 1
    return _issuing_crl('crl-untrusted', x509.load_der_x509_crl(bytes(data)))


def _point(**words: Any) -> pki.Extension:
    every = {
        'full_name': None,
        'relative_name': None,
        'only_contains_user_certs': False,
        'only_contains_ca_certs': False,
        'only_some_reasons': None,
        'indirect_crl': False,
        'only_contains_attribute_certs': False,
    }
    return x509.IssuingDistributionPoint(**{**every, **words}), True


def _scoped(**words: Any) -> Case:
    crl = pki.site().issuing.crl(extensions=[_point(**words)])
    return _issuing_crl('crl-unusable', crl)


@ATTACKS.add
def crl_for_cas_only() -> Case:
    return _scoped(only_contains_ca_certs=True)


@ATTACKS.add
def crl_for_attribute_certificates_only() -> Case:
    return _scoped(only_contains_attribute_certs=True)


@ATTACKS.add
def crl_for_some_reasons_only() -> Case:
    return _scoped(
        only_some_reasons=frozenset({x509.ReasonFlags.key_compromise})
    )


@ATTACKS.add
def crl_indirect() -> Case:
    return _scoped(indirect_crl=True)


@ATTACKS.add
def crl_of_another_distribution_point() -> Case:
    name = x509.UniformResourceIdentifier('http://ca.example.org/part7.crl')
    return _scoped(full_name=[name])


@ATTACKS.add
def crl_delta() -> Case:
    delta = pki.site().issuing.crl(
        extensions=[(x509.DeltaCRLIndicator(1), True)], number=2
    )
    return _issuing_crl('crl-unusable', delta)


@ATTACKS.add
def delta_crl_that_revokes_beside_a_complete_one_that_does_not() -> Case:
    site = pki.site()
    delta = site.issuing.crl(
        [site.endorser],
        extensions=[(x509.DeltaCRLIndicator(1), True)],
        number=2,
    )
    return _case('revoked', site.endorser, crls=(*site.crls, delta))


@ATTACKS.add
def crl_with_an_unknown_critical_extension() -> Case:
    crl = pki.site().issuing.crl(extensions=[_UNKNOWN])
    return _issuing_crl('crl-unusable', crl)


@ATTACKS.add
def crl_signed_with_sha1() -> Case:
    site = pki.site()
    ca = _ca(label='rsa special ca')
    weak = _weaken(ca.crl())
    return _case(
        'weak-digest',
        _leaf(ca=ca),
        embedded=(ca,),
        crls=(site.root_crl, x509.load_der_x509_crl(weak)),
    )


def _issuing_crl(code: str, crl: x509.CertificateRevocationList) -> Case:
    site = pki.site()
    return _case(code, site.endorser, crls=(site.root_crl, crl))


@ATTACKS.add
def crl_from_a_ca_that_may_not_sign_any() -> Case:
    ca = _ca(basic=pki.ca_extensions(crl_sign=False))
    return _ca_case('crl-untrusted', ca, _leaf(ca=ca))


# Digests and keys

_SHA256_RSA = bytes.fromhex('06092a864886f70d01010b')
_SHA1_RSA = bytes.fromhex('06092a864886f70d010105')
_MD5_RSA = bytes.fromhex('06092a864886f70d010104')


def _weaken(
    signed: x509.Certificate | x509.CertificateRevocationList,
    algorithm: bytes = _SHA1_RSA,
) -> bytes:
    """The same bytes under the name of a weaker digest.

    The signature is not right any more; digests are judged before it.
    """
    data = signed.public_bytes(serialization.Encoding.DER)
    assert data.count(_SHA256_RSA) == 2
    return data.replace(_SHA256_RSA, algorithm)


@functools.cache
def rsa_root() -> pki.Holder:
    """A root with an RSA key."""
    return pki.root('C=DE/CN=RSA Root', 'rsa root')


def _weak_leaf(algorithm: bytes) -> Case:
    top = rsa_root()
    leaf = _leaf(ca=top)
    weak = pki.Holder(
        x509.load_der_x509_certificate(_weaken(leaf.certificate, algorithm)),
        leaf.key,
    )
    return _case('weak-digest', weak, anchors=(top,), crls=(top.crl(),))


@ATTACKS.add
def leaf_signed_with_sha1() -> Case:
    return _weak_leaf(_SHA1_RSA)


@ATTACKS.add
def leaf_signed_with_md5() -> Case:
    return _weak_leaf(_MD5_RSA)


@ATTACKS.add
def intermediate_signed_with_sha1() -> Case:
    top = rsa_root()
    ca = _ca(ca=top)
    weak = pki.Holder(
        x509.load_der_x509_certificate(_weaken(ca.certificate)), ca.key
    )
    return _case(
        'weak-digest',
        _leaf(ca=weak),
        embedded=(weak,),
        anchors=(top,),
        crls=(top.crl(), ca.crl()),
    )


@ATTACKS.add
def intermediate_among_the_anchors_signed_with_sha1() -> Case:
    top = rsa_root()
    ca = _ca(ca=top)
    weak = pki.Holder(
        x509.load_der_x509_certificate(_weaken(ca.certificate)), ca.key
    )
    return _case(
        'weak-digest',
        _leaf(ca=weak),
        anchors=(top, weak),
        crls=(top.crl(), ca.crl()),
    )


@ATTACKS.add
def rsa_1024_signer() -> Case:
    return _case('weak-key', _leaf(label='rsa1024 weak'))


@ATTACKS.add
def rsa_1024_intermediate() -> Case:
    ca = _ca(label='rsa1024 weak ca')
    return _ca_case('weak-key', ca, _leaf(ca=ca))


@ATTACKS.add
def rsa_1024_root() -> Case:
    top = pki.root('C=DE/CN=Weak Root', 'rsa1024 weak root')
    return _case('weak-key', _leaf(ca=top), anchors=(top,), crls=(top.crl(),))


@ATTACKS.add
def curve_secp256k1() -> Case:
    return _case('weak-key', _leaf(label='k256 odd'))


@ATTACKS.add
def explicit_curve_parameters() -> Case:
    leaf = _leaf(label='ec explicit', ca=pki.site().issuing)
    return _explicit(leaf)


def _explicit(leaf: pki.Holder) -> Case:
    """The leaf with P-256 spelt out, signed anew."""
    named = bytes.fromhex('301306072a8648ce3d020106082a8648ce3d030107')
    prime = int(
        'ffffffff00000001000000000000000000000000ffffffffffffffffffffffff', 16
    )
    b = '5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b'
    point = (
        '046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296'
        '4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5'
    )
    order = int(
        'ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551', 16
    )
    spelt = writer.algorithm(
        '1.2.840.10045.2.1',
        writer.seq(
            writer.integer(1),
            writer.seq(writer.oid('1.2.840.10045.1.1'), writer.integer(prime)),
            writer.seq(
                writer.octets((prime - 3).to_bytes(32, 'big')),
                writer.octets(bytes.fromhex(b)),
            ),
            writer.octets(bytes.fromhex(point)),
            writer.integer(order),
            writer.integer(1),
        ),
    )
    public = leaf.certificate.public_key().public_bytes(
        serialization.Encoding.DER,
        serialization.PublicFormat.SubjectPublicKeyInfo,
    )
    spki_bytes = writer.seq(spelt, public[2:].removeprefix(named))
    tbs_body = leaf.certificate.tbs_certificate_bytes
    tbs_body = writer.body(tbs_body)
    assert public in tbs_body
    tbs = writer.seq(tbs_body.replace(public, spki_bytes))
    encoded = signed_anew(tbs, pki.site().issuing.key)
    content = writer.crlf(lists.payload())
    cms = writer.signed_data([writer.signer_info(content, leaf)], [encoded])
    return Case(writer.multipart(content, cms), 'weak-key')


def for_pss_only(holder: pki.Holder, issuer: pki.Holder) -> pki.Holder:
    """The same certificate, its RSA key bound to RSA-PSS (RFC 4055)."""
    spki = holder.certificate.public_key().public_bytes(
        serialization.Encoding.DER,
        serialization.PublicFormat.SubjectPublicKeyInfo,
    )
    usual = writer.algorithm(writer.RSA, writer.NULL)
    bound = writer.algorithm(writer.PSS)
    bits = writer.body(spki).removeprefix(usual)
    tbs = writer.body(holder.certificate.tbs_certificate_bytes)
    assert tbs.count(spki) == 1
    tbs = writer.seq(tbs.replace(spki, writer.seq(bound, bits)))
    return pki.Holder(
        x509.load_der_x509_certificate(signed_anew(tbs, issuer.key)),
        holder.key,
    )


@ATTACKS.add
def pkcs1_signature_of_a_key_for_pss_only() -> Case:
    site = pki.site()
    return _case('signature', for_pss_only(site.endorser, site.issuing))


@ATTACKS.add
def ca_with_a_key_for_pss_only_that_signed_with_pkcs1() -> Case:
    ca = for_pss_only(_ca(label='rsa special ca'), pki.site().root)
    return _ca_case('issuer-signature', ca, _leaf(ca=ca))


@ATTACKS.add
def key_that_cannot_sign() -> Case:
    leaf = _leaf(label='x25519')
    message = writer.usual(
        lists.payload(leaf), leaf, key=pki.key('ec somebody')
    )
    return Case(message, 'weak-key')


# What the CAs allow


@ATTACKS.add
def leaf_used_as_ca() -> Case:
    middle = _leaf(label='ec middle', subject='C=DE/O=Grid/CN=Leaf')
    return _ca_case('not-a-ca', middle, _leaf(ca=middle))


@ATTACKS.add
def endorser_used_as_ca() -> Case:
    endorser = pki.site().endorser
    victim = endorser.issue('C=DE/O=Grid/CN=Victim', 'ec victim')
    return _ca_case('not-a-ca', endorser, victim)


@ATTACKS.add
def path_length_exceeded() -> Case:
    below = _ca(ca=pki.site().issuing)
    return _ca_case('not-a-ca', below, _leaf(ca=below))


@ATTACKS.add
def ca_without_key_cert_sign() -> Case:
    ca = _ca(basic=pki.ca_extensions(cert_sign=False))
    return _ca_case('not-a-ca', ca, _leaf(ca=ca))


@ATTACKS.add
def ca_without_basic_constraints() -> Case:
    usage = (pki.usage(key_cert_sign=True, crl_sign=True), True)
    ca = _ca(basic=(usage,))
    return _ca_case('not-a-ca', ca, _leaf(ca=ca))


@ATTACKS.add
def anchor_below_a_root_without_basic_constraints() -> Case:
    """Only a root may lack them for its age."""
    usage = (pki.usage(key_cert_sign=True, crl_sign=True), True)
    ca = _ca(basic=(usage,))
    return _case(
        'not-a-ca',
        _leaf(ca=ca),
        anchors=(pki.site().root, ca),
        crls=(*pki.site().crls, ca.crl()),
    )


@ATTACKS.add
def chain_of_seven_certificates() -> Case:
    holder = pki.site().root
    crls = [*pki.site().crls]
    chain = []
    for number in range(5):
        holder = _ca(
            ca=holder,
            label=f'ec deep {number}',
            subject=f'C=DE/CN=Deep {number}',
        )
        chain.append(holder)
        crls.append(holder.crl())
    return _case(
        'limit', _leaf(ca=holder), embedded=tuple(chain), crls=tuple(crls)
    )


@ATTACKS.add
def forty_certificates_that_could_be_part_of_the_path() -> Case:
    root = pki.site().root
    many = tuple(_ca(ca=root) for _ in range(40))
    return _case('limit', _leaf(ca=many[0]), embedded=many)


@ATTACKS.add
def seventy_signature_checks() -> Case:
    fakes = tuple(
        pki.root(
            'C=DE/O=Grid/CN=Issuing CA',
            'ec fake',
            start=pki.START + n * DAY,
        )
        for n in range(70)
    )
    other = pki.Holder(fakes[0].certificate, pki.key('ec another'))
    return _case('limit', _leaf(ca=other), embedded=fakes)


def _constrained(
    constraints: x509.NameConstraints, leaf_extension: Any = None
) -> Case:
    ca = _ca((constraints, True))
    extensions = () if leaf_extension is None else ((leaf_extension, False),)
    return _ca_case('name-constraints', ca, _leaf(*extensions, ca=ca))


@ATTACKS.add
def name_outside_the_permitted_subtree() -> Case:
    subtree = x509.DirectoryName(pki.name('C=FR/O=Grid'))
    return _constrained(x509.NameConstraints([subtree], None))


@ATTACKS.add
def name_inside_the_excluded_subtree() -> Case:
    subtree = x509.DirectoryName(pki.name('C=DE/O=Grid/OU=DESY'))
    return _constrained(x509.NameConstraints(None, [subtree]))


@ATTACKS.add
def address_outside_the_permitted_network() -> Case:
    network = x509.IPAddress(ipaddress.ip_network('10.0.0.0/8'))
    alternative = x509.SubjectAlternativeName(
        [x509.IPAddress(ipaddress.ip_address('192.0.2.1'))]
    )
    return _constrained(x509.NameConstraints([network], None), alternative)


@ATTACKS.add
def explicit_policy_required_but_none_given() -> Case:
    ca = _ca((x509.PolicyConstraints(0, None), True))
    return _ca_case('certificate-policy', ca, _leaf(ca=ca))


@ATTACKS.add
def explicit_policy_required_is_not_asked_for_here() -> Case:
    policy = x509.CertificatePolicies(
        [x509.PolicyInformation(x509.ObjectIdentifier('1.2.3.4'), None)]
    )
    ca = _ca((x509.PolicyConstraints(0, None), True), (policy, True))
    return _ca_case('certificate-policy', ca, _leaf((policy, True), ca=ca))


@ATTACKS.add
def duplicate_extension() -> Case:
    leaf, encoded = twice()
    content = writer.crlf(lists.payload())
    cms = writer.signed_data([writer.signer_info(content, leaf)], [encoded])
    return Case(writer.multipart(content, cms), 'malformed')


def twice() -> tuple[pki.Holder, bytes]:
    """A leaf, and the same with two basicConstraints, signed anew."""
    leaf = _leaf((x509.BasicConstraints(False, None), True))
    tbs = leaf.certificate.tbs_certificate_bytes
    one = tbs[tbs.index(bytes.fromhex('300c0603551d13')) :]
    head = writer.body(tbs)
    again = writer.seq(
        head[: head.rindex(b'\xa3')],
        writer.tlv(0xA3, writer.seq(one, one)),
    )
    return leaf, signed_anew(again, pki.site().issuing.key)


def signed_anew(tbs: bytes, key: Any) -> bytes:
    """A certificate or CRL of a changed body, signed with an EC key."""
    return writer.seq(
        tbs,
        writer.algorithm(writer.ECDSA['sha256']),
        writer.tlv(0x03, b'\0', writer.raw_signature(key, tbs, 'sha256')),
    )


# Signing policies


def signing_policy(ca: str, *patterns: str) -> str:
    """The text of a signing_policy file."""
    quoted = ' '.join(f'"{p}"' for p in patterns)
    return (
        f"access_id_CA X509 '{ca}'\npos_rights globus CA:sign\n"
        f"cond_subjects globus '{quoted}'\n"
    )


_ROOT = '/C=DE/O=Grid/CN=Root CA'
_ISSUING = '/C=DE/O=Grid/CN=Issuing CA'


def _policies(*texts: str, code: str = 'signing-policy', **knobs: Any) -> Case:
    case = _case(code, pki.site().endorser, policy=knobs)
    return Case(case.message, code, signing_policies=texts, policy=case.policy)


@ATTACKS.add
def subject_outside_the_signing_policy() -> Case:
    return _policies(signing_policy(_ISSUING, '/C=FR/*'))


@ATTACKS.add
def intermediate_outside_the_signing_policy_of_the_root() -> Case:
    return _policies(signing_policy(_ROOT, '/C=FR/*'))


@ATTACKS.add
def signing_policy_is_anchored_at_both_ends() -> Case:
    return _policies(
        signing_policy(_ISSUING, 'C=DE/*', '/C=DE/O=Grid/OU=DESY')
    )


@ATTACKS.add
def signing_policy_that_allows_nothing() -> Case:
    return _policies(
        f"access_id_CA X509 '{_ISSUING}'\npos_rights globus CA:sign\n"
    )


@ATTACKS.add
def signing_policy_required_but_missing() -> Case:
    return _policies(
        signing_policy(_ISSUING, '/C=DE/*'), signing_policy='require'
    )
