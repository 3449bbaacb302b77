# SPDX-License-Identifier: Apache-2.0
"""Writes the table of every case beside the verdicts of other verifiers.

``python -m tests.unit.trust.results_page`` prints the page
``doc/source/reference/trust-results.rst``. Needed are the ``openssl``
command and, for its column, the package pyHanko, which is no requirement
of anything else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
import logging
import pathlib
import signal
import tempfile

from cryptography.hazmat.primitives import serialization

from hepix_vm import errors
from hepix_vm import trust
from hepix_vm.trust import mime
from tests.assets import attacks_on_content
from tests.assets import attacks_on_path
from tests.assets import cases
from tests.assets import encodings
from tests.unit.trust import judging
from tests.unit.trust import openssl

_HEAD = """\
=============
Trust results
=============

.. This page is written by ``python -m tests.unit.trust.results_page``; a test
   compares the column of our verdicts.

Every message of ``tests/assets``, what hepix_vm says of it, and what others
say of the same bytes with the same anchors, revocation lists and time:
``openssl cms -verify -purpose any -crl_check -crl_check_all`` (OpenSSL 3.0)
and pyHanko 0.38 (asked for the signature, the path and hard revocation
checks; it has no reader for S/MIME, so it gets the parts that ours found;
"no parts" where ours found none; "no answer" where it took longer than 20 s).

Both are general tools: that they accept a message which breaks a rule of this
project (a pin, a subscribed endorser, a namespace, one signer only) is no
fault of theirs.

"""


_PATIENCE = 20  # seconds


def _registers() -> Iterator[tuple[str, cases.Register]]:
    yield 'Encodings of the wild', encodings.ENCODINGS
    yield (
        'Attacks on content, structure and payload',
        (attacks_on_content.ATTACKS),
    )
    yield 'Attacks on signer, path and revocation', attacks_on_path.ATTACKS


def render() -> str:
    """The page as reStructuredText."""
    parts = [_HEAD]
    with tempfile.TemporaryDirectory() as folder:
        for title, register in _registers():
            parts.append(f'{title}\n{"=" * len(title)}\n\n')
            parts.append(
                '.. csv-table::\n'
                '   :header: message, hepix_vm, openssl, pyHanko\n'
                '   :widths: 55, 20, 12, 13\n\n'
            )
            for name, maker in register.items():
                row = _row(maker(), pathlib.Path(folder))
                parts.append(f'   {told(name)}, {row}\n')
            parts.append('\n')
    return ''.join(parts).rstrip() + '\n'


def told(name: str) -> str:
    """A case's name in words."""
    return name.replace('_', ' ')


def _row(case: cases.Case, folder: pathlib.Path) -> str:
    second = 'accepted' if openssl.verify(case, folder).accepted else 'refused'
    return f'{judging.code_of(case)}, {second}, {_hanko(case)}'


def _hanko(case: cases.Case) -> str:
    try:
        envelope = mime.open_envelope(case.message, trust.Limits())
    except errors.Refused:
        return 'no parts'
    signal.alarm(_PATIENCE)
    try:
        accepted = asyncio.run(_ask_hanko(envelope, case))
    except Exception:  # noqa: BLE001 - whatever it says that is not yes
        # The alarm may come out as an error of its own.
        accepted = False
    late = not signal.alarm(0)
    return 'no answer' if late else 'accepted' if accepted else 'refused'


def _too_late(_signal: int, _frame: object) -> None:
    raise TimeoutError


async def _ask_hanko(envelope: mime.Envelope, case: cases.Case) -> bool:
    from asn1crypto import cms
    from asn1crypto import x509
    from pyhanko.sign import validation
    from pyhanko.sign.validation import generic_cms
    from pyhanko_certvalidator import ValidationContext

    der = serialization.Encoding.DER
    loaded = [
        x509.Certificate.load(value.public_bytes(der))
        for value in case.anchors
    ]
    structure = cms.ContentInfo.load(envelope.signature)['content']
    contents = list(envelope.candidates())
    if envelope.part is None:
        contents = [structure['encap_content_info']['content'].native]
    for content in contents:
        status = await generic_cms.async_validate_detached_cms(
            content,
            structure,
            ValidationContext(
                trust_roots=[c for c in loaded if c.self_issued],
                other_certs=loaded,
                crls=[crl.public_bytes(der) for crl in case.crls],
                revocation_mode='require',
                moment=case.now,
            ),
            key_usage_settings=validation.KeyUsageConstraints(),
        )
        if status.intact and status.valid and status.trusted:
            return True
    return False


if __name__ == '__main__':
    signal.signal(signal.SIGALRM, _too_late)
    logging.disable(logging.CRITICAL)
    print(render(), end='')
