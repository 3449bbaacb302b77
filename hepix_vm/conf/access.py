# SPDX-License-Identifier: Apache-2.0
"""Options of a subscription that say how its servers are reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
import urllib.parse

from oslo_config import cfg

from hepix_vm.catalogue.sources import values
from hepix_vm import errors

OPTS = [
    cfg.StrOpt(
        'ca_file',
        help="""
PEM file of the CAs of this subscription's https servers; unset: [fetch]
ca_file. It does not decide whom the site believes, the list's signature
does.
""",
    ),
    cfg.StrOpt(
        'client_certificate',
        help="""
PEM file of the certificate that is shown to the server of "url", and to no
other one.
""",
    ),
    cfg.StrOpt(
        'client_key',
        help="""
PEM file of its key, without a passphrase and not readable by everybody;
unset: it is in client_certificate.
""",
    ),
    cfg.StrOpt(
        'token_file',
        help="""
File with one line, "USER:SECRET" or a bearer token, that is shown to the
server of "url" and to no other one, over https only; not readable by
everybody. It is read at each fetch. For a registry, USER:SECRET is a robot
account; the token server that the registry names sees it, too.
""",
    ),
    cfg.StrOpt(
        'proxy',
        secret=True,
        help="""
HTTP proxy (http://HOST:PORT) towards all servers of this subscription;
unset: what http_proxy, https_proxy and no_proxy of the environment say.
""",
    ),
    cfg.IntOpt(
        'rate_limit',
        default=0,
        min=0,
        help='Bytes a second of each download, list or image; 0: no limit.',
    ),
    cfg.IntOpt(
        'redirects',
        default=0,
        min=0,
        max=5,
        help="""
Redirects that are followed; 0: none. Some registries keep their blobs
elsewhere and redirect there. From https to http none is followed.
""",
    ),
]


def access(section: str, given: Mapping[str, Any]) -> values.Access:
    """The options as the value that sources take, without the URL.

    :raises errors.Misconfigured: for options that contradict each other
    """
    if given['client_key'] and not given['client_certificate']:
        raise errors.Misconfigured(
            f'group [{section}] option client_key: expected '
            'client_certificate beside it'
        )
    proxy = given['proxy']
    if proxy is not None and not _is_proxy(proxy):
        raise errors.Misconfigured(
            f'group [{section}] option proxy: expected http://HOST:PORT'
        )
    return values.Access(**{opt.dest: given[opt.dest] for opt in OPTS})


def _is_proxy(url: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(url)
        return parts.scheme in ('http', 'https') and bool(parts.hostname)
    except ValueError:
        return False
