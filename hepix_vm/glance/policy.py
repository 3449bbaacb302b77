# SPDX-License-Identifier: Apache-2.0
"""Check ``hepix_approved`` of Glance's policy file.

Written in one of three ways:

``hepix_approved:project``
    true when the image is approved for the project of whoever asks
``hepix_approved:any``
    true when it is approved for some project
``hepix_approved:imported``
    true when it came in by a checked import and is unchanged, even where its
    approval has ended since: for administrators who move servers that exist

The last two are for administrators and for services that ask in their own
name. When a service asks for a user they mean the first one, unless the user
is an administrator.

oslo.policy imports this module in every service of the machine, and takes a
check that cannot be loaded for one that is never true. So it imports the
standard library and oslo.policy only.
"""

from __future__ import annotations

from collections.abc import Mapping
import functools
import importlib
import logging
from typing import Any

from oslo_policy import policy

LOG = logging.getLogger(__name__)


class HepixApproved(policy.Check):  # type: ignore[misc]
    """True for an approved image; never raises."""

    def __call__(
        self,
        target: Mapping[str, Any],
        creds: Mapping[str, Any],
        enforcer: Any,
        current_rule: str | None = None,
    ) -> bool:
        """Whether the image may be used.

        :param target: ``glance.api.policy.ImageTarget``
        :param creds: of whoever asks, as oslo.policy has them
        :param enforcer: its configuration is Glance's
        """
        try:
            verdict: object = _decisions().allowed(
                _match(self.match, target, creds, enforcer),
                target,
                creds,
                enforcer.conf,
            )
        except Exception:
            LOG.exception('verdict=refused code=internal-error')
            return False
        return verdict is True


@functools.cache
def _decisions() -> Any:
    """What decides; looked for again while it cannot be imported."""
    return importlib.import_module('hepix_vm.glance.download')


def _match(
    match: str, target: Mapping[str, Any], creds: Mapping[str, Any], at: Any
) -> str:
    """What is asked for, by whom it is asked.

    A user's request that comes through Nova or Cinder carries the roles of
    their accounts, too. Where properties are protected Glance puts these
    among the user's own (``check_property_rules``, glance 30 to 33), and they
    make an administrator of any user. So that is asked again without them.
    """
    of_service = list(creds.get('service_roles') or ())
    if match == 'project' or not of_service:
        return match
    roles = list(creds['roles'])
    while roles[-len(of_service) :] == of_service:
        del roles[-len(of_service) :]
    own = {**creds, 'roles': roles}
    admin = at.rules['context_is_admin'](target, own, at)
    return match if admin is True else 'project'
