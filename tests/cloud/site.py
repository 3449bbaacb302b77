# SPDX-License-Identifier: Apache-2.0
"""The facts of one cloud that its configuration files are made from."""

from collections.abc import Mapping
import dataclasses
import pathlib

from tests.cloud import layout as layouts
from tests.cloud import options as opts
from tests.cloud import ports

DATABASES = (
    'keystone',
    'glance',
    'placement',
    'nova_api',
    'nova_cell0',
    'nova',
    'cinder',
)
REGION = 'RegionOne'
RABBIT_USER = 'cloud'


@dataclasses.dataclass(frozen=True, slots=True)
class Site:
    """Where things are, under which ports, and the passwords."""

    layout: layouts.Layout
    venv: pathlib.Path
    ports: Mapping[str, int]
    password: str
    metadata_secret: str
    options: opts.CloudOptions
    network_venv: pathlib.Path = pathlib.Path()
    """The environment of Neutron, in a cloud that has it."""

    def url(self, service: str) -> str:
        """Return the root URL of a service."""
        return f'http://{ports.ADDRESS}:{self.ports[service]}'

    @property
    def messages(self) -> str:
        """Return the URL of the message queue."""
        return (
            f'rabbit://{RABBIT_USER}:{self.password}@'
            f'{ports.ADDRESS}:{self.ports["rabbitmq"]}/'
        )

    def credentials(self, user: str) -> dict[str, opts.Value]:
        """Return the options with which a service logs in."""
        return {
            'auth_type': 'password',
            'auth_url': self.url('keystone') + '/v3',
            'project_domain_id': 'default',
            'user_domain_id': 'default',
            'project_name': 'service',
            'username': user,
            'password': self.password,
            'region_name': REGION,
        }

    def token(self, user: str) -> dict[str, opts.Value]:
        """Return the options with which a service checks tokens."""
        return {
            **self.credentials(user),
            'www_authenticate_uri': self.url('keystone'),
            'service_token_roles': 'service',
            'service_token_roles_required': True,
        }

    def database(self, name: str) -> str:
        """Return the SQLAlchemy URL of a database."""
        return (
            f'mysql+pymysql://root@localhost/{name}'
            f'?unix_socket={self.layout.socket}&charset=utf8mb4'
        )

    def etc(self, service: str) -> pathlib.Path:
        """Return the folder of a service's configuration."""
        return self.layout.etc / service

    def program(self, name: str) -> str:
        """Return the path of a program of the services' environment."""
        return str(self.venv / 'bin' / name)

    def network_program(self, name: str) -> str:
        """Return the path of a program of Neutron's environment."""
        return str(self.network_venv / 'bin' / name)
