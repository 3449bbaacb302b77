# SPDX-License-Identifier: Apache-2.0
"""The trust anchors of a site, and how long its CRLs still hold."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from pathlib import Path

from hepix_vm.catalogue import subscription as subscription_
from hepix_vm import errors
from hepix_vm.operations import site as site_
from hepix_vm import trust
from hepix_vm.trust import anchors


class CrlState(enum.StrEnum):
    """How a CA stands with regard to revocation."""

    CURRENT = 'current'
    ENDING = 'ending'
    EXPIRED = 'expired'
    UNUSABLE = 'unusable'
    MISSING = 'missing'


@dataclasses.dataclass(frozen=True, slots=True)
class Authority:
    """One CA of a directory and its CRL.

    :ivar this_update: of the newest CRL, UTC; None without one
    :ivar next_update: when it runs out, UTC
    :ivar flaw: why its CRL does not count, or ''
    """

    directory: str
    subject: str
    files: tuple[str, ...]
    not_after: datetime.datetime
    signing_policy: bool
    crl: CrlState
    crl_number: int | None
    this_update: datetime.datetime | None
    next_update: datetime.datetime | None
    flaw: str


@dataclasses.dataclass(frozen=True, slots=True)
class Directory:
    """What one directory holds.

    :ivar problems: files that could not be used, each with its reason
    """

    name: str
    authorities: tuple[Authority, ...]
    problems: tuple[str, ...]


def directories(site: site_.Site) -> tuple[str, ...]:
    """The anchor directories of the configured subscriptions."""
    return tuple(
        sorted(
            {
                item.trust_anchors
                for item in site.subscriptions.values()
                if isinstance(item, subscription_.Subscription)
            }
        )
    )


def show(
    directory: Path,
    now: datetime.datetime,
    warning: datetime.timedelta,
) -> Directory:
    """The authorities of a directory, by subject.

    :param warning: a CRL that runs out within this time is ``ending``
    :raises errors.Misconfigured: when the directory cannot be used
    """
    loaded = trust.load(directory)
    authorities = [
        _authority(str(directory), loaded, anchor, now, warning)
        for anchor in loaded.anchors
    ]
    return Directory(
        str(directory),
        tuple(sorted(authorities, key=lambda a: a.subject)),
        tuple(str(problem) for problem in loaded.problems),
    )


def warnings(
    site: site_.Site,
    now: datetime.datetime,
    warning: datetime.timedelta,
) -> tuple[str, ...]:
    """What runs out soon, has run out or cannot be used.

    Of every directory in use, once.
    """
    found = []
    for name in directories(site):
        try:
            shown = show(Path(name), now, warning)
        except errors.HepixError:
            # The subscription's own report says so.
            continue
        found += [f'{name}: {problem}' for problem in shown.problems]
        found += [
            f'{name}: the CRL of {authority.subject} {_ends(authority)}; '
            'run fetch-crl'
            for authority in shown.authorities
            if authority.crl in (CrlState.ENDING, CrlState.EXPIRED)
        ]
    return tuple(found)


def _ends(authority: Authority) -> str:
    when = authority.next_update
    shown = when.strftime('%Y-%m-%dT%H:%M:%SZ') if when else 'some time'
    if authority.crl is CrlState.EXPIRED:
        return f'ran out at {shown}'
    return f'runs out at {shown}'


def _authority(
    directory: str,
    loaded: trust.TrustAnchors,
    anchor: anchors.Anchor,
    now: datetime.datetime,
    warning: datetime.timedelta,
) -> Authority:
    certificate = anchor.certificate
    crls = sorted(
        (
            crl
            for crl in loaded.crls_of(certificate.chaining_subject)
            if not crl.is_delta
        ),
        key=lambda crl: crl.this_update,
    )
    newest = crls[-1] if crls else None
    state = CrlState.MISSING
    if newest is not None:
        state = CrlState.CURRENT
        if newest.flaw is not None or newest.next_update is None:
            state = CrlState.UNUSABLE
        elif newest.next_update <= now:
            state = CrlState.EXPIRED
        elif newest.next_update <= now + warning:
            state = CrlState.ENDING
    return Authority(
        directory=directory,
        subject=certificate.subject.rfc4514(),
        files=anchor.files,
        not_after=certificate.x509.not_valid_after_utc,
        signing_policy=anchor.patterns is not None,
        crl=state,
        crl_number=newest.number if newest else None,
        this_update=newest.this_update if newest else None,
        next_update=newest.next_update if newest else None,
        flaw=newest.flaw.text if newest and newest.flaw else '',
    )
