# SPDX-License-Identifier: Apache-2.0
"""Import plugin hepix_verify; imports the standard library and taskflow."""

from __future__ import annotations

import importlib
from typing import Any

from taskflow.patterns import linear_flow

from hepix_vm.glance import flow


def get_flow(**kwargs: Any) -> linear_flow.Flow:
    """Glance's door to the plugin; never raises."""
    return flow.build('hepix_verify', _work, kwargs)


def _work(job: flow.ImportJob, file_path: str) -> None:
    glance = importlib.import_module('oslo_config.cfg').CONF
    check = importlib.import_module('hepix_vm.glance.check')
    check.verify(job, file_path, glance)
