# SPDX-License-Identifier: Apache-2.0
"""Signed image lists: sign, join, renew, publish and check them."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import datetime
import hashlib
from pathlib import Path

from hepix_vm.catalogue import fetch
from hepix_vm.endorse import checking
from hepix_vm.endorse import draft as drafts
from hepix_vm.endorse import files
from hepix_vm.endorse import identity
from hepix_vm.endorse import keys
from hepix_vm.endorse import publishing
from hepix_vm.endorse import sealing
from hepix_vm.endorse import targets
from hepix_vm import errors
from hepix_vm import imagelist

Told = publishing.Told


def _silent(*_args: object) -> None:
    """Tell nobody."""


@dataclasses.dataclass(frozen=True, slots=True)
class NotNeeded:
    """A renewal that can wait.

    :param image_list: the list that is there
    """

    image_list: imagelist.ImageList


def sign(
    path: Path,
    output: Path,
    source: keys.Source,
    now: datetime.datetime,
    dialect: imagelist.Dialect | None = None,
    anchored: sealing.Anchored | None = None,
) -> sealing.Sealed:
    """Sign a draft; the draft then holds what was signed.

    :param output: the message; one that is there is the list before
    :raises errors.Misconfigured: nothing was written, and why
    """
    draft = files.read_draft(path)
    previous = _previous(output)
    with keys.signatory(source) as signatory:
        sealed = sealing.seal(
            draft, signatory, now, previous, dialect, anchored
        )
    files.write_output(output, sealed.message)
    if sealed.image_list.dialect is draft.dialect:
        files.write_draft(path, sealed.image_list)
    return sealed


def _previous(output: Path) -> imagelist.ImageList | None:
    if not output.exists():
        return None
    try:
        return sealing.read(files.read(output))
    except errors.Misconfigured as exc:
        raise errors.Misconfigured(
            f'{output}: {exc}; move it away, or give another --output'
        ) from exc


def join(
    path: Path,
    output: Path,
    source: keys.Source,
    now: datetime.datetime,
    anchored: sealing.Anchored | None = None,
) -> sealing.Sealed:
    """Add a further endorser's signature to a message.

    :raises errors.Misconfigured: nothing was written, and why
    """
    message = files.read(path)
    with keys.signatory(source) as signatory:
        sealed = sealing.join(message, signatory, now, anchored)
    files.write_output(output, sealed.message)
    return sealed


def renew(
    path: Path,
    output: Path,
    source: keys.Source,
    now: datetime.datetime,
    if_older_than: datetime.timedelta | None = None,
    lifetime: datetime.timedelta | None = None,
    former: Path | None = None,
    anchored: sealing.Anchored | None = None,
) -> sealing.Sealed | NotNeeded:
    """Sign the content of a message again, with new dates.

    :param if_older_than: a younger list is left alone
    :param former: the certificate that signed it, if it is another now
    :raises errors.Misconfigured: nothing was written, and why
    """
    message = files.read(path)
    image_list = sealing.read(message)
    if if_older_than is not None and now - image_list.created < if_older_than:
        return NotNeeded(image_list)
    if len(image_list.endorsers) > 1 and output.resolve() == path.resolve():
        raise errors.Misconfigured(
            f'{path}: the list has {len(image_list.endorsers)} endorsers, who '
            'all have to sign again; give another --output, and publish when '
            'they have joined'
        )
    if lifetime is not None:
        image_list = drafts.with_lifetime(image_list, lifetime)
    with keys.signatory(source) as signatory:
        known = [signatory.certificate]
        if former is not None:
            known += identity.load(former)[:1]
        sealing.require_signed_by(message, known)
        sealed = sealing.seal(
            image_list, signatory, now, image_list, None, anchored
        )
    files.write_output(output, sealed.message)
    return sealed


def publish(
    path: Path,
    address: str,
    images: Sequence[Path],
    access: targets.Access,
    now: datetime.datetime,
    base: str | None = None,
    name: str | None = None,
    dry_run: bool = False,
    told: Told = _silent,
) -> Iterator[publishing.Placed]:
    """Put a signed list and its new images where subscribers fetch them.

    :param images: files; those that are not needed are not read
    :param base: URI under which the address is served; default: the folder
        of the list's ``hv:uri``
    :param name: of the list there; default: as its ``hv:uri`` says
    :raises errors.HepixError: why it stopped; the list is put last
    """
    message = files.read(path)
    image_list = sealing.read(message)
    target = targets.choose(
        address, base or publishing.base_of(image_list), access
    )
    try:
        plan = publishing.plan(message, target, images, now, name, told)
        if dry_run:
            yield from publishing.planned(plan)
        else:
            yield from publishing.publish(plan, target, told)
    finally:
        target.close()


def check(
    url: str,
    anchored: sealing.Anchored,
    settings: fetch.FetchSettings,
    now: datetime.datetime,
    with_images: bool = True,
    told: Told = _silent,
) -> Iterator[checking.Finding]:
    """What subscribers will say of a published list and its images.

    :param with_images: fetch every image, and hash it
    """
    try:
        fetched = fetch.fetch_list(url, settings, fetch.Validators())
    except errors.HepixError as exc:
        yield checking.Finding(
            checking.Level.PROBLEM, 'list', 'fetch', str(exc)
        )
        return
    assert isinstance(fetched, fetch.Fetched)  # noqa: S101 - none is known
    verdict, endorsed = checking.envelope(fetched.content, anchored, now)
    yield verdict
    if endorsed is None:
        return
    yield from checking.of_list(endorsed, url, now)
    if not with_images:
        return
    for image in endorsed.image_list.images:
        yield checking.of_image(image, _received(image, settings, told), now)


def _received(
    image: imagelist.ImageEntry, settings: fetch.FetchSettings, told: Told
) -> checking.Received | errors.HepixError:
    hasher = hashlib.sha512()
    size = 0
    try:
        # One byte more than the list says shows that there are more.
        for piece in fetch.image_pieces(image.uri, settings, image.size + 1):
            hasher.update(piece)
            size += len(piece)
            told(image.title, 'fetching', size, image.size)
    except errors.HepixError as exc:
        return exc
    return checking.Received(size, hasher.hexdigest())


def worst(findings: Iterable[checking.Finding]) -> checking.Level:
    """The gravest level among findings."""
    order = list(checking.Level)
    return max(
        (finding.level for finding in findings),
        key=order.index,
        default=checking.Level.OK,
    )
