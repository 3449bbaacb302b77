# SPDX-License-Identifier: Apache-2.0
"""Lists in both dialects as the tools in the field write them."""

from __future__ import annotations

import copy
import json
import os
import pathlib
from typing import Any

Keys = dict[str, Any]

IMAGE = 'd9b2f6a4-6c1e-4f0d-9a57-0e3f6f0c2b11'
OTHER_IMAGE = '5b7f9f0e-3c44-4a3c-8f5b-52a0a3f7d8c2'
LIST = '0c6a3f0e-58c3-4d8b-b0a0-6f2b6e6f6d01'

_ENDORSER: Keys = {
    'hv:x509': {
        'dc:creator': 'An Endorser',
        'hv:dn': '/C=CH/O=Example Grid/CN=An Endorser',
        'hv:ca': '/C=CH/O=Example Grid/CN=Example CA',
        'hv:email': 'endorser@example.org',
    }
}

_HEPIX_IMAGE: Keys = {
    'dc:identifier': IMAGE,
    'dc:title': 'Worker node',
    'dc:description': 'A worker node\nwith two lines',
    'hv:uri': 'http://images.example.org/worker.img',
    'hv:size': 2147483648,
    'hv:version': '3',
    'hv:hypervisor': 'kvm,xen',
    'sl:arch': 'x86_64',
    'sl:checksum:sha512': '0123456789abcdef' * 8,
    'sl:comments': 'as installed',
    'sl:os': 'Linux',
    'sl:osversion': 'EL 9.4',
}

_APPDB_IMAGE: Keys = {
    'dc:identifier': OTHER_IMAGE,
    'dc:title': 'Image for Example OS [Example/9/KVM]',
    'dc:description': '',
    'dc:date:expires': '2030-01-02T03:04:05Z',
    'ad:mpuri': f'https://db.example.org/vo/image/{OTHER_IMAGE}:484/',
    'ad:group': 'General group',
    'ad:ram_recommended': '1024',
    'ad:user:fullname': 'Some Body',
    'hv:uri': 'https://images.example.org/base/example-9.ova',
    'hv:size': '121243136',
    'hv:version': '9.4-20250101',
    'hv:hypervisor': 'KVM',
    'hv:format': 'OVA',
    'hv:ram_minimum': '512',
    'hv:core_minimum': '2',
    'sl:arch': 'x86_64',
    'sl:checksum:sha512': 'FEDCBA9876543210' * 8,
    'sl:comments': '',
    'sl:os': 'Linux',
    'sl:osname': 'Example OS',
    'sl:osversion': '9',
}


def hepix(**changes: Any) -> Keys:
    """The keys of a list as HEPiX tools write it, with one image."""
    return {
        'dc:identifier': LIST,
        'dc:title': 'Example images',
        'dc:description': 'What the example endorses',
        'dc:date:created': '2026-11-01T00:00:00Z',
        'dc:date:expires': '2026-11-29T00:00:00Z',
        'dc:source': 'example.org',
        'hv:endorser': copy.deepcopy(_ENDORSER),
        'hv:images': [{'hv:image': hepix_image()}],
        'hv:uri': 'https://images.example.org/list',
        'hv:version': '0.0.1',
    } | changes


def appdb(**changes: Any) -> Keys:
    """The keys of a list as AppDB writes it, with one image."""
    return hepix(
        **{
            'ad:vo': 'example.vo',
            'ad:swid': '42',
            'dc:date:expires': '2499-12-31T22:00:00Z',
            'hv:images': [{'hv:image': appdb_image()}],
            'hv:version': '20261101000000',
        }
        | changes
    )


def hepix_image(**changes: Any) -> Keys:
    """The keys of one image as HEPiX tools write them."""
    return _HEPIX_IMAGE | changes


def appdb_image(**changes: Any) -> Keys:
    """The keys of one image as AppDB writes them."""
    return _APPDB_IMAGE | changes


def endorser(**changes: Any) -> Keys:
    """An endorser with its outer key."""
    return {'hv:x509': _ENDORSER['hv:x509'] | changes}


def without(keys: Keys, *names: str) -> Keys:
    """The same keys but for these."""
    return {key: value for key, value in keys.items() if key not in names}


def payload(keys: Keys) -> bytes:
    """The bytes of a list with its outer key."""
    return json.dumps({'hv:imagelist': keys}, indent=4).encode()


def samples() -> pathlib.Path | None:
    """Lists found in the field, where a checkout has them beside it."""
    here = pathlib.Path(__file__).resolve()
    named = os.environ.get('HEPIX_VM_SAMPLES')
    beside = here.parents[4] / 'shared' / 'samples'
    folder = pathlib.Path(named) if named else beside
    return folder if folder.is_dir() else None
