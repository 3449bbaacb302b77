# SPDX-License-Identifier: Apache-2.0
"""Ways to a server that pass Nova's part of the checks.

Read in the configuration of Nova, and in what the site itself has opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path as File

from oslo_config import cfg

from hepix_vm import errors
from hepix_vm.nova import placing as sites
from hepix_vm import paths
from hepix_vm.paths import paste
from hepix_vm.paths import service

FILTER = 'hepix_vm.nova.filter.HepixApprovedImageFilter'
GUARD = 'hepix_vm.nova.guard:filter_factory'

#: Names of the ways, in the order in which they are shown.
NAMES = (
    'scheduler',
    'api',
    'rescue-image',
    'rbd-download',
    'cached-images',
)

_CONTEXT = 'nova.api.auth:NovaKeystoneContext.factory'
_CHOOSERS = (
    'nova.api.auth:pipeline_factory_v21',
    'nova.api.auth:pipeline_factory',
)
_RESCUE = ('rescue_image_id', 'rescue_kernel_id', 'rescue_ramdisk_id')
_OPTIONS = {
    'filter_scheduler': (
        cfg.MultiStrOpt('available_filters', default=[]),
        cfg.ListOpt('enabled_filters', default=[]),
    ),
    'glance': (cfg.BoolOpt('enable_rbd_download', default=False),),
    'image_cache': (cfg.BoolOpt('remove_unused_base_images', default=True),),
    'libvirt': tuple(cfg.StrOpt(name) for name in _RESCUE),
    'service_user': (cfg.BoolOpt('send_service_user_token', default=False),),
}


def configuration(
    files: Sequence[File], folders: Sequence[File] | None = None
) -> cfg.ConfigOpts:
    """Nova's configuration, as far as it matters here.

    :param files: in the order in which Nova reads them
    :param folders: of configuration; None: those that Nova looks for
    :raises errors.Misconfigured: when they cannot be read
    """
    return service.read('nova', _OPTIONS, files, folders)


def sends_service_token(conf: cfg.ConfigOpts) -> bool:
    """Whether Glance can tell Nova's own requests from those of users."""
    return bool(conf['service_user'].send_service_user_token)


def looked(conf: cfg.ConfigOpts, paste_file: File) -> tuple[paths.Path, ...]:
    """What Nova's configuration closes, by :data:`NAMES`.

    :param paste_file: of nova-api
    """
    return (
        _scheduler(conf),
        _api(paste_file),
        _rescue_image(conf),
        _switch(
            'rbd-download',
            conf['glance'].enable_rbd_download,
            'compute nodes read images in RBD without asking Glance',
            'compute nodes ask Glance for every image',
            'enable_rbd_download = false in [glance] of nova.conf',
        ),
        _switch(
            'cached-images',
            not conf['image_cache'].remove_unused_base_images,
            'compute nodes keep the data of withdrawn images for ever',
            'compute nodes drop the data of images that no server uses',
            'remove_unused_base_images = true in [image_cache] of nova.conf',
        ),
    )


def chosen(placing: sites.Placing) -> tuple[paths.Path, ...]:
    """What the site has opened by options of hepix_vm.

    :param placing: group [nova] of hepix_vm.conf
    """
    projects = [
        name
        for name in ('exempt_projects', 'enforced_projects')
        if getattr(placing, name)
    ]
    return (
        _switch(
            'dry-run',
            placing.dry_run,
            'Nova refuses nothing, it only logs what it would refuse',
            'what is refused does not start',
            'dry_run = false in [nova] of hepix_vm.conf',
        ),
        _switch(
            'aggregates',
            placing.where is sites.Where.AGGREGATES,
            'hosts outside of aggregates with hepix_enforce=true start '
            'anything',
            'every host starts approved images only',
            'enforce = everywhere in [nova] of hepix_vm.conf',
        ),
        _switch(
            'projects',
            bool(projects),
            f'{" and ".join(projects)} let projects start anything',
            'every project starts approved images only',
            f'no {" and no ".join(projects)} in [nova] of hepix_vm.conf',
        ),
        _switch(
            'volume-boot',
            placing.volume_boot is sites.VolumeBoot.ENDORSED,
            'whoever writes to a volume made from an approved image decides '
            'what boots from it',
            'new servers do not boot from volumes',
            'volume_boot = refuse in [nova] of hepix_vm.conf',
        ),
    )


def _switch(
    name: str, is_open: bool, opened: str, closed: str, line: str
) -> paths.Path:
    """A way that one option opens."""
    if is_open:
        return paths.Path(name, paths.State.OPEN, opened, (line,))
    return paths.Path(name, paths.State.CLOSED, closed)


def _scheduler(conf: cfg.ConfigOpts) -> paths.Path:
    group = conf['filter_scheduler']
    name = FILTER.rpartition('.')[2]
    missing = []
    if FILTER not in group.available_filters:
        missing.append(f'available_filters = {FILTER}')
    if name not in group.enabled_filters:
        missing.append(f'enabled_filters = {name},(those that you have)')
    if missing:
        return paths.Path(
            'scheduler',
            paths.State.OPEN,
            'the scheduler places any image',
            tuple(
                f'{line} in [filter_scheduler] of nova.conf'
                for line in missing
            ),
        )
    return paths.Path('scheduler', paths.State.CLOSED, f'{name} is enabled')


def _api(paste_file: File) -> paths.Path:
    line = f'hepix_guard ({GUARD}) behind keystonecontext in {paste_file}'
    try:
        found = [
            one
            for chooser in _CHOOSERS
            for one in paste.pipelines(paste_file, chooser, 'keystone')
        ]
    except errors.Misconfigured as exc:
        return paths.Path('api', paths.State.UNKNOWN, str(exc), (line,))
    if not found:
        return paths.Path(
            'api',
            paths.State.UNKNOWN,
            f'{paste_file} has no pipeline of a known form',
            (line,),
        )
    for one in found:
        place = one.place(GUARD)
        if place < 0 or place < one.place(_CONTEXT):
            return paths.Path(
                'api',
                paths.State.OPEN,
                f'[{one.section}] takes rescue, forced hosts, rebuild and '
                'volumes unseen',
                (line,),
            )
    return paths.Path('api', paths.State.CLOSED, 'the API guard sees them')


def _rescue_image(conf: cfg.ConfigOpts) -> paths.Path:
    named = [name for name in _RESCUE if conf['libvirt'][name]]
    if not named:
        return paths.Path(
            'rescue-image',
            paths.State.CLOSED,
            'rescue boots what the server was made from, or what the request '
            'names',
        )
    ids = ', '.join(conf['libvirt'][name] for name in named)
    return paths.Path(
        'rescue-image',
        paths.State.UNKNOWN,
        f'rescue may boot {ids}, whose approval "hepix-vm image explain" '
        'tells',
        (f'no {" and no ".join(named)} in [libvirt] of nova.conf',),
    )
