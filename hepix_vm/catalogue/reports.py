# SPDX-License-Identifier: Apache-2.0
"""How the sync of one subscription ended."""

from __future__ import annotations

import dataclasses
import enum

from oslo_log import log

from hepix_vm.catalogue import model

LOG = log.getLogger(__name__)


class Outcome(enum.StrEnum):
    """How the sync of one subscription ended.

    ``judged``: nothing was fetched, it was not the time; the stored list
    fares otherwise than before, because a CRL or an anchor changed.
    """

    ACCEPTED = 'accepted'
    UNCHANGED = 'unchanged'
    REFUSED = 'refused'
    UNREACHABLE = 'unreachable'
    MISCONFIGURED = 'misconfigured'
    FAILED = 'failed'
    JUDGED = 'judged'


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What one sync of one subscription did.

    :ivar code: ``ok``, a refusal code of trust, ``fetch``,
        ``configuration``, ``store`` or ``internal-error``
    :ivar standing: of the stored list afterwards
    """

    subscription: str
    outcome: Outcome
    code: str
    detail: str
    standing: model.Standing
    list_version: str | None = None
    added: int = 0
    withdrawn: int = 0
    problems: tuple[str, ...] = ()

    @property
    def well(self) -> bool:
        """Whether an operator has nothing to look at.

        The problems of a list are news once: when it is accepted.
        """
        if self.standing is not model.Standing.TRUSTED:
            return False
        if self.outcome is Outcome.ACCEPTED:
            return not self.problems
        return self.outcome in (Outcome.UNCHANGED, Outcome.JUDGED)


def write(report: Report) -> None:
    """Log it: one line, and one for each problem of a new list."""
    LOG.log(
        log.INFO if report.well else log.WARNING,
        'verdict=%s subscription=%s list-version=%s standing=%s code=%s '
        'added=%s withdrawn=%s %s',
        report.outcome,
        report.subscription,
        report.list_version,
        report.standing,
        report.code,
        report.added,
        report.withdrawn,
        report.detail,
    )
    if report.outcome is Outcome.ACCEPTED:
        for problem in report.problems:
            LOG.warning('subscription=%s %s', report.subscription, problem)
