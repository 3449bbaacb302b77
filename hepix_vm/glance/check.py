# SPDX-License-Identifier: Apache-2.0
"""What the two import plugins do.

1. hepix_verify hashes the staged bytes; an approved endorsement of exactly
   these bytes (SHA-512 and size), or of those that publishing has made them
   of, lets the import go on. Unless they will be
   converted, their hash is pinned: set on the image beforehand, so that
   Glance itself refuses to store other bytes.
2. Other plugins may convert the bytes, where the site allows it.
3. hepix_record pins the hash of the bytes that Glance will store and makes
   the record of the image positive. It takes effect when Glance, as its
   last step, makes the image active.
"""

from __future__ import annotations

import calendar
import contextlib
import time
from typing import Any

from oslo_log import log

from hepix_vm.catalogue import boot
from hepix_vm.catalogue import database
from hepix_vm.catalogue import model
from hepix_vm.catalogue import reader
from hepix_vm.catalogue import records
from hepix_vm.conf import inside
from hepix_vm import errors
from hepix_vm.glance import flow
from hepix_vm.glance import listing
from hepix_vm.glance import progress
from hepix_vm.glance import refusal
from hepix_vm.glance import staging
from hepix_vm import hashing

LOG = log.getLogger(__name__)


def verify(job: flow.ImportJob, file_path: str, glance: Any) -> None:
    """Let the import go on only with approved bytes.

    :param file_path: URL of the staged bytes, from Glance's flow
    :param glance: Glance's own configuration
    :raises refusal.NotApproved: the catalogue's decision
    :raises errors.HepixError: why else the import cannot go on
    """
    settings = inside.settings(glance)
    changing = _changing(job, glance, settings)
    image = job.image_repo.get(job.image_id)
    _begin(job, settings)
    hashes = _hashed(job, file_path, glance, image.size)
    sha512 = hashes.digests['sha512']
    with _writer(settings) as store:
        writing = records.Records(store)
        found = reader.shared(settings.reader).decide_staged(
            sha512,
            hashes.size,
            writing.published_as(job.image_id),
            _project(image.owner, settings),
        )
        _log(job, found.decision)
        if not found.decision.approved:
            raise refusal.NotApproved(found.decision.sentence)
        writing.verified(
            image_id=job.image_id,
            task_id=job.task_id,
            project=image.owner or '',
            sha512=found.sha512,
            size=found.size,
            created_at=_seconds(image.created_at),
            now=int(time.time()),
            staged=(sha512, hashes.size),
            step=found.step,
        )
    if not changing:
        _pin(job, sha512)


def record(job: flow.ImportJob, file_path: str, glance: Any) -> None:
    """Record which bytes Glance is about to store as this image.

    :param file_path: URL of the bytes that Glance will store
    :param glance: Glance's own configuration
    :raises errors.HepixError: why the import cannot go on
    """
    settings = inside.settings(glance)
    changing = _changing(job, glance, settings)
    with _writer(settings) as store:
        writing = records.Records(store)
        pending = writing.pending(job.image_id, job.task_id)
        sha512, size = pending.final_sha512, pending.final_size
        if changing:
            image = job.image_repo.get(job.image_id)
            hashes = _hashed(job, file_path, glance, image.size, True)
            sha512, size = hashes.digests['sha512'], hashes.size
        _pin(job, sha512)
        image = job.image_repo.get(job.image_id)
        writing.positive(
            image_id=job.image_id,
            task_id=job.task_id,
            final_sha512=sha512,
            final_size=size,
            now=int(time.time()),
            boots_with=boot.stored(
                boot.of_glance(image.min_disk, image.extra_properties)
            ),
        )
    LOG.info(
        'verdict=recorded image=%s sha512=%s converted_by=%s',
        job.image_id,
        sha512,
        ','.join(changing) or '-',
    )


def _begin(job: flow.ImportJob, settings: inside.InsideSettings) -> None:
    """Whatever an earlier import has left of a record counts no more."""
    # Unless another one has taken over: then its record is the right one.
    job.action_wrapper.assert_task_lock()
    with _writer(settings) as store:
        records.Records(store).begun(
            job.image_id, job.task_id, int(time.time())
        )


def _project(owner: str | None, settings: inside.InsideSettings) -> str | None:
    """Whom the bytes have to be approved for; None: for anybody.

    An image without an owner is nobody's, so that a list for some projects
    does not approve it.
    """
    return None if owner in settings.publishing_projects else owner or ''


def _changing(
    job: flow.ImportJob, glance: Any, settings: inside.InsideSettings
) -> tuple[str, ...]:
    names = listing.converting(
        glance.image_import_opts.image_import_plugins,
        settings.unchanging_plugins,
    )
    listing.require_loaded(flow.LOADED.of(job))
    listing.require_allowed(names, settings.allow_conversion)
    return names


def _hashed(
    job: flow.ImportJob,
    file_path: str,
    glance: Any,
    expected: int | None,
    converted: bool = False,
) -> hashing.Hashes:
    with staging.opened(
        staging.directory(glance), file_path, job.image_id, converted
    ) as staged:
        # Glance knows the size of what a user staged; not of a download.
        if expected is not None and expected != staged.size:
            raise errors.NotBelieved(
                f'{staged.size} bytes are staged, Glance noted {expected}; '
                'stage the data again'
            )
        hashes = hashing.hash_file(
            staged.descriptor,
            ('sha512',),
            progress.Progress(job, staged.size),
        )
        if hashes.size != staged.size:
            raise errors.NotBelieved(
                'the staged data changed while it was read; stage it again'
            )
        return hashes


def _pin(job: flow.ImportJob, sha512: str) -> None:
    job.action_wrapper.assert_task_lock()
    image = job.image_repo.get(job.image_id)
    image.os_hash_algo = 'sha512'
    image.os_hash_value = sha512
    job.image_repo.save(image, from_state='importing')


def _writer(
    settings: inside.InsideSettings,
) -> contextlib.closing[database.Database]:
    return contextlib.closing(
        database.Database(
            settings.reader.connection, settings.reader.store_timeout
        )
    )


def _seconds(moment: Any) -> int:
    """UNIX seconds of Glance's own times, which are UTC without a zone."""
    return calendar.timegm(moment.utctimetuple())


def _log(job: flow.ImportJob, decision: model.Decision) -> None:
    (LOG.info if decision.approved else LOG.warning)(
        'verdict=%s image=%s list=%s code=%s task=%s: %s',
        decision.verdict,
        job.image_id,
        decision.list_identifier or '-',
        decision.code,
        job.task_id,
        decision.detail,
    )
