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
        awaited = list(facts.awaited)
        kind, by = facts.hypervisor_type, None
        if facts.host is None:
            # A machine that asks is on some host, whoever may see that.
            awaited.append('host')
        elif kind is None:
            host = self.hosts().get(facts.host)
            kind = None if host is None else host.hypervisor_type
        if kind is None:
            awaited.append('hypervisor_type')
        if facts.image is not None:
            snapshot = self.catalogue.snapshot(wait=False)
            if snapshot.answered_at is None:
                awaited += facts_.ENDORSED
            else:
                by = endorsed.of_image(
                    snapshot, facts.image, facts.project, int(self.clock())
                )
        return dataclasses.replace(
            facts,
            hypervisor_type=kind,
            endorsed=None if by is None else _endorsed(by),
            awaited=tuple(awaited),
        )


def _endorsed(by: endorsed.Endorsed) -> facts_.Endorsed:
    return facts_.Endorsed(
        endorser=by.subscribed.endorser,
        list=by.subscribed.list_identifier,
        vo=by.endorsement.vo,
        identifier=by.endorsement.identifier,
    )
