# SPDX-License-Identifier: Apache-2.0
"""Things that happen at the same time."""

from __future__ import annotations

from collections.abc import Callable
import threading


def run(limit: float, *works: Callable[[], None]) -> None:
    """Run at the same time; what one raises is raised here.

    :param limit: seconds for each of them to end
    """
    problems: list[BaseException] = []

    def one(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as exc:  # noqa: BLE001 - raised below
            problems.append(exc)

    threads = [threading.Thread(target=one, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(limit)
    assert not any(thread.is_alive() for thread in threads), 'it hangs'
    if problems:
        raise problems[0]
