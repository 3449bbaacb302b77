# SPDX-License-Identifier: Apache-2.0
"""What a monitoring system watches, and how far each may go. Pure.

Limits are those of the monitoring plug-ins' guidelines: a value above its
limit is a problem, or, where less is worse, one below it.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import enum


class Grade(enum.IntEnum):
    """How bad it is; numbers are the exit statuses of monitoring plug-ins."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Measure:
    """One number that is watched.

    :ivar less_is_worse: whether a value below the limit is the problem
    :ivar warning: limit unless the operator says otherwise; None: none
    :ivar critical: likewise
    :ivar meaning: for the options' help
    """

    name: str
    meaning: str
    warning: float | None = None
    critical: float | None = None
    less_is_worse: bool = False


#: Everything that has limits, in the order of an operator's questions.
MEASURES = (
    Measure(
        'subscriptions',
        'subscriptions in the configuration',
        warning=1,
        less_is_worse=True,
    ),
    Measure('stale', 'subscriptions whose images are not placed', warning=0),
    Measure(
        'distrusted',
        'subscriptions whose stored list is not believed any more',
        warning=0,
    ),
    Measure(
        'revoked',
        "subscriptions whose endorser's certificate was revoked",
        critical=0,
    ),
    Measure('misconfigured', 'subscriptions whose group is wrong', warning=0),
    Measure(
        'never_synced',
        'subscriptions of which no list was ever accepted',
        warning=0,
    ),
    Measure(
        'failing',
        'subscriptions that failed three times in a row or more',
        warning=0,
    ),
    Measure(
        'last_sync_hours',
        'hours since any list was fetched or tried',
        warning=6,
        critical=24,
    ),
    Measure(
        'next_expiry_hours',
        'hours until the first list that still counts expires',
        warning=72,
        less_is_worse=True,
    ),
    Measure(
        'crl_hours',
        'hours until the first revocation list runs out, negative after it',
        warning=48,
        less_is_worse=True,
    ),
    Measure(
        'waiting',
        'images whose withdrawal waits for a confirmation',
        warning=0,
    ),
    Measure(
        'publishing_errors',
        'images whose newest version is not published where it should be',
        warning=0,
    ),
    Measure('quarantine_waiting', 'images that wait in quarantine'),
    Measure(
        'quarantine_failed',
        'images in quarantine that did not boot as they should',
        warning=0,
    ),
    Measure(
        'sync_failed',
        '1 when the last sync found anything wrong, such as one list',
    ),
    Measure(
        'withdraw_failed',
        '1 when the clouds did not follow the last sync',
        warning=0,
    ),
    Measure(
        'publish_failed',
        '1 when the last run of publishing did not end well',
        warning=0,
    ),
    Measure('last_publish_hours', 'hours since the last run of publishing'),
    Measure(
        'undelivered',
        'events that wait because the hook, the bus or the mail fails',
        warning=0,
    ),
    Measure(
        'events_given_up',
        'events of the last seven days that were never told',
        warning=0,
    ),
    Measure(
        'context_superseded',
        'servers that never fetched the newest context that any server did',
    ),
    Measure(
        'context_failed',
        'servers that said last that their context did not run',
    ),
    Measure(
        'context_lost',
        'notes of the last seven days on who fetched context that were lost, '
        'and processes that were killed with some',
        warning=0,
    ),
    Measure(
        'run_anyway_hours',
        'hours until an image that runs anyway may no longer',
        warning=24,
        less_is_worse=True,
    ),
    Measure(
        'withdrawn_servers',
        'servers on withdrawn images; asked with --servers only',
        critical=0,
    ),
)
BY_NAME = {measure.name: measure for measure in MEASURES}


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """How far each measure may go, by its name; None: no limit."""

    warning: Mapping[str, float | None]
    critical: Mapping[str, float | None]


DEFAULTS = Limits(
    {measure.name: measure.warning for measure in MEASURES},
    {measure.name: measure.critical for measure in MEASURES},
)


def limit(text: str) -> float | None:
    """A limit as an operator writes it: a number or ``off``.

    :raises ValueError: for anything else
    """
    if text.strip().lower() == 'off':
        return None
    found = float(text)
    if not -1e9 < found < 1e9:
        raise ValueError(text)
    return found


def grade(name: str, value: float | None, limits: Limits) -> Grade:
    """How bad a value is; one that is not there is no problem."""
    for found, given in (
        (Grade.CRITICAL, limits.critical.get(name)),
        (Grade.WARNING, limits.warning.get(name)),
    ):
        if value is None or given is None:
            continue
        less = BY_NAME[name].less_is_worse
        if value < given if less else value > given:
            return found
    return Grade.OK


def number(value: float) -> str:
    """A number as people and programs read it, whole or with a point."""
    return f'{value:.15g}'


def performance(values: Mapping[str, float | None], limits: Limits) -> str:
    """Values and limits as monitoring plug-ins print them after a ``|``."""
    shown = []
    for name, value in values.items():
        if value is None:
            continue
        given = [
            _range(name, of.get(name))
            for of in (limits.warning, limits.critical)
        ]
        shown.append(f'{name}={number(value)};{";".join(given)}')
    return ' '.join(shown)


def _range(name: str, given: float | None) -> str:
    """A limit in the notation for ranges: ``10:`` is "below 10"."""
    if given is None:
        return ''
    colon = ':' if name in BY_NAME and BY_NAME[name].less_is_worse else ''
    return f'{number(given)}{colon}'
