# SPDX-License-Identifier: Apache-2.0
"""Publishing at real servers: WebDAV, HTTP PUT, S3 and an OCI registry."""

from __future__ import annotations

import hashlib
import ipaddress
import pathlib

from cryptography.hazmat.primitives import serialization
from cryptography import x509
import minio
import oras.provider
import pytest

from hepix_vm.catalogue import fetch
from hepix_vm.endorse import publishing
from hepix_vm.endorse import sealing
from hepix_vm.endorse import targets
from hepix_vm.endorse.targets import registry
from hepix_vm import errors
from hepix_vm.operations import endorsing
from tests import endorser
from tests.functional import places
from tests.unit.endorse import people

DATA = bytes(range(256)) * 4096 * 6
LOGIN = targets.Access(user=places.USER, password=places.SECRET)
WRONG = targets.Access(user=places.USER, password='wrong')
LIST = 'worker.signed'


class Bench:
    """One list of one image, and where it goes."""

    def __init__(self, folder: pathlib.Path, base: str) -> None:
        self.folder = folder
        self.base = base
        self.image = folder / 'image.raw'
        self.image.write_bytes(DATA)

    def sealed(self, previous=None, uri=None, **more):
        image = endorser.make_image(
            DATA, uri or f'{self.base}images/one.raw', **more
        )
        return sealing.seal(
            people.draft(images=(image,), uri=f'{self.base}{LIST}'),
            people.signatory(people.holder()),
            people.now(),
            previous,
        )

    def publish(self, sealed, address, access, *, images=True):
        message = self.folder / LIST
        message.write_bytes(sealed.message)
        seen = []
        done = endorsing.publish(
            message,
            address,
            [self.image] if images else [],
            access,
            people.now(),
            self.base,
            told=lambda *step: seen.append(step),
        )
        return [placed.outcome.value for placed in done], seen

    def refused(self, kind, sealed, address, access):
        with pytest.raises(kind) as caught:
            self.publish(sealed, address, access)
        assert places.SECRET not in str(caught.value)
        return str(caught.value)

    def check(self, url):
        """What subscribers say, as an endorser asks."""
        anchored = sealing.Anchored(people.trust_anchors())
        return {
            (f.check, f.level.value)
            for f in endorsing.check(
                url, anchored, fetch.FetchSettings(timeout=60), people.now()
            )
        }


def round_trip(bench, address, access):
    """First publication, one more, and one that goes back."""
    first = bench.sealed(identifier='5b7f0c1e-6a0c-4f5e-9d55-0c52b6f6b001')
    outcomes, seen = bench.publish(first, address, access)
    assert outcomes == ['uploaded', 'uploaded']
    steps = {step for _title, step, _done, _total in seen}
    assert 'hashing' in steps
    outcomes, _ = bench.publish(first, address, access, images=False)
    assert outcomes == ['present', 'present']
    second = bench.sealed(
        first.image_list, identifier='5b7f0c1e-6a0c-4f5e-9d55-0c52b6f6b001'
    )
    outcomes, _ = bench.publish(second, address, access, images=False)
    assert outcomes == ['present', 'uploaded']
    said = bench.refused(errors.Misconfigured, first, address, access)
    assert 'does not go beyond' in said


