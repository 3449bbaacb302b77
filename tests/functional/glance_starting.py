# SPDX-License-Identifier: Apache-2.0
"""Starts Glance as its WSGI script does, once for each folder named.

Run by the services' Python. Glance is imported once; each start is a process
of its own from then on, whose last line on standard output says how it ended.
"""

import json
import os
import sys
import traceback

from glance.api.v2 import router
from glance.common import wsgi_app


def start(folder: str) -> None:
    """Make the application; say what came of it."""
    os.environ['OS_GLANCE_CONFIG_DIR'] = folder
    try:
        outcome = type(wsgi_app.init_app()).__name__
    except Exception as exc:  # noqa: BLE001 - whatever it raises
        traceback.print_exc()
        outcome = f'{type(exc).__name__}: {exc}'
    print(json.dumps(outcome), flush=True)
    # Not through the ends of threads that Glance has started.
    os._exit(0)


if __name__ == '__main__':
    assert router
    for line in sys.stdin:
        child = os.fork()
        if not child:
            start(line.strip())
        _, status = os.waitpid(child, 0)
        if status:
            print(json.dumps(f'ended with {status}'), flush=True)
