# SPDX-License-Identifier: Apache-2.0
"""Vendordata: a real nova asks the process that is shipped, and so do others.

It is the way onto config drives, and how guests learn where their machine and
job features are.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
import contextlib
import gzip
import hashlib
import json
import pathlib
import re
import subprocess
from typing import Any
import urllib.parse

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives import serialization
import pytest

from hepix_vm.catalogue import context_fetches
from hepix_vm.context import manifest
from tests import catalogue_rows
from tests.cloud import cloud as clouds
from tests.cloud import hepix
from tests.cloud import waits
from tests.functional import fronts
from tests.functional import metadata

LIMIT = metadata.LIMIT
LATEST = '/openstack/latest'
HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope='module')
def key() -> ec.EllipticCurvePrivateKey:
    """The key that the process of this module signs with."""
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope='module')
def asked(
    cloud: clouds.Cloud,
    key: ec.EllipticCurvePrivateKey,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[pathlib.Path]:
    """The process and a nova-metadata that asks it; gives its nova.conf."""
    pem = tmp_path_factory.mktemp('key') / 'manifest.pem'
    pem.touch(mode=0o600)
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    more = {'context': {'signing_key': str(pem), 'audit_interval': '0.2'}}
    target = fronts.at(cloud, fronts.PROCESS)
    with contextlib.ExitStack() as stack:
        for service in (
            fronts.process_as_shipped(cloud, more),
            fronts.nova_with_vendordata(cloud, target),
        ):
            cloud.start(service)
            stack.callback(cloud.end_further, service.name)
        yield fronts.nova_configuration(cloud, target)


@pytest.fixture(scope='module')
def server(cloud: clouds.Cloud, rows: catalogue_rows.Rows) -> Iterator[Any]:
    with metadata.server(cloud, rows) as made:
        yield made


@pytest.fixture
def headers(cloud, server):
    return metadata.signed(cloud, server.id, server.tenant_id)


@pytest.fixture
def told(cloud, asked, headers):
    """What a guest reads of its vendordata."""
    came = _ask(cloud, fronts.NOVA, headers, f'{LATEST}/vendor_data2.json')
    return json.loads(came)


def _ask(
    cloud: clouds.Cloud, service: str, headers: metadata.Headers, path: str
) -> bytes:
    came = metadata.ask(cloud.site.url(service), headers, path)
    assert came.status == 200, path
    return came.body


def _feature(
    cloud: clouds.Cloud, headers: metadata.Headers, path: str
) -> tuple[int, str]:
    """The same, once each process of the sample has read orders to end."""
    url = cloud.site.url(fronts.PROCESS)

    def told() -> tuple[int, str] | None:
        came = metadata.ask(url, headers, path)
        return (
            None if came.status == 503 else (came.status, came.body.decode())
        )

    return waits.until(path, told, LIMIT, log=cloud.log(fronts.PROCESS))


def _question(server: Any) -> bytes:
    return json.dumps(
        {
            'project-id': server.tenant_id,
            'instance-id': server.id,
            'image-id': None,
            'user-data': None,
            'hostname': 'server',
            'metadata': {},
            'boot-roles': '',
        }
    ).encode()


def _post(cloud: clouds.Cloud, server: Any, *headers: tuple[str, str]) -> Any:
    return metadata.ask(
        cloud.site.url(fronts.PROCESS),
        [('Content-Type', 'application/json'), *headers],
        '/vendordata',
        'POST',
        _question(server),
    )


def test_vendordata_is_what_the_guest_would_fetch(
    cloud, headers, told, key, tmp_path
):
    found = told['hepix']
    bundle = _ask(cloud, fronts.PROCESS, headers, metadata.BUNDLE)
    assert base64.b64decode(found['tgz_base64']) == bundle
    # Nova serves the same from within.
    assert _ask(cloud, 'nova-metadata', headers, metadata.BUNDLE) == bundle
    written = _ask(cloud, fronts.PROCESS, headers, '/context/manifest')
    assert found['manifest'].encode() == written
    tar = gzip.decompress(bundle)
    assert found['sha256_tar'] == hashlib.sha256(tar).hexdigest()
    assert manifest.parse(written).sha256_tar == found['sha256_tar']
    assert found['serial'] == manifest.parse(written).serial
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM,
        serialization.PublicFormat.SubjectPublicKeyInfo,
    )
    manifest.verify(written, base64.b64decode(found['signature']), public)


def test_a_guest_learns_where_its_features_are(cloud, server, headers, told):
    """From what is fixed, with or without the process that nova asks."""
    announced = json.loads(
        _ask(cloud, fronts.NOVA, headers, f'{LATEST}/vendor_data.json')
    )
    assert set(announced) == {'machinefeatures', 'jobfeatures'}
    assert told['static'] == announced
    for name, url in announced.items():
        assert told['hepix'][name] == url
        parts = urllib.parse.urlsplit(url)
        assert parts[:2] == ('http', '169.254.169.254')
        # As DIRAC and others put it together: no slash at the end, a key.
        status, index = _feature(cloud, headers, f'{parts.path}/')
        assert status == 200
        for key in index.split():
            status, text = _feature(cloud, headers, f'{parts.path}/{key}')
            assert status == 200
            assert key == 'job_id' or float(text) >= 0
        # What an error says must not be a value.
        absent = _feature(cloud, headers, f'{parts.path}/no_such_key')
        assert absent == (404, '')
    assert _feature(cloud, headers, '/jobfeatures/job_id') == (200, server.id)


@pytest.mark.parametrize(
    'forged',
    [
        [],
        [('X-Auth-Token', 'no such token')],
        # What would be there behind the check of the token.
        [('X-Identity-Status', 'Confirmed'), ('X-Roles', 'service,admin')],
    ],
)
def test_without_a_token_of_nova_nothing_is_told(cloud, asked, server, forged):
    came = _post(cloud, server, *forged)
    assert came.status == 401
    assert b'tgz' not in came.body


def test_a_token_of_a_user_is_not_one_of_nova(cloud, asked, server):
    mine = ('X-Auth-Token', cloud.session('demo').get_token())
    came = _post(cloud, server, mine, ('X-Roles', 'service'))
    assert (came.status, came.body) == (403, b'')


def test_nova_is_told_nothing_of_servers_of_other_projects(
    cloud, asked, server
):
    token = ('X-Auth-Token', cloud.session().get_token())
    assert _post(cloud, server, token).status == 200
    server.tenant_id, mine = cloud.add_project('context-2'), server.tenant_id
    try:
        assert _post(cloud, server, token).status == 404
    finally:
        server.tenant_id = mine


def _times(rows: catalogue_rows.Rows, server: Any) -> int:
    """How often vendordata of a server was given out."""
    with rows.store.reading() as connection:
        return sum(
            note.times
            for note in context_fetches.notes(connection, server.id)
            if note.what == 'vendordata'
        )


def test_a_config_drive_carries_it_and_it_is_made_once(
    cloud, rows, asked, server, told, tmp_path
):
    """Nova asks for each version of its metadata, and remembers nothing."""
    log = cloud.log(fronts.PROCESS)
    begun, before = len(log.read_text()), _times(rows, server)
    # Another bundle than any that was made so far.
    site = hepix.context_directory(cloud.layout.work) / 'added_for_a_drive'
    # In one moment: what is there half-written is another bundle, too.
    fresh = cloud.layout.work / site.name
    fresh.write_text('new\n')
    try:
        fresh.replace(site)
        _wait_for_another(cloud, server, told['hepix']['sha256_tar'])
        subprocess.run(
            (
                *(cloud.site.program('python'), HERE / 'config_drive.py'),
                *(asked, server.id, tmp_path),
            ),
            check=True,
            timeout=LIMIT,
        )
    finally:
        site.unlink()
    drives = {
        file.parent.name: json.loads(file.read_text())
        for file in tmp_path.glob('openstack/*/vendor_data2.json')
    }
    assert len(drives) >= 6
    latest = drives['latest']
    assert latest['hepix']['sha256_tar'] != told['hepix']['sha256_tar']
    for found in drives.values():
        assert base64.b64decode(found['hepix']['tgz_base64']) == (
            base64.b64decode(latest['hepix']['tgz_base64'])
        )
        assert found['hepix']['manifest'] == latest['hepix']['manifest']
        assert found['static'] == told['static']
    for file in tmp_path.glob('openstack/*/vendor_data.json'):
        assert json.loads(file.read_text()) == told['static']
    waits.until(
        'all of them in the catalogue',
        lambda: _times(rows, server) >= before + len(drives),
        LIMIT,
        log=log,
    )
    made = re.findall(
        rf' (\d+) INFO .* context variant made: .*sha256='
        f'{latest["hepix"]["sha256_tar"]}',
        log.read_text()[begun:],
    )
    # Once in each of the processes of the sample at most.
    assert 1 <= len(made) == len(set(made)) <= 2


def _wait_for_another(cloud: clouds.Cloud, server: Any, before: str) -> None:
    signed = metadata.signed(cloud, server.id, server.tenant_id)

    def changed() -> bool:
        came = _ask(cloud, fronts.PROCESS, signed, '/context/manifest')
        return manifest.parse(came).sha256_tar != before

    waits.until(
        'the new bundle', changed, LIMIT, log=cloud.log(fronts.PROCESS)
    )
