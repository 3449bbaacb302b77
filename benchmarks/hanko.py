# SPDX-License-Identifier: Apache-2.0
"""Verifies one message with pyHanko, once for each line that comes in.

Run as a program by a Python that has pyHanko, and not hepix_vm: ``hanko.py
ANCHORS CONTENT SIGNATURE TIME``. It answers every line with ``ok`` or why not.
Anchors, CRLs and the message are read beforehand, and MIME is not asked for:
what is measured is the signature, the path and the CRLs.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import pathlib
import sys

from asn1crypto import cms
from asn1crypto import crl
from asn1crypto import pem
from asn1crypto import x509
from pyhanko.sign import validation
from pyhanko.sign.validation import generic_cms
from pyhanko_certvalidator import ValidationContext


def _read(folder: pathlib.Path, suffix: str) -> list[bytes]:
    return [
        pem.unarmor(path.read_bytes())[2]
        for path in sorted(folder.glob(f'*{suffix}'))
        if not path.is_symlink()
    ]


def main(anchors: str, content: str, signature: str, moment: str) -> None:
    """Read what is needed, then answer."""
    folder = pathlib.Path(anchors)
    loaded = [x509.Certificate.load(der) for der in _read(folder, '.0')]
    lists = [crl.CertificateList.load(der) for der in _read(folder, '.r0')]
    roots = [one for one in loaded if one.self_issued]
    signed = pathlib.Path(content).read_bytes()
    der = pathlib.Path(signature).read_bytes()
    now = datetime.datetime.fromisoformat(moment)
    usage = validation.KeyUsageConstraints(key_usage={'digital_signature'})

    async def verify() -> str:
        # Both keep what they found out, and a list is verified once.
        structure = cms.ContentInfo.load(der)['content']
        context = ValidationContext(
            trust_roots=roots,
            other_certs=loaded,
            crls=lists,
            revocation_mode='require',
            moment=now,
        )
        status = await generic_cms.async_validate_detached_cms(
            signed, structure, context, key_usage_settings=usage
        )
        good = status.intact and status.valid and status.trusted
        return 'ok' if good else status.summary()

    loop = asyncio.new_event_loop()
    for _ in sys.stdin:
        print(loop.run_until_complete(verify()), flush=True)


if __name__ == '__main__':
    logging.disable(logging.CRITICAL)
    main(*sys.argv[1:])
