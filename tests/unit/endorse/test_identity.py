# SPDX-License-Identifier: Apache-2.0
"""hv:endorser comes from the certificate, as old consumers compare it."""

from __future__ import annotations

import pytest

from hepix_vm.endorse import identity
from hepix_vm import errors
from hepix_vm.trust import names
from tests.unit.endorse import people


def test_what_a_certificate_says():
    found = identity.endorser(people.holder().certificate)
    assert found.creator == 'Jo'
    assert found.subject == '/C=DE/O=Grid/CN=Jo'
    assert found.issuer == '/C=DE/O=Grid/CN=Endorsing CA'
    assert found.email == 'jo@example.org'
    assert identity.stated(found) == identity.identity(
        people.holder().certificate
    )


def test_what_a_person_says_goes_first():
    found = identity.endorser(
        people.holder().certificate, 'Jo the Endorser', 'team@example.org'
    )
    assert (found.creator, found.email) == (
        'Jo the Endorser',
        'team@example.org',
    )


def test_address_in_the_name():
    one = people.holder(
        'C=DE/CN=Jo/emailAddress=old@example.org', 'ec old', email=None
    )
    assert identity.endorser(one.certificate).email == 'old@example.org'


def test_no_address_and_no_common_name():
    one = people.holder('C=DE/O=Grid', 'ec nobody', email=None)
    with pytest.raises(errors.Misconfigured, match='--email'):
        identity.endorser(one.certificate)
    found = identity.endorser(one.certificate, email='a@example.org')
    assert found.creator == 'O=Grid,C=DE'


@pytest.mark.parametrize(
    ('name', 'written'),
    [
        ('CN=Jo,O=Grid,C=DE', '/C=DE/O=Grid/CN=Jo'),
        (
            'CN=Jörg,CN=12,CN=user,DC=cern,DC=ch',
            r'/DC=ch/DC=cern/CN=user/CN=12/CN=J\xC3\xB6rg',
        ),
        ('CN=host/a.example.org,C=DE', '/C=DE/CN=host/a.example.org'),
        # Two readings of the one-line form: written as RFC 4514.
        ('CN=a/CN=b', 'CN=a/CN=b'),
        ('CN=a+OU=b', 'OU=b+CN=a'),
    ],
)
def test_names_can_be_read_back(name, written):
    value = names.parse(name)
    assert identity.text(value) == written
    assert names.parse(identity.text(value)) == value


def test_old_consumers_know_the_one_line_form_alone():
    found = identity.endorser(people.holder().certificate)
    assert identity.old_consumers_understand(found)
    odd = people.ambiguous()
    assert not identity.old_consumers_understand(
        identity.endorser(odd.certificate)
    )


def test_list_with_no_name():
    found = identity.endorser(people.holder().certificate)
    wrong = type(found)(found.creator, 'nobody', found.issuer, found.email)
    with pytest.raises(errors.Misconfigured, match='hv:endorser'):
        identity.stated(wrong)


def test_certificate_files(tmp_path):
    path = tmp_path / 'cert.pem'
    path.write_bytes(people.holder().pem + people.authority().pem)
    assert identity.load(path) == (
        people.holder().certificate,
        people.authority().certificate,
    )
    path.write_bytes(b'nothing')
    with pytest.raises(errors.Misconfigured, match='certificates in PEM'):
        identity.load(path)
    with pytest.raises(errors.Misconfigured, match='No such file'):
        identity.load(tmp_path / 'absent')
