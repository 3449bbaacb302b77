# SPDX-License-Identifier: Apache-2.0
"""Options of a subscription about what the site makes of its images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oslo_config import cfg

from hepix_vm.catalogue import expression
from hepix_vm.catalogue import subscription
from hepix_vm import errors

OPTS = [
    cfg.StrOpt(
        'approval',
        default='listed',
        choices=[
            ('all', 'every image of the list is approved'),
            ('listed', 'an image is approved by "hepix-vm image approve"'),
            ('matching', 'an image is approved where approve_if holds'),
            ('none', 'nothing is approved; the list is only watched'),
        ],
        help='Which images of the list this site approves.',
    ),
    cfg.MultiStrOpt(
        'approve_if',
        default=[],
        help="""
With approval "matching": terms KEY OP VALUE that all have to hold, such as
vo = atlas|cms arch = x86_64 title = "Worker *" version >= 2.0
May be repeated; one line that holds is enough. Keys are vo, os, os_name,
os_version, arch, hypervisor, format, title, identifier and version. "=" and
"!=" take shell globs without regard to case, and alternatives with "|" between
them; "<", "<=", ">" and ">=" compare versions. A value with blanks is quoted.
No term holds of what the list does not say.
""",
    ),
    cfg.BoolOpt(
        'approve_new_versions',
        default=True,
        help="""
With approval "listed": whether the approval of an image covers its later
versions. If not, each new version waits for an approval of its own.
""",
    ),
    cfg.IntOpt(
        'brake_images',
        min=0,
        help="""
Images that a newer list may lack at once; default is [catalogue] brake_images.
""",
    ),
    cfg.IntOpt(
        'brake_percent',
        min=0,
        max=100,
        help="""
Percent of the images that a newer list may lack at once; default is
[catalogue] brake_percent.
""",
    ),
    cfg.StrOpt(
        'brake_action',
        choices=[
            ('suspend', 'they are not placed while they wait'),
            ('keep', 'they are placed as before while they wait'),
        ],
        help="""
What becomes of images whose withdrawal waits for a confirmation; default is
[catalogue] brake_action.
""",
    ),
]


def approve_if(
    section: str, values: Mapping[str, Any]
) -> tuple[expression.Conjunction, ...]:
    """The option approve_if as the values that it stands for.

    :param values: the group's options by name
    :raises errors.Misconfigured: for a term that cannot be read
    """
    lines = []
    for text in values['approve_if']:
        try:
            lines.append(expression.parse(text))
        except errors.Misconfigured as exc:
            raise errors.Misconfigured(
                f'group [{section}] option approve_if: {exc}'
            ) from exc
    if bool(lines) != (values['approval'] == 'matching'):
        raise errors.Misconfigured(
            f'group [{section}]: approval = matching and approve_if go '
            'together, found one of them'
        )
    return tuple(lines)


def brake(
    site: Mapping[str, Any], values: Mapping[str, Any]
) -> subscription.Brake:
    """The brake of one subscription.

    :param site: the options of [catalogue] by name
    :param values: the group's options by name
    """

    def of(option: str) -> Any:
        own = values[option]
        return site[option] if own is None else own

    return subscription.Brake(
        images=of('brake_images'),
        percent=of('brake_percent'),
        keep=of('brake_action') == 'keep',
    )
