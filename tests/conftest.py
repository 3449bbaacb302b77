# SPDX-License-Identifier: Apache-2.0
"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import logging
import os
import sys
import threading
import time

import hypothesis
import pytest

# Nova of 2025.1 makes the threads of whoever imports its API green, those of
# the test runner too, which then waits for ever.
os.environ.setdefault('OS_NOVA_DISABLE_EVENTLET_PATCHING', 'yes')

# A run says the same twice. "tox -e fuzz" draws other input each time. How
# long anything takes says nothing: the machine may be busy, or stand still.
_SLOW = [hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile(
    'repeatable',
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=_SLOW,
)
hypothesis.settings.register_profile(
    'drawn', deadline=None, derandomize=False, suppress_health_check=_SLOW
)
if os.environ.get('HEPIX_VM_FUZZ'):
    hypothesis.settings.load_profile('drawn')
else:
    hypothesis.settings.load_profile('repeatable')
    # It also draws constants of our modules, of those that happen to be loaded
    # at that moment; releases before that have no such function.
    with contextlib.suppress(ImportError, AttributeError):
        from hypothesis.internal.conjecture import providers

        _NONE = providers._local_constants
        providers._get_local_constants = lambda: _NONE


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command sets up the root logger; the next test starts afresh."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture(autouse=True)
def shared_readers_end() -> Iterator[None]:
    """What plugins read in one test they do not read in the next one.

    It would call what the next one patches, and log what that one looks at.
    """
    yield
    loaded = sys.modules.get('hepix_vm.catalogue.reader')
    if loaded is not None:
        for one in loaded._readers.values():
            one.close()
        loaded._readers.clear()


@pytest.fixture(autouse=True, scope='module')
def no_reader_left() -> Iterator[None]:
    """Readers of a process wait for one another, so tests end their own."""
    before = _readers()
    yield
    end = time.monotonic() + 600
    while left := _readers() - before:
        assert time.monotonic() < end, f'these still read: {left}'
        time.sleep(0.05)


def _readers() -> set[threading.Thread]:
    return {
        one for one in threading.enumerate() if one.name == 'hepix-vm-reader'
    }
