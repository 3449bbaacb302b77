# SPDX-License-Identifier: Apache-2.0
"""Options of a subscription: one ``[subscription:NAME]`` group each."""

from __future__ import annotations

from collections.abc import Mapping
import re
from typing import Any
import uuid

from oslo_config import cfg

from hepix_vm.catalogue import subscription
from hepix_vm.conf import access
from hepix_vm.conf import approval
from hepix_vm.conf import trust
from hepix_vm import errors

PREFIX = 'subscription:'
_NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9_.-]{0,63}')

#: The group as the sample file shows it.
SAMPLE_GROUP = cfg.OptGroup(
    f'{PREFIX}NAME',
    title='An image list that this site follows',
    help="""
Write one group for each list, with a NAME of your choice (letters, digits,
"_", "." and "-"). Whom the site trusts stands in this file and nowhere else:
keep it owned by root.
""",
)

OPTS = [
    cfg.StrOpt(
        'url',
        required=True,
        help="""
Where the signed image list is fetched: http, https, file, or a registry as
oci://HOST[:PORT]/PROJECT/NAME:TAG. The transport need not be trusted, the
signature is what counts.
""",
    ),
    cfg.StrOpt(
        'list_identifier',
        required=True,
        help="""
Identity (UUID, dc:identifier) of the list. A list with another identity is
refused, whoever signed it.
""",
    ),
    cfg.StrOpt(
        'endorser_subject',
        required=True,
        help="""
Subject DN of the endorser's certificate, as RFC 4514
("CN=Jane Doe,O=Example,C=CH") or in slash form ("/C=CH/O=Example/CN=Jane Doe")
where that can be read in one way only.
""",
    ),
    cfg.StrOpt(
        'endorser_issuer',
        required=True,
        help='Subject DN of the CA that issued it, in either form.',
    ),
    cfg.StrOpt(
        'trust_anchors',
        default='/etc/grid-security/certificates',
        help="""
Directory of the CA certificates that may certify this endorser, with their
revocation lists: HASH.0, HASH.r0 and HASH.signing_policy as IGTF distributes
them, or plain *.pem files. Keep the revocation lists fresh (fetch-crl): a
list whose signer cannot be checked for revocation is not believed.
""",
    ),
    *approval.OPTS,
    cfg.IntOpt(
        'replace_grace',
        default=86400,
        min=0,
        help="""
Seconds for which a version of an image goes on counting after a newer one has
taken its place in the list, so that users are not without while the newer one
is published; it ends as soon as that one is released everywhere. An image that
the list no longer names at all, and one that the site blocks, ends at once. 0
ends replaced versions at once, too.
""",
    ),
    cfg.BoolOpt(
        'quarantine',
        default=False,
        help="""
Whether a new version of an image is first booted by the site itself, as group
[quarantine] says, and released only when that went well.
""",
    ),
    cfg.ListOpt(
        'projects',
        default=['*'],
        help='Ids of the projects that may use the images; "*" means all.',
    ),
    cfg.MultiStrOpt(
        'vo_projects',
        default=[],
        help="""
"VO:PROJECT_ID[,PROJECT_ID...]", may be repeated. When given, a list is good
only for the projects of the VO that it names (ad:vo); a list of another VO, or
of none, is good for no project.
""",
    ),
    cfg.IntOpt(
        'list_max_age',
        min=300,
        help="""
Seconds that this list may go without having been fetched and verified; default
is [catalogue] list_max_age.
""",
    ),
    cfg.IntOpt(
        'sync_interval',
        min=60,
        help="""
Seconds from a good attempt to the next one; default is [sync] interval.
""",
    ),
    cfg.StrOpt(
        'crl',
        default='require',
        choices=[
            ('require', 'each CA below the anchor needs a current CRL'),
            ('if-present', 'a CRL counts where there is one'),
            ('off', 'revocation is not checked'),
        ],
        help="""
How revocation is checked. With anything but "require" a revoked endorser may
go unnoticed.
""",
    ),
    cfg.StrOpt(
        'signing_policy',
        default='if-present',
        choices=[
            ('require', 'every CA needs a signing_policy that is obeyed'),
            ('if-present', 'obeyed of every CA that has one'),
            ('off', 'not looked at'),
        ],
        help="""
How HASH.signing_policy files (which DNs a CA may certify) are used.
""",
    ),
    cfg.ListOpt(
        'pins',
        default=[],
        help="""
SHA-256 (hex) of the public keys (SubjectPublicKeyInfo) that the endorser may
sign with, for instance the present and the next one.
""",
    ),
    cfg.BoolOpt(
        'dangerous_accept_self_signed',
        default=False,
        help="""
Accept a signer whose certificate is self-signed and lies in trust_anchors, as
AppDB's did; needs pins. Nobody can revoke such a certificate.
""",
    ),
    cfg.IntOpt(
        'threshold',
        default=1,
        min=1,
        help="""
How many distinct endorsers (the one above and co_endorsers) must have signed
the list. With 1 a list carries one signature; with more, all signatures that
it carries must verify.
""",
    ),
    cfg.MultiStrOpt(
        'co_endorsers',
        default=[],
        help="""
"SUBJECT DN | ISSUER DN" of a further endorser who may sign, may be repeated.
""",
    ),
    cfg.StrOpt(
        'image_signature_suffix',
        help="""
Demand a detached signature of every image file, made by "openssl dgst -sha256
-sign KEY -out IMAGE.sig IMAGE" and found at the image's URI with this suffix
(".sig"). "hepix-vm publish" downloads the image, verifies it, and only then
counts the image as approved. Unset: the list's signature is enough.
""",
    ),
    cfg.StrOpt(
        'image_signature_certificate',
        help="""
PEM file of the certificate that such signatures are verified with. Its chain
and revocation are checked as those of the list's signer.
""",
    ),
    cfg.StrOpt(
        'image_signature_digest',
        default='sha256',
        choices=['sha256', 'sha384', 'sha512'],
        help='The digest that was signed; such a signature does not name it.',
    ),
    cfg.BoolOpt(
        'accept_server_certificates',
        default=False,
        help="""
Accept a signer whose certificate is made for servers only (extended key usage
serverAuth), as AppDB's was.
""",
    ),
    cfg.BoolOpt(
        'dangerous_accept_sha1',
        default=False,
        help="""
Accept SHA-1 in the list's signature. It can be forged; for an endorser who
cannot do better, and for a short time.
""",
    ),
    cfg.BoolOpt(
        'dangerous_list_unsigned',
        default=False,
        help="""
Say in the history and to "hepix-vm list show --subscription" what an
unsigned list or artefact at "url" holds. Nothing of it is believed: it
approves no image, and the subscription stays refused. Who reads it sees what
anybody could have written there.
""",
    ),
    *access.OPTS,
]

