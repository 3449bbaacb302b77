# SPDX-License-Identifier: Apache-2.0
"""Images that go on where they were cut off: ranges of RFC 9110, section 14.

A range is asked for together with a strong validator of the bytes that are
here (``If-Range``, section 13.1.5), so a server that has another version
sends that from its beginning. Servers get this wrong in many ways; whatever
is not exactly the rest of the same bytes is asked for again, whole.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import datetime
from email import utils
import re

import requests

from hepix_vm.catalogue.sources import values
from hepix_vm.catalogue.sources import web
from hepix_vm import errors

Ask = Callable[
    [Mapping[str, str]], contextlib.AbstractContextManager[requests.Response]
]

_CONTENT_RANGE = re.compile(r'bytes ([0-9]{1,19})-([0-9]{1,19})/(\S{1,19})')
_STRONG_ETAG = re.compile(r'"[^"]*"')
#: Between a change and an answer: a date is no strong validator for files
#: that may change twice within its resolution (section 8.8.2.2).
_SETTLED = datetime.timedelta(seconds=60)


def received(
    url: str,
    server: web.Web,
    ask: Ask,
    size: int,
    held: values.Held,
    digest: str | None = None,
) -> Iterator[values.Begun | bytes]:
    """Where the answer begins, then its bytes.

    :param ask: opens an answer to a request with these headers
    :param size: bytes of the image, exactly
    :param digest: names the bytes where the URL can have no others; it
        stands for a validator of the server's
    :raises errors.TryAgain: when they cannot be had now
    :raises errors.NotBelieved: the server's image has another size
    """
    asked = _asked(size, held, digest)
    if asked:
        with ask({**web.WHOLE, **asked}) as response:
            if _goes_on(response, size, held, digest):
                yield values.Begun(held.offset, held.validators)
                yield from server.pieces(
                    url, response, size - held.offset, decoded=False
                )
                return
            if response.status_code not in (206, 416):
                yield from _whole(url, server, response, size, digest)
                return
    with ask(web.WHOLE) as response:
        yield from _whole(url, server, response, size, digest)


def _whole(
    url: str,
    server: web.Web,
    response: requests.Response,
    size: int,
    digest: str | None,
) -> Iterator[values.Begun | bytes]:
    web.expect_ok(url, response)
    declared = response.headers.get('Content-Length', '')
    if declared.isdigit() and int(declared) != size:
        raise errors.NotBelieved(
            f'{url}: expected {size} bytes, found {declared}; the server '
            'does not have what was endorsed; tell the endorser'
        )
    yield values.Begun(0, _validators(response, digest))
    yield from server.pieces(url, response, size, decoded=False)


def _asked(
    size: int, held: values.Held, digest: str | None
) -> Mapping[str, str]:
    """Headers that ask for the rest; none where it cannot be asked for."""
    known = held.validators
    condition = known.etag or known.last_modified
    if not 0 < held.offset < size or not condition:
        return {}
    asked = {'Range': f'bytes={held.offset}-{size - 1}'}
    if digest is None:
        asked['If-Range'] = condition
    elif known.etag != digest:
        return {}
    return asked


def _goes_on(
    response: requests.Response,
    size: int,
    held: values.Held,
    digest: str | None,
) -> bool:
    """Whether an answer is the rest of what is here, and nothing else."""
    found = _CONTENT_RANGE.fullmatch(response.headers.get('Content-Range', ''))
    if response.status_code != 206 or found is None:
        return False
    first, last, total = found.groups()
    if (
        int(first) != held.offset
        or int(last) != size - 1
        or total not in (str(size), '*')
    ):
        return False
    if digest is not None:
        return True
    # A server that does not know If-Range sends the rest of another version.
    known, headers = held.validators, response.headers
    if known.etag is not None:
        return headers.get('ETag', known.etag) == known.etag
    modified = known.last_modified
    return headers.get('Last-Modified', modified) == modified


def _validators(
    response: requests.Response, digest: str | None
) -> values.Validators:
    """Strong ones only."""
    headers = response.headers
    if headers.get('Accept-Ranges', '').strip().lower() == 'none':
        return values.Validators()
    if digest is not None:
        return values.Validators(digest)
    etag = web.validator(headers.get('ETag'))
    if etag is not None and not _STRONG_ETAG.fullmatch(etag):
        etag = None
    modified = web.validator(headers.get('Last-Modified'))
    if modified is not None and not _is_settled(modified, headers.get('Date')):
        modified = None
    return values.Validators(etag, modified)


def _is_settled(modified: str, date: str | None) -> bool:
    try:
        changed = utils.parsedate_to_datetime(modified)
        said = utils.parsedate_to_datetime(date or '')
        return said - changed >= _SETTLED
    except (ValueError, TypeError):
        return False
