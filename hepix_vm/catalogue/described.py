# SPDX-License-Identifier: Apache-2.0
"""How events speak of a Glance image."""

from __future__ import annotations

import sqlalchemy as sa

from hepix_vm.catalogue import schema


def image(connection: sa.Connection, image_id: str) -> dict[str, str]:
    """What an event's payload says of a Glance image.

    :returns: ``image_id``, ``cloud``, ``subscription``, ``identifier``,
        ``version`` and ``sha512``; what is not known is ''. The cloud is
        known of images of ours alone.
    """
    found = {
        'image_id': image_id,
        'cloud': '',
        'subscription': '',
        'identifier': '',
        'version': '',
        'sha512': '',
    }
    record = schema.glance_record
    sha512 = connection.execute(
        sa.select(record.c.sha512).where(record.c.image_id == image_id)
    ).scalar()
    if sha512 is not None:
        found['sha512'] = str(sha512)
    ours = schema.publication
    row = connection.execute(
        sa.select(ours).where(ours.c.image_id == image_id)
    ).first()
    if row is not None:
        found['cloud'] = str(row.cloud)
        found['sha512'] = found['sha512'] or str(row.sha512)
    elif sha512 is not None:
        images = schema.endorsement
        row = connection.execute(
            sa.select(images)
            .where(images.c.sha512 == sha512)
            .order_by(images.c.id.desc())
            .limit(1)
        ).first()
    if row is not None:
        for name in ('subscription', 'identifier', 'version'):
            found[name] = str(getattr(row, name))
    return found
