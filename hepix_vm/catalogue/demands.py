# SPDX-License-Identifier: Apache-2.0
"""What a subscription demands of those who sign its lists."""

from __future__ import annotations

import functools
from typing import cast
from typing import Literal

from hepix_vm.catalogue import drivers
from hepix_vm.catalogue import subscription as subscription_
from hepix_vm import errors
from hepix_vm import trust
from hepix_vm.trust import names

_ENVELOPES = 'hepix_vm.envelopes'

#: Schemes of URLs whose lists are S/MIME, whatever else is installed.
_SMIME = frozenset({'file', 'http', 'https', 'oci', 'oci+http'})


def policy(subscription: subscription_.Subscription) -> trust.Policy:
    """What the subscription demands of a signer.

    :raises errors.Misconfigured: for a DN that cannot be read in one way
    """
    endorser = trust.Endorser(
        subject=_name(
            subscription, 'endorser_subject', subscription.endorser_subject
        ),
        issuer=_name(
            subscription, 'endorser_issuer', subscription.endorser_issuer
        ),
    )
    co_endorsers = tuple(
        trust.Endorser(
            subject=_name(subscription, 'co_endorsers', subject),
            issuer=_name(subscription, 'co_endorsers', issuer),
        )
        for subject, issuer in subscription.co_endorsers
    )
    try:
        return trust.Policy(
            crl=_mode(subscription.crl),
            signing_policy=_mode(subscription.signing_policy),
            pins=subscription.pins,
            accept_self_signed_pinned=(
                subscription.dangerous_accept_self_signed
            ),
            accept_server_auth=subscription.accept_server_certificates,
            allow_sha1_dangerous=subscription.dangerous_accept_sha1,
            threshold=subscription.threshold,
            endorser=endorser,
            co_endorsers=co_endorsers,
            list_identifier=subscription.list_identifier,
            limits=trust.Limits(**subscription.limits),
        )
    except errors.Misconfigured as exc:
        raise errors.Misconfigured(
            f'group [subscription:{subscription.name}]: {exc}'
        ) from exc


def _mode(text: str) -> Literal['require', 'if-present', 'off']:
    """A knob's word as its type; trust refuses any other word."""
    return cast(Literal['require', 'if-present', 'off'], text)


def _name(
    subscription: subscription_.Subscription, option: str, text: str
) -> trust.Name:
    try:
        return names.parse(text)
    except ValueError as exc:
        raise errors.Misconfigured(
            f'group [subscription:{subscription.name}] option {option}: {exc}'
        ) from exc


def envelope(
    subscription: subscription_.Subscription,
) -> trust.Envelope | None:
    """In which form its lists are signed; None stands for S/MIME.

    :raises errors.Misconfigured: the form is known but cannot be loaded
    """
    return _envelope(subscription.url.partition(':')[0].lower())


@functools.cache
def _envelope(scheme: str) -> trust.Envelope | None:
    if scheme in _SMIME or scheme not in drivers.names(_ENVELOPES):
        return None
    form: trust.Envelope = drivers.load(_ENVELOPES, scheme)
    return form
