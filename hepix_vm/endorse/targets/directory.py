# SPDX-License-Identifier: Apache-2.0
"""A directory, local or mounted, that a web server serves."""

from __future__ import annotations

from collections.abc import Sequence
import os
from pathlib import Path
import stat
import tempfile

from hepix_vm.endorse import files
from hepix_vm.endorse.targets import interface
from hepix_vm import errors


class Directory:
    """Files appear whole, by rename.

    :param root: the directory, which exists
    :param base: URI under which the web server serves it
    """

    def __init__(self, root: Path, base: str) -> None:
        self._root = root
        self._base = base

    def locate(self, uri: str) -> str | None:
        """See the interface."""
        return interface.below(self._base, uri)

    def size(self, name: str) -> int | None:
        """See the interface."""
        try:
            state = (self._root / name).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as exc:
            raise _refused(self._root / name, exc) from exc
        if not stat.S_ISREG(state.st_mode):
            raise errors.Misconfigured(
                f'{self._root / name}: expected a file, found something else'
            )
        return state.st_size

    def read_list(self, name: str) -> bytes | None:
        """See the interface."""
        if self.size(name) is None:
            return None
        return files.read(self._root / name, interface.LARGEST_LIST)

    def put_image(self, name: str, upload: interface.Upload) -> None:
        """See the interface."""
        path = self._root / name
        self._require_root()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, part = tempfile.mkstemp(
                prefix=f'.{path.name}.', dir=path.parent
            )
            try:
                with os.fdopen(handle, 'wb') as target:
                    while block := upload.read(interface.BLOCK):
                        target.write(block)
                    target.flush()
                    os.fsync(target.fileno())
                Path(part).chmod(0o644)
                Path(part).replace(path)
            except BaseException:
                Path(part).unlink(missing_ok=True)
                raise
            files.sync_directory(path.parent)
        except OSError as exc:
            raise _refused(path, exc) from exc

    def put_list(
        self, name: str, message: bytes, layers: Sequence[interface.Layer]
    ) -> None:
        """See the interface."""
        self._require_root()
        path = self._root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise _refused(path, exc) from exc
        files.write(path, message)

    def close(self) -> None:
        """See the interface."""

    def _require_root(self) -> None:
        if not self._root.is_dir():
            raise errors.Misconfigured(
                f'{self._root}: expected a directory to publish in, found '
                'none; create or mount it'
            )


def _refused(path: Path, exc: OSError) -> errors.LocalFault:
    return errors.LocalFault(f'{path}: {exc.strerror}')
