# SPDX-License-Identifier: Apache-2.0
"""What broke between us and a server, in one sentence.

The libraries below wrap the cause into several exceptions and show all of
them at once, with addresses in memory; an operator needs the innermost one
and what to do about it.
"""

from __future__ import annotations

from http import client
import socket
import ssl

import requests
from urllib3 import exceptions

_LONGEST = 300


def told(exc: BaseException) -> str:
    """Why a request failed, without the URL."""
    cause = _cause(exc)
    if isinstance(exc, requests.exceptions.ProxyError):
        return f'the proxy cannot be used: {_reason(cause)}; see option proxy'
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            'the certificate of the server is not believed: '
            f'{_line(cause.verify_message)}; see option ca_file'
        )
    if isinstance(exc, requests.exceptions.SSLError) and not isinstance(
        cause, ssl.SSLError
    ):
        # A name that does not fit, as urllib3 1.26 says it.
        return (
            f'the certificate of the server is not believed: {_reason(cause)};'
            ' see option ca_file'
        )
    if isinstance(cause, ssl.SSLError):
        return f'no TLS with the server: {_reason(cause)}'
    if isinstance(cause, socket.gaierror):
        return f'the name of the host is not found: {_reason(cause)}'
    if isinstance(exc, requests.exceptions.ContentDecodingError):
        return f'the answer cannot be unpacked: {_reason(cause)}'
    if isinstance(cause, TimeoutError | exceptions.TimeoutError):
        return 'timed out: the server says nothing; see option timeout'
    if isinstance(cause, exceptions.IncompleteRead | client.IncompleteRead):
        return 'the connection ended before all of the answer was there'
    if isinstance(cause, client.RemoteDisconnected | ConnectionResetError):
        return 'the server ended the connection without an answer'
    if isinstance(cause, client.HTTPException):
        return f'the server does not speak HTTP: {_reason(cause)}'
    if isinstance(cause, OSError) and cause.strerror:
        return f'no connection: {_reason(cause)}'
    return _reason(cause)


def _cause(exc: BaseException) -> BaseException:
    """The innermost exception; each library hides it elsewhere."""
    for _ in range(10):
        inner = [
            getattr(exc, 'reason', None),
            getattr(exc, 'original_error', None),
            *reversed(exc.args),
            exc.__cause__,
            # urllib3 1.26 puts it into words only.
            exc.__context__ if _is_new_connection(exc) else None,
        ]
        found = next((e for e in inner if isinstance(e, BaseException)), None)
        if found is None:
            break
        exc = found
    return exc


def _is_new_connection(exc: BaseException) -> bool:
    return isinstance(exc, exceptions.NewConnectionError)


def _reason(exc: BaseException) -> str:
    if isinstance(exc, OSError) and exc.strerror:
        return _line(exc.strerror)
    reason = _line(str(exc))
    name = type(exc).__name__
    return f'{name}: {reason}' if reason else name


def _line(text: str) -> str:
    shown = ''.join(c if c.isprintable() else ' ' for c in text)
    return ' '.join(shown.split())[:_LONGEST]
