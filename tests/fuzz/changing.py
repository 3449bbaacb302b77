# SPDX-License-Identifier: Apache-2.0
"""Changes to known input, as values that hypothesis can make smaller."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
import dataclasses
import re

from hypothesis import strategies as st

_BASE64 = re.compile(rb'(?:[A-Za-z0-9+/]{40,}={0,2}\r?\n?)+')
#: Multiplying by it spreads numbers that are near each other.
_ODD = 2654435761
#: What means something to a reader of names.
NAMES = (
    b'/',
    b'/CN=',
    b'/1.2.3=',
    b'/x=',
    b'+',
    b'+O=',
    b',',
    b',O=',
    b'=',
    b'#',
    b'#0C0141',
    b'"',
    b' ',
    b'\\',
    b'\\C3',
    b'\\x0A',
    b'\\xC3',
    b'\\xA9',
    b'\xc2\x85',
)
#: To one of lists.
JSON = (
    b'"',
    b'\\u0000',
    b'\\ud800',
    b'{',
    b'}',
    b'[',
    b']',
    b'[' * 200,
    b'""',
    b'[]',
    b'{}',
    b'null',
    b'true',
    b'-1',
    b'1e999',
    b'9' * 30,
    b'NaN',
    b'\xef\xbb\xbf',
)
#: To one of messages and of what they carry.
MESSAGES = (
    b'\r\n',
    b'\n\n',
    b'\0\0',
    b'\x80',
    b'0\x80',
    b'\x24\x80',
    b'\x84\xff\xff\xff\xff',
    b'--',
    b';',
    b'=',
    b'"',
    b'Content-Type: text/plain\n\n',
    b'Content-Transfer-Encoding: base64\n',
    b'boundary=',
)
#: To one of XML.
XML = (
    b'<!DOCTYPE a [<!ENTITY b "c">]>',
    b'<!-- -->',
    b'<a>',
    b'<a/>',
    b'&b;',
    b'&#0;',
    b']]>',
    b'=',
    b'9' * 30,
)


@dataclasses.dataclass(frozen=True)
class Change:
    """Octets from ``place`` on are replaced.

    :param place: in 2**20ths of the input's length
    :param gone: how many octets go
    :param new: what comes instead; None repeats what went
    :param inside: whether it happens to what base64 hides, if anything
    """

    place: int
    gone: int
    new: bytes | None
    inside: bool

    def of(self, data: bytes) -> bytes:
        """The changed input."""
        if self.inside:
            hidden = _hidden(data)
            if hidden is not None:
                start, stop, decoded = hidden
                changed = base64.encodebytes(self._replaced(decoded))
                return data[:start] + changed + data[stop:]
        return self._replaced(data)

    def _replaced(self, data: bytes) -> bytes:
        start = len(data) * self.place >> 20
        stop = start + self.gone
        new = data[start:stop] * 2 if self.new is None else self.new
        return data[:start] + new + data[stop:]


def _hidden(data: bytes) -> tuple[int, int, bytes] | None:
    """The longest stretch of base64: where it is, and what it says."""
    found = max(_BASE64.finditer(data), key=lambda m: len(m[0]), default=None)
    if found is None:
        return None
    try:
        return found.start(), found.end(), base64.b64decode(found[0])
    except binascii.Error:
        return None


def changes(words: Sequence[bytes]) -> st.SearchStrategy[list[Change]]:
    """A few changes in turn.

    :param words: what comes in more often than chance would have it
    """
    change = st.builds(
        Change,
        # Small and round numbers are drawn often; the places are not to be.
        st.integers(0, 2**32 - 1).map(lambda n: n * _ODD % 2**32 >> 12),
        # Most of the input stays, or nothing but its first lines is met.
        st.sampled_from((0, 0, 0, 1, 1, 1, 2, 4, 16, 64, 1024)),
        st.sampled_from(words)
        | st.binary(min_size=1, max_size=1)
        | st.binary(max_size=8)
        | st.none(),
        st.booleans(),
    )
    return change.map(lambda one: [one]) | st.lists(
        change, min_size=2, max_size=4
    )
