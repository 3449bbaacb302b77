# SPDX-License-Identifier: Apache-2.0
"""How old the CRLs are, and the warning before they run out."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography import x509
import pytest

from hepix_vm.catalogue import database
from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import subscription
from hepix_vm import errors
from hepix_vm.operations import anchors
from hepix_vm.operations import site as site_
from tests.assets import pki
from tests import endorser

DAY = datetime.timedelta(days=1)
IGTF = Path('/etc/grid-security/certificates')


@pytest.fixture(scope='module')
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One CA whose CRL runs out in ten days, one without a CRL."""
    made = tmp_path_factory.mktemp('anchors')
    endorser.Endorser.create(name='First').write_trust_anchors(
        made, crl_lifetime=10 * DAY
    )
    second = endorser.Endorser.create(name='Second')
    second.write_trust_anchors(made, signing_policy=False)
    (made / f'{second.ca_hash}.r0').unlink()
    return made


@pytest.mark.parametrize(
    ('after', 'state'),
    [(0 * DAY, 'current'), (9 * DAY, 'ending'), (11 * DAY, 'expired')],
)
def test_a_crl_ages(directory: Path, after: datetime.timedelta, state) -> None:
    shown = anchors.show(directory, endorser.now_utc() + after, 2 * DAY)
    first, second = shown.authorities
    assert first.crl == state
    assert first.crl_number == 1
    assert first.signing_policy
    assert second.crl is anchors.CrlState.MISSING
    assert not second.signing_policy
    assert shown.problems == ()


def test_a_broken_file_is_named(directory: Path, tmp_path: Path) -> None:
    for path in directory.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / 'broken.pem').write_text(
        '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'
    )
    shown = anchors.show(tmp_path, endorser.now_utc(), DAY)
    assert len(shown.authorities) == 2
    assert 'broken.pem' in shown.problems[0]


def test_a_crl_that_does_not_count_says_why(tmp_path: Path) -> None:
    site = pki.site()
    point = x509.IssuingDistributionPoint(
        full_name=None,
        relative_name=None,
        only_contains_user_certs=False,
        only_contains_ca_certs=False,
        only_some_reasons=None,
        indirect_crl=True,
        only_contains_attribute_certs=False,
    )
    for name, text in (
        ('root.pem', site.root.pem),
        ('root-crl.pem', site.root.crl(extensions=[(point, True)])),
    ):
        if not isinstance(text, bytes):
            text = text.public_bytes(serialization.Encoding.PEM)
        (tmp_path / name).write_bytes(text)
    (authority,) = anchors.show(tmp_path, pki.NOW, DAY).authorities
    assert authority.crl is anchors.CrlState.UNUSABLE
    assert authority.flaw == 'it is an indirect CRL'


def test_a_directory_without_a_certificate_cannot_be_used(
    tmp_path: Path,
) -> None:
    with pytest.raises(errors.Misconfigured, match='certificate'):
        anchors.show(tmp_path, endorser.now_utc(), DAY)


def _site(*directories: Path) -> site_.Site:
    return site_.Site(
        catalogue=database.Database('sqlite://'),
        subscriptions={
            str(number): subscription.Subscription(
                name=str(number),
                url='file:///nothing',
                list_identifier='',
                endorser_subject='',
                endorser_issuer='',
                trust_anchors=str(path),
            )
            for number, path in enumerate(directories)
        }
        | {'broken': errors.Misconfigured('a typing error')},
        fetch=fetch.FetchSettings(),
        cloud=site_.Cloud(session=lambda: None),
    )


def test_broken_file_is_warned_about_and_not_the_end(tmp_path: Path) -> None:
    made = tmp_path / 'anchors'
    endorser.Endorser.create(name='First').write_trust_anchors(made)
    (made / '0123abcd.r0').write_bytes(b'an error page')
    (warning,) = anchors.warnings(_site(made), endorser.now_utc(), DAY)
    assert warning == (
        f'{made}: 0123abcd.r0: it holds no complete certificate or CRL'
    )


def test_what_runs_out_is_warned_about_once_a_directory(
    directory: Path, tmp_path: Path
) -> None:
    site = _site(directory, directory, tmp_path / 'nothing')
    now = endorser.now_utc()
    assert anchors.warnings(site, now, 2 * DAY) == ()
    (soon,) = anchors.warnings(site, now + 9 * DAY, 2 * DAY)
    assert 'First CA' in soon and 'runs out at' in soon
    (late,) = anchors.warnings(site, now + 11 * DAY, 2 * DAY)
    assert 'ran out at' in late and 'fetch-crl' in late


@pytest.mark.skipif(not IGTF.is_dir(), reason='no IGTF packages installed')
def test_the_real_igtf_directory_is_read_with_all_its_quirks() -> None:
    shown = anchors.show(IGTF, endorser.now_utc(), DAY)
    assert len(shown.authorities) > 60
    assert shown.problems == ()
    subjects = [authority.subject for authority in shown.authorities]
    assert len(set(subjects)) > 60
    assert all(authority.signing_policy for authority in shown.authorities)
    # Each CA stands there under two hashes, and is one all the same.
    assert all(len(authority.files) >= 2 for authority in shown.authorities)
