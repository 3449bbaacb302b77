# SPDX-License-Identifier: Apache-2.0
"""The site's context that a service holds in memory."""

from __future__ import annotations

import dataclasses

from oslo_log import log as logging

from hepix_vm.catalogue import refreshing
from hepix_vm.context import archive
from hepix_vm.context import site as site_
from hepix_vm.context import source as source_

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class ContextSettings:
    """What the site says about its context.

    :param source: the site directory, or what was published
    :param refresh_interval: seconds between two looks for a change
    """

    source: source_.Source
    refresh_interval: float


class ServedSite:
    """Keeps the newest good site; safe to share between threads.

    A change is noticed by names and inodes, at most once per interval, by
    one thread while the others go on with what there is. A site is swapped
    whole. One that cannot be served is reported once, and the last good one
    stays; it is read again at every look, since what was wrong may have been
    the disk and not the site.
    """

    def __init__(self, settings: ContextSettings) -> None:
        self._settings = settings
        self._looking = refreshing.threads().Lock()
        self._next_look = float('-inf')
        self._seen: tuple[object, ...] | None = None
        self._site: site_.Site | None = None
        self._problem = ''

    def current(self, now: float) -> site_.Site | None:
        """Give the site to serve; None while there never was a good one.

        Touches the local file system only and never raises.

        :param now: seconds of a clock that never goes back
        """
        if now >= self._next_look and self._looking.acquire(blocking=False):
            try:
                if now >= self._next_look:
                    self._look()
                    self._next_look = now + self._settings.refresh_interval
            finally:
                self._looking.release()
        return self._site

    def _look(self) -> None:
        source = self._settings.source
        before = source_.fingerprint(source)
        if before == self._seen:
            # A fault that comes after this is another one.
            self._problem = ''
            return
        problem = ''
        loaded = None
        try:
            loaded = source_.read(source)
        except archive.BundleRefused as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 the host must go on
            problem = f'site context: {error!r}'
        if source_.fingerprint(source) != before:
            # Somebody is writing: what was read may be half of it.
            return
        if loaded is None:
            self._tell(problem)
            return
        self._seen = before
        self._problem = ''
        self._site = loaded
        LOG.info(
            'site context loaded: serial=%d sha256=%s layers=%d from %s',
            loaded.serial,
            loaded.sha256,
            len(loaded.layers),
            loaded.source,
        )

    def _tell(self, problem: str) -> None:
        if problem == self._problem:
            return
        self._problem = problem
        LOG.error(
            'site context not loaded: %s (%s)',
            problem,
            'the one before is served on'
            if self._site
            else 'guests get 503 until this is mended',
        )
