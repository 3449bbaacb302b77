# SPDX-License-Identifier: Apache-2.0
"""Python that starts with this folder on its path lives on another day.

The file named by ``FALSE_CLOCK`` holds the seconds between that day and
today; it is read at each question for the time. What counts from the start
of the machine, so every wait, stays true.
"""

import datetime
import os
import pathlib
import time

_FILE = pathlib.Path(os.environ['FALSE_CLOCK'])
_TRUE = time.time
_DATETIME = datetime.datetime
_DATE = datetime.date


def _offset() -> int:
    return int(_FILE.read_text())


def _time() -> float:
    return _TRUE() + _offset()


def _time_ns() -> int:
    return int(_time() * 1e9)


class _Known(type):
    """What C code makes is an instance, too."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.true)

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(other, cls.true)


class _Datetime(_DATETIME, metaclass=_Known):
    true = _DATETIME

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> _DATETIME:
        return cls.fromtimestamp(_time(), tz)

    @classmethod
    def utcnow(cls) -> _DATETIME:
        return cls.fromtimestamp(_time(), datetime.UTC).replace(tzinfo=None)

    @classmethod
    def today(cls) -> _DATETIME:
        return cls.fromtimestamp(_time())


class _Date(_DATE, metaclass=_Known):
    true = _DATE

    @classmethod
    def today(cls) -> _DATE:
        return cls.fromtimestamp(_time())


time.time = _time
time.time_ns = _time_ns
datetime.datetime = _Datetime
datetime.date = _Date
