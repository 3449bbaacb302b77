# SPDX-License-Identifier: Apache-2.0
"""Whether a request to Glance comes from Nova.

Nova sends, besides the token of the user for whom it works, one of its own
account (``X-Service-Token``). Cinder does the same and so may others, and
they let users choose what they send; so the role alone does not do, it has to
be Nova's account. Asked is what ``keystonemiddleware.auth_token`` found out
with Keystone and left in ``keystone.token_auth`` of the request: unlike a
header, no client can put anything there.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class Nova:
    """The account that Nova's service tokens are of.

    :ivar users: its names
    :ivar role: that its tokens have to have
    """

    users: frozenset[str] = frozenset({'nova'})
    role: str = 'service'

    def sent(self, environ: Mapping[str, Any]) -> bool:
        """Whether a WSGI request behind ``auth_token`` comes from Nova."""
        service = getattr(environ.get('keystone.token_auth'), 'service', None)
        return (
            service is not None
            and self.role in service.role_names
            and service.username in self.users
        )