_DEFAULTS = {opt.dest: opt.default for opt in OPTS}


def names(conf: cfg.ConfigOpts) -> list[str]:
    """Names of the subscriptions in the configuration, sorted.

    A group without options is the sample's: it names nothing.

    :raises errors.Misconfigured: for a name that is not allowed, or one
        that only case tells from another: to oslo.config they are the same
        group, and the options of one would hold for both
    """
    return _names(conf, _written(conf))


def _names(conf: cfg.ConfigOpts, written: dict[str, set[str]]) -> list[str]:
    found: dict[str, str] = {}
    for section in conf.list_all_sections():
        if not section.lower().startswith(PREFIX):
            continue
        if not written[section.lower()]:
            continue
        name = section[len(PREFIX) :]
        if not _NAME.fullmatch(name):
            raise errors.Misconfigured(
                f'group [{section}]: expected a name of at most 64 letters, '
                f'digits, "_", "." or "-", found {name!r}; rename the group'
            )
        if found.setdefault(name.lower(), name) != name:
            raise errors.Misconfigured(
                f'groups [{PREFIX}{found[name.lower()]}] and [{section}]: '
                'expected names that differ in more than case; rename one'
            )
    return list(found.values())


def subscriptions(
    conf: cfg.ConfigOpts,
) -> dict[str, subscription.Subscription | errors.Misconfigured]:
    """All configured subscriptions; a broken one is its error, not ours."""
    result: dict[str, subscription.Subscription | errors.Misconfigured] = {}
    written = _written(conf)
    # Asked once: oslo.config forgets what it knows with each group.
    site = dict(conf.catalogue)
    limits = trust.limits(conf)
    for name in _names(conf, written):
        options = written[f'{PREFIX}{name}'.lower()]
        try:
            result[name] = _subscription(conf, name, options, site, limits)
        except errors.Misconfigured as exc:
            result[name] = exc
    return result


def _values(
    conf: cfg.ConfigOpts, section: str, written: set[str]
) -> dict[str, Any]:
    """All options of a group; those that no file sets cost nothing."""
    unknown = written - _DEFAULTS.keys()
    if unknown:
        raise errors.Misconfigured(
            f'group [{section}]: option {", ".join(sorted(unknown))} is not '
            f'known; expected {", ".join(opt.dest for opt in OPTS)}'
        )
    conf.register_opts(
        [opt for opt in OPTS if opt.dest in written], group=section
    )
    group = conf[section]
    try:
        return _DEFAULTS | {name: getattr(group, name) for name in written}
    except cfg.Error as exc:
        raise errors.Misconfigured(f'group [{section}]: {exc}') from exc


