# SPDX-License-Identifier: Apache-2.0
"""What compute hosts have, by Nova's and Placement's APIs.

Nova says which hosts there are, their processors' model and their
aggregates; how many processors servers may have of one is what Placement
gives out of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import json
import math
from typing import Any
import uuid

from keystoneauth1 import adapter
from keystoneauth1 import exceptions as ks_exc

from hepix_vm import errors

_FAILURES = (ks_exc.ClientException, OSError)

#: Ids of hypervisors are those of their resource providers from 2.53 on
#: (2017); after 2.87 nothing is said of their processors.
_NOVA = '2.53'
_PLACEMENT = '1.0'

#: Hypervisors asked for at once.
_PAGE = 500

#: Shared and dedicated processors.
_CLASSES = ('VCPU', 'PCPU')

#: What the catalogue keeps: characters of a text, and processors.
_LONGEST = 255
_MOST = 2**31 - 1


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """How hosts are asked for; in seconds.

    :ivar interval: after which a host is asked for again by a sync; 0: syncs
        ask for none
    :ivar patience: that a sync takes for it
    """

    interval: int = 0
    patience: float = 20.0


@dataclasses.dataclass(frozen=True, slots=True)
class Hypervisor:
    """A hypervisor as Nova lists it; None is what Nova does not say.

    :ivar provider: id of its resource provider
    :ivar host: name of the compute host, as servers have it
    """

    provider: str
    host: str
    hypervisor_type: str | None
    cpu_model: str | None


class Capacity:
    """The calls that this suite makes, as an administrator.

    Each raises :exc:`errors.TryAgain` when the service cannot be asked, and
    :exc:`errors.Misconfigured` when the account may not.

    :param session: keystoneauth session
    :param region: region name, or None
    :param interface: endpoint interface
    :param group: of options that its account is in
    :param timeout: seconds for each answer
    """

    def __init__(
        self,
        session: Any,
        region: str | None,
        interface: str,
        group: str = 'openstack',
        timeout: float = 20.0,
    ) -> None:
        self._group = group
        self._timeout = timeout
        self._nova, self._placement = (
            adapter.Adapter(
                session,
                service_type=service,
                region_name=region,
                interface=interface,
                default_microversion=version,
                # A kept connection may just be ended by the other side.
                connect_retries=1,
            )
            for service, version in (
                ('compute', _NOVA),
                ('placement', _PLACEMENT),
            )
        )

    def hypervisors(self) -> tuple[Hypervisor, ...]:
        """All hypervisors, page by page."""
        return tuple(self._hypervisors())

    def aggregates(self) -> dict[str, tuple[str, ...]]:
        """Names of the aggregates that hosts are in, by host."""
        body = self._get(
            self._nova, '/os-aggregates', 'Nova: list aggregates', {}
        )
        found: dict[str, set[str]] = {}
        try:
            for aggregate in body['aggregates']:
                for host in aggregate['hosts']:
                    found.setdefault(str(host), set()).add(
                        str(aggregate['name'])
                    )
        except (KeyError, TypeError) as exc:
            raise _odd('Nova: list aggregates') from exc
        return {host: tuple(sorted(names)) for host, names in found.items()}

    def total_cpu(self, provider: str) -> int | None:
        """Processors that servers may have of a host, all together.

        Of each class (shared, dedicated) as many as Placement gives out: what
        is not reserved, times the allocation ratio, rounded down.

        :param provider: id of its resource provider
        :returns: None when Placement has no processors of it
        """
        what = f'Placement: show inventories of {provider}'
        try:
            body = self._get(
                self._placement,
                f'/resource_providers/{provider}/inventories',
                what,
                {},
            )
        except _Gone:
            return None
        try:
            found = [
                _given_out(body['inventories'][name])
                for name in _CLASSES
                if name in body['inventories']
            ]
        except (KeyError, TypeError, ValueError, OverflowError) as exc:
            raise _odd(what) from exc
        if sum(found) > _MOST:
            raise _odd(what)
        return sum(found) if found else None

    def _hypervisors(self) -> Iterator[Hypervisor]:
        what = 'Nova: list hypervisors'
        marker: str | None = None
        while True:
            query = {'limit': str(_PAGE)}
            if marker is not None:
                query['marker'] = marker
            body = self._get(self._nova, '/os-hypervisors/detail', what, query)
            try:
                page = [_hypervisor(item) for item in body['hypervisors']]
            except (AttributeError, KeyError, TypeError, ValueError) as exc:
                raise _odd(what) from exc
            # A site may allow fewer a page than are asked for.
            if not page:
                return
            yield from page
            if page[-1].provider == marker:
                raise _odd(what)
            marker = page[-1].provider

    def _get(
        self,
        service: adapter.Adapter,
        path: str,
        what: str,
        query: Mapping[str, str],
    ) -> Any:
        try:
            return service.get(
                path, params=query, timeout=self._timeout
            ).json()
        except ks_exc.NotFound as exc:
            if service is self._placement:
                raise _Gone from exc
            raise self._translated(what, exc) from exc
        except ValueError as exc:
            raise _odd(what) from exc
        except _FAILURES as exc:
            raise self._translated(what, exc) from exc

    def _translated(self, what: str, exc: BaseException) -> errors.HepixError:
        detail = ' '.join(str(exc).split())[:500]
        sentence = f'{what}: {type(exc).__name__}: {detail}'
        if isinstance(exc, (ks_exc.Unauthorized, ks_exc.Forbidden)):
            return errors.Misconfigured(
                f'{sentence}; the account in group [{self._group}] has to be '
                'an administrator for this'
            )
        return errors.TryAgain(sentence)


class _Gone(Exception):
    """Placement does not know it."""


def _given_out(inventory: Mapping[str, Any]) -> int:
    left = int(inventory['total']) - int(inventory['reserved'])
    return max(0, math.floor(left * float(inventory['allocation_ratio'])))


def _hypervisor(item: Mapping[str, Any]) -> Hypervisor:
    return Hypervisor(
        # It becomes a part of a path.
        provider=str(uuid.UUID(str(item['id']))),
        host=str(item['service']['host']),
        hypervisor_type=_text(item.get('hypervisor_type'), 64),
        cpu_model=_text(_model(item.get('cpu_info')), _LONGEST),
    )


def _model(info: Any) -> Any:
    """The model in what a hypervisor says of its processors."""
    if isinstance(info, str):
        try:
            info = json.loads(info)
        except (ValueError, RecursionError):
            return None
    return info.get('model') if isinstance(info, dict) else None


def _text(value: Any, longest: int) -> str | None:
    """A text that people may read."""
    if not isinstance(value, str) or not value or not value.isprintable():
        return None
    return value[:longest]


def _odd(what: str) -> errors.TryAgain:
    return errors.TryAgain(
        f'{what}: expected JSON as of its API, found something else'
    )
