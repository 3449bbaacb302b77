# SPDX-License-Identifier: Apache-2.0
"""The file of the site's table, see :mod:`hepix_vm.context.ratings`."""

from __future__ import annotations

import pathlib

from oslo_log import log as logging

from hepix_vm.context import documents
from hepix_vm.context import ratings
from hepix_vm import errors

LOG = logging.getLogger(__name__)


class RatingsFile:
    """Read again when it is another one; for one thread.

    One that is wrong is reported once, and the last good table stays. It is
    read again at every look, since it may have been the disk.

    :param path: None: there is none
    :param known: what was read of it before
    """

    def __init__(
        self, path: pathlib.Path | None, known: ratings.Table
    ) -> None:
        self._path = path
        self._table = known
        self._seen: object = None
        self._problem = ''

    def table(self) -> ratings.Table:
        """The table as it stands, or the last one that was good."""
        if self._path is None:
            return ratings.EMPTY
        seen = _stamp(self._path)
        if seen == self._seen:
            return self._table
        try:
            self._table = read(self._path)
        except Exception as exc:  # noqa: BLE001 - the thread must live on
            if str(exc) != self._problem:
                LOG.error('%s; what was read of it before stays', exc)
            self._problem = str(exc)
            return self._table
        self._seen, self._problem = seen, ''
        LOG.info(
            'the table of the site is in memory: ratings=%d wall_limits=%d '
            'from %s',
            len(self._table.ratings),
            len(self._table.wall_limits),
            self._path,
        )
        return self._table


def read(path: pathlib.Path) -> ratings.Table:
    """Read the site's table.

    :raises errors.Misconfigured: it cannot be read or is wrong
    """
    source = f'[context] ratings_file {path}'
    try:
        with path.open('rb') as file:
            content = file.read(documents.LARGEST + 1)
    except (OSError, ValueError) as exc:
        raise errors.Misconfigured(
            f'{source}: expected a readable file, found: {exc}; create it, '
            'or unset the option'
        ) from exc
    return ratings.parse(content, source)


def _stamp(path: pathlib.Path) -> object:
    """What differs when a file is another one."""
    try:
        found = path.stat()
    except (OSError, ValueError) as exc:
        return str(exc)
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
