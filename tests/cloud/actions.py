# SPDX-License-Identifier: Apache-2.0
"""What users do with a cloud, each as one call, and waiting for the result."""

import hashlib
import hmac
import io
from typing import Any

from novaclient import exceptions as nova_exceptions

from tests.cloud import cloud as clouds
from tests.cloud import errors
from tests.cloud import waits

LIMIT = 600.0
#: Property of an image while Glance imports into it.
LOCK = 'os_glance_import_task'
#: Properties on both sides of it in the alphabet, for images that are imported
#: at the same time. Between images without any MariaDB locks the gap in the
#: index in which both locks are to be: a deadlock, and one import gets 500.
APART = {'made_by': 'tests', 'under_test': 'yes'}


def stage(
    glance: Any,
    name: str,
    data: bytes,
    *,
    disk_format: str = 'raw',
    **properties: str,
) -> str:
    """Create an image, stage its bytes and return its id."""
    image = glance.images.create(
        name=name,
        disk_format=disk_format,
        container_format='bare',
        **properties,
    )
    glance.images.stage(image.id, io.BytesIO(data))
    return str(image.id)


def stage_and_import(
    glance: Any, name: str, data: bytes, **properties: str
) -> str:
    """Import bytes by ``glance-direct`` and return the image's id at once."""
    image_id = stage(glance, name, data, **properties)
    glance.images.image_import(image_id, method='glance-direct')
    return image_id


def _last_task(glance: Any, image_id: str) -> dict[str, Any]:
    tasks: list[dict[str, Any]] = glance.images.get_associated_image_tasks(
        image_id
    )['tasks']
    return max(tasks, key=lambda task: str(task['created_at']), default={})


def task_message(glance: Any, image_id: str) -> str:
    """Return what the last task of an image tells the user, or nothing."""
    return str(_last_task(glance, image_id).get('message') or '')


def task_status(glance: Any, image_id: str) -> str:
    """Return the status of an image's last task: success, failure, ..."""
    return str(_last_task(glance, image_id).get('status') or '')


def wait_for_import(
    cloud: clouds.Cloud, glance: Any, image_id: str, limit: float = LIMIT
) -> bool:
    """Wait until an import has ended; say whether the image is active.

    It is so before: until the end Glance may undo what others change, and
    refuses the next import.

    :raises errors.NotReady: at the limit, with the log of glance
    """

    def ended() -> Any | None:
        status = task_status(glance, image_id)
        if status not in ('success', 'failure'):
            return None
        image = glance.images.get(image_id)
        return None if status == 'success' and LOCK in image else image

    image = waits.until(
        f'the import of {image_id} to end',
        ended,
        limit,
        log=cloud.log('glance'),
    )
    return bool(image.status == 'active')


def wait_for_image(
    cloud: clouds.Cloud,
    glance: Any,
    image_id: str,
    status: str = 'active',
    limit: float = LIMIT,
) -> Any:
    """Wait for an image's status and return the image.

    :raises errors.NotReady: at the limit, with the log of glance
    """

    def reached() -> Any | None:
        image = glance.images.get(image_id)
        return image if image.status == status else None

    return waits.until(
        f'image {image_id} to be {status}',
        reached,
        limit,
        log=cloud.log('glance'),
    )


def boot(
    nova: Any, name: str, image_id: str, flavor: str = clouds.FLAVOR
) -> str:
    """Ask for a server without networks and return its id at once."""
    server = nova.servers.create(
        name,
        image_id,
        nova.flavors.find(name=flavor),
        nics='none',
    )
    return str(server.id)


def fault(server: Any) -> str:
    """Return what nova says about a failed server, or nothing."""
    return str(getattr(server, 'fault', {}).get('message', ''))


def unexplained(server: Any) -> bool:
    """Say whether nova has still to tell why a server has failed.

    It notes the reason a moment after the status.
    """
    return bool(server.status == 'ERROR' and not fault(server))


def wait_for_server(
    cloud: clouds.Cloud,
    nova: Any,
    server_id: str,
    status: str = 'ACTIVE',
    limit: float = LIMIT,
) -> Any:
    """Wait for a server's status and return the server.

    :raises errors.CloudError: when it goes to ERROR instead, with its fault
    :raises errors.NotReady: at the limit, with the log of nova-compute
    """

    def reached() -> Any | None:
        server = nova.servers.get(server_id)
        if unexplained(server):
            return None
        if server.status == status:
            return server
        if server.status == 'ERROR':
            raise errors.CloudError(
                f'server {server_id} is in ERROR, not {status}: '
                f'{fault(server)}'
            )
        return None

    return waits.until(
        f'server {server_id} to be {status}',
        reached,
        limit,
        log=cloud.log('nova-compute'),
    )


def shelve_server(
    cloud: clouds.Cloud, nova: Any, server_id: str, limit: float = LIMIT
) -> None:
    """Shelve a server and wait until it has left its host.

    Nova refuses that while it makes an image of the server, which it does
    for a moment after the image is active; and it calls the server offloaded
    a moment before it takes the host's name from it.

    :raises errors.NotReady: at the limit, with the log of nova-compute
    """
    admin = cloud.nova()

    def told(name: str) -> Any:
        server = admin.servers.get(server_id)
        # Of a server whose database is slow to answer nova tells little.
        return getattr(server, f'OS-EXT-{name}', 'not told')

    log = cloud.log('nova-compute')
    waits.until(
        f'server {server_id} to be at rest',
        lambda: told('STS:task_state') is None,
        limit,
        log=log,
    )
    nova.servers.shelve(server_id)
    wait_for_server(cloud, nova, server_id, 'SHELVED_OFFLOADED', limit)
    waits.until(
        f'server {server_id} to be on no host',
        lambda: not told('SRV-ATTR:host'),
        limit,
        log=log,
    )


def delete_server(
    cloud: clouds.Cloud, nova: Any, server_id: str, limit: float = LIMIT
) -> None:
    """Delete a server and wait until it is gone.

    :raises errors.NotReady: at the limit, with the log of nova-compute
    """

    def gone() -> bool:
        try:
            nova.servers.get(server_id)
        except nova_exceptions.NotFound:
            return True
        return False

    nova.servers.delete(server_id)
    waits.until(
        f'server {server_id} to be gone',
        gone,
        limit,
        log=cloud.log('nova-compute'),
    )


def metadata_headers(
    cloud: clouds.Cloud, server_id: str, project_id: str
) -> dict[str, str]:
    """Return the headers that neutron's proxy puts on a server's request."""
    signature = hmac.new(
        cloud.metadata_secret.encode(), server_id.encode(), hashlib.sha256
    )
    return {
        'X-Forwarded-For': '10.0.0.2',
        'X-Instance-ID': server_id,
        'X-Instance-ID-Signature': signature.hexdigest(),
        'X-Tenant-ID': project_id,
    }
