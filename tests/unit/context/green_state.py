# SPDX-License-Identifier: Apache-2.0
"""A WSGI server whose program has made its threads green.

``green_state CONNECTION``: a native thread asks for the state of the site
while nothing runs green threads, as in uWSGI. Prints an order before and
after it changes.
"""

from __future__ import annotations

from collections.abc import Callable
import faulthandler
import sys
import types
from typing import Any


def main(connection: str) -> None:
    """Ask, then wait without a hub until a change is known."""
    import eventlet
    from eventlet import patcher

    eventlet.monkey_patch()
    # What uWSGI has put there.
    sys.modules['uwsgi'] = types.ModuleType('uwsgi')
    faulthandler.dump_traceback_later(240, exit=True)
    native = patcher.original('threading')
    done = native.Thread(
        target=_ask, args=(connection, patcher.original('time'))
    )
    done.start()
    done.join()


def _ask(connection: str, time: Any) -> None:
    from hepix_vm.catalogue import drains
    from hepix_vm.context import site_state
    from tests import catalogue_rows

    rows = catalogue_rows.Rows(connection)
    state = site_state.SiteState(
        site_state.Settings(connection, store_timeout=60, refresh_interval=0.1)
    )

    def until(so: Callable[[dict[str, int]], bool]) -> None:
        while not so(dict(state.current().host_drains)):
            time.sleep(0.05)
        print(dict(state.current().host_drains), flush=True)

    def order(at: int) -> None:
        drain = drains.Drain(drains.Kind.HOST, 'wn1', at, 1, 'me')
        rows.store.transact(lambda made: drains.put(made, drain))

    order(5000)
    until(lambda found: 'wn1' in found)
    order(6000)
    until(lambda found: found['wn1'] != 5000)
    state.close()
    rows.close()


if __name__ == '__main__':
    main(sys.argv[1])
