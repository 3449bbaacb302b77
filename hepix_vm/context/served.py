# SPDX-License-Identifier: Apache-2.0
"""The bundle that a service holds in memory and hands to guests."""

from __future__ import annotations

import dataclasses
import pathlib
import threading

from oslo_log import log as logging

from hepix_vm.context import bundle
from hepix_vm.context import directory

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class ContextSettings:
    """What the site says about its context.

    :param directory: the site directory
    :param bundle_file: serve exactly this file instead of building from
        ``directory``; None builds
    :param limits: how much a bundle may hold
    :param refresh_interval: seconds between two looks for a change
    """

    directory: pathlib.Path
    bundle_file: pathlib.Path | None
    limits: bundle.Limits
    refresh_interval: float


class ServedBundle:
    """Keeps the newest good bundle; safe to share between threads.

    A change is noticed by names and inodes, at most once per interval, by
    one thread while the others go on with what there is. A bundle is
    swapped whole. One that cannot be served is reported once, and the last
    good one stays.
    """

    def __init__(self, settings: ContextSettings) -> None:
        self._settings = settings
        self._looking = threading.Lock()
        self._next_look = float('-inf')
        self._seen: tuple[object, ...] | None = None
        self._bundle: bundle.Bundle | None = None

    def current(self, now: float) -> bundle.Bundle | None:
        """Give the bundle to serve; None while there never was a good one.

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
        return self._bundle

    def _look(self) -> None:
        limits = self._settings.limits
        source = self._settings.bundle_file or self._settings.directory
        before = directory.fingerprint(source, limits.members)
        if before == self._seen:
            return
        problem = ''
        loaded = None
        try:
            if self._settings.bundle_file is not None:
                loaded = bundle.read(source, limits)
            else:
                loaded = bundle.build(source, limits)
        except bundle.BundleRefused as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 the host must go on
            problem = f'site context {source}: {error!r}'
        if directory.fingerprint(source, limits.members) != before:
            # Somebody is writing: what was read may be half of it.
            return
        self._seen = before
        if loaded is None:
            LOG.error(
                'context bundle not loaded: %s (%s)',
                problem,
                'the one before is served on'
                if self._bundle
                else 'guests get 503 until this is mended',
            )
            return
        self._bundle = loaded
        LOG.info(
            'context bundle loaded: sha256=%s files=%d bytes=%d from %s',
            loaded.sha256_tar,
            len(loaded.files),
            len(loaded.tgz),
            source,
        )
