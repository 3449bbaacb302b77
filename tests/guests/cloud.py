# SPDX-License-Identifier: Apache-2.0
"""A cloud as one real machine sees it: Nova's documents, and our service.

What answers for the context, features and vendordata is the code that sites
run, with the signature that neutron's metadata agent would add. Nova's and
the catalogue's words about the one instance are given.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import hashlib
import hmac
import io
import json
from pathlib import Path
import socketserver
import threading
import time
from wsgiref import simple_server
from wsgiref import types
from wsgiref import util

from hepix_vm.catalogue import hosts
from hepix_vm.context import answering
from hepix_vm.context import application
from hepix_vm.context import archive
from hepix_vm.context import asking
from hepix_vm.context import facts as facts_
from hepix_vm.context import features
from hepix_vm.context import identities
from hepix_vm.context import identity
from hepix_vm.context import iso9660
from hepix_vm.context import noted
from hepix_vm.context import prepared
from hepix_vm.context import served
from hepix_vm.context import source as source_
from hepix_vm.context import vendordata
from tests.guests import site

UUID = '8d3c9a0e-5d2f-4f6b-9c1e-0123456789ab'
PROJECT = '6f70656e737461636b20697320676f6f'
MAC = '52:54:00:12:34:56'
#: What cloud-init writes when it has read the vendordata.
VENDOR_FILE = '/run/vendordata'
_SECRET = b'between nova and neutron'
_URL = f'http://{site.ADDRESS}'
_VERSIONS = ('2018-08-27', 'latest')
_FACTS = facts_.Facts(
    UUID,
    PROJECT,
    host='compute-1',
    vcpus=1,
    ram=768,
    root=1,
    launched_at=site.CREATED,
)


class Audit:
    """Remembers who did what."""

    def __init__(self) -> None:
        self.notes: list[noted.Fetch] = []

    def note(self, fetch: noted.Fetch) -> None:
        """Keep it."""
        self.notes.append(fetch)

    def told(self) -> list[str]:
        """What the instance said of bundles."""
        return [
            f'{one.what} {one.sha256}'
            for one in self.notes
            if one.what in (asking.What.RAN, asking.What.FAILED)
        ]


class Cloud:
    """Answers one instance.

    :param directory: the site's
    :param key: that signs
    :param user_data: of the instance
    :ivar asked: paths, in their order
    """

    def __init__(
        self, directory: Path, key: site.Key, user_data: bytes
    ) -> None:
        self.audit = Audit()
        self.asked: list[str] = []
        current = served.ServedSite(
            served.ContextSettings(
                source_.Source(directory, directory, published=False), 1e9
            )
        ).current
        parts = application.Parts(
            identify=identity.SignedIdentity(_SECRET).identify,
            facts_of=identities.Identities(
                lambda uuids: dict.fromkeys(uuids, _FACTS)
            ).facts_of,
            variant_of=prepared.Variants(
                current, prepared.Settings(), prepared.signer(key.private)
            ).variant_of,
            features_of=_features,
            audit=self.audit,
            refusal=answering.REFUSAL_BEHIND_NEUTRON,
        )
        self._context = application.Application(parts)
        self._vendordata = vendordata.Vendordata(
            parts, vendordata.Settings(frozenset({'service'}), _URL)
        )
        self.documents = self._documents(user_data)

    def __call__(
        self,
        environ: types.WSGIEnvironment,
        start_response: types.StartResponse,
    ) -> Iterable[bytes]:
        """Answer one request, as what stands before Nova does."""
        path = environ['PATH_INFO']
        self.asked.append(path)
        if path.split('/')[1] in ('context', 'machinefeatures', 'jobfeatures'):
            digest = hmac.new(_SECRET, UUID.encode(), hashlib.sha256)
            environ |= {
                'HTTP_X_INSTANCE_ID': UUID,
                'HTTP_X_TENANT_ID': PROJECT,
                'HTTP_X_INSTANCE_ID_SIGNATURE': digest.hexdigest(),
            }
            return self._context(environ, start_response)
        body = self.documents.get(path.strip('/'))
        status = '404 Not Found' if body is None else '200 OK'
        start_response(status, [('Content-Length', str(len(body or b'')))])
        return [body or b'']

    def drive(self) -> bytes:
        """The same documents as a config drive."""
        members = [
            archive.Member(name, False, content)
            for name, content in self.documents.items()
            if name.count('/') == 2 and name.startswith('openstack/')
        ]
        members += [
            archive.Member(name, True, None)
            for name in ('openstack', *(f'openstack/{v}' for v in _VERSIONS))
        ]
        return iso9660.image(archive.ordered(members, 'drive'), 'config-2')

    def vendordata(self) -> bytes:
        """What our service tells Nova of the instance."""
        question = json.dumps(
            {'instance-id': UUID, 'project-id': PROJECT}
        ).encode()
        environ: types.WSGIEnvironment = {
            'REQUEST_METHOD': 'POST',
            'SCRIPT_NAME': '',
            'PATH_INFO': vendordata.PATH,
            'CONTENT_LENGTH': str(len(question)),
            'HTTP_X_IDENTITY_STATUS': 'Confirmed',
            'HTTP_X_ROLES': 'service',
            'wsgi.input': io.BytesIO(question),
        }
        util.setup_testing_defaults(environ)
        heard: list[str] = []
        pieces = self._vendordata(
            environ, lambda status, *more: heard.append(status)
        )
        assert heard == ['200 OK']
        return b''.join(pieces)

    def _told_by_vendor(self) -> dict[str, object]:
        """Our answer, beside one that cloud-init itself acts on."""
        ours = json.loads(self.vendordata())
        written = {'path': VENDOR_FILE, 'content': ours['sha256_tar']}
        config = {'write_files': [written]}
        return {
            'hepix': ours,
            'cloud-init': f'#cloud-config\n{json.dumps(config)}\n',
        }

    def _documents(self, user_data: bytes) -> dict[str, bytes]:
        said: Mapping[str, object] = {
            'meta_data.json': {
                'uuid': UUID,
                'project_id': PROJECT,
                'hostname': 'guest.example.org',
                'name': 'guest',
                'availability_zone': 'nova',
                'launch_index': 0,
            },
            'network_data.json': {
                'links': [
                    {
                        'id': 'tap0',
                        'type': 'ovs',
                        'ethernet_mac_address': MAC,
                        'vif_id': UUID,
                        'mtu': 1500,
                    }
                ],
                'networks': [
                    {
                        'id': 'network0',
                        'type': 'ipv4_dhcp',
                        'link': 'tap0',
                        'network_id': UUID,
                    }
                ],
                'services': [],
            },
            'vendor_data.json': {},
            'vendor_data2.json': self._told_by_vendor(),
        }
        found = {
            'openstack': '\n'.join(_VERSIONS).encode(),
            'latest/meta-data': b'instance-id\n',
            'latest/meta-data/instance-id': b'i-00000001',
        }
        for version in _VERSIONS:
            top = f'openstack/{version}'
            found |= {
                f'{top}/{name}': json.dumps(content).encode()
                for name, content in said.items()
            }
            found[f'{top}/user_data'] = user_data
        return found


@contextlib.contextmanager
def serving(cloud: Cloud) -> Iterator[int]:
    """Let it answer; the process that holds its network is returned."""
    with site.network() as (listening, holder):
        server = _Server((site.ADDRESS, 80), _Quiet, False)
        server.socket.close()
        server.socket = listening
        server.setup_environ()
        server.set_app(cloud)
        thread = threading.Thread(target=server.serve_forever, args=(0.1,))
        thread.start()
        try:
            yield holder
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    server_name = 'metadata'
    server_port = 80


class _Quiet(simple_server.WSGIRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""


def _features(
    what: asking.What, facts: facts_.Facts
) -> Mapping[str, str] | identity.Refusal:
    now = int(time.time())
    host = hosts.Host('compute-1', 8, None, (), 'QEMU', now)
    snapshot = features.Snapshot(hosts={'compute-1': host}, looked=True)
    tell = features.machine if what is asking.What.MACHINE else features.job
    return tell(facts, snapshot, features.Settings(), now)
