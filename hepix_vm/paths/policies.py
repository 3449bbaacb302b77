# SPDX-License-Identifier: Apache-2.0
"""Whom a service's policy lets do something.

Rules are evaluated, with oslo.policy as the service does it, for users of
each kind: what a rule looks like says little about whom it lets pass.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
from importlib import metadata
from typing import Any

from oslo_config import cfg
from oslo_context import context
from oslo_policy import policy

from hepix_vm import errors

#: The kind of our own check.
CHECK = 'hepix_approved'

_DEFAULTS = 'oslo.policy.policies'
_PROJECT = '5f0c1d6e6b0e4b0f9d3e2a7c8b1a4d90'
_OTHER = 'a2b9c7d1e4f84c6f8e0d5b3a1f7c6e28'
_USER = '0d9e8f7a6b5c4d3e2f1a0b9c8d7e6f5a'


@dataclasses.dataclass(frozen=True, slots=True)
class Who:
    """Somebody who asks.

    :ivar service_roles: of the service that asks on behalf of the user
    """

    name: str
    roles: tuple[str, ...]
    service_roles: tuple[str, ...] = ()

    def credentials(self) -> context.RequestContext:
        """What a service's middleware makes of such a user's token."""
        return context.RequestContext(
            user_id=_USER,
            project_id=_PROJECT,
            roles=list(self.roles),
            service_roles=list(self.service_roles),
            # Else everything logged by this thread was of this user.
            overwrite=False,
        )


READER = Who('a reader', ('reader',))
MEMBER = Who('a member', ('member', 'reader'))
MANAGER = Who('a project manager', ('manager', 'member', 'reader'))
#: Nova or Cinder, with the token of a member and with their own.
FOR_MEMBER = Who(
    'a service on behalf of a member', ('member', 'reader'), ('service',)
)
SERVICE = Who('a service account', ('service',))

USERS = (READER, MEMBER, MANAGER)
ALL_BUT_ADMIN = (*USERS, FOR_MEMBER, SERVICE)

#: The images, or volumes, that somebody could mean: nobody approved them.
TARGETS: tuple[Mapping[str, Any], ...] = tuple(
    {
        'id': '00000000-0000-0000-0000-000000000000',
        'image_id': '00000000-0000-0000-0000-000000000000',
        'project_id': project,
        'tenant_id': project,
        'owner': project,
        'user_id': _USER,
        'member_id': project,
        'visibility': visibility,
        'status': 'active',
    }
    for project, visibility in (
        (_PROJECT, 'private'),
        (_OTHER, 'public'),
        (_OTHER, 'community'),
    )
)


class Judge:
    """What the policy of one service says.

    :param enforcer: with the service's files
    :param complete: whether it has the service's own defaults, too
    """

    def __init__(self, enforcer: policy.Enforcer, complete: bool) -> None:
        self._enforcer = enforcer
        self.complete = complete
        enforcer.load_rules()
        enforcer.use_conf = False
        for name, check in enforcer.rules.items():
            enforcer.rules[name] = _for_unapproved(check)

    def known(self, rule: str) -> bool:
        """Whether everything that a rule refers to is there to be read."""
        return self.complete or all(
            name in self._enforcer.rules for name in self._needed(rule)
        )

    def there(self, rule: str) -> bool:
        """Whether this release of the service has the rule."""
        return not self.complete or rule in self._enforcer.registered_rules

    def passed(self, rule: str, people: Iterable[Who]) -> tuple[Who, ...]:
        """Those whom a rule lets do something with some of the targets."""
        return tuple(
            who
            for who in people
            if any(self._allows(rule, who, target) for target in TARGETS)
        )

    def _allows(self, rule: str, who: Who, target: Mapping[str, Any]) -> bool:
        return bool(
            self._enforcer.enforce(rule, dict(target), who.credentials())
        )

    def _needed(self, rule: str) -> set[str]:
        """Names of the rules that a rule refers to, and its own."""
        found: set[str] = set()
        waiting = [rule]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                if name in self._enforcer.rules:
                    waiting += _named(self._enforcer.rules[name])
        return found


def _named(check: Any) -> Iterator[str]:
    if isinstance(check, policy.RuleCheck):
        yield check.match
    inner = list(getattr(check, 'rules', ()))
    if hasattr(check, 'rule'):
        inner.append(check.rule)
    for part in inner:
        yield from _named(part)


_NEVER = policy.Rules.from_dict({'never': '!'})['never']


def _for_unapproved(check: Any) -> Any:
    """The same rule, knowing that nobody approved what it is asked about.

    So that no judgement needs the catalogue, which our check asks.
    """
    if getattr(check, 'kind', None) == CHECK:
        return _NEVER
    if isinstance(check, policy.AndCheck | policy.OrCheck):
        return type(check)([_for_unapproved(one) for one in check.rules])
    if isinstance(check, policy.NotCheck):
        return policy.NotCheck(_for_unapproved(check.rule))
    return check


def judge(
    conf: cfg.ConfigOpts,
    service: str,
    defaults: Callable[[str], list[policy.RuleDefault] | None] | None = None,
) -> Judge:
    """The judge of a service's policy.

    :param conf: the service's configuration
    :param service: such as ``glance``
    :param defaults: the service's own rules; None where it is not installed
    :raises errors.Misconfigured: when its files cannot be read
    """
    rules = (defaults or installed)(service)
    try:
        enforcer = policy.Enforcer(conf)
        enforcer.suppress_default_change_warnings = True
        enforcer.suppress_deprecation_warnings = True
        enforcer.register_defaults(rules or [])
        return Judge(enforcer, rules is not None)
    except (ValueError, OSError, cfg.Error, policy.InvalidRuleDefault) as exc:
        raise errors.Misconfigured(
            f'the policy of {service} cannot be read: '
            f'{" ".join(str(exc).split())}'
        ) from exc


def installed(service: str) -> list[policy.RuleDefault] | None:
    """A service's own rules; None where it is not installed."""
    for point in metadata.entry_points(group=_DEFAULTS, name=service):
        try:
            return list(point.load()())
        except ImportError:
            return None
    return None
