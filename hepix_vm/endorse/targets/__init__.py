# SPDX-License-Identifier: Apache-2.0
"""Where lists and images are put for subscribers to fetch.

==============================  ==========================================
``/PATH``, ``file:///PATH``     a directory that a web server serves
``davs://HOST/PATH``            WebDAV over https (``dav://`` over http)
``https://HOST/PATH``           plain HTTP PUT (``http://`` too)
``s3://BUCKET/PREFIX``          an S3-compatible object store
``oci://HOST/REPOSITORY:TAG``   an OCI registry (``oci+http://`` over http)
==============================  ==========================================
"""

from hepix_vm.endorse.targets.choosing import choose
from hepix_vm.endorse.targets.interface import Access
from hepix_vm.endorse.targets.interface import Layer
from hepix_vm.endorse.targets.interface import Progress
from hepix_vm.endorse.targets.interface import Target
from hepix_vm.endorse.targets.interface import Upload

__all__ = ('Access', 'Layer', 'Progress', 'Target', 'Upload', 'choose')
