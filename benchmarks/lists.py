# SPDX-License-Identifier: Apache-2.0
"""Signed image lists of any length."""

from __future__ import annotations

import datetime
import hashlib
import uuid

from benchmarks import pki
from hepix_vm import imagelist
from hepix_vm import trust

_GIB = 2**30


def identifier(number: int) -> str:
    """The identifier of one list of many."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f'list {number}'))


def signed(
    endorser: pki.Endorser,
    now: datetime.datetime,
    images: int,
    number: int = 0,
    version: int = 1,
) -> bytes:
    """A list of that many images, signed.

    :param number: tells it and its images from those of other lists
    :param version: each has a newer last image than the one before
    """
    first = number * images
    entries = [_image(first + place) for place in range(images - 1)]
    entries.append(_image(first + images - 1, version))
    payload = imagelist.render(
        imagelist.ImageList(
            identifier=identifier(number),
            title='Benchmark',
            description='As long as the lists of a large virtual organisation',
            created=now
            - datetime.timedelta(hours=1)
            + datetime.timedelta(seconds=version),
            expires=now + datetime.timedelta(days=28),
            source='example.org',
            version=str(version),
            uri='https://images.example.org/list',
            endorsers=(
                imagelist.Endorser(
                    'Benchmark',
                    endorser.subject,
                    endorser.issuer,
                    'endorser@example.org',
                ),
            ),
            images=tuple(entries),
        )
    )
    return trust.sign(payload, endorser.certificate, endorser.key)


def sha512(number: int, version: int = 1) -> str:
    """Digest of the bytes that an image is said to have."""
    return hashlib.sha512(f'{number} {version}'.encode()).hexdigest()


#: Bytes that each image is said to have.
SIZE = 2 * _GIB


def _image(number: int, version: int = 1) -> imagelist.ImageEntry:
    return imagelist.ImageEntry(
        identifier=str(uuid.uuid5(uuid.NAMESPACE_OID, f'image {number}')),
        title=f'Worker node number {number} for many purposes',
        description='An image of an operating system with tools added. ' * 3,
        uri=f'https://images.example.org/base/worker-{number}.qcow2',
        size=SIZE,
        version=f'9.4.{number}-{20250100 + version}',
        sha512=sha512(number, version),
        arch='x86_64',
        os='Linux',
        os_version='EL 9.4',
        comments='as installed, with contextualisation',
        hypervisors=('kvm', 'xen'),
        format='qcow2',
        core_minimum=1,
        ram_minimum=512 * 2**20,
    )
