# SPDX-License-Identifier: Apache-2.0
"""One line in the log a decision, and no more lines than a person reads.

A guest asks again and again, and a hostile one may ask for anything: what
was told of an instance is told again after an hour, refusals of all guests
together are limited, and how many were left out is said.
"""

from __future__ import annotations

import collections
from collections.abc import Hashable
import logging as levels

from oslo_log import log as logging

from hepix_vm.catalogue import refreshing
from hepix_vm.context import identity

LOG = logging.getLogger(__name__)

#: Seconds after which the same is told again.
AGAIN = 3600.0
#: Things told that are remembered; the oldest is forgotten first.
REMEMBERED = 20_000
#: Lines of refusals in :data:`SPAN` seconds.
REFUSALS = 60
SPAN = 60.0


class Telling:
    """Writes the log of one process; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = refreshing.threads().Lock()
        self._told: collections.OrderedDict[Hashable, float] = (
            collections.OrderedDict()
        )
        self._span = 0.0
        self._lines = 0
        self._left_out = 0

    def served(
        self,
        instance: identity.Instance,
        what: str,
        sha256: str,
        size: int,
        now: float,
    ) -> None:
        """A bundle, or something about it, went to an instance.

        :param sha256: of the uncompressed bundle
        :param size: bytes of the answer
        :param now: seconds of a clock that never goes back
        """
        first = self._first((instance.uuid, sha256), now)
        if not (first or LOG.isEnabledFor(levels.DEBUG)):
            return
        LOG.log(
            levels.INFO if first else levels.DEBUG,
            'context served: instance=%s project=%s form=%s sha256=%s'
            ' bytes=%d',
            instance.uuid,
            instance.project_id,
            what,
            sha256,
            size,
        )

    def refused(self, refusal: identity.Refusal, now: float) -> None:
        """Somebody got a status and nothing else.

        A name that is not there is nothing unusual; the rest is.
        """
        level = levels.INFO if refusal.status == 404 else levels.WARNING
        if not self._first((refusal.reason, refusal.detail), now):
            level = levels.DEBUG
        elif not self._room(now):
            return
        LOG.log(
            level,
            'context refused: status=%d reason=%s: %s',
            refusal.status,
            refusal.reason,
            refusal.detail,
        )

    def _first(self, key: Hashable, now: float) -> bool:
        told = self._told.get(key)
        if told is not None and now < told + AGAIN:
            return False
        with self._lock:
            told = self._told.get(key)
            if told is not None and now < told + AGAIN:
                return False
            self._told[key] = now
            self._told.move_to_end(key)
            if len(self._told) > REMEMBERED:
                self._told.popitem(last=False)
        return True

    def _room(self, now: float) -> bool:
        """Whether one more line of refusals fits; tells what did not."""
        with self._lock:
            if now >= self._span + SPAN:
                left_out, self._left_out = self._left_out, 0
                self._span, self._lines = now, 0
            else:
                left_out = 0
            self._lines += 1
            fits = self._lines <= REFUSALS
            if not fits:
                self._left_out += 1
        if left_out:
            LOG.warning(
                'context refused: %d more refusals were not written down',
                left_out,
            )
        return fits
