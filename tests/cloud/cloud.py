# SPDX-License-Identifier: Apache-2.0
"""A running cloud, for tests, demonstrations and developers."""

from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import pathlib
import subprocess

from glanceclient.v2 import client as glance_client
from keystoneauth1 import session as sessions
from novaclient import client as nova_client

from tests.cloud import databases
from tests.cloud import errors
from tests.cloud import files
from tests.cloud import identity
from tests.cloud import layout as layouts
from tests.cloud import ports
from tests.cloud import services
from tests.cloud import site as sites
from tests.cloud import steps
from tests.cloud import supervisor as supervisors
from tests.cloud import switch
from tests.cloud import volumes

COMPUTE_VERSION = '2.96'
FLAVOR = 'tiny'
SCRIPT_LIMIT = 300.0


class Cloud:
    """A cloud that has been started; made by :mod:`tests.cloud.launch`.

    :param block: its ports; also those at which nothing listens yet, or at
        the moment, are nobody else's
    """

    def __init__(
        self,
        site: sites.Site,
        supervisor: supervisors.Supervisor,
        block: ports.Block | None = None,
    ) -> None:
        self.site = site
        self._supervisor = supervisor
        self._block = block

    @property
    def layout(self) -> layouts.Layout:
        """The folders of the work directory."""
        return self.site.layout

    @property
    def endpoints(self) -> dict[str, str]:
        """URLs by service: keystone, glance, ..., nova-metadata."""
        return {
            name: self.site.url(name)
            for name, one in self._supervisor.state.started.items()
            if one.port is not None and name in self.site.ports
        }

    @property
    def metadata_secret(self) -> str:
        """The secret shared by nova's metadata service and its proxies."""
        return self.site.metadata_secret

    def log(self, service: str) -> pathlib.Path:
        """Return the path of a process's log."""
        return self.layout.log_of(service)

    def session(
        self, user: str = identity.ADMIN, project: str | None = None
    ) -> sessions.Session:
        """Return a session; the project is the user's name by default."""
        return identity.session(self.site, user, project or user)

    def glance(
        self, user: str = identity.ADMIN, project: str | None = None
    ) -> glance_client.Client:
        """Return a client of the image service."""
        return glance_client.Client(
            session=self.session(user, project), service_type='image'
        )

    def nova(
        self, user: str = identity.ADMIN, project: str | None = None
    ) -> nova_client.Client:
        """Return a client of the compute service."""
        return nova_client.Client(
            COMPUTE_VERSION, session=self.session(user, project)
        )

    def environment(
        self, user: str = identity.ADMIN, project: str | None = None
    ) -> dict[str, str]:
        """Return the ``OS_*`` variables of a user for a client."""
        return identity.environment(self.site, user, project or user)

    def add_project(self, name: str) -> str:
        """Return the id of a project, made when it is not there."""
        return identity.Identity(self.site).add_project(name)

    def add_user(
        self, name: str, project: str, roles: Iterable[str] = ('member',)
    ) -> str:
        """Return the id of a user with roles in a project, made if needed."""
        return identity.Identity(self.site).add_user(name, project, roles)

    def add_database(self, name: str) -> str:
        """Make a database in the cloud's MariaDB and return its URL."""
        databases.create(self.site, (name,))
        return self.site.database(name)

    def run(
        self,
        script: str,
        *arguments: str,
        user: str = identity.ADMIN,
        project: str | None = None,
        environment: Mapping[str, str] | None = None,
        limit: float = SCRIPT_LIMIT,
    ) -> subprocess.CompletedProcess[str]:
        """Run a console script of the checkout's package or the services.

        :param user: whose ``OS_*`` variables it gets
        :param limit: seconds, then it is killed
        :raises subprocess.TimeoutExpired: at the limit
        """
        own = self.layout.site / 'bin' / script
        program = str(own) if own.exists() else self.site.program(script)
        return subprocess.run(
            [program, *arguments],
            env={
                **self._supervisor.base_environment(),
                **self.site.options.environment,
                **self.environment(user, project),
                **(environment or {}),
            },
            cwd=self.layout.work,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit,
        )

    def write_configuration(self) -> None:
        """Write all configuration files anew from the options."""
        files.write(self.site)

    def restart(self, *names: str) -> None:
        """End services and start them again, and wait until they are ready.

        :param names: such as ``glance``, ``nova-scheduler``
        :raises errors.CloudError: when one does not come back
        """
        again = [self._as_started(name) for name in names]
        self._supervisor.end(*names)
        steps.run(self._supervisor, again, lambda _: None)

    def _as_started(self, name: str) -> steps.Service:
        known = self._supervisor.state.started.get(name)
        if known is None:
            raise errors.CloudError(
                f'{name} is not among the processes of this cloud: '
                f'{", ".join(self._supervisor.state.started)}'
            )
        steps_by_name = {step.name: step for step in self._services()}
        step = steps_by_name[name]
        if not isinstance(step, steps.Service):
            raise TypeError(f'{name} is not a service')
        return dataclasses.replace(
            step, argv=known.argv, environment=known.environment
        )

    def start(self, service: steps.Service) -> None:
        """Start a further process, and wait until it is ready.

        It ends with the cloud, or by :meth:`end_further`.

        :raises errors.CloudError: when it does not become ready
        """
        steps.run(self._supervisor, [service], lambda _: None)

    def end_further(self, name: str) -> None:
        """End a process that :meth:`start` started, and forget it."""
        self._supervisor.end(name)
        self._supervisor.forget(name)

    def stop(self, name: str) -> None:
        """End one service, as a failure would; :meth:`restart` brings it back.

        :raises errors.CloudError: when there is no such service
        """
        self._as_started(name)
        self._supervisor.end(name)

    def kill(self, name: str) -> None:
        """End one service as a loss of power would.

        :raises errors.CloudError: when there is no such service
        """
        self._as_started(name)
        self._supervisor.kill(name)

    def is_running(self, name: str) -> bool:
        """Say whether the process of a service is alive."""
        return self._supervisor.is_running(name)

    def _services(self) -> list[steps.Step]:
        return [
            *services.foundation(self.site),
            *services.apis(self.site),
            *services.nova(self.site),
            *volumes.services(self.site),
            *switch.services(self.site),
        ]

    def detach(self) -> None:
        """Leave the cloud running when this process ends."""
        self._supervisor.detach()

    def end(self) -> None:
        """End every process of the cloud; its folder stays."""
        try:
            self._supervisor.end_all()
        finally:
            if self._block is not None:
                self._block.release()
