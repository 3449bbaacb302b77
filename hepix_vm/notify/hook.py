# SPDX-License-Identifier: Apache-2.0
"""A program of the site that is told one event at a time.

It is executed as it is, without a shell: the event is JSON on its standard
input, and nothing that a list says is ever an argument or in the environment.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import dataclasses
from pathlib import Path

from oslo_log import log

from hepix_vm.catalogue import notices
from hepix_vm import errors
from hepix_vm import programs

LOG = log.getLogger(__name__)

# Seconds that ending it may take after its time.
_LOOK = 0.1


@dataclasses.dataclass(frozen=True, slots=True)
class Hook:
    """The program.

    :ivar path: absolute
    :ivar timeout: seconds that it may take for one event
    """

    path: str
    timeout: float = 30

    @property
    def patience(self) -> float:
        """Seconds that telling once may take at most."""
        return self.timeout + _LOOK

    #: Notices that are told at once.
    at_once = 1

    @contextlib.contextmanager
    def opened(self) -> Iterator[Hook]:
        """Nothing is kept open between two events."""
        yield self

    def tell(self, told: tuple[notices.Notice, ...], now: int) -> None:
        """Run it for each notice; see :func:`run`."""
        for notice in told:
            run(self, notice)


def run(hook: Hook, notice: notices.Notice) -> None:
    """Run the program once, and log what it says.

    :raises errors.Misconfigured: when it must or can not be executed
    :raises errors.TryAgain: when it fails or takes too long; all of its
        process group is killed then
    """
    ended = programs.run(
        '[notify] hook',
        Path(hook.path),
        notice.document(),
        hook.timeout,
        leave_rest=True,
    )
    status, output = ended.status, ended.output
    said = _shown(output)
    if said:
        LOG.info('hook for notice %s (%s): %s', notice.id, notice.kind, said)
    if status is None:
        raise errors.TryAgain(
            f'the hook {hook.path} took longer than {hook.timeout:g} s for '
            f'notice {notice.id} ({notice.kind}) and was killed; see option '
            '[notify] hook_timeout'
        )
    if status:
        raise errors.TryAgain(
            f'the hook {hook.path} ended with {_status(status)} for notice '
            f'{notice.id} ({notice.kind}): {said[:300] or "it said nothing"}'
        )


def _shown(output: bytes) -> str:
    text = output.decode('utf-8', 'replace')
    return ''.join(c if c.isprintable() else ' ' for c in text).strip()


def _status(status: int) -> str:
    return f'signal {-status}' if status < 0 else f'exit status {status}'
