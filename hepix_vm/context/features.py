# SPDX-License-Identifier: Apache-2.0
"""Machine and job features of virtual machines; no I/O.

The keys, their units and their meaning are those of HSF-TN-2016-02: for a
virtual machine the machine is the hypervisor and the job is the machine
itself. A key that cannot be determined is not there. ``hs23`` and
``hs23_job`` are ours: HEPScore23 has the scale of HS06 and no key of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import decimal

from hepix_vm.catalogue import hosts as hosts_
from hepix_vm.context import facts as facts_
from hepix_vm.context import ratings

#: Every key of either set, those of 2012 last.
MACHINE = ('total_cpu', 'hs06', 'hs23', 'shutdowntime', 'grace_secs')
JOB = (
    'allocated_cpu',
    'hs06_job',
    'hs23_job',
    'shutdowntime_job',
    'grace_secs_job',
    'jobstart_secs',
    'job_id',
    'wall_limit_secs',
    'cpu_limit_secs',
    'max_rss_bytes',
    'max_swap_bytes',
    'scratch_limit_bytes',
    'jobstart',
    'mem_limit',
    'run_limit',
    'cpu_limit',
)

_MIB = 2**20
_GIB = 2**30
_MB = 10**6

#: Ratings are told to a thousandth, however large they are.
_THOUSANDTH = decimal.Decimal('0.001')
_EXACT = decimal.Context(prec=60)


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """What a site says of features.

    :ivar grace_secs: seconds that lie between an order to end and its time,
        at least; 0: the site gives no such orders
    :ivar wall_limit_spec: name of the flavor's extra spec that says how many
        seconds a server may run
    :ivar hosts_max_age: seconds for which what Nova and Placement said of a
        host counts
    :ivar names_2012: whether the names of 2012 are served as well
    """

    grace_secs: int = 43200
    wall_limit_spec: str = 'hepix:wall_limit_secs'
    hosts_max_age: int = 86400
    names_2012: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known of hosts and of orders to end; a frozen value.

    :ivar hosts: by name
    :ivar host_drains: UNIX seconds by the host's name
    :ivar server_drains: UNIX seconds by the server's UUID
    :ivar table: what the site says
    :ivar looked: whether the catalogue has answered since the process began;
        before, nothing is known of orders
    """

    hosts: Mapping[str, hosts_.Host] = dataclasses.field(
        default_factory=dict, hash=False
    )
    host_drains: Mapping[str, int] = dataclasses.field(
        default_factory=dict, hash=False
    )
    server_drains: Mapping[str, int] = dataclasses.field(
        default_factory=dict, hash=False
    )
    table: ratings.Table = ratings.EMPTY
    looked: bool = False


def machine(
    facts: facts_.Facts, state: Snapshot, settings: Settings, now: int
) -> dict[str, str]:
    """Machine features: of the hypervisor that an instance is on.

    :param now: UNIX seconds
    :returns: value by key, of :data:`MACHINE`, those that are known
    """
    hs06, hs23 = _ratings(facts, state, settings, now)
    return _told(
        total_cpu=_total_cpu(facts, state, settings, now),
        hs06=_decimal(hs06),
        hs23=_decimal(hs23),
        shutdowntime=state.host_drains.get(facts.host or ''),
        grace_secs=settings.grace_secs or None,
    )


