# SPDX-License-Identifier: Apache-2.0
"""The bytes of one image, had once for all clouds that want them."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import dataclasses
from pathlib import Path

from hepix_vm.catalogue.sources import values
from hepix_vm.catalogue import store
from hepix_vm import errors
from hepix_vm.glance import conversion
from hepix_vm.glance import formats
from hepix_vm.glance import outcomes
from hepix_vm.glance import spool


#: Below the spool directory: where converted images lie.
FOLDER = 'converted'


class Unbootable(errors.NotBelieved):
    """Nova cannot boot these bytes as they are."""


@dataclasses.dataclass(frozen=True, slots=True)
class Bytes:
    """A file that Glance may have."""

    path: Path
    sha512: str
    size: int
    disk_format: str


class Source:
    """Fetches an image when it is asked for the first time.

    To be used by one thread, as a context manager: at its end the file goes.

    :param settings: how images of its subscription are fetched
    :param allowed: what may be made of the bytes where Nova does not boot
        them as they are
    :param made: told what was made, before anybody else learns of it
    """

    def __init__(
        self,
        image: store.Image,
        settings: values.FetchSettings,
        told: outcomes.Told,
        allowed: conversion.Settings,
        made: Callable[[store.Image, conversion.Converted], None],
    ) -> None:
        self._conversion = allowed
        self._made = made
        self._image = image
        self._settings = settings
        self._told = told
        self._stack = contextlib.ExitStack()
        self._bytes: Bytes | None = None
        self._failure: errors.HepixError | None = None
        self._again: errors.TryAgain | None = None

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *exc: object) -> None:
        # Where the next run tries again, what has been fetched stays.
        again = self._again
        with contextlib.suppress(errors.TryAgain):
            self._stack.__exit__(type(again) if again else None, again, None)

    def try_again(self, exc: errors.HepixError) -> None:
        """Tell that something has failed that may go well the next time."""
        self._again = self._again or errors.TryAgain(str(exc))

    def bytes(self) -> Bytes:
        """The endorsed bytes, or what the site makes of them.

        What has failed for one cloud is not tried again for the next.

        :raises Unbootable: when Nova cannot boot them
        :raises errors.HepixError: when they cannot be had
        """
        if self._failure is not None:
            raise self._failure
        if self._bytes is None:
            try:
                self._bytes = self._ready()
            except errors.HepixError as exc:
                self._failure = exc
                raise
        return self._bytes

    def _ready(self) -> Bytes:
        image = self._image

        def downloading(received: int) -> None:
            self._told(
                outcomes.Progress(
                    image.title, 'download', received, image.size
                )
            )

        path = self._stack.enter_context(
            spool.downloaded(
                image.uri,
                image.sha512,
                image.size,
                self._settings,
                downloading,
            )
        )
        judged = formats.judge(
            path, image.entry.get('format'), self._conversion.steps
        )
        if isinstance(judged, formats.Refused):
            raise Unbootable(judged.reason)
        if isinstance(judged, formats.Bootable):
            return Bytes(path, image.sha512, image.size, judged.disk_format)
        made = self._stack.enter_context(
            conversion.converted(
                path,
                judged,
                self._conversion,
                Path(self._settings.spool_directory) / FOLDER,
                self._converting,
            )
        )
        self._made(image, made)
        return Bytes(made.path, made.sha512, made.size, made.disk_format)

    def _converting(self, what: str) -> None:
        self._told(
            outcomes.Progress(self._image.title, what, 0, self._image.size)
        )
