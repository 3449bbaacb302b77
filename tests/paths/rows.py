# SPDX-License-Identifier: Apache-2.0
"""The whole table, by the cloud on which its rows are tried."""

from __future__ import annotations

from tests.paths import rows_guests
from tests.paths import rows_images
from tests.paths import rows_servers

#: On a cloud whose machines are Nova's own fakes.
PLAIN = (*rows_images.ROWS, *rows_servers.ROWS)
#: On a cloud with real machines and volumes.
REAL = rows_guests.ROWS
ALL = (*PLAIN, *REAL)
