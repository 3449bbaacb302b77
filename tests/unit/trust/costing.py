# SPDX-License-Identifier: Apache-2.0
"""Verifies every case with little time and memory for each.

Run as a program. It writes the name of each case before it starts it, so
that the last name is that of the case at which the kernel ended the
program, and exits with 0 only if every case ended with a verdict in time.
"""

from __future__ import annotations

import pathlib
import resource
import sys

from hepix_vm import errors
from tests.assets import attacks_on_content
from tests.assets import attacks_on_path
from tests.assets import costly
from tests.assets import encodings
from tests.unit.trust import judging

# What a message may cost is 1 s and 200 MB. A slow and busy machine gets many
# times that: what costs too much takes minutes, or all the memory. Memory
# counts from what the process had before.
SECONDS = 30
MEGABYTES = 5 * 200


def _limit_time() -> None:
    """End the program if the next case takes too long."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    allowed = int(used.ru_utime + used.ru_stime) + 1 + SECONDS
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (allowed, hard))


def _limit_memory() -> None:
    statm = pathlib.Path('/proc/self/statm').read_text(encoding='ascii')
    most = int(statm.split()[0]) * resource.getpagesize()
    most += MEGABYTES * 1_000_000
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def main() -> int:
    """0 if every case got a verdict."""
    cases = {
        **costly.COSTLY,
        **encodings.ENCODINGS,
        **attacks_on_content.ATTACKS,
        **attacks_on_path.ATTACKS,
    }
    for name, maker in cases.items():
        case = maker()
        print(name, flush=True)
        _limit_memory()
        _limit_time()
        verdict = judging.judge(case)
        if isinstance(verdict, errors.Refused) and 'Memory' in str(verdict):
            print('ran out of memory')
            return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
