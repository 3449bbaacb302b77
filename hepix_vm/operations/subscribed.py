# SPDX-License-Identifier: Apache-2.0
"""A list from a file, judged as a subscription judges it."""

from __future__ import annotations

import datetime
from pathlib import Path

from hepix_vm.catalogue import accept
from hepix_vm import errors
from hepix_vm.operations import messages
from hepix_vm.operations import site as site_
from hepix_vm import trust


def verify(
    site: site_.Site, name: str, message: bytes, now: datetime.datetime
) -> messages.Verdict:
    """Verify a message in the form and by the rules of a subscription.

    Nothing is fetched or stored, and the lists that were seen before have
    no say: that an older one comes again is noticed by sync alone.

    :param name: of a configured subscription
    :raises errors.Misconfigured: there is none of that name, or it cannot
        be used
    """
    item = site.subscriptions.get(name)
    if item is None:
        known = ', '.join(sorted(site.subscriptions))
        raise errors.Misconfigured(
            f'subscription {name}: expected one of '
            f'{known or "(none is configured)"}'
        )
    if isinstance(item, errors.Misconfigured):
        raise item
    anchors = trust.load(Path(item.trust_anchors))
    try:
        endorsed = accept.judge(item, message, anchors, int(now.timestamp()))
    except errors.Refused as exc:
        return messages.refused(exc)
    return messages.accepted(endorsed.payload, endorsed.signers)
