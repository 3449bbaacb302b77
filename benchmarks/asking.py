# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.asking BASE COUNT THREADS``: a peer of syncing.

As many conditional requests, by nothing but a library: nothing is judged,
nothing is kept.
"""

from __future__ import annotations

from concurrent import futures
import sys
import threading

import requests

from benchmarks import lists_server
from benchmarks import processes


def _ask(base: str, count: int, threads: int) -> None:
    local = threading.local()

    def one(number: int) -> None:
        if not hasattr(local, 'session'):
            local.session = requests.Session()
        answer = local.session.get(
            f'{base}/{number}',
            headers={'If-None-Match': lists_server.ETAG},
            timeout=60,
        )
        if answer.status_code != 304:
            raise RuntimeError(answer.status_code)

    with futures.ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, range(count)))


if __name__ == '__main__':
    _, where, number, parallel = sys.argv
    print(processes.measured(lambda: _ask(where, int(number), int(parallel))))
