# SPDX-License-Identifier: Apache-2.0
"""A CRL that goes back does not bring a revoked endorser back."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import model
from hepix_vm.catalogue import revocations
from hepix_vm.catalogue import schema
from hepix_vm import errors
from tests import endorser


@pytest.fixture
def revocable(site) -> endorser.Endorser:
    """The endorser of a list that is accepted; this test's own."""
    made = endorser.Endorser.create(name='Soon Revoked')
    site.follow(by=made)
    site.publish('main', '1', endorser.make_image(b'one'))
    site.sync()
    return made


def _crl(site, made: endorser.Endorser):
    return site.anchors / f'{made.ca_hash}.r0'


def test_an_older_crl_does_not_undo_a_revocation(site, revocable) -> None:
    old = _crl(site, revocable).read_bytes()
    revocable.revoke()
    assert site.sync(after=60)['main'].standing is model.Standing.REVOKED
    _crl(site, revocable).write_bytes(old)
    assert site.sync(after=60)['main'].standing is model.Standing.REVOKED
    assert site.decide(b'one') is model.Reason.REVOKED


def test_a_crl_that_is_gone_leaves_the_endorser_unchecked(
    site, revocable
) -> None:
    _crl(site, revocable).unlink()
    report = site.sync(after=60)['main']
    assert report.standing is model.Standing.DISTRUSTED
    assert site.decide(b'one') is model.Reason.DISTRUSTED


def test_only_the_newest_crls_are_kept(site, revocable) -> None:
    for _ in range(3):
        revocable.revoke()
        site.sync(after=60)
    kept = site.rows(sa.select(schema.crl))
    assert len(kept) == 1


def test_a_damaged_store_is_said(site, revocable) -> None:
    with site.database.writing() as transaction:
        transaction.execute(schema.crl.update().values(der=b'nothing'))
    with pytest.raises(errors.LocalFault, match='damaged CRL'):
        revocations.load(site.database, str(site.anchors))
