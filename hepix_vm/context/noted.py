# SPDX-License-Identifier: Apache-2.0
"""Notes in memory that wait to be written down: few, joined and counted."""

from __future__ import annotations

import dataclasses
import itertools
import re
import threading

from hepix_vm.catalogue import context_fetches
from hepix_vm.catalogue import refreshing

Note = context_fetches.Note

# One value that a database refuses would keep all others waiting.
_FORMS = {
    'instance': re.compile(r'[0-9a-f-]{36}'),
    'what': re.compile(r'[!-~]{1,64}'),
    'sha256': re.compile(r'(?:[0-9a-f]{64})?'),
    'project': re.compile(r'[!-~]{0,255}'),
}
_SERIALS = range(2**63)


@dataclasses.dataclass(frozen=True, slots=True)
class Fetch:
    """What an instance did once.

    :param what: kind of what was fetched, :data:`context_fetches.RAN` or
        :data:`context_fetches.FAILED`
    :param sha256: of the uncompressed tar; '': there is none
    :param serial: of the generation; 0: unpublished
    """

    instance: str
    project: str
    what: str
    sha256: str = ''
    serial: int = 0

    def well_formed(self) -> bool:
        """Whether every database takes it."""
        return self.serial in _SERIALS and all(
            form.fullmatch(getattr(self, name))
            for name, form in _FORMS.items()
        )


class Noted:
    """Notes that wait, and those that are being written.

    What is there already takes no further room, so a repetition is never
    lost.

    :param kept: notes at most
    """

    def __init__(self, kept: int) -> None:
        self._kept = kept
        # Held for a look at these only, never while anything is awaited.
        self._lock: threading.Lock = refreshing.threads().Lock()
        self._waiting: dict[tuple[str, str, str], Note] = {}
        self._taken: dict[tuple[str, str, str], Note] = {}
        self._lost = 0

    @property
    def lost(self) -> int:
        """Notes that were not taken, so far."""
        return self._lost

    def add(self, fetch: Fetch, now: int) -> None:
        """Keep a note, or count it as lost.

        :param now: UNIX seconds
        """
        note = Note(
            fetch.instance,
            fetch.what,
            fetch.sha256,
            fetch.serial,
            fetch.project,
            now,
            now,
        )
        good = fetch.well_formed()
        with self._lock:
            if not good or not self._keep(note):
                self._lost += 1

    def _keep(self, note: Note) -> bool:
        before = self._waiting.get(note.key)
        if before is not None:
            self._waiting[note.key] = before.joined(note)
            return True
        known = len(self._waiting) + len(self._taken)
        if known >= self._kept and note.key not in self._taken:
            return False
        self._waiting[note.key] = note
        return True

    def take(self, most: int) -> tuple[tuple[Note, ...], bool]:
        """Some to be written, and whether there are more.

        To be followed by :meth:`written` or :meth:`take_back`.
        """
        with self._lock:
            keys = tuple(itertools.islice(self._waiting, most))
            self._taken = {key: self._waiting.pop(key) for key in keys}
            return tuple(self._taken.values()), bool(self._waiting)

    def written(self) -> None:
        """What was taken is stored."""
        with self._lock:
            self._taken = {}

    def take_back(self) -> None:
        """What was taken waits again, with what came since."""
        with self._lock:
            for key, note in self._taken.items():
                since = self._waiting.get(key)
                self._waiting[key] = (
                    note if since is None else note.joined(since)
                )
            self._taken = {}

    def left(self) -> int:
        """How often something was done that is not written."""
        with self._lock:
            return sum(note.times for note in self._waiting.values())
