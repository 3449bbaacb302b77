# SPDX-License-Identifier: Apache-2.0
"""Which rule of the site speaks for or against an image, in words, and what
would change the decision.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import datetime

from hepix_vm.catalogue import model
from hepix_vm.catalogue import origin
from hepix_vm.catalogue import settle
from hepix_vm.catalogue import store
from hepix_vm.catalogue import subscription as subscription_
from hepix_vm import errors

Rule = subscription_.Subscription | errors.Misconfigured | None


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """An image with what the site has said about it.

    :ivar rule: its subscription's group; None: there is none any more
    :ivar approval: by name
    :ivar anyway: set while the site runs its content anyway
    :ivar held_run: whether it runs while its withdrawal waits
    """

    image: store.Image
    rule: Rule
    approval: origin.Approval | None = None
    anyway: store.Anyway | None = None
    held_run: bool = False


def sentences(case: Case) -> tuple[str, ...]:
    """What the site's rules say of an image, one after the other."""
    image, rule = case.image, case.rule
    said = []
    if rule is None:
        said.append(
            'the subscription is not configured any more, so nothing of it '
            'is approved'
        )
    elif isinstance(rule, errors.Misconfigured):
        said.append(f'what was approved before stands, but {rule}')
    else:
        said.append(_approval(rule, case))
        projects = rule.projects_for(image.vo)
        if projects is not None:
            named = ', '.join(sorted(projects)) or 'none'
            said.append(f'for projects: {named}')
        if rule.image_signature is not None and not image.proven:
            said.append(
                'its group demands a signature of the file, which has not '
                'been checked'
            )
    if image.held_at is not None and not image.withdrawn:
        said.append(
            f'the brake holds its withdrawal since {_time(image.held_at)}; '
            + ('it runs on' if case.held_run else 'it is not placed')
        )
    if image.replaced_until is not None and not image.withdrawn:
        said.append(
            'a newer version has taken its place; it counts until '
            f'{_time(image.replaced_until)}, or until that one is published'
        )
    if case.anyway is not None:
        said.append(
            f'run-anyway until {_time(case.anyway.until)}, by '
            f'{case.anyway.who} at {_time(case.anyway.at)}: '
            f'{case.anyway.reason}'
        )
    return tuple(said)


def _approval(rule: subscription_.Subscription, case: Case) -> str:
    kinds = subscription_.Approval
    start = f'approval = {rule.approval}'
    if rule.approval is kinds.ALL:
        return f'{start}: approves every image of the list'
    if rule.approval is kinds.NONE:
        return f'{start}: approves no image of the list'
    if rule.approval is kinds.MATCHING:
        said = settle.facts(case.image, case.image.entry)
        for line in rule.approve_if:
            if line.holds(said):
                return f'{start}: approves it by "{line.text}"'
        return (
            f'{start}: none of {len(rule.approve_if)} lines of approve_if '
            'holds of it'
        )
    given = case.approval
    if given is None:
        return f'{start}: nobody has approved it'
    text = f'{start}: approved by {given.who} at {_time(given.at)}'
    if given.reason:
        text += f' ({given.reason})'
    if given.sha512 == case.image.sha512:
        return text
    follow = 'covers' if rule.approve_new_versions else 'does not cover'
    return (
        f'{text} as {model.short(given.sha512)}; approve_new_versions = '
        f'{str(rule.approve_new_versions).lower()} {follow} this version'
    )


def _anyway(case: Case) -> str:
    return (
        f'for a time: "hepix-vm image run-anyway {case.image.sha512} --until '
        'TIME --reason TEXT"'
    )


def _report(case: Case, what: str) -> str:
    return (
        f'its endorser {what}; "hepix-vm image report '
        f'{case.image.identifier} --reason TEXT" writes to the endorser'
    )


