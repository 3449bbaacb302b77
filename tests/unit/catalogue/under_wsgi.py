# SPDX-License-Identifier: Apache-2.0
"""A WSGI server whose program has made its threads green.

``under_wsgi CONNECTION``: native threads ask the reader while nothing runs
their green threads, as in uWSGI. Prints a line for each answer.
"""

from __future__ import annotations

from collections.abc import Callable
import faulthandler
import sys
import types
from typing import Any

DATA = b'endorsed bytes'


def main(connection: str) -> None:
    """Ask, then wait without a hub until a withdrawal is known."""
    import eventlet
    from eventlet import patcher

    eventlet.monkey_patch()
    # What uWSGI has put there.
    sys.modules['uwsgi'] = types.ModuleType('uwsgi')
    faulthandler.dump_traceback_later(600, exit=True)
    _ask(connection, patcher.original('threading'), patcher.original('time'))


def _ask(connection: str, threading: Any, time: Any) -> None:
    from hepix_vm.catalogue import reader
    from tests import catalogue_rows

    rows = catalogue_rows.Rows(connection)
    one = reader.Reader(
        reader.ReaderSettings(
            connection, store_timeout=30, refresh_interval=0.1
        )
    )
    one.begin()

    def ask() -> None:
        digest = catalogue_rows.sha512(DATA)
        print(one.decide_bytes(digest, len(DATA), None).code, flush=True)

    def in_thread(work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    in_thread(ask)
    in_thread(ask)
    worker: Any = one._worker
    # Before: it may see the next one at once.
    revision = worker.snapshot().revision
    rows.withdraw(DATA)
    while worker.snapshot().revision == revision:
        time.sleep(0.05)
    in_thread(ask)
    one.close()
    rows.close()


if __name__ == '__main__':
    main(sys.argv[1])
