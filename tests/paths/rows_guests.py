# SPDX-License-Identifier: Apache-2.0
"""The table: real machines and volumes, ``[nova] volume_boot = endorsed``."""

from __future__ import annotations

from tests.paths import table
from tests.paths.table import At
from tests.paths.table import boots
from tests.paths.table import FORBIDDEN
from tests.paths.table import Part
from tests.paths.table import passes
from tests.paths.table import Path
from tests.paths.table import refused
from tests.paths.table import rows
from tests.paths.table import State
from tests.paths.table import Who

U, A = Who.USER, Who.ADMIN
OK = State.APPROVED
NEVER = State.NEVER_SEEN
GONE = State.WITHDRAWN


def _guard(
    *states: State, who: tuple[Who, ...] = (U,), code: str | None = None
) -> table.Some:
    return refused(At.NOVA, Part.API_GUARD, who, *states, codes=code)


def _inherits(*states: State) -> table.Some:
    return boots((U,), *states, part=Part.GLANCE_GUARD)


_FOLLOW = (
    'As ``[lineage] children = follow`` says: what is made of a server '
    'follows the image of that server.'
)
_MACHINES = (
    *rows(
        Path('real_boot', 'A real machine from an image'),
        boots((U,), OK),
        _guard(NEVER, GONE),
    ),
    *rows(
        Path('real_force_host', 'A real machine on a forced host'),
        _guard(NEVER, GONE, State.TAMPERED, who=(A,)),
    ),
    *rows(
        Path(
            'boot_corrupt',
            'An approved image whose file was changed in the store',
            "Nova's download compares the hash that was pinned at import.",
        ),
        refused(At.COMPUTE, None, (U,), OK, codes='ERROR'),
    ),
    *rows(
        Path(
            'cached_rebuild',
            'Rebuild with the same image, cached on the host',
        ),
        _guard(GONE, State.BLOCKED),
    ),
    *rows(
        Path('cached_rescue', 'Rescue with the same image, cached'),
        _guard(GONE, State.BLOCKED),
    ),
)

_CHILDREN = (
    *rows(
        Path('boot_snapshot', 'Boot a snapshot of a server', _FOLLOW),
        _inherits(OK),
        _guard(GONE, State.BLOCKED, State.STALE),
        _guard(GONE, who=(A,)),
    ),
    *rows(
        Path('read_snapshot', 'Read a snapshot of a server', _FOLLOW),
        passes((U, A), OK),
        refused(
            At.GLANCE,
            Part.DOWNLOAD,
            (U, A),
            GONE,
            State.BLOCKED,
            codes=FORBIDDEN,
        ),
    ),
    *rows(
        Path('boot_backup', 'Boot a back-up of a server', _FOLLOW),
        _inherits(OK),
        _guard(GONE),
    ),
    *rows(
        Path('boot_grandchild', "Boot a snapshot of a snapshot's server"),
        _inherits(OK),
        _guard(GONE),
    ),
    *rows(
        Path('unshelve', 'Unshelve a server', _FOLLOW),
        _inherits(OK),
        _guard(GONE, State.BLOCKED),
    ),
    *rows(
        Path('boot_forged', 'Boot an image that only claims to be a snapshot'),
        _guard(OK, code='no-record'),
        _guard(OK, who=(A,), code='no-record'),
    ),
)

_LINEAGE = 'Which image it was made of is known from Cinder.'
_COPY = (
    'Cinder copies without asking Glance, so the volume comes to be; no '
    'server boots from it. The same holds for clones inside RBD.'
)
_VOLUMES = (
    *rows(
        Path('volume_create', 'Make a volume of an image'),
        passes((U,), OK),
        refused(
            At.VOLUME,
            Part.DOWNLOAD,
            (U,),
            NEVER,
            GONE,
            State.BLOCKED,
            State.STALE,
            State.TAMPERED,
            State.OTHER_BYTES,
            State.ANOTHERS,
            codes='error',
        ),
    ),
    *rows(
        Path('volume_of_image', 'Boot from a volume to be made of an image'),
        boots((U,), OK),
        _guard(NEVER, GONE),
    ),
    *rows(
        Path('volume_instead', 'Name an approved image, boot another one'),
        _guard(NEVER, GONE),
    ),
    *rows(
        Path('volume_boot', 'Boot from a volume', _LINEAGE),
        boots((U,), OK),
        _guard(GONE, State.BLOCKED, State.STALE),
        _guard(GONE, who=(A,)),
    ),
    *rows(
        Path('volume_boot_legacy', 'The same, by ``block_device_mapping``'),
        _guard(GONE),
    ),
    *rows(
        Path('volume_boot_snapshot', "Boot from a volume's snapshot"),
        boots((U,), OK),
        _guard(GONE),
    ),
    *rows(
        Path('volume_boot_clone', 'Clone a volume, boot from that', _COPY),
        boots((U,), OK),
        _guard(GONE, State.BLOCKED),
    ),
    *rows(
        Path(
            'volume_cached',
            "Make a volume out of Cinder's image-volume cache",
            _COPY,
        ),
        passes((U,), OK, GONE, State.BLOCKED),
    ),
    *rows(
        Path('volume_boot_cached', 'The same, and boot from it'),
        boots((U,), OK),
        _guard(GONE, State.BLOCKED, State.STALE),
    ),
    *rows(
        Path('volume_second_disk', 'Boot with a volume as further disk'),
        boots((U,), OK),
        _guard(GONE),
    ),
    *rows(
        Path('volume_boot_blank', 'Boot from a volume of no image'),
        _guard(NEVER, code='volume-unknown'),
    ),
    *rows(
        Path('volume_set_bootable', 'Call a volume bootable, boot from it'),
        _guard(NEVER, code='volume-unknown'),
    ),
    *rows(
        Path('volume_rewrite', 'Rewrite which image a volume was made of'),
        refused(At.CINDER, Part.CINDER, (U,), GONE, codes=FORBIDDEN),
    ),
    *rows(
        Path('volume_reimage', 'Write an image over a volume, boot from it'),
        refused(At.VOLUME, Part.DOWNLOAD, (U,), NEVER, codes='error'),
    ),
    *rows(
        Path('volume_boot_uploaded', 'Boot an image that was a volume'),
        _guard(OK, code='no-record'),
        _guard(GONE, code='no-record'),
    ),
)

ROWS = (*_MACHINES, *_CHILDREN, *_VOLUMES)
