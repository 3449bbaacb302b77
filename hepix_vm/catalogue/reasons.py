# SPDX-License-Identifier: Apache-2.0
"""Verdicts and reason codes: one closed table, with what to do about each.

Runs inside Glance and Nova; the standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
import enum


class Verdict(enum.StrEnum):
    """The two ends of a decision."""

    APPROVED = 'approved'
    REFUSED = 'refused'


class State(enum.StrEnum):
    """What an operator has to expect of an image.

    ``fresh``: its endorsement holds; it is placed where it is approved.
    ``stale``: not placed, not deleted; it returns by itself. ``withdrawn``:
    it does not return without somebody's doing.
    """

    FRESH = 'fresh'
    STALE = 'stale'
    WITHDRAWN = 'withdrawn'


class Reason(enum.StrEnum):
    """Stable reason codes, for logs, metrics and tests.

    The order of the endorsement's own reasons, from ``WITHDRAWN`` to
    ``WRONG_PROJECT``, is the order of the checks.
    """

    APPROVED = 'approved'
    RUN_ANYWAY = 'run-anyway'
    # about the catalogue itself
    STORE_UNAVAILABLE = 'store-unavailable'
    CLOCK = 'clock'
    INTERNAL = 'internal-error'
    # about bytes
    NOT_ENDORSED = 'not-endorsed'
    BLOCKED = 'blocked'
    REVOKED = 'revoked'
    UNSUBSCRIBED = 'unsubscribed'
    WITHDRAWN = 'withdrawn'
    REPLACED = 'replaced'
    DISTRUSTED = 'distrusted'
    SIZE_DIFFERS = 'size-differs'
    NOT_APPROVED = 'not-approved'
    LIST_EXPIRED = 'list-expired'
    IMAGE_EXPIRED = 'image-expired'
    LIST_STALE = 'list-stale'
    SUSPENDED = 'suspended'
    WRONG_PROJECT = 'wrong-project'
    # about a Glance image
    NO_IMAGE = 'no-image'
    NO_RECORD = 'no-record'
    RECORD_PENDING = 'record-pending'
    RECORD_WITHDRAWN = 'record-withdrawn'
    IMAGE_CHANGED = 'image-changed'
    QUARANTINE = 'quarantine'
    VOLUME_BOOT = 'volume-boot'
    VOLUME_UNKNOWN = 'volume-unknown'
    # about a request of Nova
    SNAPSHOT_METADATA = 'snapshot-metadata'


#: What each code means to the person who reads it, and what to do.
SENTENCES: Mapping[Reason, str] = {
    Reason.APPROVED: 'an approved endorsement covers it',
    Reason.RUN_ANYWAY: (
        'its endorsement has ended, but this site runs it for the time being'
    ),
    Reason.STORE_UNAVAILABLE: (
        'the catalogue of endorsed images has not answered for too long; '
        'try again later or tell the operators of this cloud'
    ),
    Reason.CLOCK: (
        'the clock of this machine is behind the catalogue; tell the '
        'operators of this cloud'
    ),
    Reason.INTERNAL: (
        'the check itself failed; tell the operators of this cloud, the '
        'service log has the cause'
    ),
    Reason.NOT_ENDORSED: (
        'no image list that this site follows endorses these bytes; use an '
        'endorsed image, unchanged, or ask its endorser to list it'
    ),
    Reason.BLOCKED: (
        'this site has blocked the image; ask the operators of this cloud'
    ),
    Reason.REVOKED: (
        "the endorser's certificate has been revoked; use another image"
    ),
    Reason.UNSUBSCRIBED: (
        'this site no longer follows the list that endorsed the image; use '
        'another image'
    ),
    Reason.WITHDRAWN: (
        'its endorser no longer lists the image; use its newest version'
    ),
    Reason.REPLACED: (
        'its endorser has put a newer version in its place; use that one'
    ),
    Reason.DISTRUSTED: (
        "the endorser's list no longer passes verification; tell the "
        'operators of this cloud'
    ),
    Reason.SIZE_DIFFERS: (
        'the endorsement names another size; use the image unchanged'
    ),
    Reason.NOT_APPROVED: (
        'the image is endorsed, but this site has not approved it; ask the '
        'operators of this cloud to approve it'
    ),
    Reason.LIST_EXPIRED: (
        'the image list has expired; its endorser has to renew it'
    ),
    Reason.IMAGE_EXPIRED: (
        'the endorsement of this image has expired; use its newest version'
    ),
    Reason.LIST_STALE: (
        'the image list could not be refreshed for too long; it comes back '
        'by itself when its server answers'
    ),
    Reason.SUSPENDED: (
        'its endorser no longer lists it, among unusually many images at '
        'once; the operators of this cloud have to confirm that; use its '
        'newest version'
    ),
    Reason.WRONG_PROJECT: (
        'the image is not approved for your project; ask the operators of '
        'this cloud'
    ),
    Reason.NO_IMAGE: (
        'the request names no image; boot from an approved image'
    ),
    Reason.NO_RECORD: (
        'the image did not come in through a checked import; import it '
        "with method 'glance-direct' or use an approved image"
    ),
    Reason.RECORD_PENDING: (
        'the import of the image has not finished; wait until it has'
    ),
    Reason.RECORD_WITHDRAWN: (
        'the approval of the image was withdrawn; use its newest version'
    ),
    Reason.IMAGE_CHANGED: (
        'the image is not the one that was checked at import; import it '
        'again under a new name'
    ),
    Reason.QUARANTINE: (
        'this site has not seen the image boot yet; use the version before '
        'it until it is released'
    ),
    Reason.VOLUME_BOOT: (
        'booting from a volume hides what boots; boot from an approved image'
    ),
    Reason.VOLUME_UNKNOWN: (
        'nobody can say which image the volume was made from; make it from '
        'an approved image, or boot from one'
    ),
    Reason.SNAPSHOT_METADATA: (
        'it names metadata that says where an image comes from, which Nova '
        'alone may do; leave it out'
    ),
}

#: Reasons that end a Glance record for good. The others pass by themselves
#: (stale, expired and distrusted lists come back when they are renewed), or
#: concern one project only.
WITHDRAWING = frozenset(
    {
        Reason.NOT_ENDORSED,
        Reason.BLOCKED,
        Reason.REVOKED,
        Reason.UNSUBSCRIBED,
        Reason.WITHDRAWN,
        Reason.REPLACED,
        Reason.SIZE_DIFFERS,
        Reason.NOT_APPROVED,
    }
)

#: What a site's own word can pass over: an endorsement that ran out, was not
#: seen again, or was taken back. Never a revocation, a block, a list that is
#: not believed (its signer may be revoked), other bytes or another project.
PASSED_OVER = frozenset(
    {
        Reason.WITHDRAWN,
        Reason.REPLACED,
        Reason.LIST_EXPIRED,
        Reason.IMAGE_EXPIRED,
        Reason.LIST_STALE,
        Reason.SUSPENDED,
    }
)

#: The state that each code stands for. What a site has not approved, or not
#: for that project, is fresh: nothing is wrong with its endorsement.
STATES: Mapping[Reason, State] = {
    Reason.APPROVED: State.FRESH,
    Reason.RUN_ANYWAY: State.FRESH,
    Reason.NOT_APPROVED: State.FRESH,
    Reason.WRONG_PROJECT: State.FRESH,
    Reason.STORE_UNAVAILABLE: State.STALE,
    Reason.CLOCK: State.STALE,
    Reason.INTERNAL: State.STALE,
    Reason.DISTRUSTED: State.STALE,
    Reason.LIST_EXPIRED: State.STALE,
    Reason.IMAGE_EXPIRED: State.STALE,
    Reason.LIST_STALE: State.STALE,
    Reason.SUSPENDED: State.STALE,
    Reason.RECORD_PENDING: State.STALE,
    Reason.QUARANTINE: State.STALE,
    Reason.NOT_ENDORSED: State.WITHDRAWN,
    Reason.BLOCKED: State.WITHDRAWN,
    Reason.REVOKED: State.WITHDRAWN,
    Reason.UNSUBSCRIBED: State.WITHDRAWN,
    Reason.WITHDRAWN: State.WITHDRAWN,
    Reason.REPLACED: State.WITHDRAWN,
    Reason.SIZE_DIFFERS: State.WITHDRAWN,
    Reason.NO_IMAGE: State.WITHDRAWN,
    Reason.NO_RECORD: State.WITHDRAWN,
    Reason.RECORD_WITHDRAWN: State.WITHDRAWN,
    Reason.IMAGE_CHANGED: State.WITHDRAWN,
    Reason.VOLUME_BOOT: State.WITHDRAWN,
    Reason.VOLUME_UNKNOWN: State.WITHDRAWN,
    Reason.SNAPSHOT_METADATA: State.WITHDRAWN,
}
