# SPDX-License-Identifier: Apache-2.0
"""Writes the operators' page of refusal codes from the table in the code.

``python -m tests.unit.trust.codes_page > doc/source/reference/``
``refusal-codes.rst`` after a change of ``hepix_vm.trust.codes``.
"""

from __future__ import annotations

import inspect
import re
import textwrap

from hepix_vm.trust import codes
from hepix_vm.trust import verifier

_HEAD = """\
=============
Refusal codes
=============

.. This page is written by ``python -m tests.unit.trust.codes_page``; a test
   compares it with the table in ``hepix_vm.trust.codes``.

A signed message or image list ends its verification with one of these
codes. They appear in the output of ``hepix-vm list verify`` and
``hepix-vm message verify``, in logs and in the state of a subscription. They
are stable: a code keeps its meaning from release to release.

The steps and their order
=========================

The first step that fails gives the code.

"""
_TABLE = """
What a code means and what to do
================================

In the order of the steps.

"""


def render() -> str:
    """The page as reStructuredText."""
    parts = [_HEAD, _steps(), _TABLE]
    for code in codes.Code:
        entry = codes.TABLE[code]
        parts.append(f'``{code.value}``\n')
        parts.append(_indented(entry.meaning))
        parts.append('\n')
        parts.append(_indented(f'*What to do:* {entry.remedy}'))
        parts.append('\n')
    return ''.join(parts).rstrip() + '\n'


def _indented(text: str) -> str:
    indent = '    '
    return (
        textwrap.fill(
            text,
            78,
            initial_indent=indent,
            subsequent_indent=indent,
            break_on_hyphens=False,
        )
        + '\n'
    )


def _steps() -> str:
    """The numbered steps of the verifier's docstring."""
    text = inspect.getdoc(verifier) or ''
    text = text.replace(
        ':func:`verify_message`', 'the verification of a message'
    )
    steps = re.findall(
        r'^ ?(\d+)\. (.*?)(?=^ ?\d+\. |^$)', text, re.MULTILINE | re.DOTALL
    )
    return ''.join(
        textwrap.fill(
            ' '.join(step.split()),
            78,
            initial_indent=f'{number}. ',
            subsequent_indent=' ' * (len(number) + 2),
            break_on_hyphens=False,
        )
        + '\n'
        for number, step in steps
    )


if __name__ == '__main__':
    print(render(), end='')
