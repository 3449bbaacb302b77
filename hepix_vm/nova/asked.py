# SPDX-License-Identifier: Apache-2.0
"""What Nova's databases say of a server that a scheduler is to place."""

from __future__ import annotations

from nova import context
from nova import exception
from nova import objects
from oslo_log import log

from hepix_vm.nova import request

LOG = log.getLogger(__name__)


def server(server_id: str | None, rebuild: bool) -> request.Server:
    """What is known of a server; never raises.

    While a server is new Nova keeps a *build request* of it, with all its
    disks. It maps the server to a cell when it has placed it for the first
    time. What cannot be found out is left unknown, of a server that counts
    as new.

    :param server_id: its UUID
    :param rebuild: whether to look for the kernel of a server that exists
    """
    if not server_id:
        return request.Server()
    try:
        return _server(server_id, rebuild)
    except Exception:
        LOG.exception('server %s: Nova cannot say what it is', server_id)
        return request.Server()


def _server(server_id: str, rebuild: bool) -> request.Server:
    admin = context.get_admin_context()
    try:
        build = objects.BuildRequest.get_by_instance_uuid(admin, server_id)
    except exception.BuildRequestNotFound:
        return _existing(admin, server_id, rebuild)
    return request.Server(
        devices=request.devices(build.block_device_mappings),
        kernel=request.kernel(build.instance),
    )


def _existing(
    admin: context.RequestContext, server_id: str, rebuild: bool
) -> request.Server:
    try:
        mapping = objects.InstanceMapping.get_by_instance_uuid(
            admin, server_id
        )
    except exception.InstanceMappingNotFound:
        # Deleted. Others of the same request may go on, unseen.
        return request.Server()
    if mapping.cell_mapping is None:
        return request.Server()
    if not rebuild:
        return request.Server(exists=True)
    # Nova has written the new image's kernel into the server already.
    with context.target_cell(admin, mapping.cell_mapping) as cell:
        instance = objects.Instance.get_by_uuid(
            cell, server_id, expected_attrs=[]
        )
        return request.Server(exists=True, kernel=request.kernel(instance))
