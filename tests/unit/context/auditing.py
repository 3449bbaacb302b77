# SPDX-License-Identifier: Apache-2.0
"""A process that serves context, as far as the audit is concerned.

``auditing CONNECTION INTERVAL [green]``: notes :data:`MANY` fetches, says so
and goes on until its standard input ends. ``green``: in a WSGI server whose
program has made its threads green, and which runs none of them.
"""

from __future__ import annotations

import sys
import types

from hepix_vm.context import noted

ONE, TWO, THREE = (f'{n:08}-0000-4000-8000-000000000000' for n in (1, 2, 3))
FETCH = noted.Fetch(ONE, 'p', 'default.tgz', 'a' * 64, 3)
MANY = 50


def main(connection: str, interval: str, *green: str) -> None:
    """Note, say so, wait."""
    if green:
        import eventlet

        eventlet.monkey_patch()
        # What uWSGI has put there.
        sys.modules['uwsgi'] = types.ModuleType('uwsgi')
    from hepix_vm.context import audit

    # A busy machine's answer that came late would be counted twice.
    one = audit.Audit(
        audit.Settings(connection, interval=float(interval), store_timeout=60)
    )
    for number in range(MANY):
        instance = f'{number:08}-0000-4000-a000-{"0" * 12}'
        one.note(noted.Fetch(instance, 'p', 'default.tgz', 'a' * 64, 3))
    print('noted', flush=True)
    sys.stdin.read()


if __name__ == '__main__':
    main(*sys.argv[1:])
