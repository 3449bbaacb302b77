# SPDX-License-Identifier: Apache-2.0
"""Ends a cloud when the process that started it is gone.

``python -m tests.cloud.watch WORK`` reads its standard input to the end, which
comes when its parent ends in whatever way, and is told when not to act.
"""

import pathlib
import signal
import sys

from tests.cloud import processes
from tests.cloud import state
from tests.cloud import supervisor


def main(work: pathlib.Path) -> int:
    """Wait for the end of the input and end the cloud unless told not to."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.stdin.buffer.read() == supervisor.DETACH:
        return 0
    known = state.load(work)
    print(f'the process that started {work} is gone: ending its processes')
    processes.end_all(known.belonging)
    return 0


if __name__ == '__main__':
    sys.exit(main(pathlib.Path(sys.argv[1])))
