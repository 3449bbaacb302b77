# SPDX-License-Identifier: Apache-2.0
"""What Nova's API says of instances, for a process of our own.

Nova shows one server at a time, or those that have changed of late. The first
is for those that ask and are not known. The second, again and again, tells of
machines before they ask for the first time, and of those that are known
whether they are still what they were: whatever makes a server another one
(build, rebuild, resize, migration) changes it in Nova's database before the
guest runs.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import datetime
import time
from typing import Any
import urllib.parse

from keystoneauth1 import adapter
from oslo_log import log as logging

from hepix_vm.context import facts as facts_
from hepix_vm.context import identities
from hepix_vm.context import identity
from hepix_vm import errors

LOG = logging.getLogger(__name__)

#: Servers tell their flavor, rather than name it, since 2.47 (2017).
VERSION = '2.47'
#: Servers of a page, which takes Nova a second or so.
PAGE = 200
#: Seconds for a page: nobody waits for it who knows something.
PATIENCE = 30.0
#: Seconds that listings overlap: Nova tells times without their fractions, a
#: change is in its database a moment after the time that it bears, and the
#: clocks of its machines differ from ours.
OVERLAP = 5.0

_HOST = 'OS-EXT-SRV-ATTR:host'
_GONE = frozenset({'DELETED', 'SOFT_DELETED'})
#: What a body raises that is not as Nova documents it.
_UNREADABLE = (LookupError, TypeError, ValueError, AttributeError)


class Servers:
    """Asks Nova as an account that sees the servers of all projects.

    :param session: keystoneauth session, for this object alone
    :param region: region name, or None
    :param interface: endpoint interface
    :param timeout: seconds for an answer, and for all that one question
        takes
    :param clock: seconds of a clock that never goes back
    """

    def __init__(
        self,
        session: Any,
        region: str | None,
        interface: str,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # Keystone is asked with it, too.
        session.timeout = timeout
        self._nova = adapter.Adapter(
            session,
            service_type='compute',
            region_name=region,
            interface=interface,
            default_microversion=VERSION,
            connect_retries=1,
        )
        self._timeout = timeout
        self._clock = clock
        self._warned = False

    def ask(self, uuids: Sequence[str]) -> Mapping[str, identities.Answer]:
        """As :data:`identities.Ask`.

        :raises errors.TryAgain: the account may not see servers
        :raises keystoneauth1.exceptions.ClientException: Nova does not answer
        """
        end = self._clock() + self._timeout
        found: dict[str, identities.Answer] = {}
        for uuid in uuids:
            if found and self._clock() > end:
                found[uuid] = _away(uuid, 'no time was left to ask Nova')
            else:
                found[uuid] = self._shown(uuid)
        return found

    def changed(
        self, back: float
    ) -> Iterator[Mapping[str, identities.Answer]]:
        """As :data:`identities.Changes`.

        :raises errors.TryAgain: the account may not list servers, or Nova
            answers with something else
        :raises keystoneauth1.exceptions.ClientException: Nova does not answer
        """
        since = datetime.datetime.now(datetime.UTC) - datetime.timedelta(
            seconds=back + OVERLAP
        )
        query = {
            'all_tenants': '1',
            'changes-since': since.strftime('%Y-%m-%dT%H:%M:%SZ'),
            'limit': str(PAGE),
        }
        while True:
            answer = self._nova.get(
                f'/servers/detail?{urllib.parse.urlencode(query)}',
                raise_exc=False,
                timeout=max(PATIENCE, self._timeout),
            )
            try:
                body = _body(answer)
                servers = body['servers']
                found = {one['id']: self._listed(one) for one in servers}
                # Its pages may be smaller than what was asked for.
                more = 'servers_links' in body
                if more:
                    query['marker'] = servers[-1]['id']
            except _UNREADABLE as error:
                raise errors.TryAgain(_told(error)) from error
            yield found
            if not more:
                return

    def _listed(self, server: Mapping[str, Any]) -> identities.Answer:
        uuid = server['id']
        try:
            if server['status'] in _GONE:
                return identities.unknown(uuid)
            return self._facts(server)
        except _UNREADABLE as error:
            return _away(uuid, _told(error))

    def _shown(self, uuid: str) -> identities.Answer:
        answer = self._nova.get(f'/servers/{uuid}', raise_exc=False)
        if answer.status_code == 404:
            return identities.unknown(uuid)
        if answer.status_code in (401, 403):
            raise _not_allowed(answer)
        try:
            server = _body(answer)['server']
            if server['status'] in _GONE:
                return identities.unknown(uuid)
            return self._facts(server)
        except (errors.TryAgain, *_UNREADABLE) as error:
            return _away(uuid, _told(error))

    def _facts(self, server: Mapping[str, Any]) -> facts_.Facts:
        if _HOST not in server and not self._warned:
            self._warned = True
            LOG.warning(
                'Nova does not say on which hosts servers are; group'
                ' [openstack] needs an account that may see that'
            )
        return facts_of(server)


def facts_of(server: Mapping[str, Any]) -> facts_.Facts:
    """The facts of a server as Nova's API shows it.

    :raises LookupError, TypeError, ValueError, AttributeError: it is shown
        otherwise
    """
    flavor = server['flavor']
    image = server.get('image')
    return facts_.Facts(
        uuid=server['id'],
        project=server['tenant_id'],
        name=server.get('name'),
        availability_zone=server.get('OS-EXT-AZ:availability_zone') or None,
        host=server.get(_HOST) or None,
        flavor=flavor.get('original_name'),
        image=image['id'] if image else None,
        launched_at=_seconds(server.get('OS-SRV-USG:launched_at')),
        vcpus=flavor.get('vcpus'),
        ram=flavor.get('ram'),
        swap=flavor.get('swap'),
        root=flavor.get('disk'),
        ephemeral=flavor.get('ephemeral'),
        extra_specs=tuple(sorted((flavor.get('extra_specs') or {}).items())),
    )


def _body(answer: Any) -> Any:
    if answer.status_code in (401, 403):
        raise _not_allowed(answer)
    if answer.status_code != 200:
        raise errors.TryAgain(f'Nova answers {answer.status_code}')
    return answer.json()


def _not_allowed(answer: Any) -> errors.TryAgain:
    return errors.TryAgain(
        f'Nova answers {answer.status_code}; the account in group'
        ' [openstack] must be allowed to see the servers of all projects'
    )


def _away(uuid: str, why: str) -> identity.Refusal:
    return identity.Refusal(
        503, identity.Reason.NOVA_FAILED, f'instance {uuid}: {why}'
    )


def _told(error: Exception) -> str:
    text = ' '.join(str(error).split())[:300]
    if isinstance(error, _UNREADABLE):
        return f'its answer cannot be read: {type(error).__name__}: {text}'
    return text


def _seconds(text: str | None) -> int | None:
    """UNIX seconds of a time that Nova tells in UTC."""
    if not text:
        return None
    moment = datetime.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return int(moment.timestamp())