def _not_approved(case: Case) -> tuple[str, ...]:
    image, rule = case.image, case.rule
    name = image.subscription
    if not isinstance(rule, subscription_.Subscription):
        return (f'a group [subscription:{name}] that can be used',)
    found = []
    if rule.image_signature is not None and not image.proven:
        found.append('"hepix-vm publish" checks the signature of its file')
    chosen = (
        {image.identifier: case.approval.sha512}
        if case.approval is not None
        else {}
    )
    if settle.approves(
        rule,
        chosen,
        image.identifier,
        image.sha512,
        lambda: settle.facts(image, image.entry),
    ):
        found.append('"hepix-vm sync" settles it by the rule as it is now')
    elif rule.approval is subscription_.Approval.LISTED:
        found.append(
            f'"hepix-vm image approve {image.identifier} --subscription '
            f'{name} --reason TEXT"'
        )
    elif rule.approval is subscription_.Approval.MATCHING:
        found.append(
            f'a line of approve_if in group [subscription:{name}] that holds '
            'of it'
        )
    else:
        found.append(
            f'another "approval" than none in group [subscription:{name}]'
        )
    return tuple(found)


_Change = Callable[[Case], tuple[str, ...]]

_CHANGES: Mapping[model.Reason, _Change] = {
    model.Reason.APPROVED: lambda case: (
        f'"hepix-vm image block {case.image.identifier} --reason TEXT" '
        'refuses it',
    ),
    model.Reason.RUN_ANYWAY: lambda case: (
        f'"hepix-vm image run-anyway {case.image.sha512} --end" refuses it '
        'before its time is over',
    ),
    model.Reason.REVOKED: lambda case: (
        'nothing that this site says: its endorser signs a new list with a '
        'certificate that is not revoked',
    ),
    model.Reason.UNSUBSCRIBED: lambda case: (
        f'a group [subscription:{case.image.subscription}] in the '
        'configuration, then "hepix-vm sync"',
    ),
    model.Reason.WITHDRAWN: lambda case: (
        _report(case, 'lists it again'),
        _anyway(case),
    ),
    model.Reason.REPLACED: lambda case: (
        '"hepix-vm publish" brings its newest version into Glance',
        _anyway(case),
    ),
    model.Reason.DISTRUSTED: lambda case: (
        f'"hepix-vm subscription show {case.image.subscription}" says why '
        'its list is not believed any more; when that is mended it returns '
        'by itself',
    ),
    model.Reason.SIZE_DIFFERS: lambda case: (
        'an import of the image with the size that its endorser names',
    ),
    model.Reason.NOT_APPROVED: _not_approved,
    model.Reason.LIST_EXPIRED: lambda case: (
        _report(case, 'renews the list'),
        _anyway(case),
    ),
    model.Reason.IMAGE_EXPIRED: lambda case: (
        _report(case, 'renews the entry, or lists a newer version'),
        _anyway(case),
    ),
    model.Reason.LIST_STALE: lambda case: (
        f'"hepix-vm sync {case.image.subscription}" with a server that '
        'answers',
        _anyway(case),
    ),
    model.Reason.SUSPENDED: lambda case: (
        _report(case, 'lists it again, or confirms that it is gone'),
        f'"hepix-vm subscription confirm {case.image.subscription} --reason '
        'TEXT" withdraws it',
        _anyway(case),
    ),
    model.Reason.WRONG_PROJECT: lambda case: (
        'options projects and vo_projects of group '
        f'[subscription:{case.image.subscription}]',
    ),
}

#: What has to happen to a Glance image, whatever endorses its bytes.
_IMPORTS: Mapping[model.Reason, str] = {
    model.Reason.NOT_ENDORSED: (
        'a followed list that names these bytes; the endorser of the image '
        'decides that'
    ),
    model.Reason.NO_RECORD: (
        'an import through Glance: "hepix-vm publish", or the method '
        'glance-direct'
    ),
    model.Reason.RECORD_PENDING: 'the end of its import',
    model.Reason.RECORD_WITHDRAWN: (
        'a new import: "hepix-vm publish", or the method glance-direct under '
        'a new name'
    ),
}


def changes(
    decision: model.Decision,
    case: Case | None,
    blocked: tuple[str, ...],
) -> tuple[str, ...]:
    """What would change a decision.

    :param case: the endorsement that the decision is about, if any
    :param blocked: what of the image is blocked
    """
    if decision.code is model.Reason.BLOCKED:
        return tuple(
            f'"hepix-vm image unblock {target} --reason TEXT"'
            for target in blocked
        )
    if decision.code in _IMPORTS:
        return (_IMPORTS[decision.code],)
    change = _CHANGES.get(decision.code)
    if change is None or case is None:
        return (model.SENTENCES[decision.code],)
    return change(case)


def _time(seconds: int) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.strftime('%Y-%m-%dT%H:%M:%SZ')
