# SPDX-License-Identifier: Apache-2.0
"""A call beside its peer, as rows."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import measuring
from benchmarks import rows

_MILLISECONDS = 1e3


def rows_of(
    name: str,
    call: measuring.Call,
    label: str,
    peer: measuring.Call | None,
    rounds: int,
) -> Iterator[rows.Row]:
    """The time that a call and its peer take, then the processor's.

    :param peer: None where it is not installed
    """
    if peer is None:
        times, beside = measuring.alone(call, rounds), None
        label = f'{label}: not installed'
    else:
        times, beside = measuring.in_turn(call, peer, rounds)
    yield rows.Row(
        name,
        times.median * _MILLISECONDS,
        'ms',
        label,
        beside.median * _MILLISECONDS if beside else None,
    )
    yield rows.Row(
        f'{name}, processor',
        times.processor_median * _MILLISECONDS,
        'ms',
        label,
        beside.processor_median * _MILLISECONDS if beside else None,
    )
