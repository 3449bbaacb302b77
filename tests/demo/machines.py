# SPDX-License-Identifier: Apache-2.0
"""The machine of the story, where the cloud has real ones."""

from __future__ import annotations

import re
import time
from typing import Any

from tests.cloud import cloud as clouds
from tests.cloud import hepix
from tests.demo import asked
from tests.demo import told
from tests import worker

#: Seconds that a machine may take where its processor is emulated and busy.
PATIENCE = 1200
CIDR = '10.9.0.0/24'
FLAVOR = 'worker'
_USER_PART = '#!/bin/sh\necho "user part: hello from $(uname -r)"\n'
_SHOWN = re.compile(r'.*(?:worker:|user part:|site |hepix-context:).*')


def are_real(cloud: clouds.Cloud) -> bool:
    """Say whether a server of a cloud is a machine, in a network."""
    return cloud.site.options.parts >= hepix.CHAIN


class Machines:
    """A user's network, and what the machines in it say.

    :param user: whose they are
    """

    def __init__(
        self, teller: told.Teller, user: asked.Person, admin: asked.Person
    ) -> None:
        self._tell = teller
        self._user = user
        self._admin = admin

    def prepare(self) -> dict[str, Any]:
        """Make a network and a flavor.

        :returns: what a server of the story is asked for with
        """
        flavor = self._made(
            *(self._admin, 'compute', '/flavors', 'flavor'),
            {'name': FLAVOR, 'ram': worker.MEMORY, 'vcpus': 1, 'disk': 1},
        )
        network = self._made(
            *(self._user, 'network', '/v2.0/networks', 'network'),
            {'name': 'workers'},
        )
        self._made(
            *(self._user, 'network', '/v2.0/subnets', 'subnet'),
            {
                'network_id': network,
                'ip_version': 4,
                'cidr': CIDR,
                'gateway_ip': None,
            },
        )
        return {
            'flavorRef': flavor,
            'networks': [{'uuid': network}],
            'user_data': asked.base64_of(_USER_PART),
        }

    def _made(
        self,
        person: asked.Person,
        service: str,
        path: str,
        kind: str,
        fields: dict[str, Any],
    ) -> str:
        answer = person.ask(
            service, 'POST', path, show=False, json={kind: fields}
        )
        self._tell.expect(
            answer.status_code in (200, 201),
            f'there is a {kind} for machines',
            answer.text,
        )
        return str(answer.json()[kind]['id'])

    def says(self, server: str, pattern: str) -> re.Match[str]:
        """Wait until a machine has said something.

        :raises told.NotAsExpectedError: when it does not
        """
        end = time.monotonic() + PATIENCE
        while True:
            text = self.console(server)
            found = re.search(pattern, text)
            if found:
                return found
            if time.monotonic() > end:
                raise told.NotAsExpectedError(
                    f'expected {pattern!r} on the console of {server} within '
                    f'{PATIENCE} s, found:\n{text[-2000:]}'
                )
            time.sleep(2)

    def console(self, server: str) -> str:
        """All that a machine has said."""
        answer = self._user.ask(
            'compute',
            'POST',
            f'/servers/{server}/action',
            show=False,
            json={'os-getConsoleOutput': {}},
        )
        return str(answer.json().get('output', ''))

    def show(self, server: str) -> None:
        """Show what a machine said, without what its kernel did."""
        self._tell.asked(f'{self._user.user}: console of {server}')
        lines = _SHOWN.findall(self.console(server).replace('\r', ''))
        self._tell.answered('\n'.join(lines))

    def expect_context(self, server: str) -> str:
        """The user's part, then the site's.

        :returns: the digest of the context that ran
        """
        digest = self.says(server, 'context ran: sha256=([0-9a-f]{64})')[1]
        self.says(server, 'worker: jobfeatures/job_id ')
        self.show(server)
        text = self.console(server)
        places = [
            text.find(line)
            for line in (
                'user part: hello',
                'site prolog: start',
                'site epilog: start',
            )
        ]
        self._tell.expect(
            places == sorted(places) and places[0] >= 0,
            "the user's part ran, then the site's prolog and epilog",
            places,
        )
        return digest
