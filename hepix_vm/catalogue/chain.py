# SPDX-License-Identifier: Apache-2.0
"""The history as a chain: each row's digest covers the row before it.

Whoever changes, removes or inserts a row has to change every digest after
it, and the head that somebody may have noted elsewhere. Runs inside Glance;
the standard library only.
"""

from __future__ import annotations

import hashlib
import json

#: The digest before the first row.
GENESIS = '0' * 64


def text(written: str) -> str:
    """What somebody wrote, as every database keeps it and gives it back.

    NUL and halves of characters are written out as escapes.
    """
    whole = written.replace('\0', '\\x00')
    return whole.encode('utf-8', 'backslashreplace').decode('utf-8')


def digest(
    previous: str, at: int, who: str, event: str, subject: str, detail: str
) -> str:
    """The digest of a row (SHA-256, lower-case hex).

    :param previous: digest of the row before, or :data:`GENESIS`
    :param at: UNIX seconds
    """
    row = json.dumps(
        [previous, at, who, event, subject, detail], separators=(',', ':')
    )
    return hashlib.sha256(row.encode('ascii')).hexdigest()
