# SPDX-License-Identifier: Apache-2.0
"""Whether Glance, Nova and Cinder are configured to let nothing past us.

Their own files are read, and their policies evaluated. What cannot be known
on this machine is said to be unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
from pathlib import Path as File

from oslo_config import cfg

from hepix_vm import errors
from hepix_vm.glance import listing
from hepix_vm.glance import paths as glance_paths
from hepix_vm.glance import plugins
from hepix_vm.nova import paths as nova_paths
from hepix_vm.nova import placing as sites
from hepix_vm.nova import volume_paths
from hepix_vm.operations.status import Finding
from hepix_vm.operations.status import Grade
from hepix_vm import paths
from hepix_vm.paths import policies

Named = tuple[str, Finding]
"""A check's title, and what it found."""


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """What the site itself has chosen.

    :ivar accepted: names of ways that it leaves open
    :ivar placing: group [nova] of hepix_vm.conf
    :ivar allow_conversion: group [glance_import] of it
    :ivar unchanging_plugins: the same
    """

    accepted: frozenset[str] = frozenset()
    placing: sites.Placing = dataclasses.field(default_factory=sites.Placing)
    allow_conversion: bool = False
    unchanging_plugins: frozenset[str] = frozenset()


def glance(folder: File, wanted: Wanted) -> list[Named]:
    """Glance runs our plugins, and data come in by nothing else.

    :param folder: of glance-api.conf and glance-image-import.conf
    """
    # Glance's own order: what is read last counts.
    names = ('glance-image-import.conf', 'glance-api.conf')

    def look(files: Sequence[File], folders: Sequence[File]) -> list[Named]:
        conf = glance_paths.configuration(files, folders)
        judge = policies.judge(conf, 'glance')
        return [
            ('Glance import plugins', _plugins(conf, wanted)),
            ('Glance start-up guard', _glance_guard(conf)),
            *_ways('Glance', glance_paths.looked(conf, judge), wanted),
        ]

    return _checked('Glance', [folder / name for name in names], look)


def nova(file: File, paste_file: File, wanted: Wanted) -> list[Named]:
    """Nova asks us, and does not read images on ways of its own.

    :param file: nova.conf
    :param paste_file: of nova-api
    """

    def look(files: Sequence[File], folders: Sequence[File]) -> list[Named]:
        conf = nova_paths.configuration(files, folders)
        return [
            *_ways('Nova', nova_paths.looked(conf, paste_file), wanted),
            ('Nova service token', _service_token(conf)),
        ]

    return [
        *_checked('Nova', [file], look),
        *_chosen(nova_paths.chosen(wanted.placing)),
    ]


def cinder(file: File, wanted: Wanted) -> list[Named]:
    """What volumes say of their images can be believed.

    :param file: cinder.conf
    """
    believed = wanted.placing.volume_boot is sites.VolumeBoot.ENDORSED

    def look(files: Sequence[File], folders: Sequence[File]) -> list[Named]:
        conf = volume_paths.configuration(files, folders)
        judge = policies.judge(conf, 'cinder')
        return _ways(
            'Cinder',
            volume_paths.looked(conf, judge),
            wanted,
            Grade.FAILURE if believed else Grade.WARNING,
        )

    return _checked('Cinder', [file], look)


def _checked(
    service: str,
    files: Sequence[File],
    look: Callable[[Sequence[File], Sequence[File]], list[Named]],
) -> list[Named]:
    """Read the files that are there; one finding when that cannot be."""
    try:
        present = [file for file in files if _present(file)]
        if not present:
            raise _NotHere
        folders = [
            folder
            for file in files
            if _present(folder := file.with_name(f'{file.name}.d'))
        ]
        return look(present, folders)
    except _NotHere:
        return [
            (
                service,
                Finding(
                    Grade.WARNING,
                    f'{", ".join(map(str, files))}: not on this machine, so '
                    'nothing was checked and every way is unknown; run this '
                    'where the service runs',
                ),
            )
        ]
    except errors.Misconfigured as exc:
        return [(service, Finding(Grade.FAILURE, str(exc)))]


class _NotHere(Exception):
    """No file of a service is on this machine."""


def _present(file: File) -> bool:
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as exc:
        raise errors.Misconfigured(
            f'{file}: {exc.strerror}; run this as an account that may read it'
        ) from exc
    return True


def _ways(
    service: str,
    found: Sequence[paths.Path],
    wanted: Wanted,
    grade: Grade = Grade.FAILURE,
) -> list[Named]:
    """One check for each way."""
    grades = {
        paths.State.CLOSED: Grade.WELL,
        paths.State.UNKNOWN: Grade.WARNING,
        paths.State.OPEN: grade,
    }
    result = []
    for one in found:
        if one.name in wanted.accepted and one.state is not (
            paths.State.CLOSED
        ):
            finding = Finding(
                Grade.WARNING,
                f'{one.sentence()}; [glance_guard] accept_open names it',
            )
        else:
            finding = Finding(grades[one.state], one.sentence())
        result.append((f'{service}: {one.name}', finding))
    return result


def _chosen(found: Sequence[paths.Path]) -> list[Named]:
    """Ways that have an option of their own, which says it all."""
    return [
        (
            f'Site: {one.name}',
            Finding(
                Grade.WELL
                if one.state is paths.State.CLOSED
                else Grade.WARNING,
                one.sentence(),
            ),
        )
        for one in found
    ]


def _plugins(conf: cfg.ConfigOpts, wanted: Wanted) -> Finding:
    try:
        between = listing.converting(
            glance_paths.plugins(conf), wanted.unchanging_plugins
        )
        listing.require_loaded(plugins.loadable())
    except errors.Misconfigured as exc:
        return Finding(
            Grade.FAILURE,
            f'images enter Glance unchecked: {exc}; set '
            'image_import_plugins = [hepix_verify,hepix_record]',
        )
    if between and not wanted.allow_conversion:
        return Finding(
            Grade.WARNING,
            f'{", ".join(between)} may change images between the two checks; '
            'imports fail unless [glance_import] allow_conversion is set',
        )
    return Finding(Grade.WELL, 'hepix_verify and hepix_record are listed')


def _glance_guard(conf: cfg.ConfigOpts) -> Finding:
    try:
        glance_paths.require_guarded(conf, glance_paths.paste_file(conf))
    except errors.Misconfigured as exc:
        return Finding(
            Grade.WARNING,
            f'{exc}; without it Glance starts open as well, and snapshots of '
            'approved servers are not recorded',
        )
    return Finding(Grade.WELL, 'hepix_guard is in the pipeline')


def _service_token(conf: cfg.ConfigOpts) -> Finding:
    if nova_paths.sends_service_token(conf):
        return Finding(Grade.WELL, 'Nova sends its service token')
    return Finding(
        Grade.WARNING,
        'servers cannot be snapshot or shelved; it takes '
        'send_service_user_token = true in [service_user] of nova.conf',
    )
