# SPDX-License-Identifier: Apache-2.0
"""Payloads: image lists of the usual endorser."""

from __future__ import annotations

import datetime
import json
from typing import Any

from tests.assets import pki

IDENTIFIER = '5b7f0c1e-6a0c-4f5e-9d55-0c52b6f6a001'


def document(
    holder: pki.Holder | None = None, **changes: Any
) -> dict[str, Any]:
    """An image list with one image, as a JSON value.

    :param changes: ``dc_identifier='...'`` and the like
    """
    endorser = holder or pki.site().endorser
    body: dict[str, Any] = {
        'dc:date:created': stamp(pki.NOW - pki.DAY),
        'dc:date:expires': stamp(pki.NOW + 27 * pki.DAY),
        'dc:identifier': IDENTIFIER,
        'dc:description': 'worker nodes',
        'dc:title': 'Worker nodes',
        'dc:source': 'tests',
        'hv:version': '2',
        'hv:uri': 'https://lists.example.org/worker.signed',
        'hv:endorser': endorser_entry(endorser.slash, endorser.issuer_slash),
        'hv:images': [{'hv:image': image()}],
    }
    for key, value in changes.items():
        body[key.replace('_', ':')] = value
    return {'hv:imagelist': body}


def endorser_entry(subject: str, issuer: str) -> dict[str, Any]:
    """A value of ``hv:endorser``."""
    return {
        'hv:x509': {
            'dc:creator': 'Jo Endorser',
            'hv:dn': subject,
            'hv:ca': issuer,
            'hv:email': 'jo@example.org',
        }
    }


def image() -> dict[str, Any]:
    """A value of ``hv:image``."""
    return {
        'dc:identifier': '5b7f0c1e-6a0c-4f5e-9d55-0c52b6f6b001',
        'dc:title': 'Worker',
        'dc:description': 'a worker node',
        'hv:uri': 'https://images.example.org/worker.qcow2',
        'hv:size': 4,
        'hv:version': '1.0',
        'hv:hypervisor': 'kvm',
        'hv:format': 'qcow2',
        'sl:arch': 'x86_64',
        'sl:os': 'Linux',
        'sl:osversion': 'Debian 12',
        'sl:comments': '',
        'sl:checksum:sha512': '0' * 128,
    }


def stamp(moment: datetime.datetime) -> str:
    """A time as lists write it."""
    return f'{moment:%Y-%m-%dT%H:%M:%SZ}'


def payload(holder: pki.Holder | None = None, **changes: Any) -> bytes:
    """The list in several lines with LF."""
    return json.dumps(document(holder, **changes), indent=4).encode() + b'\n'


def compact() -> bytes:
    """The list in one line without blanks."""
    return json.dumps(document(), separators=(',', ':')).encode()
