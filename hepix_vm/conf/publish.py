# SPDX-License-Identifier: Apache-2.0
"""Options about what published images look like."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import TypeVar

from oslo_config import cfg

from hepix_vm import errors
from hepix_vm.glance import hardware
from hepix_vm.glance import plan
from hepix_vm.glance import rules as rules_
from hepix_vm.glance import template
from hepix_vm.glance import wanted

_T = TypeVar('_T')

GROUP = cfg.OptGroup(
    'publish',
    title='What published images look like',
    help="""
Names, tags, sharing and properties of the images that "hepix-vm publish"
keeps in Glance. A group [publish:CLOUD] says the same of one cloud alone, a
CLOUD other than "default" having its account in [openstack:CLOUD]; what it
does not set is as here.

Names, tags and the values of properties are templates, in which {title},
{identifier}, {version}, {subscription}, {vo}, {os}, {os_name}, {os_distro},
{os_version}, {arch} and {format} stand for what the list says of the image.
""",
)

# Those that a group of one cloud takes.
_LOOKS = [
    cfg.StrOpt(
        'name',
        default='{title}',
        help="""
Name of an image in Glance. It belongs to the newest version, and stays the
same from one to the next unless it names what changes, such as {version}. Of
two images that would be called the same, the one that came first keeps the
name, and the other one gets the beginning of its identifier behind it.
""",
    ),
    cfg.ListOpt(
        'tags',
        default=['{identifier}'],
        help="""
Tags of an image, which lead to its newest version: "openstack image list
--tag TAG". A tag that names what a list does not say of an image is left
out.
""",
    ),
    cfg.StrOpt(
        'visibility',
        default='auto',
        choices=[
            ('auto', 'public if all projects may use it, else shared'),
            ('public', 'everybody sees it'),
            ('private', 'the owner alone sees it'),
            ('shared', 'shared with the projects that may use it'),
            ('community', 'everybody can use it, nobody sees it in lists'),
        ],
        help="""
Who sees an image. Who may use it is said by the options projects and
vo_projects of its subscription, and enforced whatever stands here. An image
that is shared has those projects as members, and loses them with that right.
""",
    ),
    cfg.StrOpt(
        'owner',
        help="""
Id of the project that owns published images; default is the project of the
account that publishes. Another one needs an account that may say so.
""",
    ),
    cfg.BoolOpt(
        'protected',
        default=False,
        help="""
Have Glance refuse to delete published images. "hepix-vm publish" lifts that
where it deletes one itself.
""",
    ),
    cfg.ListOpt(
        'hypervisors',
        default=['qemu', 'kvm'],
        help="""
Hypervisors of the cloud. An image that is made for none of them is reported
and not published. "qemu" and "kvm" run each other's images.
""",
    ),
    cfg.MultiStrOpt(
        'rule',
        default=[],
        help="""
"CONDITION : KEY = VALUE, KEY = VALUE...", may be repeated, such as
os_name = ubuntu os_version >= 22 : hw_disk_bus = virtio
The condition is one of approve_if, or "*" for every image. Every rule that
holds acts, later ones over earlier ones. A KEY is a property of the image,
or visibility, owner, protected, min_disk (GiB) or min_ram (MiB). An empty
VALUE takes a property away. Properties that change what boots (kernel_id,
block_device_mapping...) are refused.
""",
    ),
]


#: How publishing goes about it, in all clouds alike.
_MANNER = [
    cfg.IntOpt(
        'keep',
        default=1,
        min=0,
        help="""
Older versions of each image that stay in Glance when a newer one has taken
their place: hidden, private and deactivated. What is beyond that is deleted,
once no server, volume or snapshot depends on it.
""",
    ),
    cfg.IntOpt(
        'parallel',
        default=3,
        min=1,
        max=32,
        help='Images that are downloaded and imported at the same time.',
    ),
    cfg.IntOpt(
        'members_interval',
        default=86400,
        min=0,
        help="""
