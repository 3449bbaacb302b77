# SPDX-License-Identifier: Apache-2.0
"""The folders of a cloud's work directory."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import pathlib
import shutil
import tempfile

from tests.cloud import errors
from tests.cloud import state

# sockaddr_un holds 108 bytes, the last of them a zero (unix(7)).
_SOCKET_LIMIT = 107


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """Where everything of one cloud is, below its work directory."""

    work: pathlib.Path

    @property
    def etc(self) -> pathlib.Path:
        """Configuration, a folder for each service."""
        return self.work / 'etc'

    @property
    def log(self) -> pathlib.Path:
        """One log for each process."""
        return self.work / 'log'

    @property
    def data(self) -> pathlib.Path:
        """What services store: images, instances, databases."""
        return self.work / 'data'

    @property
    def site(self) -> pathlib.Path:
        """The checkout's package, installed for this cloud."""
        return self.work / 'site'

    @property
    def socket(self) -> pathlib.Path:
        """Socket of MariaDB."""
        return self.work / 'run' / 'mariadb.sock'

    def log_of(self, name: str) -> pathlib.Path:
        """Return the log of a process."""
        return self.log / f'{name}.log'

    def make(self) -> None:
        """Make the folders; the work directory is the owner's alone.

        :raises errors.CloudError: when the path is too long for a socket
        """
        if len(str(self.socket)) > _SOCKET_LIMIT:
            raise errors.CloudError(
                f'{self.work} is too long a path: the socket of MariaDB in '
                f'it would have {len(str(self.socket))} bytes of the '
                f'{_SOCKET_LIMIT} possible; choose a shorter one'
            )
        self.work.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in (
            self.etc,
            self.log,
            self.data,
            self.site,
            self.socket.parent,
        ):
            folder.mkdir(exist_ok=True)

    def refuse_foreign(self) -> None:
        """Refuse a folder that has something in it but no cloud.

        :raises errors.CloudError: so that nobody's files are removed
        """
        if not self.work.exists() or (self.work / state.NAME).exists():
            return
        if any(self.work.iterdir()):
            raise errors.CloudError(
                f'{self.work} is not empty and has no {state.NAME}: choose '
                'an empty or a new work directory'
            )


@contextlib.contextmanager
def temporary(
    prefix: str, report: Callable[[str], None]
) -> Iterator[pathlib.Path]:
    """Have a temporary folder; after an error it is kept, and said."""
    work = pathlib.Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield work
    except Exception:
        report(f'logs and configuration are kept in {work}')
        raise
    except BaseException:
        shutil.rmtree(work)
        raise
    shutil.rmtree(work)
