# SPDX-License-Identifier: Apache-2.0
"""Whom a site trusts: one subscription, as configured."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import enum

from hepix_vm.catalogue import expression
from hepix_vm.catalogue.sources import values


class Approval(enum.StrEnum):
    """Which images of a subscription the site approves.

    ``all``: each that the endorser lists. ``listed``: those that the
    operator approved by name. ``matching``: those of which one of the
    site's expressions holds. ``none``: none; the list is watched only.
    """

    ALL = 'all'
    LISTED = 'listed'
    MATCHING = 'matching'
    NONE = 'none'


@dataclasses.dataclass(frozen=True, slots=True)
class Brake:
    """How much one list may withdraw before somebody has to confirm it.

    :ivar images: images that may be gone at once
    :ivar percent: of the subscription's images, likewise
    :ivar keep: whether the images go on running while they wait
    """

    images: int = 20
    percent: int = 50
    keep: bool = False

    def holds(self, gone: int, images: int) -> bool:
        """Whether a list that lacks ``gone`` of these images has to wait."""
        return gone > self.images or gone * 100 > self.percent * images


@dataclasses.dataclass(frozen=True, slots=True)
class ImageSignature:
    """A detached raw signature that every image must have.

    :ivar suffix: added to the image's URI, gives the signature's
    :ivar certificate: PEM file of the signer's certificate
    :ivar digest: hashlib's name of the digest that was signed
    """

    suffix: str
    certificate: str
    digest: str


@dataclasses.dataclass(frozen=True, slots=True)
class Subscription:
    """One followed image list and what the site demands of it.

    :ivar url: where the signed list is fetched; see
        :mod:`hepix_vm.catalogue.sources`
    :ivar list_identifier: the list's UUID
    :ivar endorser_subject: DN of the endorser, RFC 4514 or slash form
    :ivar endorser_issuer: DN of the endorser's CA, likewise
    :ivar trust_anchors: directory of CA certificates and CRLs
    :ivar approve_new_versions: whether an approval by name covers later
        versions of the image
    :ivar approve_if: with ``matching``: one of these has to hold
    :ivar brake: None: every withdrawal acts at once
    :ivar replace_grace: seconds for which a version counts after a newer one
        has taken its place in the list
    :ivar quarantine: whether the site boots a new version before its users
    :ivar projects: project ids that may use the images; None means all
    :ivar vo_projects: project ids by VO; when given, only lists (``ad:vo``)
        of these VOs are approved, each for its projects
    :ivar list_max_age: seconds; see option ``list_max_age``
    :ivar sync_interval: seconds between good attempts; None: the site's own
    :ivar pins: SHA-256 (hex) of acceptable SubjectPublicKeyInfos
    :ivar threshold: distinct endorsers that must have signed
    :ivar co_endorsers: subject and issuer of the further ones
    :ivar image_signature: demanded of every image; None demands nothing
    :ivar limits: bounds of a message's cost; see ``trust.Limits``
    :ivar dangerous_list_unsigned: what is not signed is told, not believed
    :ivar access: the options of :meth:`reached`
    """

    name: str
    url: str
    list_identifier: str
    endorser_subject: str
    endorser_issuer: str
    trust_anchors: str
    approval: Approval = Approval.LISTED
    approve_new_versions: bool = True
    approve_if: tuple[expression.Conjunction, ...] = ()
    brake: Brake | None = None
    replace_grace: int = 0
    quarantine: bool = False
    projects: frozenset[str] | None = None
    vo_projects: Mapping[str, frozenset[str]] = dataclasses.field(
        default_factory=dict
    )
    list_max_age: int = 604800
    sync_interval: int | None = None
    crl: str = 'require'
    signing_policy: str = 'if-present'
    pins: frozenset[str] = frozenset()
    accept_server_certificates: bool = False
    dangerous_accept_self_signed: bool = False
    dangerous_accept_sha1: bool = False
    dangerous_list_unsigned: bool = False
    threshold: int = 1
    co_endorsers: tuple[tuple[str, str], ...] = ()
    image_signature: ImageSignature | None = None
    limits: Mapping[str, int] = dataclasses.field(default_factory=dict)
    access: values.Access = dataclasses.field(default_factory=values.Access)

    def reached(self) -> values.Access:
        """How its servers are reached, and which one is its own."""
        return dataclasses.replace(self.access, url=self.url)

    def projects_for(self, vo: str | None) -> frozenset[str] | None:
        """The projects that may use a list of that VO; None means all."""
        if not self.vo_projects:
            return self.projects
        mapped = self.vo_projects.get(vo or '', frozenset())
        return mapped if self.projects is None else mapped & self.projects
