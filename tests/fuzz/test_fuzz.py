# SPDX-License-Identifier: Apache-2.0
"""Nothing but a refusal escapes, and what is accepted was signed."""

from __future__ import annotations

import base64
import collections
from collections.abc import Sequence
import math
import os
import random
import time

import hypothesis
from hypothesis import strategies as st
import pytest

from tests.fuzz import changing
from tests.fuzz import targets

_SECONDS = float(os.environ.get('FUZZ_SECONDS') or 60)
_SEED = os.environ.get('FUZZ_SEED') or '0'
_EXAMPLES = 200
_SHARE = {'verify': 0.5}
_OTHERS = (1 - sum(_SHARE.values())) / (len(targets.TARGETS) - len(_SHARE))


def _first_seed() -> int:
    if _SEED == 'random':
        return random.SystemRandom().randrange(2**32)
    return int(_SEED)


@pytest.mark.timeout(3 * _SECONDS + 900)
@pytest.mark.parametrize('target', targets.TARGETS)
def test_changed_input(target: str, record_property) -> None:
    """Time is the bound of the loop and nothing that is judged."""
    make, words = targets.TARGETS[target]
    seeds = {seed.name: seed for seed in make()}
    number = _first_seed()
    verdicts: collections.Counter[str] = collections.Counter()
    print(f'FUZZ_SEED={number}, {len(seeds)} known inputs')

    for seed in seeds.values():
        verdicts[seed.check(seed.data)] += 1
    unchanged = set(verdicts)
    until = time.monotonic() + _SECONDS * _SHARE.get(target, _OTHERS)
    # One whole round, however long the machine stands still.
    _round(number, seeds, words, math.inf, verdicts)
    while time.monotonic() < until:
        number += 1
        _round(number, seeds, words, until, verdicts)
    print(f'verdicts: {dict(verdicts.most_common())}')
    record_property('inputs', sum(verdicts.values()))
    # A target that says one thing whatever it gets tests nothing.
    assert len(verdicts) > 1, unchanged


def _round(
    number: int,
    seeds: dict[str, targets.Seed],
    words: Sequence[bytes],
    until: float,
    verdicts: collections.Counter[str],
) -> None:
    """Some changed inputs; hypothesis makes one that fails smaller."""

    failed: list[str] = []

    @hypothesis.seed(number)
    @hypothesis.settings(
        max_examples=_EXAMPLES,
        deadline=None,
        database=None,
        derandomize=False,
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(st.sampled_from(sorted(seeds)), changing.changes(words))
    def check(name: str, changes: list[changing.Change]) -> None:
        # What failed is asked again, while it is made smaller.
        if not failed and time.monotonic() >= until:
            return
        seed = seeds[name]
        data = seed.data
        for change in changes:
            data = change.of(data)
        try:
            verdicts[seed.check(data)] += 1
        except Exception as error:
            failed.append(name)
            error.add_note(f'input in base64: {base64.b64encode(data)!r}')
            raise

    check()
