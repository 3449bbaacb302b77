# SPDX-License-Identifier: Apache-2.0
"""The table: Nova, with ``[nova] volume_boot = refuse`` and no volumes."""

from __future__ import annotations

from tests.paths import table
from tests.paths.table import At
from tests.paths.table import boots
from tests.paths.table import FORBIDDEN
from tests.paths.table import impossible
from tests.paths.table import Part
from tests.paths.table import Path
from tests.paths.table import refused
from tests.paths.table import rows
from tests.paths.table import State
from tests.paths.table import Who

U, M, A, S = Who.USER, Who.MANAGER, Who.ADMIN, Who.SERVICE
OK = State.APPROVED
NEVER = State.NEVER_SEEN
GONE = State.WITHDRAWN
BAD = tuple(state for state in State if state is not OK)
#: Of which a server can have been made while they were approved.
ONCE = (State.BLOCKED, State.STALE, State.WITHDRAWN, State.TAMPERED)
#: A new server's image: the guard knows these by its id, the filter the
#: others by what Nova tells it of the image.
_BY_LOOKS = (State.TAMPERED, State.OTHER_BYTES)
_BY_ID = tuple(state for state in BAD if state not in _BY_LOOKS)


def _guard(
    *states: State, who: tuple[Who, ...] = (U,), code: str | None = None
) -> table.Some:
    return refused(At.NOVA, Part.API_GUARD, who, *states, codes=code)


def _filter(*states: State, code: str | None = None) -> table.Some:
    return refused(At.SCHEDULER, Part.FILTER, (U,), *states, codes=code)


_NEW = (
    *rows(
        Path('boot', 'Boot from an image'),
        boots((U, M, A, S), OK),
        _guard(*_BY_ID),
        _filter(*_BY_LOOKS),
        _guard(NEVER, GONE, State.ANOTHERS, who=(M, A)),
        _guard(NEVER, GONE, who=(S,)),
    ),
    *rows(
        Path('boot_oldest', 'Boot with microversion 2.1'),
        _guard(NEVER, GONE),
    ),
    *rows(
        Path('boot_legacy', 'Boot by the endpoint ``/v2``'),
        _guard(NEVER, GONE),
    ),
    *rows(
        Path('boot_in_project', "Boot by an address with the project's id"),
        _guard(NEVER, GONE),
    ),
    *rows(
        Path('boot_many', 'Boot several at once'),
        boots((U,), OK),
        _guard(NEVER, GONE),
    ),
    *rows(
        Path('boot_on_host', 'Boot on a named host'),
        boots((A,), OK),
        _guard(NEVER, GONE, who=(A,)),
        impossible(At.NOVA, FORBIDDEN, (U, M), OK),
    ),
    *rows(
        Path('force_host', 'Boot on a forced host (``zone:host``)'),
        boots((A,), OK),
        _guard(*BAD, who=(A,)),
        impossible(At.NOVA, FORBIDDEN, (U, M), OK),
    ),
    *rows(
        Path('pretend_rebuild', "Boot with Nova's own mark of a rebuild"),
        boots((U,), OK),
        _guard(NEVER, GONE),
    ),
    *rows(
        Path('image_as_volume', 'Boot from a volume to be made of an image'),
        _guard(OK, code='volume-boot'),
        _guard(NEVER, GONE),
    ),
    *rows(
        Path('other_boots', 'Name an approved image, boot another one'),
        _guard(NEVER, GONE),
    ),
    *rows(
        Path('second_disk', 'Boot with a further disk of another image'),
        _guard(NEVER, GONE, State.BLOCKED),
    ),
    *rows(
        Path('no_image', 'Boot from nothing'),
        impossible(At.NOVA, 'HTTP 400', (U,), OK),
    ),
)

_EXISTING = (
    *rows(
        Path('rebuild', 'Rebuild with another image'),
        boots((U,), OK),
        _guard(*BAD),
        _guard(NEVER, GONE, who=(M, A)),
    ),
    *rows(
        Path('rebuild_same', 'Rebuild with the same image'),
        boots((U,), OK),
        _guard(*ONCE),
        _guard(GONE, who=(A,)),
    ),
    *rows(
        Path('rescue', 'Rescue with another image'),
        boots((U,), OK),
        _guard(*BAD),
        _guard(NEVER, GONE, who=(M, A)),
    ),
    *rows(
        Path('rescue_own', "Rescue with the server's own image"),
        boots((U,), OK),
        _guard(*ONCE),
        _guard(GONE, who=(A,)),
    ),
    *rows(
        Path(
            'resize',
            'Resize',
            'Open unless ``[nova] enforce_on_moves`` is set: a withdrawn '
            'image must not keep a server where it is.',
        ),
        boots((U,), OK, GONE, State.STALE),
    ),
    *rows(
        Path(
            'restart',
            'Stop and start',
            'Open: Nova asks nobody which image a disk was made from. '
            '``hepix-vm image explain`` names such servers.',
        ),
        boots((U,), OK, GONE, State.BLOCKED),
    ),
    *rows(
        Path('forge_snapshot', 'Snapshot that names another origin'),
        _guard(OK, code='snapshot-metadata'),
        _guard(OK, who=(A,), code='snapshot-metadata'),
    ),
    *rows(
        Path('forge_backup', 'Back-up that names another origin'),
        _guard(OK, code='snapshot-metadata'),
    ),
)

_NOTE = 'By a ``nova-api`` whose pipeline has no guard.'
_WITHOUT_GUARD = (
    *rows(
        Path('filter_boot', 'The filter alone: boot', _NOTE),
        boots((U,), OK),
        _filter(*BAD),
    ),
    *rows(
        Path(
            'filter_other_boots',
            'The filter alone: name an image, boot another one',
            _NOTE,
        ),
        _filter(NEVER, GONE, code='volume-boot'),
    ),
    *rows(
        Path(
            'filter_rebuild', 'The filter alone: rebuild with another', _NOTE
        ),
        boots((U,), OK),
        _filter(NEVER, GONE),
    ),
)

ROWS = (*_NEW, *_EXISTING, *_WITHOUT_GUARD)
