# SPDX-License-Identifier: Apache-2.0
"""Variants in every form in which guests ask for them, made once each."""

from __future__ import annotations

import collections
from collections.abc import Callable
from collections.abc import Mapping
import dataclasses

from oslo_log import log as logging

from hepix_vm.catalogue import refreshing
from hepix_vm.context import archive
from hepix_vm.context import asking
from hepix_vm.context import bundle
from hepix_vm.context import facts as facts_
from hepix_vm.context import forms
from hepix_vm.context import identity
from hepix_vm.context import manifest
from hepix_vm.context import site as site_
from hepix_vm.context import variants

LOG = logging.getLogger(__name__)

#: A variant that was refused takes some room, too.
_REFUSED = 1024

Sign = Callable[[bytes], bytes]


@dataclasses.dataclass(frozen=True, slots=True)
class Body:
    """The body of an answer and its type."""

    content_type: str
    content: bytes = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """A variant as it travels.

    :param serial: of the generation; 0: unpublished
    :param sha256: of the uncompressed tar
    :param bodies: by what is asked for; without a signature where nothing
        is signed
    """

    serial: int
    sha256: str
    bodies: Mapping[asking.What, Body]

    def size(self) -> int:
        """Bytes of all bodies."""
        return sum(len(body.content) for body in self.bodies.values())


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """How variants are made and kept.

    :param limits: of one variant
    :param neutron: whether neutron's metadata agent is in front, which
        spoils gzip
    :param most: bytes of answers that are kept; the newest is in any case
    """

    limits: bundle.Limits = bundle.DEFAULT_LIMITS
    neutron: bool = True
    most: int = 64 * 1024 * 1024


class Variants:
    """Keeps those that were asked for last; safe to share between threads.

    :param current: the site to serve; None: there never was a good one
    :param sign: signs a manifest, in DER; None: nothing is signed
    """

    def __init__(
        self,
        current: Callable[[float], site_.Site | None],
        settings: Settings,
        sign: Sign | None,
    ) -> None:
        self._current = current
        self._settings = settings
        self._sign = sign
        # Held while one is made: others that come for it find it then.
        self._making = refreshing.threads().Lock()
        # Held for a look only.
        self._table = refreshing.threads().Lock()
        self._kept: collections.OrderedDict[
            variants.Key, Prepared | identity.Refusal
        ] = collections.OrderedDict()
        self._size = 0

    def variant_of(
        self, facts: facts_.Facts, now: float
    ) -> Prepared | identity.Refusal:
        """What an instance gets.

        :param now: seconds of a clock that never goes back
        :returns: 503 when there is no site or no variant of it, or while it
            cannot be told which one
        """
        site = self._current(now)
        if site is None:
            return identity.Refusal(
                503,
                identity.Reason.NO_BUNDLE,
                f'instance {facts.uuid}: no good site context so far, the'
                ' log of this service says why',
            )
        refusal = awaited(site, facts)
        if refusal is not None:
            return refusal
        key = variants.variant_key(site, facts)
        found = self._known(key)
        if found is None:
            with self._making:
                found = self._known(key)
                if found is None:
                    found = self._made(site, facts)
                    self._keep(key, found)
        return found if isinstance(found, Prepared) else _refused(facts)

    def _made(
        self, site: site_.Site, facts: facts_.Facts
    ) -> Prepared | identity.Refusal:
        try:
            made = variants.compose(site, facts, self._settings.limits)
        except archive.BundleRefused as error:
            LOG.error(
                'context variant not made: %s (instances like %s get 503'
                ' until this is mended)',
                error,
                facts.uuid,
            )
            return _refused(facts)
        found = prepare(made, site.serial, self._settings.neutron, self._sign)
        LOG.info(
            'context variant made: serial=%d sha256=%s layers=%s files=%d'
            ' bytes=%d',
            site.serial,
            found.sha256,
            ','.join(made.layers) or '-',
            len(made.bundle.files),
            len(made.bundle.tgz),
        )
        return found

    def _known(self, key: variants.Key) -> Prepared | identity.Refusal | None:
        with self._table:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def _keep(
        self, key: variants.Key, found: Prepared | identity.Refusal
    ) -> None:
        with self._table:
            self._kept[key] = found
            self._size += _room(found)
            while self._size > self._settings.most and len(self._kept) > 1:
                _, unused = self._kept.popitem(last=False)
                self._size -= _room(unused)


def prepare(
    variant: variants.Variant, serial: int, neutron: bool, sign: Sign | None
) -> Prepared:
    """A variant in all forms."""
    tgz = variant.bundle.tgz
    bodies = {
        asking.What.BUNDLE: (
            Body(forms.PKZIP_TYPE, forms.pkzip(tgz))
            if neutron
            else Body(forms.GZIP_TYPE, tgz)
        ),
        asking.What.BASE64: Body(forms.TEXT_TYPE, forms.base64(tgz)),
        asking.What.MANIFEST: Body(forms.TEXT_TYPE, variant.manifest),
    }
    if sign is not None:
        signature = forms.base64(sign(variant.manifest))
        bodies[asking.What.SIGNATURE] = Body(forms.TEXT_TYPE, signature)
    return Prepared(serial, variant.bundle.sha256_tar, bodies)


def signer(key_pem: bytes | None) -> Sign | None:
    """How manifests are signed; None: they are not.

    :param key_pem: private key, see :func:`manifest.sign`
    :raises errors.Misconfigured: it is no such key
    """
    if key_pem is None:
        return None
    manifest.sign(b'', key_pem)
    return lambda text: manifest.sign(text, key_pem)


def _room(found: Prepared | identity.Refusal) -> int:
    return found.size() if isinstance(found, Prepared) else _REFUSED


def _refused(facts: facts_.Facts) -> identity.Refusal:
    return identity.Refusal(
        503,
        identity.Reason.VARIANT_REFUSED,
        f'instance {facts.uuid}: its variant cannot be made, see the error'
        ' before',
    )


def needs_endorsement(site: site_.Site) -> bool:
    """Whether any layer looks at who endorsed an image, or says so."""
    return bool(_looked_at(site) & set(facts_.ENDORSED))


def _looked_at(site: site_.Site) -> set[str]:
    """Names of the facts that any layer or template looks at."""
    return {
        name
        for layer in site.layers
        for name in (*(name for name, _ in layer.rule.when), *layer.variables)
    }


def awaited(site: site_.Site, facts: facts_.Facts) -> identity.Refusal | None:
    """Why no variant can be told yet; None: it can."""
    if not facts.awaited:
        return None
    # A layer must not be left out because nobody has said yet who needs it.
    lacking = sorted(_looked_at(site).intersection(facts.awaited))
    if not lacking:
        return None
    if 'host' in lacking or (
        facts.host is None and 'hypervisor_type' in lacking
    ):
        return identity.Refusal(
            503,
            identity.Reason.HOST_UNKNOWN,
            f'instance {facts.uuid}: layers of this site look at'
            f' {", ".join(lacking)}, and Nova does not say on which host it'
            ' is; the account in [openstack] needs to see hosts of servers',
        )
    if lacking == ['hypervisor_type']:
        return identity.Refusal(
            503,
            identity.Reason.HOST_UNKNOWN,
            f'instance {facts.uuid}: layers of this site look at'
            f' hypervisor_type, and of host {facts.host} it is not known; see'
            ' "hepix-vm context hosts --refresh"',
        )
    return identity.Refusal(
        503,
        identity.Reason.CATALOGUE_AWAY,
        f'instance {facts.uuid}: the catalogue has not answered yet, and'
        f' layers of this site look at {", ".join(lacking)}',
    )
