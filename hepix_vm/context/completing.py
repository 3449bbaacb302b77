# SPDX-License-Identifier: Apache-2.0
"""What Nova does not say of an instance: who endorsed its image, and so on.

From the memory of this process; see the catalogue's reader and
:mod:`hepix_vm.context.site_state`.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Protocol

from hepix_vm.catalogue import endorsed
from hepix_vm.catalogue import hosts as hosts_
from hepix_vm.catalogue import model
from hepix_vm.context import facts as facts_
from hepix_vm.context import identities
from hepix_vm.context import identity


class Catalogue(Protocol):
    """The part of :class:`hepix_vm.catalogue.reader.Reader` that is used."""

    def snapshot(self, wait: bool) -> model.Snapshot:
        """What is in memory."""


@dataclasses.dataclass(frozen=True, slots=True)
class Completing:
    """Asks Nova and adds the rest.

    :param ask: what Nova says
    :param catalogue: who endorsed which image
    :param hosts: what is known of hosts, by name
    :param needed: whether it matters who endorsed an image: then an instance
        is told to come again while the catalogue has never answered, rather
        than get a part of its context
    :param clock: UNIX seconds
    """

    ask: identities.Ask
    catalogue: Catalogue
    hosts: Callable[[], Mapping[str, hosts_.Host]]
    needed: Callable[[], bool]
    clock: Callable[[], float]

    def asked(self, uuids: Sequence[str]) -> Mapping[str, identities.Answer]:
        """As :data:`identities.Ask`.

        :raises Exception: whatever ``ask`` raises
        """
        answers = self.ask(uuids)
        return {
            uuid: answer
            if isinstance(answer, identity.Refusal)
            else self._completed(answer)
            for uuid, answer in answers.items()
        }

    def _completed(self, facts: facts_.Facts) -> identities.Answer:
        host = self.hosts().get(facts.host or '')
        if host is not None and facts.hypervisor_type is None:
            facts = dataclasses.replace(
                facts, hypervisor_type=host.hypervisor_type
            )
        if facts.image is None:
            return facts
        needed = self.needed()
        snapshot = self.catalogue.snapshot(wait=needed)
        if snapshot.answered_at is None and needed:
            return identity.Refusal(
                503,
                identity.Reason.CATALOGUE_AWAY,
                f'instance {facts.uuid}: the catalogue has not answered yet,'
                ' and layers of this site need to know who endorsed its image',
            )
        found = endorsed.of_image(
            snapshot, facts.image, facts.project, int(self.clock())
        )
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
