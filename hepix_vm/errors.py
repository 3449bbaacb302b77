# SPDX-License-Identifier: Apache-2.0
"""Every error of hepix_vm, grouped by who must act.

=================  ==================================================
:class:`NotBelieved`    nobody here: the evidence is refused as it is
:class:`TryAgain`       nobody: the next run may find the peer well
:class:`Misconfigured`  the operator edits a file or an argument
:class:`LocalFault`     the operator looks at a disk or a database
=================  ==================================================

A message names what was wrong, where, what was expected, what was found
and what to do, in one line.
"""

from __future__ import annotations

from collections.abc import Mapping


class HepixError(Exception):
    """Base of all errors that hepix_vm raises on purpose."""


class NotBelieved(HepixError):
    """What was presented is refused; trying again changes nothing."""


class TryAgain(HepixError):
    """A peer is away, slow or busy; state is kept as it was."""


class AskedToWait(TryAgain):
    """A peer is busy and said for how long.

    :param seconds: that it asks to wait
    """

    def __init__(self, message: str, seconds: int) -> None:
        super().__init__(message)
        self.seconds = seconds


class LeaseLost(TryAgain):
    """Another process has taken over; ours must not write any more."""


class Misconfigured(HepixError):
    """A file, an option or an argument must be edited."""


class LocalFault(HepixError):
    """A disk or database of this machine needs a look."""


class Refused(NotBelieved):
    """A signed message or its list is not accepted.

    :param code: one stable code of ``hepix_vm.trust.codes``
    :param detail: one sentence for a person
    :param values: what disagreed, by name (``expected``, ``found`` ...)
    """

    def __init__(
        self,
        code: str,
        detail: str,
        values: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.values = dict(values or {})


class InvalidList(NotBelieved):
    """A payload is not an image list.

    :param path: JSON path of the place, ``$`` for the whole document
    :param expected: what should stand there
    :param found: what stands there, shortened
    """

    def __init__(self, path: str, expected: str, found: str) -> None:
        super().__init__(f'at {path}: expected {expected}, found {found}')
        self.path = path
        self.expected = expected
        self.found = found