def job(
    facts: facts_.Facts, state: Snapshot, settings: Settings, now: int
) -> dict[str, str]:
    """Job features: of the instance itself.

    :param now: UNIX seconds
    :returns: value by key, of :data:`JOB`, those that are known
    """
    vcpus = _positive(facts.vcpus)
    started = _positive(facts.launched_at)
    ram = _positive(facts.ram)
    wall = _wall_limit(facts, state.table, settings)
    total = _total_cpu(facts, state, settings, now)
    shares = [
        _share(rating, vcpus, total)
        for rating in _ratings(facts, state, settings, now)
    ]
    limit = None if wall is None or vcpus is None else wall * vcpus
    scratch = _positive(facts.ephemeral) or _positive(facts.root)
    found = _told(
        allocated_cpu=vcpus,
        hs06_job=shares[0],
        hs23_job=shares[1],
        shutdowntime_job=_shutdown(facts, state),
        grace_secs_job=settings.grace_secs or None,
        jobstart_secs=started,
        job_id=facts.uuid,
        wall_limit_secs=wall,
        cpu_limit_secs=limit,
        max_rss_bytes=_times(ram, _MIB),
        # A flavor without swap says so: none may be used.
        max_swap_bytes=_times(facts.swap, _MIB),
        # One without disks is for volumes, whose size it does not say.
        scratch_limit_bytes=_times(scratch, _GIB),
    )
    if settings.names_2012:
        found |= _told(
            jobstart=started,
            mem_limit=_per(_times(ram, _MIB), _MB),
            run_limit=_per(wall, 60),
            cpu_limit=_per(limit, 60),
        )
    return found


def _told(**values: int | str | None) -> dict[str, str]:
    """What is known, as text: integers without anything around them."""
    return {
        key: str(value) for key, value in values.items() if value is not None
    }


def _host(
    facts: facts_.Facts, state: Snapshot, settings: Settings, now: int
) -> hosts_.Host | None:
    """What was said of the host of an instance, unless that is too old."""
    found = state.hosts.get(facts.host or '')
    if found is None or now - found.seen_at > settings.hosts_max_age:
        return None
    return found


def _total_cpu(
    facts: facts_.Facts, state: Snapshot, settings: Settings, now: int
) -> int | None:
    found = _host(facts, state, settings, now)
    return None if found is None else _positive(found.total_cpu)


def _ratings(
    facts: facts_.Facts, state: Snapshot, settings: Settings, now: int
) -> tuple[decimal.Decimal | None, decimal.Decimal | None]:
    """HS06, from whichever is known, and HEPScore23 of the hypervisor."""
    if not facts.host:
        return None, None
    found = _host(facts, state, settings, now)
    rating = state.table.rating(
        facts.host,
        () if found is None else found.aggregates,
        None if found is None else found.cpu_model,
    )
    if rating is None:
        return None, None
    return rating.hs06 or rating.hs23, rating.hs23


def _share(
    rating: decimal.Decimal | None, vcpus: int | None, total: int | None
) -> str | None:
    if rating is None or vcpus is None or total is None:
        return None
    share = _EXACT.divide(_EXACT.multiply(rating, vcpus), total)
    return _decimal(share)


def _decimal(value: decimal.Decimal | None) -> str | None:
    """A number without exponent and idle noughts; None for nought."""
    if value is None:
        return None
    rounded = _EXACT.quantize(value, _THOUSANDTH)
    if not rounded:
        return None
    text = f'{rounded:f}'
    return text.rstrip('0').rstrip('.')


def _shutdown(facts: facts_.Facts, state: Snapshot) -> int | None:
    """The earlier one of the orders for an instance and for its host."""
    orders = (
        state.server_drains.get(facts.uuid),
        state.host_drains.get(facts.host or ''),
    )
    return min((at for at in orders if at is not None), default=None)


def _wall_limit(
    facts: facts_.Facts, table: ratings.Table, settings: Settings
) -> int | None:
    """What the flavor says, else what the site says of the project."""
    for name, text in facts.extra_specs:
        if name == settings.wall_limit_spec:
            found = ratings.seconds(text)
            if found is not None:
                return found
    return table.wall_limit(facts.project)


def _positive(value: int | None) -> int | None:
    return value if value is not None and value > 0 else None


def _times(value: int | None, unit: int) -> int | None:
    return None if value is None or value < 0 else value * unit


def _per(value: int | None, unit: int) -> int | None:
    return None if value is None else value // unit