class TestWebDav:
    @pytest.fixture
    def served(self, tmp_path):
        folder = tmp_path / 'served'
        folder.mkdir()
        return folder

    @pytest.mark.parametrize('scheme', ['dav', 'http'])
    def test_round_trip(self, tmp_path, served, scheme):
        if scheme == 'http':
            # Plain PUT makes no folders.
            (served / 'images').mkdir()
        with places.webdav(served) as url:
            bench = Bench(tmp_path, url)
            address = url.replace('http', scheme, 1)
            round_trip(bench, address, LOGIN)
            assert (served / 'images/one.raw').read_bytes() == DATA
            found = sorted(p.name for p in served.rglob('*'))
            assert found == ['images', 'one.raw', LIST]
            for access in (WRONG, targets.Access()):
                said = bench.refused(
                    errors.Misconfigured, bench.sealed(), address, access
                )
                assert 'give --token-file' in said

    def test_what_was_published_is_what_subscribers_fetch(
        self, tmp_path, served
    ):
        with places.webdav(served, anonymous=True) as url:
            bench = Bench(tmp_path, url)
            address = url.replace('http', 'dav', 1)
            bench.publish(bench.sealed(), address, targets.Access())
            found = bench.check(f'{url}{LIST}')
            assert {level for _check, level in found} == {'ok'}
            assert ('digest', 'ok') in found
            data = (served / 'images/one.raw').read_bytes()
            for content, check in (
                (data[:-1] + b'x', 'digest'),
                (data[:-1], 'size'),
                (data + b'x', 'size'),
                (data + b'xx', 'fetch'),
            ):
                (served / 'images/one.raw').write_bytes(content)
                assert (check, 'problem') in bench.check(f'{url}{LIST}')
            (served / 'images/one.raw').unlink()
            assert ('fetch', 'problem') in bench.check(f'{url}{LIST}')
            bench.image.write_bytes(DATA)

    def test_folder_that_is_a_file_leaves_nothing_behind(
        self, tmp_path, served
    ):
        (served / 'images').write_bytes(b'')
        with places.webdav(served) as url:
            bench = Bench(tmp_path, url)
            address = url.replace('http', 'dav', 1)
            bench.refused(errors.Misconfigured, bench.sealed(), address, LOGIN)
        assert [p.name for p in served.iterdir()] == ['images']

    def test_file_that_changes_while_it_is_sent(self, tmp_path, served):
        with places.webdav(served) as url:
            bench = Bench(tmp_path, url)
            sealed = bench.sealed()
            target = targets.choose(
                url.replace('http', 'dav', 1), bench.base, LOGIN
            )
            plan = publishing.plan(
                sealed.message, target, [bench.image], people.now()
            )
            bench.image.write_bytes(DATA[:-1] + b'x')
            with pytest.raises(errors.HepixError, match='changed while'):
                list(publishing.publish(plan, target))
            target.close()
        assert not [p for p in served.rglob('*') if p.is_file()]

    def test_https_with_a_ca_of_ones_own(self, tmp_path, served):
        certificate, key = _server_certificate(tmp_path)
        with places.webdav(served, certificate, key) as url:
            bench = Bench(tmp_path, url)
            address = url.replace('https', 'davs', 1)
            ca = tmp_path / 'ca.pem'
            ca.write_bytes(people.authority().pem)
            access = targets.Access(
                user=places.USER, password=places.SECRET, ca_file=ca
            )
            outcomes, _ = bench.publish(bench.sealed(), address, access)
            assert outcomes == ['uploaded', 'uploaded']
            said = bench.refused(
                errors.Misconfigured, bench.sealed(), address, LOGIN
            )
            assert '--ca-file' in said

    def test_server_that_is_away(self, tmp_path):
        bench = Bench(tmp_path, 'http://127.0.0.1/')
        with places.unanswered() as port:
            said = bench.refused(
                errors.TryAgain,
                bench.sealed(),
                f'dav://127.0.0.1:{port}/',
                targets.Access(),
            )
        assert 'ConnectionError' in said


