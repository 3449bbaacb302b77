# SPDX-License-Identifier: Apache-2.0
"""The extra proof of an image: a detached raw signature of its file.

A subscription that demands it approves an image only once the bytes were
here and their signature has verified.
"""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path

from cryptography import x509
import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import demands
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import settle
from hepix_vm.catalogue import store
from hepix_vm.catalogue import subscription as subscription_
from hepix_vm import errors
from hepix_vm import trust
from hepix_vm.trust import raw_signature

#: Bytes of a signature file at most: RSA-8192 needs 1024.
LARGEST = 16 * 1024


def wanting(
    connection: sa.Connection, subscription: subscription_.Subscription
) -> tuple[store.Image, ...]:
    """Images that lack nothing but their proof."""
    if subscription.image_signature is None:
        return ()
    chosen = store.approvals(connection, subscription.name)
    return tuple(
        image
        for image in store.images(connection, subscription.name)
        if not image.proven
        and settle.approves(
            subscription,
            chosen,
            image.identifier,
            image.sha512,
            lambda image=image: settle.facts(image, image.entry),  # type: ignore[misc]
        )
    )


def verify(
    subscription: subscription_.Subscription,
    digest: bytes,
    signature: bytes,
    anchors: trust.TrustAnchors,
    now: int,
) -> trust.Signer:
    """Who signed a file.

    :param digest: of the file, by the algorithm that the group names
    :raises errors.Refused: the signature does not count
    :raises errors.Misconfigured: the group or its certificate is unusable
    """
    demanded = subscription.image_signature
    if demanded is None:
        raise errors.Misconfigured(
            f'group [subscription:{subscription.name}] demands no signature'
        )
    policy = dataclasses.replace(
        demands.policy(subscription),
        # The certificate is named by configuration, not by the list.
        endorser=None,
        co_endorsers=(),
        threshold=1,
        pins=frozenset(),
        accept_self_signed_pinned=False,
        list_identifier=None,
    )
    return raw_signature.verify(
        digest,
        demanded.digest,
        signature,
        _certificate(subscription.name, Path(demanded.certificate)),
        anchors,
        policy,
        datetime.datetime.fromtimestamp(now, datetime.UTC),
    )


def remember(
    transaction: database.Transaction,
    subscription: subscription_.Subscription,
    image: store.Image,
    signer: trust.Signer,
    now: int,
) -> None:
    """The proof of an image is there; approve it if the rule does."""
    table = schema.endorsement
    transaction.execute(
        table.update()
        .where(table.c.id == image.row)
        .values(proven=True, revision=transaction.revision)
    )
    settle.approvals(transaction, subscription)
    transaction.remember(
        now, 'publish', 'image-proven', image.identifier, f'signed by {signer}'
    )


def _certificate(name: str, path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as exc:
        raise errors.Misconfigured(
            f'group [subscription:{name}] option image_signature_certificate: '
            f'expected a PEM certificate in {path}, found: {exc}'
        ) from exc
