# SPDX-License-Identifier: Apache-2.0
"""Orders to end: compute hosts go away, servers have to.

An order tells virtual machines when to be done, as the machine and job
features ``shutdowntime``. Nova is told nothing: to keep new servers off a
host, disable its compute service.
"""

from __future__ import annotations

from collections.abc import Iterable
import datetime
import re
import uuid

from oslo_log import log
import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import drains as drains_
from hepix_vm.catalogue import hosts as hosts_
from hepix_vm import errors
from hepix_vm.glance import withdraw
from hepix_vm.nova import descent
from hepix_vm.nova import servers as servers_
from hepix_vm.operations import following
from hepix_vm.operations import site as site_
from hepix_vm.operations import withdrawing

LOG = log.getLogger(__name__)

Drain = drains_.Drain
Kind = drains_.Kind

#: Who orders that servers of withdrawn images end.
WITHDRAWN = 'withdrawn image'

#: Seconds: a time beyond is a mistake, such as one in milliseconds.
_LONGEST = 10 * 366 * 86400

_HOST = re.compile(r'[A-Za-z0-9][A-Za-z0-9._-]{0,254}', re.ASCII)


def drains(site: site_.Site) -> tuple[Drain, ...]:
    """All orders, the next one first.

    :raises errors.HepixError: when the catalogue cannot be used
    """
    with site_.usable(site) as catalogue, catalogue.reading() as connection:
        return drains_.drains(connection)


def named(text: str) -> tuple[Kind, str]:
    """What an argument stands for: a server by its UUID, or a host.

    :raises errors.Misconfigured: neither
    """
    try:
        found = str(uuid.UUID(text))
    except ValueError:
        found = ''
    # The constructor takes other forms, too.
    if found and found == text.lower():
        return Kind.SERVER, found
    if _HOST.fullmatch(text):
        return Kind.HOST, text
    raise errors.Misconfigured(
        f'argument {text[:80]!a}: expected the UUID of a server or the name '
        'of a compute host; see "hepix-vm context hosts"'
    )


def order(
    site: site_.Site, now: int, name: str, at: int, who: str, force: bool
) -> Drain:
    """Order that a host or a server ends, in place of an order before.

    :param now: UNIX seconds
    :param name: of the compute host, or the server's UUID
    :param at: UNIX seconds
    :param force: whether it may leave less time than servers were promised,
        and the host or the server may be one that is not known
    :raises errors.Misconfigured: for a time, a host or a server that cannot
        be
    :raises errors.HepixError: when Nova or the catalogue cannot be used
    """
    kind, name = named(name)
    short = _short(site.grace_secs, now, at, force)
    if kind is Kind.SERVER and not force:
        _require_server(site, name)

    def work(transaction: database.Transaction) -> Drain:
        if kind is Kind.HOST and not force:
            _require_known(transaction, name)
        made = Drain(kind, name, at, now, who, short)
        drains_.put(transaction, made)
        transaction.remember(
            now,
            who,
            'drain-ordered',
            name,
            f'{kind} ends at {_time(at)}'
            f'{", sooner than promised" if short else ""}',
        )
        return made

    with site_.usable(site) as catalogue:
        made = catalogue.transact(work)
    LOG.info(
        'verdict=drain-ordered %s=%s at=%s forced=%s', kind, name, at, short
    )
    return made


def clear(
    site: site_.Site, now: int, names: Iterable[str], who: str
) -> tuple[Drain, ...]:
    """Take orders back, all of them or none.

    :param names: of hosts, and UUIDs of servers
    :raises errors.Misconfigured: when there is no order for one of them
    :raises errors.HepixError: when the catalogue cannot be used
    """
    wanted = [named(name) for name in names]

    def work(transaction: database.Transaction) -> tuple[Drain, ...]:
        there = {
            (one.kind, one.name): one
            for one in drains_.drains(transaction.connection)
        }
        for key in wanted:
            if key not in there:
                raise errors.Misconfigured(
                    f'{key[0]} {key[1]}: expected one that has an order to '
                    'end, found none; see "hepix-vm drain list"'
                )
        found = tuple(there[key] for key in dict.fromkeys(wanted))
        for one in found:
            _clear(transaction, now, who, one)
        return found

    with site_.usable(site) as catalogue:
        return catalogue.transact(work)


def clear_over(site: site_.Site, now: int, who: str) -> tuple[Drain, ...]:
    """Take back all orders whose time has come.

    :param now: UNIX seconds
    :raises errors.HepixError: when the catalogue cannot be used
    """

    def work(transaction: database.Transaction) -> tuple[Drain, ...]:
        found = tuple(
            one
            for one in drains_.drains(transaction.connection)
            if one.at <= now
        )
        for one in found:
            _clear(transaction, now, who, one)
        return found

    with site_.usable(site) as catalogue:
        return catalogue.transact(work)


