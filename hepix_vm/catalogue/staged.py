# SPDX-License-Identifier: Apache-2.0
"""The decision over bytes that are about to enter Glance.

Pure, like :mod:`hepix_vm.catalogue.model`. The bytes are endorsed
themselves, or this site has made them of endorsed ones without changing the
disk in them: then those are decided over, and a block of either holds.
"""

from __future__ import annotations

import dataclasses

from hepix_vm.catalogue import model


@dataclasses.dataclass(frozen=True, slots=True)
class Data:
    """Staged bytes.

    :ivar sha512: lower-case hexadecimal digits
    :ivar size: bytes
    :ivar named: SHA-512 of the endorsed bytes that publishing says these
        are; None: nobody says anything
    """

    sha512: str
    size: int
    named: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Staged:
    """What was decided.

    :ivar sha512: of the endorsed bytes that it was decided over, with
        :ivar:`size`
    :ivar step: how the staged bytes were made of them; '': they are these
    """

    decision: model.Decision
    sha512: str
    size: int
    step: str = ''


#: Refusals of the staged bytes themselves that no origin outweighs.
_FINAL = frozenset(
    {
        model.Reason.STORE_UNAVAILABLE,
        model.Reason.CLOCK,
        model.Reason.BLOCKED,
        model.Reason.REVOKED,
    }
)


def decide(
    snapshot: model.Snapshot,
    data: Data,
    project: str | None,
    now: int,
    reader_max_age: int,
) -> Staged:
    """Whether these bytes may be imported, and as which endorsed bytes.

    Where publishing names the endorsed bytes they alone count, so that what
    ends their endorsement ends the image.

    :param project: project id; None asks for the bytes in general
    :param reader_max_age: seconds since the store last answered
    """
    subject = f'image data {model.short(data.sha512)}'

    def over(sha512: str, size: int) -> model.Decision:
        return model.decide_bytes(
            snapshot, sha512, size, project, now, reader_max_age, subject
        )

    themselves = Staged(over(data.sha512, data.size), data.sha512, data.size)
    if data.named == data.sha512 or themselves.decision.code in _FINAL:
        return themselves
    origins = [
        made
        for made in snapshot.derived.get(data.sha512, ())
        if made.size == data.size
        and (data.named is None or made.sha512 == data.named)
    ]
    decided = [
        Staged(
            over(made.sha512, made.origin_size),
            made.sha512,
            made.origin_size,
            made.step,
        )
        for made in origins
    ]
    if data.named is not None:
        return decided[0] if decided else _not_known(data, subject)
    choice = [themselves, *decided]
    approved = [one for one in choice if one.decision.approved]
    known = [
        one
        for one in choice
        if one.decision.code is not model.Reason.NOT_ENDORSED
    ]
    return (approved or known or choice)[0]


def _not_known(data: Data, subject: str) -> Staged:
    return Staged(
        model.refused(
            model.Reason.NOT_ENDORSED,
            subject,
            f'it is not known to be made of {model.short(data.named or "")}',
        ),
        data.sha512,
        data.size,
    )
