# SPDX-License-Identifier: Apache-2.0
"""What was accepted, refused and decided: shown, verified and exported."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import hashlib
import json
import os
from pathlib import Path
import tempfile

from hepix_vm.catalogue import chain
from hepix_vm.catalogue import database
from hepix_vm.catalogue import history
from hepix_vm.catalogue import kept
from hepix_vm import errors
from hepix_vm.operations import site as site_


@dataclasses.dataclass(frozen=True, slots=True)
class Exported:
    """What an export holds.

    :ivar messages: files with signed messages in their folder
    :ivar problems: messages that are not as the history says; they were
        left out
    """

    head: history.Head
    messages: int
    problems: tuple[str, ...]


def show(
    site: site_.Site,
    subject: str | None = None,
    event: str | None = None,
    since: int | None = None,
    until: int | None = None,
    limit: int = 100,
) -> list[history.Line]:
    """The newest lines that fit; see ``catalogue.history.newest``."""
    with site_.usable(site) as catalogue, catalogue.reading() as connection:
        return history.newest(connection, subject, event, since, until, limit)


def verify(site: site_.Site, noted: str | None = None) -> history.Verified:
    """Hold the history, and every message that it names, against its chain.

    :param noted: a head that was noted earlier, elsewhere
    """
    with site_.usable(site) as catalogue:
        return history.verify(catalogue, noted)


def export(
    site: site_.Site,
    write: Callable[[str], object],
    messages: Path | None = None,
) -> Exported:
    """Write all of the history as JSON lines, oldest first.

    :param write: takes one line, with its end
    :param messages: a folder for the signed messages, made when it is not
        there; each is a file with its SHA-256 as the name
    :raises errors.LocalFault: when the folder cannot be written
    """
    last, length, files = chain.GENESIS, 0, 0
    problems = []
    if messages is not None:
        _make(messages)
    with site_.usable(site) as catalogue:
        for line in history.lines(catalogue):
            write(json.dumps(dataclasses.asdict(line)) + '\n')
            last, length = line.sha256, length + 1
            if messages is None or line.event != kept.SEEN:
                continue
            try:
                files += _export(catalogue, line, messages)
            except errors.NotBelieved as exc:
                problems.append(str(exc))
    return Exported(history.Head(last, length), files, tuple(problems))


def _export(
    catalogue: database.Database, line: history.Line, folder: Path
) -> int:
    """Write the message that a line names; returns how many files."""
    bound = kept.bound(line.detail)
    if bound is None:
        return 0
    with catalogue.reading() as connection:
        content = history.message(connection, bound.row)
    if not content:
        return 0
    # The digest, not what the row says, becomes the name of a file.
    digest = hashlib.sha256(content).hexdigest()
    if digest != line.subject:
        raise errors.NotBelieved(
            f'history row {line.row}: expected a message of SHA-256 '
            f'{line.subject}, found {digest}; "hepix-vm history verify" looks '
            'at all of them'
        )
    path = folder / digest
    try:
        if path.exists():
            return 0
        write_whole(path, content)
    except OSError as exc:
        raise _unwritable(path, exc) from exc
    return 1


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there as a whole or not at all."""
    handle, name = tempfile.mkstemp(prefix='.', dir=path.parent)
    try:
        with os.fdopen(handle, 'wb') as target:
            target.write(content)
            target.flush()
            os.fsync(target.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise _unwritable(folder, exc) from exc


def _unwritable(path: Path, exc: OSError) -> errors.LocalFault:
    return errors.LocalFault(
        f'{path}: expected to write there, found: {exc.strerror or exc}'
    )