def _subscription(
    conf: cfg.ConfigOpts,
    name: str,
    written: set[str],
    site: Mapping[str, Any],
    limits: Mapping[str, int],
) -> subscription.Subscription:
    section = f'{PREFIX}{name}'
    values = _values(conf, section, written)
    for needed in (
        'url',
        'list_identifier',
        'endorser_subject',
        'endorser_issuer',
    ):
        if not values[needed]:
            raise errors.Misconfigured(
                f'group [{section}]: option {needed} is missing'
            )
    projects = frozenset(values['projects'])
    return subscription.Subscription(
        name=name,
        url=values['url'],
        list_identifier=_uuid(section, values['list_identifier']),
        endorser_subject=values['endorser_subject'],
        endorser_issuer=values['endorser_issuer'],
        trust_anchors=values['trust_anchors'],
        approval=subscription.Approval(values['approval']),
        approve_new_versions=values['approve_new_versions'],
        approve_if=approval.approve_if(section, values),
        brake=approval.brake(site, values),
        replace_grace=values['replace_grace'],
        quarantine=values['quarantine'],
        projects=None if '*' in projects else projects,
        vo_projects=_vo_projects(section, values['vo_projects']),
        list_max_age=values['list_max_age'] or site['list_max_age'],
        sync_interval=values['sync_interval'],
        crl=values['crl'],
        signing_policy=values['signing_policy'],
        pins=frozenset(_pin(section, pin) for pin in values['pins']),
        accept_server_certificates=values['accept_server_certificates'],
        dangerous_accept_self_signed=values['dangerous_accept_self_signed'],
        dangerous_accept_sha1=values['dangerous_accept_sha1'],
        dangerous_list_unsigned=values['dangerous_list_unsigned'],
        threshold=values['threshold'],
        co_endorsers=tuple(
            _endorser(section, text) for text in values['co_endorsers']
        ),
        image_signature=_image_signature(section, values),
        limits=limits,
        access=access.access(section, values),
    )


def _written(conf: cfg.ConfigOpts) -> dict[str, set[str]]:
    """The options that the files set, by group in lower case.

    oslo.config passes over those it does not know; here a typing error in
    ``pins`` or ``projects`` would let in what the operator wanted to keep
    out.
    """
    found: dict[str, set[str]] = {}
    for file in conf.config_file:
        sections: dict[str, dict[str, list[str]]] = {}
        cfg.ConfigParser(file, sections).parse()
        for name, options in sections.items():
            found.setdefault(name.lower(), set()).update(options)
    return found


def _endorser(section: str, text: str) -> tuple[str, str]:
    subject, bar, issuer = (part.strip() for part in text.partition('|'))
    if not subject or not bar or not issuer:
        raise errors.Misconfigured(
            f'group [{section}] option co_endorsers: expected SUBJECT DN | '
            f'ISSUER DN, found {text!r}'
        )
    return subject, issuer


def _image_signature(
    section: str, values: Mapping[str, Any]
) -> subscription.ImageSignature | None:
    suffix = values['image_signature_suffix']
    certificate = values['image_signature_certificate']
    if bool(suffix) != bool(certificate):
        raise errors.Misconfigured(
            f'group [{section}]: image_signature_suffix and '
            'image_signature_certificate go together, found one of them'
        )
    if not suffix:
        return None
    return subscription.ImageSignature(
        suffix, certificate, values['image_signature_digest']
    )


def _uuid(section: str, text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError as exc:
        raise errors.Misconfigured(
            f'group [{section}] option list_identifier: expected a UUID, '
            f'found {text!r}'
        ) from exc


def _pin(section: str, text: str) -> str:
    pin = text.replace(':', '').lower()
    if not re.fullmatch('[0-9a-f]{64}', pin):
        raise errors.Misconfigured(
            f'group [{section}] option pins: expected 64 hex digits, found '
            f'{text!r}'
        )
    return pin


def _vo_projects(
    section: str, entries: list[str]
) -> dict[str, frozenset[str]]:
    result: dict[str, frozenset[str]] = {}
    for entry in entries:
        vo, colon, projects = entry.partition(':')
        ids = frozenset(p.strip() for p in projects.split(',') if p.strip())
        if not vo.strip() or not colon or not ids:
            raise errors.Misconfigured(
                f'group [{section}] option vo_projects: expected '
                f'VO:PROJECT_ID[,PROJECT_ID...], found {entry!r}'
            )
        result[vo.strip()] = result.get(vo.strip(), frozenset()) | ids
    return result
