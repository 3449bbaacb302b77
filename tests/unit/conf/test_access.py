# SPDX-License-Identifier: Apache-2.0
"""How servers are reached, as a subscription's group says it."""

from __future__ import annotations

from typing import Any

import pytest

from hepix_vm.catalogue.sources import values
from hepix_vm.catalogue import subscription as subscriptions
from hepix_vm import conf
from hepix_vm.conf import access
from hepix_vm.conf import subscription
from hepix_vm import errors

GROUP = """\
[subscription:main]
url = oci://registry.example.org/vo/images:latest
list_identifier = 0c6a3f0e-58c3-4d8b-b0a0-6f2b6e6f6d01
endorser_subject = CN=Jane Doe,O=Example,C=CH
endorser_issuer = CN=Example CA,O=Example,C=CH
"""


@pytest.fixture
def read(tmp_path):
    """The subscription with these further options."""

    def read_options(**options: Any) -> Any:
        path = tmp_path / 'hepix_vm.conf'
        lines = ''.join(f'{k} = {v}\n' for k, v in options.items())
        path.write_text(GROUP + lines)
        path.chmod(0o640)
        return subscription.subscriptions(conf.load([str(path)]))['main']

    return read_options


def test_every_option_is_taken_over(read):
    made = read(
        ca_file='/ca.pem',
        client_certificate='/certificate.pem',
        client_key='/key.pem',
        token_file='/token',
        proxy='http://proxy.example.org:3128',
        rate_limit=1000,
        redirects=2,
        dangerous_list_unsigned='true',
    )
    assert isinstance(made, subscriptions.Subscription)
    assert made.dangerous_list_unsigned is True
    assert made.reached() == values.Access(
        url='oci://registry.example.org/vo/images:latest',
        ca_file='/ca.pem',
        client_certificate='/certificate.pem',
        client_key='/key.pem',
        token_file='/token',
        proxy='http://proxy.example.org:3128',
        rate_limit=1000,
        redirects=2,
    )


def test_nothing_is_shown_followed_or_slowed_by_default(read):
    made = read()
    assert isinstance(made, subscriptions.Subscription)
    assert made.access == values.Access()
    assert made.dangerous_list_unsigned is False


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        ({'client_key': '/key.pem'}, 'option client_key'),
        ({'proxy': 'proxy.example.org:3128'}, 'option proxy'),
        ({'proxy': 'socks5://proxy.example.org'}, 'option proxy'),
        ({'proxy': 'http://['}, 'option proxy'),
        ({'proxy': ''}, 'option proxy'),
        ({'rate_limit': -1}, 'rate_limit'),
        ({'rate_limit': 'fast'}, 'rate_limit'),
        ({'redirects': 6}, 'redirects'),
        ({'redirects': 'yes'}, 'redirects'),
    ],
)
def test_what_cannot_be_meant_is_refused(read, options, expected):
    problem = read(**options)
    assert isinstance(problem, errors.Misconfigured)
    assert expected in str(problem)


def test_proxy_with_a_password_is_not_logged():
    assert next(o for o in access.OPTS if o.dest == 'proxy').secret
