# SPDX-License-Identifier: Apache-2.0
"""Lists that we write are what the consumers of a decade can read.

What each of them needs of a list, by their sources: hepixvmitrust (under
vmcatcher) drops an image silently that lacks a key, atrope and cloudkeeper
need further keys of AppDB, which only its dialect has.
"""

from __future__ import annotations

import json
import re

import pytest

from hepix_vm.endorse import files
from hepix_vm.endorse import sealing
from hepix_vm import imagelist
from tests.unit.endorse import people
from tests.unit.endorse import test_draft

LIST_KEYS = {
    'dc:identifier': str,
    'dc:title': str,
    'dc:description': str,
    'dc:date:created': str,
    'dc:date:expires': str,
    'dc:source': str,
    'hv:version': str,
    'hv:uri': str,
    'hv:endorser': dict,
    'hv:images': list,
}
ENDORSER_KEYS = {
    'dc:creator': str,
    'hv:dn': str,
    'hv:ca': str,
    'hv:email': str,
}
IMAGE_KEYS = {
    'dc:identifier': str,
    'dc:title': str,
    'dc:description': str,
    'hv:uri': str,
    'hv:version': str,
    'sl:checksum:sha512': str,
    'sl:arch': str,
    'sl:os': str,
    'sl:osversion': str,
    'sl:comments': str,
    'hv:hypervisor': str,
}
DATE = re.compile(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ')


def written(dialect):
    """The signed JSON of a list, found as old consumers find it."""
    draft = people.draft(
        images=(
            test_draft.image(
                format='qcow2', ram_minimum=2**30 + 1, core_minimum=2
            ),
        ),
        vo='ops',
        dialect=imagelist.Dialect.APPDB,
    )
    message = sealing.seal(
        draft, people.signatory(people.holder()), people.now(), dialect=dialect
    ).message
    head, _, rest = message.partition(b'\n\n')
    boundary = re.search(rb'boundary="([^"]+)"', head)[1]
    part = rest.split(b'--' + boundary)[1]
    return json.loads(part)


def has(keys, table):
    for key, kind in table.items():
        assert isinstance(keys[key], kind), key


@pytest.mark.parametrize('dialect', list(imagelist.Dialect))
def test_keys_that_every_consumer_needs(dialect):
    document = written(dialect)
    assert list(document) == ['hv:imagelist']
    body = document['hv:imagelist']
    has(body, LIST_KEYS)
    for key in ('dc:date:created', 'dc:date:expires'):
        assert DATE.fullmatch(body[key])
    has(body['hv:endorser']['hv:x509'], ENDORSER_KEYS)
    (image,) = body['hv:images']
    assert list(image) == ['hv:image']
    has(image['hv:image'], IMAGE_KEYS)
    assert re.fullmatch(
        '[0-9a-f]{128}', image['hv:image']['sl:checksum:sha512']
    )


def test_hepix_counts_in_numbers_and_bytes():
    (image,) = written(imagelist.Dialect.HEPIX)['hv:imagelist']['hv:images']
    keys = image['hv:image']
    assert keys['hv:size'] == 3
    assert keys['hv:ram_minimum'] == 2**30 + 1
    assert keys['hv:core_minimum'] == 2
    assert not [key for key in keys if key.startswith('ad:')]


def test_appdb_counts_in_strings_and_mebibytes():
    body = written(imagelist.Dialect.APPDB)['hv:imagelist']
    assert body['ad:vo'] == 'ops'
    keys = body['hv:images'][0]['hv:image']
    assert keys['hv:size'] == '3'
    assert keys['hv:ram_minimum'] == '1025'
    assert keys['hv:core_minimum'] == '2'


def test_endorser_is_compared_as_text():
    """vmcatcher compares what M2Crypto prints of subject and issuer."""
    one = people.holder('C=DE/O=Grid/CN=Jörg', 'ec joerg')
    x509 = people.draft(one).endorsers[0]
    assert x509.subject == r'/C=DE/O=Grid/CN=J\xC3\xB6rg'
    assert x509.issuer == '/C=DE/O=Grid/CN=Endorsing CA'


def test_retired_list_is_empty_and_still_has_its_key():
    """vmcaster leaves the key out; some consumers then fail."""
    draft = people.draft()
    assert json.loads(files.render(draft))['hv:imagelist']['hv:images'] == []


def test_envelope_is_the_one_of_the_wild():
    message = sealing.seal(
        people.draft(), people.signatory(people.holder()), people.now()
    ).message
    assert message.startswith(
        b'MIME-Version: 1.0\nContent-Type: multipart/signed; '
        b'protocol="application/x-pkcs7-signature"; micalg="sha-256"; '
    )
    # The content has no MIME headers, which is how smimeX509validation and
    # atrope take it.
    boundary = re.search(rb'boundary="([^"]+)"', message)[1]
    assert message.split(b'--' + boundary)[1].startswith(b'\n{')
    assert b'\r' not in message
