# SPDX-License-Identifier: Apache-2.0
"""Which requests to Nova's API can start something.

A reading of paths that is not Nova's own would be a hole: Nova takes paths
with and without a project, with a slash at the end, and a method from the
query (``?_method=POST``, which turns a PUT into a boot). So a request is
matched by the library that Nova uses, with Nova's own class of mapper, over
the routes that matter here (``ROUTE_LIST`` in
``nova/api/openstack/compute/routes.py``; the same in Nova 29 to 34).
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

from nova.api import openstack
from routes import middleware  # type: ignore[import-untyped]


class Kind(enum.StrEnum):
    """What the body of a request is."""

    SERVER = 'server'
    ACTION = 'action'
    PROPERTIES = 'properties'


@dataclasses.dataclass(frozen=True, slots=True)
class Watched:
    """A request that is to be looked at.

    :ivar ident: of the server, for an action
    """

    kind: Kind
    ident: str = ''


#: Path, method, kind.
ROUTES = (
    ('/servers', 'POST', Kind.SERVER),
    ('/servers/{id}/action', 'POST', Kind.ACTION),
    # An older name of the same.
    ('/os-volumes_boot', 'POST', Kind.SERVER),
    ('/os-volumes_boot/{id}/action', 'POST', Kind.ACTION),
    # Nova changes the image with its service token.
    ('/images/{id}/metadata', 'POST', Kind.PROPERTIES),
    ('/images/{id}/metadata', 'PUT', Kind.PROPERTIES),
    ('/images/{id}/metadata/{key}', 'PUT', Kind.PROPERTIES),
)

#: Requests with these need no look at the path.
_METHODS = frozenset({'POST', 'PUT'})


class Matching:
    """Finds the requests of :data:`ROUTES` among all."""

    def __init__(self) -> None:
        mapper = openstack.ProjectMapper()
        for path, method, kind in ROUTES:
            mapper.create_route(path, method, kind.value, 'watched')
        self._routing = middleware.RoutesMiddleware(_matched, mapper)

    def match(self, environ: dict[str, Any]) -> Watched | None:
        """The kind of a request; None for one of no interest.

        :param environ: of WSGI, behind Nova's map of versions; not changed
        """
        if environ['REQUEST_METHOD'] not in _METHODS and (
            '_method' not in environ.get('QUERY_STRING', '')
        ):
            return None
        seen = dict(environ)
        # Routes would read the body of a form for a method. Nova answers 415
        # to every form, whatever its path.
        seen.pop('CONTENT_TYPE', None)
        found: dict[str, Any] = self._routing(seen, None)
        kind = found.get('controller')
        if kind is None:
            return None
        return Watched(Kind(kind), str(found.get('id') or ''))


def _matched(environ: dict[str, Any], _start: Any) -> dict[str, Any]:
    found: dict[str, Any] = environ['wsgiorg.routing_args'][1]
    return found
