# SPDX-License-Identifier: Apache-2.0
"""What lists call processors, hypervisors and systems, in Nova's words.

Nova refuses to boot an image whose ``architecture`` or ``hypervisor_type``
it does not know, and passes over hosts that do not offer them (its
ImagePropertiesFilter), so what cannot be said in its words is left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import re

#: ``nova.objects.fields.Architecture``, those that clouds have.
ARCHITECTURES = frozenset(
    {
        'aarch64',
        'armv6',
        'armv7l',
        'i686',
        'mips',
        'mips64',
        'mips64el',
        'mipsel',
        'ppc',
        'ppc64',
        'ppc64le',
        's390',
        's390x',
        'sparc',
        'sparc64',
        'x86_64',
    }
)
_ARCHITECTURE_NAMES: Mapping[str, str] = {
    'amd64': 'x86_64',
    'x86-64': 'x86_64',
    'x64': 'x86_64',
    'em64t': 'x86_64',
    'i386': 'i686',
    'i486': 'i686',
    'i586': 'i686',
    'x86': 'i686',
    'ia32': 'i686',
    'arm64': 'aarch64',
    'armv8': 'aarch64',
    'armv7': 'armv7l',
    'armhf': 'armv7l',
    'ppc64el': 'ppc64le',
}

#: ``nova.objects.fields.HVType``, those of virtual machines.
HYPERVISORS = frozenset(
    {
        'bhyve',
        'hyperv',
        'kvm',
        'lxc',
        'parallels',
        'phyp',
        'qemu',
        'vbox',
        'vmware',
        'vz',
        'xen',
        'zvm',
    }
)
_HYPERVISOR_NAMES: Mapping[str, str] = {
    'hyper-v': 'hyperv',
    'virtualbox': 'vbox',
    'esx': 'vmware',
    'esxi': 'vmware',
    'vsphere': 'vmware',
    'xapi': 'xen',
    'xenserver': 'xen',
    'virtuozzo': 'vz',
}
# Both run the same machine; libvirt on a host with KVM offers either.
_FAMILY: Mapping[str, str] = {'kvm': 'qemu'}

#: As libosinfo spells distributions, by what is left of a list's spelling
#: without blanks and capitals.
_DISTRIBUTIONS: Mapping[str, str] = {
    'alma': 'almalinux',
    'centosstream': 'centos',
    'oraclelinux': 'ol',
    'opensuseleap': 'opensuse',
    'redhat': 'rhel',
    'redhatenterprise': 'rhel',
    'redhatenterpriselinux': 'rhel',
    'rockylinux': 'rocky',
    'scientific': 'scientificlinux',
    'sl': 'scientificlinux',
    'slc': 'scientificlinuxcern',
    'suselinuxenterpriseserver': 'sles',
    'windowsserver': 'windows',
}
#: Systems as lists of the HEPiX tools write them: ``SL 5.5`` as the version
#: of the system ``Linux``.
_NAMED_VERSION = re.compile(
    r'\s*([A-Za-z][A-Za-z ]{0,40}?)[ -]*v?([0-9][0-9A-Za-z._-]{0,40})\s*'
)


def architecture(name: str) -> str | None:
    """Nova's name of a list's ``sl:arch``; None when it has none."""
    found = name.strip().lower()
    found = _ARCHITECTURE_NAMES.get(found, found)
    return found if found in ARCHITECTURES else None


def hypervisor(name: str) -> str:
    """One spelling of each hypervisor; unknown ones stay as they are."""
    found = name.strip().lower()
    return _HYPERVISOR_NAMES.get(found, found)


def _family(name: str) -> str:
    found = hypervisor(name)
    return _FAMILY.get(found, found)


def suited(named: Iterable[str], offered: Sequence[str]) -> tuple[str, ...]:
    """The site's hypervisors that an image is made for, in their order.

    An image for KVM runs under QEMU too, and the other way round.

    :param named: of the image
    :param offered: by the site
    """
    families = {_family(name) for name in named}
    return tuple(
        hypervisor(name) for name in offered if _family(name) in families
    )


def hypervisor_type(
    suited_: Sequence[str], offered: Sequence[str]
) -> str | None:
    """The property that makes Nova choose hosts; None: any of them.

    Where all hosts of a site are of one kind there is nothing to choose, and
    a word that Nova's driver does not offer would leave no host at all.

    ``qemu`` rather than ``kvm``: libvirt's capabilities, which Nova compares
    it with, name both on a host with KVM but only ``qemu`` on one without.

    :param suited_: see :func:`suited`
    :param offered: by the site
    """
    families = {_family(name) for name in suited_}
    if len(families) != 1 or families == {_family(n) for n in offered}:
        return None
    found = 'qemu' if 'qemu' in suited_ else suited_[0]
    return found if found in HYPERVISORS else None


def os_type(name: str) -> str | None:
    """Nova's ``os_type``, which knows two values and refuses others."""
    words = re.findall('[a-z]+', name.lower())
    return next((w for w in words if w in ('linux', 'windows')), None)


def distribution(
    system: str, name: str | None, version: str
) -> tuple[str, str]:
    """``os_distro`` and ``os_version`` of an image; '' where not said.

    :param system: ``sl:os``
    :param name: ``sl:osname``, which only AppDB's lists have
    :param version: ``sl:osversion``
    """
    if not name:
        combined = _NAMED_VERSION.fullmatch(version)
        if combined:
            return _distribution(combined[1]), combined[2]
    return _distribution(name or system), version


def _distribution(name: str) -> str:
    found = re.sub('[^a-z0-9.]', '', name.lower())
    return _DISTRIBUTIONS.get(found, found)
