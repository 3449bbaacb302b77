# SPDX-License-Identifier: Apache-2.0
"""Requests to the services, and what their answers say."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from hepix_vm.catalogue import model
from tests.paths.table import At
from tests.paths.table import Outcome
from tests.paths.table import Verdict

_REFUSED = re.compile(r'is refused \(([a-z-]+)\): ')
#: Nova cuts a fault there.
_FAULT = 255


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """What came of a path.

    :ivar message: what the user read
    """

    verdict: Verdict
    message: str = ''


BOOTS = Seen(Verdict(Outcome.BOOTS))
PASSES = Seen(Verdict(Outcome.PASSES))


class Refused(Exception):
    """A service refused a request, which ends the path.

    :ivar seen: how
    """

    def __init__(self, seen: Seen) -> None:
        super().__init__(f'{seen.verdict}: {seen.message}')
        self.seen = seen


def reason(text: str) -> str | None:
    """The reason code of one of our messages, if it is a whole one."""
    found = _REFUSED.search(text)
    if found is None:
        return None
    code = found.group(1)
    sentence = model.SENTENCES.get(model.Reason(code), '')
    if sentence in text or len(text) >= _FAULT:
        return code
    return f'{code} without what it means'


def refusal(at: At, text: str, otherwise: str) -> Seen:
    """A refusal with our code, or with another one."""
    code = reason(text) or otherwise
    return Seen(Verdict(Outcome.REFUSED, at, code), text)


def body(answer: Any, at: At) -> Any:
    """The JSON of an answer; None where it has none.

    :raises Refused: for an HTTP error
    """
    if answer.status_code >= 400:
        text = answer.text
        raise Refused(refusal(at, text, f'HTTP {answer.status_code}'))
    return answer.json() if answer.content else None
