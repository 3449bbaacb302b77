# SPDX-License-Identifier: Apache-2.0
"""The parts of hepix_vm in a cloud, configured as the README says."""

import pathlib

from tests.cloud import options as opts
from tests.cloud import supervisor

CHECKOUT = supervisor.ROOT


def hepix_cloud_options(work: pathlib.Path) -> opts.CloudOptions:
    """Return the options of a cloud that has every part of hepix_vm.

    :param work: the cloud's work directory, for files of ours in it
    """
    del work
    return opts.CloudOptions(
        checkout=None,
        import_plugins=(),
        scheduler_filters=(),
        context_app=None,
        glance_policy={},
        extra={},
        environment={},
    )