Seconds after which the members of a shared image are compared with the
projects that may use it although these are the same as before: members that
somebody else has added are removed then, and those that are missing come
back. That takes a question of its own for each shared image.
""",
    ),
    cfg.FloatOpt(
        'wait',
        default=60,
        min=0,
        help='Seconds to wait for another "hepix-vm publish" to end.',
    ),
]
OPTS = [*_LOOKS, *_MANNER]


def register(conf: cfg.ConfigOpts) -> None:
    """Make the options known to ``conf``."""
    # By name: a group object keeps overrides for every configuration.
    conf.register_opts(OPTS, group=GROUP.name)


def rules(conf: cfg.ConfigOpts, cloud: str = 'default') -> wanted.Rules:
    """The options as the value that they stand for.

    :param cloud: name of a cloud, as the catalogue has it
    :raises errors.Misconfigured: for a value that cannot be used
    """
    section, values = _values(conf, cloud)

    def read(option: str, call: Callable[[str], _T], text: str) -> _T:
        try:
            return call(text)
        except errors.Misconfigured as exc:
            raise errors.Misconfigured(
                f'group [{section}] option {option}: {exc}'
            ) from exc

    owner = values['owner']
    return wanted.Rules(
        name=read('name', template.parse, values['name']),
        tags=tuple(
            read('tags', template.parse, text) for text in values['tags']
        ),
        visibility=values['visibility'],
        owner=read('owner', _project, owner) if owner else None,
        protected=values['protected'],
        hypervisors=tuple(
            read('hypervisors', _hypervisor, name)
            for name in values['hypervisors']
        ),
        rules=tuple(
            read('rule', rules_.parse, text) for text in values['rule']
        ),
    )


def settings(conf: cfg.ConfigOpts) -> plan.Settings:
    """The options of how publishing goes about it."""
    group = conf.publish
    return plan.Settings(
        keep=group.keep,
        parallel=group.parallel,
        members_age=group.members_interval,
        patience=group.wait,
    )


def _values(conf: cfg.ConfigOpts, cloud: str) -> tuple[str, Mapping[str, Any]]:
    """All options, those of one cloud over those of all of them."""
    names = [opt.dest for opt in _LOOKS]
    shared = {name: conf.publish[name] for name in names}
    section = f'{GROUP.name}:{cloud}'
    if section not in conf.list_all_sections():
        return GROUP.name, shared
    unknown = _written(conf, section) - set(names)
    if unknown:
        # oslo.config passes over it, and the image is shared more widely.
        raise errors.Misconfigured(
            f'group [{section}]: option {", ".join(sorted(unknown))} is not '
            f'known; expected {", ".join(names)}'
        )
    # Those that no file sets have no value here.
    conf.register_opts([_unset(opt) for opt in _LOOKS], group=section)
    try:
        own = {name: conf[section][name] for name in names}
    except cfg.Error as exc:
        raise errors.Misconfigured(f'group [{section}]: {exc}') from exc
    return section, shared | {
        name: value for name, value in own.items() if value is not None
    }


def _written(conf: cfg.ConfigOpts, section: str) -> set[str]:
    found: set[str] = set()
    for file in conf.config_file:
        sections: dict[str, dict[str, list[str]]] = {}
        cfg.ConfigParser(file, sections).parse()
        found.update(sections.get(section, {}))
    return found


def _unset(opt: cfg.Opt) -> cfg.Opt:
    """The same option without a default."""
    found: cfg.Opt = type(opt)(opt.name, help=opt.help)
    found.type = opt.type
    return found


def _project(text: str) -> str:
    return rules_.project('owner', text)


def _hypervisor(name: str) -> str:
    found = hardware.hypervisor(name)
    if found not in hardware.HYPERVISORS:
        raise errors.Misconfigured(
            f'expected of {", ".join(sorted(hardware.HYPERVISORS))}, found '
            f'{name!r}'
        )
    return found
