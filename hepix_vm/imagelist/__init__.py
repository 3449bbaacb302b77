# SPDX-License-Identifier: Apache-2.0
"""HEPiX image lists as frozen values: :func:`parse` and :func:`render`.

Both dialects are read and written: the one of the HEPiX Virtualisation
Working Group's tools and the one of EGI's Applications Database (AppDB).
Nothing here judges whether a list may be believed; that is the task of
``hepix_vm.trust``. ``doc/source/reference/image-list.rst`` holds the rules.
"""

from hepix_vm.imagelist.model import DEFAULT_LIMITS
from hepix_vm.imagelist.model import Dialect
from hepix_vm.imagelist.model import Endorser
from hepix_vm.imagelist.model import ImageEntry
from hepix_vm.imagelist.model import ImageList
from hepix_vm.imagelist.model import JSON
from hepix_vm.imagelist.model import Limits
from hepix_vm.imagelist.model import Problem
from hepix_vm.imagelist.reading import parse
from hepix_vm.imagelist.versions import version_key
from hepix_vm.imagelist.writing import render

__all__ = (
    'DEFAULT_LIMITS',
    'JSON',
    'Dialect',
    'Endorser',
    'ImageEntry',
    'ImageList',
    'Limits',
    'Problem',
    'parse',
    'render',
    'version_key',
)
