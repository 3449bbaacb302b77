# SPDX-License-Identifier: Apache-2.0
"""What an approved image is to look like in a cloud's Glance.

Pure: what the lists say and what the site's rules say goes in, one value for
each image comes out, or the reason why the image does not belong into that
cloud.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses

from hepix_vm.catalogue import settle
from hepix_vm.catalogue import store
from hepix_vm.glance import audience as audience_
from hepix_vm.glance import hardware
from hepix_vm.glance import properties
from hepix_vm.glance import rules as rules_
from hepix_vm.glance import template

#: Characters of an identifier that tell two images of one name apart.
_SHORT = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Rules:
    """What a site says of all its images in one cloud.

    :ivar name: of images in Glance
    :ivar tags: a tag whose template names what an image does not say is not
        set
    :ivar visibility: one of :data:`rules.VISIBILITIES`; ``auto``: public
        where all projects may use the image, else shared with those that may
    :ivar owner: project id; None: the project of the publishing account
    :ivar protected: whether Glance refuses to delete them
    :ivar hypervisors: those that the cloud has
    :ivar rules: each that holds acts, in this order
    """

    name: template.Template
    tags: tuple[template.Template, ...] = ()
    visibility: str = 'auto'
    owner: str | None = None
    protected: bool = False
    hypervisors: tuple[str, ...] = ('qemu', 'kvm')
    rules: tuple[rules_.Rule, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """One image as the site wants its users to meet it.

    :ivar name: stable: the same for every version of the image, as long as
        what the template names is
    :ivar visibility: ``public``, ``private``, ``shared`` or ``community``
    :ivar members: ids of the projects that it is shared with; empty unless
        ``shared``
    :ivar owner: project id; None: the project of the publishing account
    :ivar min_disk: GiB
    :ivar min_ram: MiB
    :ivar properties: what Nova, accounting and people read; never believed
    """

    image: store.Image
    name: str
    tags: frozenset[str]
    visibility: str
    members: frozenset[str]
    owner: str | None
    protected: bool
    min_disk: int
    min_ram: int
    properties: Mapping[str, str] = dataclasses.field(hash=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Unsuited:
    """An approved image that is not published in this cloud.

    :ivar reason: a sentence for the operator
    """

    image: store.Image
    reason: str


def wanted(
    images: Iterable[store.Image],
    rules: Rules,
    audience: audience_.Audience,
) -> tuple[Wanted | Unsuited, ...]:
    """How each image is to look, in the order of the images.

    :param images: approved ones, also several versions of one
    :param audience: see :func:`audience.read`
    """
    listed = list(images)
    reasons = [_unsuited(image, rules, audience) for image in listed]
    suited = [
        image
        for image, reason in zip(listed, reasons, strict=True)
        if not reason
    ]
    names = _names(suited, rules.name, audience.since)
    return tuple(
        Unsuited(image, reason)
        if reason
        else _wanted(
            image,
            rules,
            names[_key(image)],
            audience.projects[image.subscription],
        )
        for image, reason in zip(listed, reasons, strict=True)
    )


def _key(image: store.Image) -> tuple[str, str]:
    return image.subscription, image.identifier


def _unsuited(
    image: store.Image, rules: Rules, audience: audience_.Audience
) -> str:
    """Why an image does not belong into the cloud; '' when it does."""
    if image.subscription not in audience.projects:
        return (
            'the catalogue does not know which projects may use images of '
            f'subscription {image.subscription}; run "hepix-vm sync"'
        )
    projects = audience.projects[image.subscription]
    if projects is not None and not projects:
        return (
            f'no project may use images of subscription {image.subscription}'
            f' with VO {image.vo or "(none)"}; see its options projects and '
            'vo_projects'
        )
    named = _hypervisors(image)
    if named and not hardware.suited(named, rules.hypervisors):
        return (
            f'its list names the hypervisor {", ".join(named)}, this cloud '
            f'has {", ".join(rules.hypervisors)}; see [publish] hypervisors'
        )
    return ''


def _hypervisors(image: store.Image) -> tuple[str, ...]:
    return tuple(map(str, image.entry.get('hypervisors') or ()))


def _names(
    images: Sequence[store.Image],
    form: template.Template,
    since: Mapping[tuple[str, str], int],
) -> dict[tuple[str, str], str]:
    """The name of each image, in all its versions; no two are alike.

    Who was there first keeps the name: a list cannot take it from another
    one by giving its image the same title. Names are alike also when only
    case, accents or the width of letters tell them apart.
    """
    newest: dict[tuple[str, str], store.Image] = {}
    for image in images:
        known = newest.setdefault(_key(image), image)
        if image.row > known.row:
            newest[_key(image)] = image
    taken: set[str] = set()
    names = {}
    for key, image in sorted(
        newest.items(),
        key=lambda item: (since.get(item[0], item[1].first_seen), item[0]),
    ):
        for name in _choices(image, form):
            if template.folded(name) not in taken:
                break
        taken.add(template.folded(name))
        names[key] = name
    return names


def _choices(image: store.Image, form: template.Template) -> Iterator[str]:
    """Names for an image, the best first; no end to them."""
    filled = form.filled(properties.variables(image))
    plain = template.clean(filled) or image.identifier
    yield plain
    yield _marked(plain, image.identifier[:_SHORT])
    yield _marked(plain, image.identifier)
    number = 2
    while True:
        yield _marked(plain, f'{image.identifier} {number}')
        number += 1


def _marked(name: str, mark: str) -> str:
    end = f' [{mark}]'
    return name[: template.LENGTH - len(end)].rstrip() + end


def _wanted(
    image: store.Image,
    rules: Rules,
    name: str,
    projects: frozenset[str] | None,
) -> Wanted:
    words = properties.variables(image)
    facts = settle.facts(image, image.entry)
    attributes: dict[str, str] = {}
    said = properties.described(
        image,
        hardware.hypervisor_type(
            hardware.suited(_hypervisors(image), rules.hypervisors),
            rules.hypervisors,
        ),
    )
    for rule in rules.rules:
        if not rule.holds(facts):
            continue
        attributes |= rule.attributes
        for key, value in rule.properties.items():
            said[key] = template.clean(value.filled(words))
    owner = attributes.get('owner', rules.owner)
    visibility, members = _shared(
        attributes.get('visibility', rules.visibility), owner, projects
    )
    return Wanted(
        image=image,
        name=name,
        tags=_tags(rules.tags, words),
        visibility=visibility,
        members=members,
        owner=owner,
        protected=attributes.get('protected', str(rules.protected)) == 'True',
        min_disk=int(attributes.get('min_disk', 0)),
        min_ram=int(attributes.get('min_ram', properties.min_ram(image))),
        properties={key: value for key, value in said.items() if value},
    )


def _shared(
    visibility: str, owner: str | None, projects: frozenset[str] | None
) -> tuple[str, frozenset[str]]:
    """The visibility that Glance knows, and with whom it is shared."""
    nobody: frozenset[str] = frozenset()
    others = (projects or nobody) - {owner}
    if visibility == 'auto':
        if projects is None:
            visibility = 'public'
        else:
            visibility = 'shared' if others else 'private'
    return visibility, others if visibility == 'shared' else nobody


def _tags(
    forms: Iterable[template.Template], words: Mapping[str, str]
) -> frozenset[str]:
    filled = (
        template.clean(form.filled(words))
        for form in forms
        if form.whole(words)
    )
    return frozenset(tag for tag in filled if tag)