def follow(
    site: site_.Site,
    catalogue: database.Database,
    clouds: Iterable[following.Followed],
    now: int,
) -> None:
    """Order that servers of withdrawn images end; a part of a sync.

    An order that an operator gave stays as it is. What was ordered here is
    taken back when the server is gone or its image is good again, but not
    while a cloud cannot tell, and when ``[withdraw] drain_grace`` is unset.

    :param clouds: what each did
    :param now: UNIX seconds
    """
    grace = site.withdrawal.drain_grace
    wanted, certain = set[str](), True
    if grace is not None:
        wanted, certain = _on_withdrawn(catalogue, tuple(clouds))

    def due(connection: sa.Connection) -> tuple[list[str], list[Drain]]:
        there = {
            one.name: one
            for one in drains_.drains(connection)
            if one.kind is Kind.SERVER
        }
        return sorted(wanted - there.keys()), [
            one
            for name, one in sorted(there.items())
            if one.by == WITHDRAWN and name not in wanted and certain
        ]

    with catalogue.reading() as connection:
        if not any(due(connection)):
            return
    at = now + max(grace or 0, site.grace_secs)

    def work(transaction: database.Transaction) -> tuple[int, int]:
        # Read again: an operator may have given an order since.
        new, over = due(transaction.connection)
        for name in new:
            _order_withdrawn(transaction, now, name, at)
        for one in over:
            _clear(transaction, now, 'sync', one)
        return len(new), len(over)

    ordered, cleared = catalogue.transact(work)
    LOG.info(
        'verdict=drain-ordered servers=%d cleared=%d at=%d code=withdrawn',
        ordered,
        cleared,
        at,
    )


def _order_withdrawn(
    transaction: database.Transaction, now: int, name: str, at: int
) -> None:
    drains_.put(transaction, Drain(Kind.SERVER, name, at, now, WITHDRAWN))
    transaction.remember(
        now,
        'sync',
        'drain-ordered',
        name,
        f'server ends at {_time(at)}: its image is withdrawn',
    )


def _on_withdrawn(
    catalogue: database.Database, clouds: tuple[following.Followed, ...]
) -> tuple[set[str], bool]:
    """Servers that run from withdrawn images, and whether these are all."""
    if not withdraw.withdrawn(catalogue):
        return set(), True
    found = {
        one.server.server_id
        for cloud in clouds
        for one in cloud.looked.affected.servers
        if one.server.runs and one.relation is not descent.Relation.ATTACHED
    }
    # A cloud without an account was not looked at.
    return found, all(
        not cloud.problems and cloud.looked is not withdrawing.NOTHING
        for cloud in clouds
    )


def _short(grace: int, now: int, at: int, force: bool) -> bool:
    """Whether a time comes sooner than servers were promised.

    :raises errors.Misconfigured: when it may not
    """
    if not grace and not force:
        raise errors.Misconfigured(
            'group [context] option grace_secs: expected how many seconds '
            'before its time an order is given, found 0, which tells servers '
            'that there are none; set it, or use --force'
        )
    if not now <= at <= now + _LONGEST:
        raise errors.Misconfigured(
            f'option --at: expected a time from now to {_LONGEST} seconds '
            f'ahead, found {at - now} seconds ahead; correct it'
        )
    if at >= now + grace:
        return not grace
    if not force:
        raise errors.Misconfigured(
            f'option --at: expected at least {grace} seconds ahead ([context] '
            f'grace_secs, which servers are promised), found {at - now}; name '
            'a later time, or use --force'
        )
    return True


def _require_known(transaction: database.Transaction, name: str) -> None:
    if all(one.host != name for one in hosts_.hosts(transaction.connection)):
        raise errors.Misconfigured(
            f'host {name}: expected a compute host that Nova has listed, '
            'found none of that name; see "hepix-vm context hosts --refresh", '
            'or use --force'
        )


def _require_server(site: site_.Site, name: str) -> None:
    """See that a cloud has a server; nobody can where none has an account."""
    try:
        asked = [
            servers_.Nova(cloud.logged_in(), cloud.region, cloud.interface)
            for cloud in site.clouds.values()
            if cloud.session() is not None
        ]
        if not asked or any(nova.has(name) for nova in asked):
            return
    except errors.HepixError as exc:
        raise errors.TryAgain(
            f'server {name}: expected one that Nova has, which it could not '
            f'say ({exc}); try again, or use --force'
        ) from exc
    raise errors.Misconfigured(
        f'server {name}: expected one that Nova has, found none of that '
        'UUID; see "openstack server list --all-projects", or use --force'
    )


def _clear(
    transaction: database.Transaction, now: int, who: str, drain: Drain
) -> None:
    drains_.clear(transaction, drain.kind, drain.name)
    transaction.remember(
        now,
        who,
        'drain-cleared',
        drain.name,
        f'{drain.kind} was to end at {_time(drain.at)}',
    )


def _time(seconds: int) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.strftime('%Y-%m-%dT%H:%M:%SZ')
