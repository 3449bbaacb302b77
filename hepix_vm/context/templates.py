# SPDX-License-Identifier: Apache-2.0
"""Files with a few values of the instance in them; no code, no I/O.

A file ``NAME.in`` becomes ``NAME``. ``@variable@`` in it is replaced by the
value as one word of a shell, quoted where it needs it; a value that is not
known, or that has characters that cannot be printed, is the empty word
``''``. The set of variables is closed, and ``@word@`` of any other is an
error, so that a mistake is seen before a guest sees it.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import re
import shlex

from hepix_vm.context import archive
from hepix_vm.context import facts as facts_

#: How the names of templates end.
SUFFIX = '.in'

#: What templates may insert besides :data:`facts.NAMES` and the variables
#: of the site.
SERIAL = 'serial'

_PLACE = re.compile(rb'@([a-z][a-z0-9_]*)@')


@dataclasses.dataclass(frozen=True, slots=True)
class Template:
    """A file in pieces.

    :param texts: around the variables, one more than these
    :param variables: in the order of the file
    """

    texts: tuple[bytes, ...]
    variables: tuple[str, ...]

    def filled(self, values: Mapping[str, str]) -> bytes:
        """The file with these values; see :func:`values`."""
        pieces = [self.texts[0]]
        for name, text in zip(self.variables, self.texts[1:], strict=True):
            pieces += [word(values.get(name, '')), text]
        return b''.join(pieces)


def parse(
    content: bytes, variables: Mapping[str, str], source: str
) -> Template:
    """Take a template apart.

    :param variables: of the site
    :param source: its path, for the error
    :raises archive.BundleRefused: it names a variable that is not there
    """
    pieces = _PLACE.split(content)
    names = tuple(piece.decode() for piece in pieces[1::2])
    for number, name in enumerate(names):
        if name not in (*facts_.NAMES, SERIAL) and name not in variables:
            before = b''.join(pieces[: 2 * number + 1])
            raise archive.BundleRefused(
                f'site context {source}:{before.count(10) + 1}: @{name}@ is'
                ' no variable; expected one of'
                f' {", ".join((*facts_.NAMES, SERIAL, *variables))}'
            )
    return Template(tuple(pieces[::2]), names)


def values(
    known: Mapping[str, str], serial: int, variables: Mapping[str, str]
) -> dict[str, str]:
    """All values that a template can insert.

    :param known: see :func:`facts.known`
    :param variables: of the site
    """
    return {**variables, **known, SERIAL: str(serial)}


def word(value: str) -> bytes:
    """A value as one word of a shell."""
    return shlex.quote(value if value.isprintable() else '').encode()
