# SPDX-License-Identifier: Apache-2.0
"""What goes into a source and what comes out of it."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Access:
    """How the servers of one subscription are reached.

    :ivar url: the subscription's; certificate and token are shown to the
        server (scheme, host and port) of this URL and to no other
    :ivar ca_file: PEM file of the CAs for its https servers
    :ivar client_certificate: PEM file
    :ivar client_key: PEM file; None: it is in the certificate's file
    :ivar token_file: file with ``USER:SECRET`` or with a bearer token
    :ivar proxy: URL of an HTTP proxy; None: as the environment says
    :ivar rate_limit: bytes a second, of each download; 0: no limit
    :ivar redirects: how many are followed
    """

    url: str = ''
    ca_file: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    token_file: str | None = None
    proxy: str | None = None
    rate_limit: int = 0
    redirects: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class FetchSettings:
    """Limits; times in seconds, sizes in bytes.

    :ivar access: how the subscription's servers are reached
    :ivar leftovers_days: for which the spool keeps what nobody asks for
    """

    timeout: float = 30
    list_deadline: float = 300
    max_list_size: int = 16 * 1024 * 1024
    parallel: int = 8
    ca_file: str | None = None
    spool_directory: str = '/var/lib/hepix_vm/spool'
    image_deadline: float = 14400
    access: Access = Access()
    leftovers_days: float = 7


@dataclasses.dataclass(frozen=True, slots=True)
class Validators:
    """What a server said of the version that we have.

    They are the source's own words, at most 255 characters each.
    """

    etag: str | None = None
    last_modified: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Fetched:
    """The bytes of a list, and how to ask for a newer one."""

    content: bytes
    validators: Validators


@dataclasses.dataclass(frozen=True, slots=True)
class NotModified:
    """The server still has what we have."""


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """What is here already of an image.

    :ivar offset: bytes from its beginning on
    :ivar validators: what the source said when it sent them
    """

    offset: int = 0
    validators: Validators = Validators()


@dataclasses.dataclass(frozen=True, slots=True)
class Begun:
    """Where the bytes of an image begin that a source sends.

    :ivar offset: 0, or that of :class:`Held`
    :ivar validators: with which the same bytes can be asked for later;
        without any the source cannot go on where it was cut off
    """

    offset: int
    validators: Validators = Validators()
