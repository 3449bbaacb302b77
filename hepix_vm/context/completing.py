# SPDX-License-Identifier: Apache-2.0
"""What Nova does not say of an instance: who endorsed its image, and so on.

From the memory of this process; see the catalogue's reader and
:mod:`hepix_vm.context.site_state`.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
from typing import Protocol

from hepix_vm.catalogue import endorsed
from hepix_vm.catalogue import hosts as hosts_
from hepix_vm.catalogue import model
from hepix_vm.context import facts as facts_
from hepix_vm.context import identities


class Catalogue(Protocol):
    """The part of :class:`hepix_vm.catalogue.reader.Reader` that is used."""

    def snapshot(self, wait: bool) -> model.Snapshot:
        """What is in memory."""


@dataclasses.dataclass(frozen=True, slots=True)
class Completing:
    """Adds the rest to what Nova says.

    :param catalogue: who endorsed which image
    :param hosts: what is known of hosts, by name
    :param needed: whether it matters who endorsed an image: then the
        catalogue is waited for while it has never answered, once an answer
        of Nova
    :param clock: UNIX seconds
    """

    catalogue: Catalogue
    hosts: Callable[[], Mapping[str, hosts_.Host]]
    needed: Callable[[], bool]
    clock: Callable[[], float]

    def awaited(
        self, answers: Mapping[str, identities.Answer]
    ) -> Mapping[str, identities.Answer]:
        """Answers of Nova, once what completes them can be told."""
        if any(
            isinstance(answer, facts_.Facts) and answer.image is not None
            for answer in answers.values()
        ):
            self.catalogue.snapshot(wait=self.needed())
        return answers

    def completed(self, facts: facts_.Facts) -> facts_.Facts:
        """All that is known of an instance now; waits for nothing."""
        facts = _hosted(facts, self.hosts())
        if facts.image is None:
            return facts
        snapshot = self.catalogue.snapshot(wait=False)
        return _endorsed(facts, facts.image, snapshot, int(self.clock()))


def _hosted(
    facts: facts_.Facts, hosts: Mapping[str, hosts_.Host]
) -> facts_.Facts:
    if facts.host is None or facts.hypervisor_type is not None:
        return facts
    host = hosts.get(facts.host)
    if host is None or host.hypervisor_type is None:
        return dataclasses.replace(
            facts, awaited=(*facts.awaited, 'hypervisor_type')
        )
    return dataclasses.replace(facts, hypervisor_type=host.hypervisor_type)


def _endorsed(
    facts: facts_.Facts, image: str, snapshot: model.Snapshot, now: int
) -> facts_.Facts:
    if snapshot.answered_at is None:
        return dataclasses.replace(
            facts, awaited=(*facts.awaited, *facts_.ENDORSED)
        )
    found = endorsed.of_image(snapshot, image, facts.project, now)
    if found is None:
        return facts
    return dataclasses.replace(
        facts,
        endorsed=facts_.Endorsed(
            endorser=found.subscribed.endorser,
            list=found.subscribed.list_identifier,
            vo=found.endorsement.vo,
            identifier=found.endorsement.identifier,
        ),
    )
