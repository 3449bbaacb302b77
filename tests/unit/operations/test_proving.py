# SPDX-License-Identifier: Apache-2.0
"""Images that need a signature of their file, too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import subprocess

import pytest

from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import model
from hepix_vm.catalogue import subscription
from hepix_vm.glance import spool
from hepix_vm.operations import proving
from hepix_vm.operations import site as site_
from tests import endorser
from tests.unit.catalogue import following
from tests.unit.catalogue import servers

DATA = b'the bytes of an image' * 1000


@pytest.fixture
def server() -> Iterator[servers.Server]:
    with servers.running() as made:
        yield made


@pytest.fixture
def site(tmp_path: Path) -> Iterator[following.Site]:
    made = following.Site(tmp_path)
    yield made
    made.close()


@pytest.fixture
def signer(tmp_path: Path, site: following.Site) -> endorser.Endorser:
    """Who signs files: another certificate than the list's endorser."""
    made = endorser.Endorser.create(tmp_path / 'signer', name='File Signer')
    made.write_trust_anchors(site.anchors)
    return made


def _signed(folder: Path, data: bytes, digest: str = 'sha256') -> bytes:
    """What ``openssl dgst -sign`` makes."""
    image, signature = folder / 'data', folder / 'data.sig'
    image.write_bytes(data)
    subprocess.run(
        [
            'openssl',
            'dgst',
            f'-{digest}',
            '-sign',
            str(folder / 'endorser.key'),
            '-out',
            str(signature),
            str(image),
        ],
        check=True,
        capture_output=True,
    )
    return signature.read_bytes()


def _follow(
    site: following.Site,
    server: servers.Server,
    signature: bytes | None,
    tmp_path: Path,
    **changes: str,
) -> site_.Site:
    """Follow a list whose one image needs a signature."""
    url = server.tell('/image', servers.answer(DATA))
    if signature is not None:
        server.tell('/image.sig', servers.answer(signature))
    values = {
        'suffix': '.sig',
        'certificate': str(tmp_path / 'signer' / 'endorser.pem'),
        'digest': 'sha256',
    } | changes
    site.follow(image_signature=subscription.ImageSignature(**values))
    site.publish('main', '1', endorser.make_image(DATA, url))
    site.sync()
    return site_.Site(
        catalogue=site.database,
        subscriptions=site.configured,
        fetch=fetch.FetchSettings(
            timeout=60, spool_directory=str(tmp_path / 'spool')
        ),
        cloud=site_.Cloud(session=lambda: None),
    )


def test_an_image_counts_once_its_signature_was_right(
    site, server, signer, tmp_path
) -> None:
    made = _follow(site, server, _signed(tmp_path / 'signer', DATA), tmp_path)
    assert site.decide(DATA) is model.Reason.NOT_APPROVED
    (proved,) = proving.prove(made, site.now)
    assert proved.problem == ''
    assert site.decide(DATA) is model.Reason.APPROVED
    assert 'image-proven' in site.events(proved.image.identifier)
    assert list(proving.prove(made, site.now)) == []
    site.sync(after=60)
    assert site.decide(DATA) is model.Reason.APPROVED


def _images(server: servers.Server) -> int:
    """How often the image itself was asked for."""
    return sum(path == '/image' for path, _ in server.asked)


def test_an_image_that_was_proven_is_not_downloaded_again(
    site, server, signer, tmp_path
) -> None:
    made = _follow(site, server, _signed(tmp_path / 'signer', DATA), tmp_path)
    (proved,) = proving.prove(made, site.now)
    image = proved.image
    with spool.downloaded(
        image.uri, image.sha512, image.size, made.fetch
    ) as path:
        assert path.read_bytes() == DATA
    assert _images(server) == 1
    assert list((tmp_path / 'spool').iterdir()) == []


def test_a_signature_that_is_put_right_needs_no_other_download(
    site, server, signer, tmp_path
) -> None:
    other = _signed(tmp_path / 'signer', DATA + b'.')
    made = _follow(site, server, other, tmp_path)
    assert 'not signed with the key' in _problem(made, site)
    server.tell(
        '/image.sig', servers.answer(_signed(tmp_path / 'signer', DATA))
    )
    (proved,) = proving.prove(made, site.now)
    assert proved.problem == ''
    assert _images(server) == 1


def test_anchors_that_cannot_be_read_cost_no_download(
    site, server, signer, tmp_path
) -> None:
    made = _follow(site, server, _signed(tmp_path / 'signer', DATA), tmp_path)
    for path in sorted(site.anchors.rglob('*'), reverse=True):
        path.unlink()
    site.anchors.rmdir()
    assert 'anchor' in _problem(made, site)
    assert _images(server) == 0


def _problem(made: site_.Site, site: following.Site) -> str:
    (proved,) = proving.prove(made, site.now)
    assert site.decide(DATA) is model.Reason.NOT_APPROVED
    return proved.problem


def test_a_signature_of_other_bytes_does_not_count(
    site, server, signer, tmp_path
) -> None:
    other = _signed(tmp_path / 'signer', DATA + b'.')
    made = _follow(site, server, other, tmp_path)
    assert 'not signed with the key' in _problem(made, site)


def test_a_signature_over_another_digest_does_not_count(
    site, server, signer, tmp_path
) -> None:
    other = _signed(tmp_path / 'signer', DATA, 'sha512')
    made = _follow(site, server, other, tmp_path)
    assert 'not signed with the key' in _problem(made, site)


def test_a_signer_without_a_trusted_ca_does_not_count(
    site, server, tmp_path
) -> None:
    endorser.Endorser.create(tmp_path / 'signer', name='File Signer')
    made = _follow(site, server, _signed(tmp_path / 'signer', DATA), tmp_path)
    assert 'anchor' in _problem(made, site)


def test_a_revoked_signer_does_not_count(
    site, server, signer, tmp_path
) -> None:
    made = _follow(site, server, _signed(tmp_path / 'signer', DATA), tmp_path)
    signer.revoke()
    assert 'revoked' in _problem(made, site)


def test_a_missing_signature_is_asked_for_again(
    site, server, signer, tmp_path
) -> None:
    made = _follow(site, server, None, tmp_path)
    assert '404' in _problem(made, site)
    server.tell(
        '/image.sig', servers.answer(_signed(tmp_path / 'signer', DATA))
    )
    (proved,) = proving.prove(made, site.now)
    assert proved.problem == ''


def test_an_endless_signature_is_cut_off(
    site, server, signer, tmp_path
) -> None:
    made = _follow(site, server, b'x' * 20_000, tmp_path)
    assert '16384' in _problem(made, site)


def test_a_certificate_that_cannot_be_read_is_said(
    site, server, signer, tmp_path
) -> None:
    made = _follow(
        site,
        server,
        _signed(tmp_path / 'signer', DATA),
        tmp_path,
        certificate=str(tmp_path / 'nothing.pem'),
    )
    assert 'image_signature_certificate' in _problem(made, site)