def _server_certificate(folder):
    names = x509.SubjectAlternativeName(
        [x509.IPAddress(ipaddress.ip_address('127.0.0.1'))]
    )
    one = people.authority().issue(
        'C=DE/CN=127.0.0.1',
        'ec server',
        [(names, False)],
        start=people.now() - people.DAY,
        end=people.now() + people.DAY,
    )
    certificate, key = folder / 'server.pem', folder / 'server.key'
    certificate.write_bytes(one.pem)
    key.write_bytes(
        one.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, key


class TestRegistry:
    @pytest.fixture(params=[True, False], ids=['open', 'login'])
    def place(self, tmp_path, request):
        with places.registry(tmp_path, open_to_all=request.param) as address:
            yield address, targets.Access() if request.param else LOGIN

    def _uri(self, address):
        digest = hashlib.sha256(DATA).hexdigest()
        return f'http://{address}/v2/grid/workers/blobs/sha256:{digest}'

    def test_list_is_an_artefact_and_images_are_its_blobs(
        self, tmp_path, place
    ):
        address, access = place
        bench = Bench(tmp_path, f'http://{address}/')
        target = f'oci+http://{address}/grid/workers:stable'
        sealed = bench.sealed(
            uri=self._uri(address),
            identifier='5b7f0c1e-6a0c-4f5e-9d55-0c52b6f6b001',
        )
        outcomes, _ = bench.publish(sealed, target, access)
        assert outcomes == ['uploaded', 'uploaded']
        second = bench.sealed(
            sealed.image_list,
            self._uri(address),
            identifier='5b7f0c1e-6a0c-4f5e-9d55-0c52b6f6b001',
        )
        outcomes, _ = bench.publish(second, target, access, images=False)
        assert outcomes == ['present', 'uploaded']
        said = bench.refused(errors.Misconfigured, sealed, target, access)
        assert 'does not go beyond' in said
        # As anybody's oras sees it.
        client = oras.provider.Registry(
            insecure=True, auth_backend='basic' if access.user else 'token'
        )
        if access.user:
            client.auth.set_basic_auth(access.user, access.password)
        manifest = client.get_manifest(f'{address}/grid/workers:stable')
        assert manifest['artifactType'] == registry.LIST_TYPE
        assert [layer['mediaType'] for layer in manifest['layers']] == [
            registry.LIST_TYPE,
            registry.IMAGE_TYPE,
        ]
        paths = client.pull(
            f'{address}/grid/workers:stable', outdir=str(tmp_path / 'pulled')
        )
        contents = [pathlib.Path(path).read_bytes() for path in paths]
        assert contents == [second.message, DATA]

    def test_what_was_published_is_what_subscribers_fetch(self, tmp_path):
        with places.registry(tmp_path, open_to_all=True) as address:
            bench = Bench(tmp_path, f'http://{address}/')
            target = f'oci+http://{address}/grid/workers:stable'
            sealed = bench.sealed(uri=self._uri(address))
            bench.publish(sealed, target, targets.Access())
            found = bench.check(target)
            assert ('signature', 'ok') in found
            assert ('digest', 'ok') in found

    def test_wrong_account(self, tmp_path):
        with places.registry(tmp_path, open_to_all=False) as address:
            bench = Bench(tmp_path, f'http://{address}/')
            target = f'oci+http://{address}/grid/workers:stable'
            for access in (WRONG, targets.Access(token='none')):
                said = bench.refused(
                    errors.Misconfigured, bench.sealed(), target, access
                )
                assert 'oras login' in said

    def test_digest_that_is_not_the_images(self, tmp_path):
        with places.registry(tmp_path, open_to_all=True) as address:
            bench = Bench(tmp_path, f'http://{address}/')
            target = f'oci+http://{address}/grid/workers:stable'
            uri = self._uri(address)[:-4] + '0000'
            said = bench.refused(
                errors.Misconfigured,
                bench.sealed(uri=uri),
                target,
                targets.Access(),
            )
            assert 'DIGEST_INVALID' in said

    def test_tag_that_holds_something_else(self, tmp_path):
        with places.registry(tmp_path, open_to_all=True) as address:
            bench = Bench(tmp_path, f'http://{address}/')
            client = oras.provider.Registry(insecure=True)
            client.push(
                f'{address}/grid/workers:stable',
                files=[str(bench.image)],
                disable_path_validation=True,
                quiet=True,
            )
            said = bench.refused(
                errors.Misconfigured,
                bench.sealed(uri=self._uri(address)),
                f'oci+http://{address}/grid/workers:stable',
                targets.Access(),
            )
            assert 'another tag' in said

    def test_registry_that_is_away(self, tmp_path):
        bench = Bench(tmp_path, 'http://127.0.0.1/')
        with places.unanswered() as port:
            said = bench.refused(
                errors.TryAgain,
                bench.sealed(),
                f'oci+http://127.0.0.1:{port}/grid/workers:stable',
                targets.Access(),
            )
        assert 'ConnectionError' in said


@pytest.fixture(scope='module')
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp('swift')
    with places.object_store(folder) as url:
        client = minio.Minio(
            url.removeprefix('http://'),
            f'{places.USER}:{places.USER}',
            places.SECRET,
            secure=False,
            region='us-east-1',
        )
        client.make_bucket('images')
        yield url, client


class TestObjectStore:
    @pytest.fixture
    def account(self, monkeypatch):
        def use(secret=places.SECRET):
            monkeypatch.setenv(
                'AWS_ACCESS_KEY_ID', f'{places.USER}:{places.USER}'
            )
            monkeypatch.setenv('AWS_SECRET_ACCESS_KEY', secret)
            monkeypatch.setenv('AWS_REGION', 'us-east-1')

        use()
        return use

    def test_round_trip(self, tmp_path, store, account):
        url, client = store
        access = targets.Access(s3_endpoint=url)
        bench = Bench(tmp_path, 'https://images.example.org/pub/')
        round_trip(bench, 's3://images/pub', access)
        found = client.get_object('images', 'pub/images/one.raw')
        assert found.read() == DATA
        found.close()
        account('wrong')
        said = bench.refused(
            errors.Misconfigured, bench.sealed(), 's3://images/pub', access
        )
        assert 'AWS_SECRET_ACCESS_KEY' in said

    def test_bucket_that_is_not_there(self, tmp_path, store, account):
        access = targets.Access(s3_endpoint=store[0])
        bench = Bench(tmp_path, 'https://images.example.org/')
        said = bench.refused(
            errors.Misconfigured, bench.sealed(), 's3://absent', access
        )
        assert 'bucket' in said
        said = bench.refused(
            errors.Misconfigured, bench.sealed(), 's3://A', access
        )
        assert 'bucket name' in said

    def test_something_that_is_no_list(self, tmp_path, store, account):
        access = targets.Access(s3_endpoint=store[0])
        _url, client = store
        bench = Bench(tmp_path, 'https://images.example.org/')
        source = tmp_path / 'large'
        source.write_bytes(bytes(16 * 2**20 + 1))
        client.fput_object('images', f'big/{LIST}', str(source))
        said = bench.refused(
            errors.Misconfigured, bench.sealed(), 's3://images/big', access
        )
        assert 'expected a list' in said

    def test_store_that_is_away(self, tmp_path, account):
        bench = Bench(tmp_path, 'https://images.example.org/')
        with places.unanswered() as port:
            bench.refused(
                errors.TryAgain,
                bench.sealed(),
                's3://images',
                targets.Access(s3_endpoint=f'http://127.0.0.1:{port}'),
            )
