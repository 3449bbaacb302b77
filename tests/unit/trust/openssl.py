# SPDX-License-Identifier: Apache-2.0
"""The openssl command as a second opinion."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
import subprocess

from cryptography.hazmat.primitives import serialization
import pytest

from tests.assets import cases

needed = pytest.mark.skipif(
    shutil.which('openssl') is None, reason='there is no openssl command'
)
# A busy machine may take its time; nothing here takes longer alone.
_PATIENCE = 120


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What openssl says.

    :param text: its messages
    :param content: the content that it verified
    """

    accepted: bool
    text: str
    content: bytes | None


def verify(
    case: cases.Case, directory: pathlib.Path, *, command: str = 'cms'
) -> Verdict:
    """``openssl cms -verify`` with revocation checks all along the path."""
    pem = serialization.Encoding.PEM
    trusted = directory / 'trusted.pem'
    trusted.write_bytes(
        b''.join(
            value.public_bytes(pem) for value in (*case.anchors, *case.crls)
        )
    )
    message = directory / 'message'
    message.write_bytes(case.message)
    out = directory / 'content'
    done = subprocess.run(
        [
            'openssl',
            command,
            '-verify',
            '-in',
            message,
            '-CAfile',
            trusted,
            '-purpose',
            'any',
            '-crl_check',
            '-crl_check_all',
            '-attime',
            str(int(case.now.timestamp())),
            '-out',
            out,
        ],
        capture_output=True,
        timeout=_PATIENCE,
        check=False,
    )
    accepted = done.returncode == 0
    return Verdict(
        accepted,
        done.stderr.decode('utf-8', 'replace'),
        out.read_bytes() if accepted else None,
    )
