# SPDX-License-Identifier: Apache-2.0
"""What two runs of the same tests say about what differed between them."""

from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import re

PASSED = 'passed'
FAILED = 'failed'
SKIPPED = 'skipped'
ABSENT = 'absent'
CLASS = 'setUpClass'
"""With the name of a class: what became of the set-up of all its tests."""

Outcomes = Mapping[str, str]
"""Outcome of each test by its name, without its tags."""


@dataclasses.dataclass(frozen=True, slots=True)
class Expected:
    """Tests that differ for one reason.

    :ivar pattern: regular expression that matches whole names of tests
    """

    pattern: re.Pattern[str]
    reason: str


class ExpectationError(ValueError):
    """A file of expected differences cannot be read."""


def expectations(text: str) -> tuple[Expected, ...]:
    """Return the expected differences of a file.

    A line that begins with ``# `` is a reason, for all the regular
    expressions in the lines that follow, up to an empty line.

    :raises ExpectationError: with the number of the line that is not so
    """
    found: list[Expected] = []
    reason: list[str] = []
    began = False
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            reason, began = [], False
        elif line.startswith('#'):
            if began:
                raise ExpectationError(
                    f'line {number}: a reason after its tests; put an empty '
                    'line before it'
                )
            reason.append(line.lstrip('# '))
        elif not reason:
            raise ExpectationError(
                f'line {number}: {line!r} has no reason before it'
            )
        else:
            began = True
            found.append(_expected(number, line.strip(), ' '.join(reason)))
    return tuple(found)


def _expected(number: int, pattern: str, reason: str) -> Expected:
    try:
        return Expected(re.compile(pattern), reason)
    except re.error as error:
        raise ExpectationError(
            f'line {number}: {pattern!r} is no regular expression: {error}'
        ) from error


def differing(before: Outcomes, after: Outcomes) -> dict[str, str]:
    """Return how each test that differs does, such as ``passed, failed``."""
    names = {
        name
        for name in before.keys() | after.keys()
        if not name.startswith(CLASS)
    }
    found = {}
    for name in sorted(names):
        first, second = _outcome(before, name), _outcome(after, name)
        if first != second:
            found[name] = f'{first}, {second}'
    return found


def _outcome(outcomes: Outcomes, name: str) -> str:
    """Return a test's outcome, which can be that of its class's set-up."""
    of_class = f'{CLASS} ({name.rpartition(".")[0]})'
    return outcomes.get(name) or outcomes.get(of_class) or ABSENT


def complaints(
    before: Outcomes, after: Outcomes, expected: tuple[Expected, ...]
) -> Iterator[str]:
    """Return what is wrong, a line each: nothing when all is explained.

    :param before: outcomes on a stock cloud
    :param after: outcomes with the parts of hepix_vm
    """
    if not any(outcome == PASSED for outcome in before.values()):
        yield 'no test has passed on the stock cloud: nothing was compared'
    different = differing(before, after)
    used = set()
    for name, how in different.items():
        reasons = [one for one in expected if one.pattern.fullmatch(name)]
        used.update(one.pattern for one in reasons)
        if not reasons:
            yield f'differs without a reason ({how}): {name}'
        elif _outcome(before, name) == FAILED:
            yield f'failed on the stock cloud, so not by a reason: {name}'
    for one in expected:
        if one.pattern not in used:
            yield f'expected to differ and does not: {one.pattern.pattern}'


def counted(outcomes: Outcomes) -> str:
    """Return the numbers of a run, such as ``3 passed, 1 failed``."""
    kinds = (PASSED, FAILED, SKIPPED)
    values = list(outcomes.values())
    return ', '.join(f'{values.count(kind)} {kind}' for kind in kinds)
