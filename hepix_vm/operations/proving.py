# SPDX-License-Identifier: Apache-2.0
"""Images whose subscription demands a signature of the file itself."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import functools
import os
from pathlib import Path

from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import proof
from hepix_vm.catalogue import store
from hepix_vm.catalogue import subscription as subscription_
from hepix_vm import errors
from hepix_vm.glance import publish
from hepix_vm.glance import spool
from hepix_vm import hashing
from hepix_vm.operations import site as site_
from hepix_vm import trust


@dataclasses.dataclass(frozen=True, slots=True)
class Proved:
    """One image and whether its signature was right.

    :ivar problem: '' when it was
    """

    image: store.Image
    problem: str


def prove(
    site: site_.Site,
    now: int,
    told: publish.Told = lambda progress: None,
) -> Iterator[Proved]:
    """Fetch and verify the signatures of images that only lack that.

    One image's trouble ends no other's.

    :raises errors.LocalFault: when the catalogue cannot be used
    """
    for subscription in site.subscriptions.values():
        if not isinstance(subscription, subscription_.Subscription):
            continue
        with site_.usable(site) as catalogue:
            with catalogue.reading() as connection:
                images = proof.wanting(connection, subscription)
            for image in images:
                problem = ''
                try:
                    signer = _signer(site, subscription, image, now, told)
                    catalogue.transact(
                        functools.partial(
                            proof.remember,
                            subscription=subscription,
                            image=image,
                            signer=signer,
                            now=now,
                        )
                    )
                except errors.HepixError as exc:
                    problem = str(exc)
                yield Proved(image, problem)


def _signer(
    site: site_.Site,
    subscription: subscription_.Subscription,
    image: store.Image,
    now: int,
    told: publish.Told,
) -> trust.Signer:
    demanded = subscription.image_signature
    if demanded is None:
        raise errors.Misconfigured('no signature is demanded')
    settings = dataclasses.replace(site.fetch, access=subscription.reached())
    signature = b''.join(
        fetch.image_pieces(
            f'{image.uri}{demanded.suffix}', settings, proof.LARGEST
        )
    )

    def downloading(received: int) -> None:
        told(publish.Progress(image.title, 'download', received, image.size))

    anchors = trust.load(Path(subscription.trust_anchors))
    # It stays, to be published next, or to be held against a signature that
    # is put right: neither downloads it again.
    with spool.downloaded(
        image.uri,
        image.sha512,
        image.size,
        settings,
        downloading,
        keep=True,
    ) as path:
        digest = _digest(path, demanded.digest)
    return proof.verify(subscription, digest, signature, anchors, now)


def _digest(path: Path, algorithm: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        hashes = hashing.hash_file(descriptor, (algorithm,))
    finally:
        os.close(descriptor)
    return bytes.fromhex(hashes.digests[algorithm])
