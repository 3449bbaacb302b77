# SPDX-License-Identifier: Apache-2.0
"""Our parts as their services call them, one function for each.

Each gives the refusal of an image as a text, '' for an approval. Nova and
Glance are no requirement of this package.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
import datetime
import importlib.util
import io
import json
from typing import Any

from oslo_config import cfg

from benchmarks import filled

Ask = Callable[[str], str]


def scheduler(host_conf: cfg.ConfigOpts) -> Ask:
    """The scheduler filter; what Nova's database says is here already."""
    from nova import exception
    from nova import objects

    from hepix_vm.nova import asked
    from hepix_vm.nova import filter as ours
    from hepix_vm.nova import request

    objects.register_all()
    there = request.Server(devices=(), kernel=('', ''))
    asked.server = lambda *_: there  # type: ignore[assignment]
    filtering = ours.HepixApprovedImageFilter(host_conf)
    host = object()

    def ask(image_id: str) -> str:
        spec = objects.RequestSpec(
            image=objects.ImageMeta(id=image_id, size=filled.SIZE),
            instance_uuid=image_id,
            project_id=filled.PROJECT,
            is_bfv=False,
        )
        try:
            filtering.filter_all([host], spec)
        except exception.NoValidHost as refusal:
            return str(refusal)
        return ''

    return ask


def api(host_conf: cfg.ConfigOpts) -> Ask:
    """The guard of Nova's API, before an application that answers at once."""
    guarded = guard(host_conf)

    def ask(image_id: str) -> str:
        return b''.join(guarded(boot_request(image_id), started)).decode()

    return ask


def guard(host_conf: cfg.ConfigOpts) -> Any:
    """The guard itself, as an application."""
    from hepix_vm.nova import guard as ours

    return ours.Guard(accepting, host_conf)


def accepting(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
    """Stands for Nova's API, which reads the body, too."""
    environ['wsgi.input'].read(int(environ['CONTENT_LENGTH']))
    start('202 Accepted', [])
    return [b'']


def started(status: str, headers: object, exc_info: object = None) -> None:
    """Takes an answer's head."""
    del status, headers, exc_info


def boot_request(image_id: str) -> dict[str, Any]:
    """``POST /servers`` of a member, as it comes behind keystonecontext."""
    from nova import context

    body = json.dumps(
        {
            'server': {
                'name': 'a server',
                'imageRef': image_id,
                'flavorRef': '1',
                'networks': 'auto',
            }
        }
    ).encode()
    return {
        'REQUEST_METHOD': 'POST',
        'SCRIPT_NAME': '/v2.1',
        'PATH_INFO': '/servers',
        'QUERY_STRING': '',
        'SERVER_NAME': 'localhost',
        'SERVER_PORT': '80',
        'SERVER_PROTOCOL': 'HTTP/1.1',
        'CONTENT_TYPE': 'application/json',
        'CONTENT_LENGTH': str(len(body)),
        'wsgi.input': io.BytesIO(body),
        'wsgi.url_scheme': 'http',
        'nova.context': context.RequestContext(
            'user', filled.PROJECT, is_admin=False, overwrite=False
        ),
    }


def glance(host_conf: cfg.ConfigOpts) -> Ask:
    """The check that Glance's policy asks before it gives out data."""
    from hepix_vm.glance import policy

    check = policy.HepixApproved('hepix_approved', 'project')
    enforcer = Enforcer(host_conf)
    creds = {'project_id': filled.PROJECT, 'roles': ['member']}

    def ask(image_id: str) -> str:
        given = check(image_target(image_id), creds, enforcer)
        return '' if given else 'refused'

    return ask


class Enforcer:
    """As much of oslo.policy's as a check asks for."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self.conf = conf


def image_target(image_id: str) -> Any:
    """An image as Glance shows it to its policy."""
    from glance.api import policy
    from glance import domain

    number = int(image_id.replace('-', ''), 16) - 1
    created = datetime.datetime.fromtimestamp(filled.CREATED, datetime.UTC)
    return policy.ImageTarget(
        domain.Image(
            image_id=image_id,
            status='active',
            created_at=created.replace(tzinfo=None),
            updated_at=created.replace(tzinfo=None),
            owner=filled.PROJECT,
            size=filled.SIZE,
            os_hash_algo='sha512',
            os_hash_value=filled.sha512(number),
            min_disk=0,
            extra_properties={},
        )
    )


#: By the name of the part: what it needs installed, and its maker.
PARTS: dict[str, tuple[str, Callable[[cfg.ConfigOpts], Ask]]] = {
    'scheduler': ('nova', scheduler),
    'API': ('nova', api),
    'Glance': ('glance', glance),
}


def installed() -> list[str]:
    """The parts whose service is installed here."""
    return [
        name
        for name, (needed, _) in PARTS.items()
        if importlib.util.find_spec(needed) is not None
    ]
