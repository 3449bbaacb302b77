# SPDX-License-Identifier: Apache-2.0
"""The table: into Glance, out of it, and what is changed there."""

from __future__ import annotations

from tests.paths import into_glance
from tests.paths import table
from tests.paths.table import At
from tests.paths.table import FORBIDDEN
from tests.paths.table import impossible
from tests.paths.table import Part
from tests.paths.table import passes
from tests.paths.table import Path
from tests.paths.table import refused
from tests.paths.table import rows
from tests.paths.table import State
from tests.paths.table import Who

U, M, A, S = Who.USER, Who.MANAGER, Who.ADMIN, Who.SERVICE
OK = State.APPROVED
NEVER = State.NEVER_SEEN
BAD = tuple(state for state in State if state is not OK)

#: Why bytes are refused: they have no record yet, only an endorsement.
_BYTES = {
    **table.CODES,
    State.NEVER_SEEN: 'not-endorsed',
    State.TAMPERED: 'not-endorsed',
}
#: What is approved for no project.
_FOR_NOBODY = tuple(state for state in BAD if state is not State.ANOTHERS)
_INTO = tuple(state for state in BAD if state is not State.OTHER_BYTES)


def _bytes(*states: State, who: tuple[Who, ...] = (U,)) -> table.Some:
    return refused(At.IMPORT, Part.IMPORT, who, *states, codes=_BYTES)


def _policy(*who: Who, part: Part = Part.POLICIES) -> table.Some:
    return refused(At.GLANCE, part, who, OK, codes=FORBIDDEN)


def _unread(*who: Who, states: tuple[State, ...]) -> table.Some:
    return refused(At.GLANCE, Part.DOWNLOAD, who, *states, codes=FORBIDDEN)


_IMPORTS = (
    *rows(
        Path('glance_direct', 'Stage and import (``glance-direct``)'),
        passes((U, M, A), OK),
        _bytes(*_INTO),
        _bytes(NEVER, State.WITHDRAWN, who=(M, A, S)),
    ),
    *rows(
        Path('web_download', 'Import from a web server (``web-download``)'),
        passes((U,), OK),
        _bytes(NEVER, State.BLOCKED, State.TAMPERED),
    ),
    *rows(
        Path('glance_download', 'Import from a Glance (``glance-download``)'),
        passes((U,), OK),
    ),
    *rows(
        Path('copy_image', 'Copy into another store (``copy-image``)'),
        passes((A,), OK),
        impossible(At.GLANCE, FORBIDDEN, (U,), OK),
    ),
    *rows(
        Path(
            'put_file',
            'Upload (``PUT /v2/images/{id}/file``)',
            'Administrators and services can; such an image is "never seen".',
        ),
        refused(At.GLANCE, Part.POLICIES, (U, M), OK, NEVER, codes=FORBIDDEN),
        passes((A, S), NEVER),
    ),
    *rows(
        Path('stage_again', 'Stage other bytes for an active image'),
        impossible(At.GLANCE, 'HTTP 409', (U, A), OK),
    ),
    *rows(
        Path('id_in_use', 'Make an image with the id of another one'),
        impossible(At.GLANCE, 'HTTP 409', (U, A), OK),
    ),
    *rows(
        Path('add_location', 'Add a location (``PATCH``)'),
        _policy(U, M, A, S),
    ),
    *rows(
        Path('post_location', 'Add a location (``POST .../locations``)'),
        _policy(U, M, A),
    ),
    *rows(
        Path('locations', 'Ask for locations (``GET .../locations``)'),
        impossible(At.GLANCE, FORBIDDEN, (U, M), OK),
        passes((S,), OK),
        _unread(S, states=(NEVER, State.WITHDRAWN)),
    ),
    *rows(
        Path('post_task', 'Import by the API of tasks (``POST /v2/tasks``)'),
        _policy(U, M, A, S),
    ),
)

_CHANGES = (
    *rows(
        Path('reactivate', 'Reactivate a deactivated image'),
        _policy(U, M),
        passes((A,), OK),
    ),
    *rows(
        Path('deactivate', 'Deactivate an image'),
        _policy(U, M),
        passes((A,), OK),
    ),
    *(
        row
        for name, (changed, _) in into_glance.PROPERTIES.items()
        for row in rows(
            Path(
                name,
                f'Set ``{changed}`` of an image',
                'What an administrator sets makes the image "tampered".',
            ),
            _policy(U, M, part=Part.PROTECTIONS),
            passes((A,), OK),
        )
    ),
    *rows(
        Path('create_with', 'Make an image with ``base_image_ref``'),
        _policy(U, M, part=Part.PROTECTIONS),
        passes((A,), OK),
    ),
    *rows(
        Path('larger_disk', 'Change ``min_disk``, then read the bytes'),
        refused(At.GLANCE, Part.DOWNLOAD, (U, A), OK, codes=FORBIDDEN),
    ),
)

_OUT = (
    *rows(
        Path(
            'download',
            'Read the bytes (``GET /v2/images/{id}/file``)',
            'Administrators move servers of all projects.',
        ),
        passes((U, M, A, S), OK),
        _unread(U, M, states=BAD),
        _unread(A, S, states=_FOR_NOBODY),
        passes((A, S), State.ANOTHERS),
    ),
    *rows(
        Path(
            'for_a_service',
            "Read the bytes with a service's token beside the user's",
            'As Nova and Cinder do.',
        ),
        passes((U,), OK),
        _unread(U, states=BAD),
    ),
)

ROWS = (*_IMPORTS, *_CHANGES, *_OUT)
