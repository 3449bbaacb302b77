# SPDX-License-Identifier: Apache-2.0
"""Writes every case as files, to try a verifier by hand.

``python -m tests.assets DIRECTORY`` makes a folder for each case with
``message``, the anchor directory ``anchors`` and ``expected.json``: verdict,
time of the verification and the knobs that differ from the defaults.
"""

from __future__ import annotations

import json
import pathlib
import sys

from cryptography.hazmat.primitives import serialization
from OpenSSL import crypto

from tests.assets import attacks_on_content
from tests.assets import attacks_on_path
from tests.assets import cases
from tests.assets import encodings


def write(case: cases.Case, folder: pathlib.Path) -> None:
    """One case as files."""
    pem = serialization.Encoding.PEM
    anchors = folder / 'anchors'
    anchors.mkdir(parents=True)
    folder.joinpath('message').write_bytes(case.message)
    for value in case.anchors:
        stem = crypto.X509.from_cryptography(value).subject_name_hash()
        path = _free(anchors, f'{stem:08x}.')
        path.write_bytes(value.public_bytes(pem))
    for number, crl in enumerate(case.crls):
        anchors.joinpath(f'00000000.r{number}').write_bytes(
            crl.public_bytes(pem)
        )
    if case.signing_policies:
        # Each CA finds its own entry in the file of its hash.
        text = '\n'.join(case.signing_policies)
        for stem in {path.stem for path in anchors.glob('*.[0-9]')}:
            anchors.joinpath(f'{stem}.signing_policy').write_text(text)
    expected = {
        'code': case.code,
        'command': 'list' if case.is_list else 'message',
        'at': case.now.isoformat(),
        'policy': {name: str(value) for name, value in case.policy.items()},
    }
    folder.joinpath('expected.json').write_text(
        json.dumps(expected, indent=4) + '\n'
    )


def _free(folder: pathlib.Path, stem: str) -> pathlib.Path:
    number = 0
    while folder.joinpath(f'{stem}{number}').exists():
        number += 1
    return folder / f'{stem}{number}'


def main(target: pathlib.Path) -> None:
    """Every case under one folder."""
    for register in (
        encodings.ENCODINGS,
        attacks_on_content.ATTACKS,
        attacks_on_path.ATTACKS,
    ):
        for name, maker in register.items():
            write(maker(), target / name)


if __name__ == '__main__':
    if len(sys.argv) != 2:
        sys.exit('usage: python -m tests.assets DIRECTORY')
    main(pathlib.Path(sys.argv[1]))
