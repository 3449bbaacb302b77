# SPDX-License-Identifier: Apache-2.0
"""How many public key operations one message may cost."""

from __future__ import annotations

from hepix_vm.trust import codes


class SignatureBudget:
    """Counts signature checks and refuses the one too many.

    :param checks: allowed number of checks
    """

    def __init__(self, checks: int) -> None:
        self._checks = checks
        self._left = checks

    def spend(self) -> None:
        """Account for one check before it is made.

        :raises hepix_vm.errors.Refused: ``limit``
        """
        self._left -= 1
        if self._left < 0:
            raise codes.refused(
                codes.Code.LIMIT,
                f'the message needs more than {self._checks} signature '
                'checks (limit signature_checks)',
                limit='signature_checks',
            )
