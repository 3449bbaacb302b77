# SPDX-License-Identifier: Apache-2.0
"""What one machine makes of a site directory: ``python digests.py DIRECTORY``.

Prints the SHA-256 of every form as JSON. Needs hepix_vm and PyYAML alone, so
that any Python on the machine can be asked.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import sys
import zlib

from hepix_vm.context import facts
from hepix_vm.context import forms
from hepix_vm.context import iso
from hepix_vm.context import site as site_
from hepix_vm.context import variants

FACTS = facts.Facts(
    '0b7c8f7e-5ad6-4bd0-9d8e-3f1c2b7a6a11',
    'a5c1',
    availability_zone='nova',
    host='wn1',
    flavor='m1.large',
)


def made(top: pathlib.Path) -> dict[str, str]:
    """Digests by form, and the zlib that compressed some of them."""
    site = site_.read_directory(top)
    variant = variants.compose(site, FACTS)
    tgz = variant.bundle.tgz
    found = {
        'site': site.sha256,
        'tar': variant.bundle.sha256_tar,
        'manifest': _sha256(variant.manifest),
        'iso': _sha256(iso.image(variant, b'signature')),
        'tgz': _sha256(tgz),
        'zip': _sha256(forms.pkzip(tgz)),
        'b64': _sha256(forms.base64(tgz)),
    }
    return {**found, 'zlib': zlib.ZLIB_RUNTIME_VERSION}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


if __name__ == '__main__':
    print(json.dumps(made(pathlib.Path(sys.argv[1]))))
