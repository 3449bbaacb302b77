# SPDX-License-Identifier: Apache-2.0
"""Endorsed images as the catalogue gives them, and who may use them."""

from __future__ import annotations

from typing import Any

from hepix_vm.catalogue import store
from hepix_vm.glance import audience
from hepix_vm.glance import rules
from hepix_vm.glance import template
from hepix_vm.glance import wanted

IDENTIFIER = '0b5c2d1e-0000-4000-8000-000000000001'
OTHER = 'f1f2f3f4-0000-4000-8000-000000000002'

ENTRY: dict[str, Any] = {
    'description': 'for all jobs',
    'arch': 'x86_64',
    'os': 'Linux',
    'os_name': 'Ubuntu',
    'os_version': '22.04',
    'hypervisors': ['kvm'],
    'format': 'qcow2',
    'core_minimum': 4,
    'ram_minimum': 2**30 + 1,
    'mpuri': 'https://db.example.org/store/vm/image/1:2/',
    'comments': None,
}


def image(entry: dict[str, Any] | None = None, **values: Any) -> store.Image:
    """An approved image; ``entry`` changes what its list says of it."""
    found: dict[str, Any] = {
        'row': 1,
        'subscription': 'main',
        'identifier': IDENTIFIER,
        'version': '1.0',
        'sha512': '0' * 128,
        'size': 1000,
        'expires': None,
        'approved': True,
        'withdrawn': False,
        'proven': False,
        'first_seen': 100,
        'held_at': None,
        'replaced_until': None,
        'vo': 'vo.example.org',
        'title': 'Worker',
        'uri': 'https://www.example.org/worker.qcow2',
        'entry': ENTRY | (entry or {}),
    } | values
    return store.Image(**found)


def known(
    projects: frozenset[str] | None = None,
    since: dict[tuple[str, str], int] | None = None,
) -> audience.Audience:
    """Subscriptions ``main`` and ``second``, good for these projects."""
    return audience.Audience(
        {'main': projects, 'second': projects}, since or {}
    )


def site(*lines: str, **values: Any) -> wanted.Rules:
    """The rules of a site; templates may be given as text."""
    values['name'] = template.parse(values.pop('name', '{title}'))
    values['tags'] = tuple(
        template.parse(text) for text in values.pop('tags', ())
    )
    return wanted.Rules(
        rules=tuple(rules.parse(line) for line in lines), **values
    )


def one(
    image_: store.Image,
    site_: wanted.Rules,
    audience_: audience.Audience | None = None,
) -> wanted.Wanted:
    """The only image, which is wanted."""
    (found,) = wanted.wanted([image_], site_, audience_ or known())
    assert isinstance(found, wanted.Wanted), found
    return found
