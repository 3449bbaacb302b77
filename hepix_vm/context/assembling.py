# SPDX-License-Identifier: Apache-2.0
"""The parts that serve the context, put together; nothing is opened yet."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import time

from hepix_vm.catalogue import reader
from hepix_vm.context import answering
from hepix_vm.context import application
from hepix_vm.context import asking
from hepix_vm.context import audit
from hepix_vm.context import completing
from hepix_vm.context import facts as facts_
from hepix_vm.context import features
from hepix_vm.context import following
from hepix_vm.context import identities
from hepix_vm.context import identity
from hepix_vm.context import prepared
from hepix_vm.context import served
from hepix_vm.context import site_state


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """Everything that serving needs to know.

    :param signing_key: PEM; None: nothing is signed
    :param most: requests at work at once in a process
    """

    context: served.ContextSettings
    variants: prepared.Settings
    signing_key: bytes | None = dataclasses.field(repr=False)
    identities: identities.Settings
    reader: reader.ReaderSettings
    features: features.Settings
    state: site_state.Settings
    audit: audit.Settings
    most: int


def parts(
    settings: Settings,
    ask: identities.Ask,
    identify: identity.Identify,
    changes: identities.Changes | None = None,
) -> application.Parts:
    """What an application is made of.

    Threads are started by the first request, or after a fork in each child.

    :param ask: what Nova says of instances
    :param changes: what Nova says of those that have changed, where that is
        to be looked at
    :raises errors.Misconfigured: the signing key cannot be used
    """
    site = served.ServedSite(settings.context)
    state = site_state.SiteState(settings.state)
    sign = prepared.signer(settings.signing_key)

    def needed() -> bool:
        found = site.current(time.monotonic())
        return found is not None and prepared.needs_endorsement(found)

    completing_ = completing.Completing(
        catalogue=reader.shared(settings.reader),
        hosts=lambda: state.current().hosts,
        needed=needed,
        clock=time.time,
    )
    told = _told(settings, ask, changes, completing_)

    def facts_of(
        instance: identity.Instance, now: float, at_most: float
    ) -> identities.Answer:
        answer = told(instance, now, at_most)
        if isinstance(answer, facts_.Facts):
            return completing_.completed(answer)
        return answer

    def features_of(
        what: asking.What, facts: facts_.Facts
    ) -> Mapping[str, str] | identity.Refusal:
        snapshot = state.current()
        if not snapshot.looked:
            return identity.Refusal(
                503,
                identity.Reason.FEATURES_NOT_READ,
                'orders to end have not been read since this process began:'
                ' it has just done so, or the catalogue does not answer',
            )
        tell = (
            features.machine if what is asking.What.MACHINE else features.job
        )
        return tell(facts, snapshot, settings.features, int(time.time()))

    # Read once before the first guest asks, so that a problem is in the log
    # from the start.
    site.current(time.monotonic())
    reader.shared(settings.reader).begin()
    state.begin()
    return application.Parts(
        identify=identify,
        facts_of=facts_of,
        variant_of=prepared.Variants(
            site.current, settings.variants, sign
        ).variant_of,
        features_of=features_of,
        audit=audit.Audit(settings.audit),
        bound=answering.Bound(settings.most),
        refusal=(
            answering.REFUSAL_BEHIND_NEUTRON
            if settings.variants.neutron
            else b''
        ),
    )


def _told(
    settings: Settings,
    ask: identities.Ask,
    changes: identities.Changes | None,
    whole: completing.Completing,
) -> Callable[[identity.Instance, float, float], identities.Answer]:
    """What Nova says of an instance."""
    known = identities.Identities(
        lambda uuids: whole.awaited(ask(uuids)), settings.identities
    )
    if changes is None:
        return known.facts_of
    found = changes
    return following.Following(
        known, lambda back: map(whole.awaited, found(back))
    ).facts_of
