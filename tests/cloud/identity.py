# SPDX-License-Identifier: Apache-2.0
"""Keystone's content: services' users, catalogue, projects and people."""

from collections.abc import Iterable
import dataclasses
from typing import Any

from keystoneauth1 import adapter
from keystoneauth1.identity import v3
from keystoneauth1 import session as sessions

from tests.cloud import site as sites

DOMAIN = 'default'
ADMIN = 'admin'
PEOPLE = {'demo': 'demo', 'other': 'other'}
"""User and their project, made in every cloud."""
_SERVICE_USERS: tuple[str, ...] = ('cinder', 'glance', 'nova', 'placement')
_INTERFACES = ('public', 'internal', 'admin')


def session(
    site: sites.Site, user: str, project: str | None
) -> sessions.Session:
    """Return a session of a user, scoped to a project unless that is None."""
    auth = v3.Password(
        auth_url=site.url('keystone') + '/v3',
        username=user,
        password=site.password,
        user_domain_id=DOMAIN,
        project_name=project,
        project_domain_id=DOMAIN if project is not None else None,
    )
    return sessions.Session(auth=auth, timeout=120)


def environment(site: sites.Site, user: str, project: str) -> dict[str, str]:
    """Return the ``OS_*`` variables that clients read."""
    return {
        'OS_AUTH_URL': site.url('keystone') + '/v3',
        'OS_USERNAME': user,
        'OS_PASSWORD': site.password,
        'OS_PROJECT_NAME': project,
        'OS_USER_DOMAIN_ID': DOMAIN,
        'OS_PROJECT_DOMAIN_ID': DOMAIN,
        'OS_IDENTITY_API_VERSION': '3',
        'OS_REGION_NAME': sites.REGION,
        # Servers without networks (--no-network) need 2.37.
        'OS_COMPUTE_API_VERSION': '2.96',
    }


@dataclasses.dataclass(frozen=True, slots=True)
class Service:
    """An entry of the catalogue."""

    kind: str
    name: str
    url: str


def catalogue(site: sites.Site) -> tuple[Service, ...]:
    """Return the entries for the parts that this cloud has."""
    parts = site.options.parts
    found = [Service('identity', 'keystone', site.url('keystone') + '/v3')]
    if 'glance' in parts:
        found.append(Service('image', 'glance', site.url('glance')))
    if 'placement' in parts:
        found.append(Service('placement', 'placement', site.url('placement')))
    if 'nova' in parts:
        url = site.url('nova-api') + '/v2.1'
        found.append(Service('compute', 'nova', url))
        found.append(Service('network', 'neutron', site.url('network')))
    if 'cinder' in parts:
        url = site.url('cinder-api') + '/v3'
        found.append(Service('block-storage', 'cinder', url))
        # What nova and older clients look for.
        found.append(Service('volumev3', 'cinderv3', url))
    return tuple(found)


class Identity:
    """Writes into keystone as its administrator."""

    def __init__(self, site: sites.Site) -> None:
        self._site = site
        self._api = adapter.Adapter(
            session(site, ADMIN, ADMIN),
            # The catalogue is empty at first.
            endpoint_override=site.url('keystone') + '/v3',
        )

    def _create(self, kind: str, **fields: Any) -> str:
        answer = self._api.post(f'/{kind}s', json={kind: fields})
        made: str = answer.json()[kind]['id']
        return made

    def _find(self, kind: str, name: str) -> str | None:
        found = self._api.get(f'/{kind}s', params={'name': name})
        ids: list[str] = [one['id'] for one in found.json()[f'{kind}s']]
        return ids[0] if ids else None

    def _ensure(self, kind: str, name: str, **fields: Any) -> str:
        found = self._find(kind, name)
        return found or self._create(kind, name=name, **fields)

    def add_project(self, name: str) -> str:
        """Return the id of a project, made when it is not there."""
        return self._ensure('project', name, domain_id=DOMAIN)

    def add_user(
        self, name: str, project: str, roles: Iterable[str] = ('member',)
    ) -> str:
        """Return the id of a user who has the roles in the project.

        Every user of a cloud has the cloud's one password.
        """
        user = self._ensure(
            'user',
            name,
            domain_id=DOMAIN,
            password=self._site.password,
        )
        target = self.add_project(project)
        for role in roles:
            role_id = self._ensure('role', role)
            self._api.put(f'/projects/{target}/users/{user}/roles/{role_id}')
        return user

    def fill(self) -> None:
        """Make the catalogue, the services' users and the people."""
        users = _SERVICE_USERS
        if 'neutron' in self._site.options.parts:
            users += ('neutron',)
        for service in catalogue(self._site):
            service_id = self._create(
                'service', type=service.kind, name=service.name
            )
            for interface in _INTERFACES:
                self._create(
                    'endpoint',
                    service_id=service_id,
                    interface=interface,
                    region_id=sites.REGION,
                    url=service.url,
                )
        for name in users:
            self.add_user(name, 'service', ('admin', 'service'))
        for user, project in PEOPLE.items():
            self.add_user(user, project)
