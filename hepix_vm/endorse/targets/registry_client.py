# SPDX-License-Identifier: Apache-2.0
"""The client of the oras library, with tokens as registries give them.

A registry names its token server and what it wants the token for (OCI
Distribution, "token authentication" of Docker's registry): looking takes
another one than pushing, and each lives for minutes. The library keeps the
first one for ever, so an endorser who may push would be told that he may
not; and it shows the password to whatever address the registry names.

Needs the extra ``oci`` of this package.
"""

from __future__ import annotations

from collections.abc import Mapping
import functools
from typing import Any
import urllib.parse

import requests

from hepix_vm.endorse.targets import interface
from hepix_vm import errors


def connect(host: str, scheme: str, access: interface.Access) -> Any:
    """A client of a registry; nobody is logged in yet but ``access``.

    :param scheme: ``https``, or ``http``
    :raises hepix_vm.errors.TryAgain: nobody answers
    :raises hepix_vm.errors.Misconfigured: the library is not installed, or
        the server's certificate is not believed
    """
    verify = str(access.ca_file) if access.ca_file else True
    client = _class()(
        hostname=host,
        insecure=scheme == 'http',
        tls_verify=verify,
        auth_backend=_backend(f'{scheme}://{host}/v2/', access),
    )
    _limit_time(client.session, access.timeout)
    client.session.cert = _certificate(access)
    if access.user is not None and access.password is not None:
        client.auth.set_basic_auth(access.user, access.password)
    elif access.token is not None:
        client.auth.set_token_auth(access.token)
        client.own_token = True
    return client


def _certificate(access: interface.Access) -> tuple[str, str] | None:
    if access.client_certificate is None:
        return None
    key = access.client_key or access.client_certificate
    return str(access.client_certificate), str(key)


def _backend(url: str, access: interface.Access) -> str:
    """How the registry wants to know us; the library cannot tell."""
    if access.token is not None:
        return 'token'
    try:
        answer = requests.get(
            url,
            timeout=access.timeout,
            verify=str(access.ca_file) if access.ca_file else True,
            cert=_certificate(access),
        )
    except (requests.RequestException, OSError) as exc:
        raise interface.away(url, exc) from exc
    challenge = answer.headers.get('WWW-Authenticate', '')
    return 'basic' if challenge.lower().startswith('basic') else 'token'


def _class() -> Any:
    try:
        import oras.provider
    except ImportError as exc:
        raise errors.Misconfigured(
            'registries need oras; run "pip install \'hepix_vm[oci]\'"'
        ) from exc

    class Client(oras.provider.Registry):  # type: ignore[misc]
        """Says at once what failed: publishing can be run again."""

        own_token = False

        def do_request(
            self,
            url: str,
            method: str = 'GET',
            data: Any = None,
            headers: Mapping[str, str] | None = None,
            json: Any = None,
            stream: bool = False,
        ) -> requests.Response:
            """Ask; once more, with a token for it, if that is wanted."""
            ask = functools.partial(
                self.session.request,
                method,
                url,
                data=data,
                json=json,
                stream=stream,
                verify=self._tls_verify,
            )
            named = dict(headers or {})
            shown = getattr(self.auth, 'token', None)
            if shown is not None:
                named['Authorization'] = f'Bearer {shown}'
            response: requests.Response = ask(headers=named)
            if response.status_code != 401 or self.own_token:
                return response
            _require_shielded(response)
            if shown is not None:
                self.auth.token = None
            named, changed = self.auth.authenticate_request(response, named)
            if not changed:
                return response
            again: requests.Response = ask(headers=named)
            return again

    return Client


def _require_shielded(response: requests.Response) -> None:
    """Refuse to tell who we are in clear to a server that is named only.

    :raises errors.Misconfigured: the registry speaks TLS, and names a
        token server that does not
    """
    named = requests.utils.parse_dict_header(  # type: ignore[no-untyped-call]
        response.headers.get('WWW-Authenticate', '').partition(' ')[2]
    )
    realm = urllib.parse.urlsplit(named.get('realm') or '')
    if (response.url or '').startswith('https:') and realm.scheme == 'http':
        raise errors.Misconfigured(
            f'{response.url}: the registry names a token server without '
            f'https, {realm.netloc!r}; everybody on the way could read the '
            'secret; tell the operators of the registry'
        )


def _limit_time(session: requests.Session, seconds: float) -> None:
    class Adapter(requests.adapters.HTTPAdapter):
        """The library's requests name no time-out."""

        def send(self, *args: Any, **more: Any) -> requests.Response:
            more['timeout'] = more.get('timeout') or seconds
            return super().send(*args, **more)

    session.mount('http://', Adapter())
    session.mount('https://', Adapter())
