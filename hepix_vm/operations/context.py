# SPDX-License-Identifier: Apache-2.0
"""The site's context: tried out, published, taken back."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
from pathlib import Path

from oslo_log import log

from hepix_vm.context import archive
from hepix_vm.context import difference
from hepix_vm.context import directory as directory_
from hepix_vm.context import facts as facts_
from hepix_vm.context import forms
from hepix_vm.context import generations
from hepix_vm.context import iso as iso_
from hepix_vm.context import lint as lint_
from hepix_vm.context import manifest
from hepix_vm.context import site as site_
from hepix_vm.context import source as source_
from hepix_vm.context import variants
from hepix_vm import errors
from hepix_vm.operations import context_lint

LOG = log.getLogger(__name__)

#: Characters of a comment on a publication at most.
_COMMENT = 1000

#: How a variant can be written; see :mod:`hepix_vm.context.forms`.
FORMS: dict[str, Callable[[variants.Variant], bytes]] = {
    'tgz': lambda variant: variant.bundle.tgz,
    'zip': lambda variant: forms.pkzip(variant.bundle.tgz),
    'b64': lambda variant: forms.base64(variant.bundle.tgz),
    'tar': lambda variant: variant.bundle.tar,
    'manifest': lambda variant: variant.manifest,
}


class NotPublished(errors.Misconfigured):
    """A site directory has errors; they are in ``findings``."""

    def __init__(
        self, message: str, findings: tuple[lint_.Finding, ...]
    ) -> None:
        super().__init__(message)
        self.findings = findings


@dataclasses.dataclass(frozen=True, slots=True)
class Published:
    """A publication.

    :param unchanged: serial of the generation before, if it has the same
        content
    :param warnings: of the lint
    """

    generation: generations.Generation
    unchanged: int | None = None
    warnings: tuple[lint_.Finding, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Shown:
    """A generation that is kept.

    :param generation: None when it is damaged
    :param problem: says so
    """

    serial: int
    current: bool
    generation: generations.Generation | None
    problem: str = ''


def read(source: source_.Source, serial: int | None = None) -> site_.Site:
    """What is served, or one generation.

    :raises errors.Misconfigured: it cannot be read or served
    """
    if serial is None:
        return source_.read(source)
    return generations.read(source.state_directory, serial, source.limits)


def build(
    site: site_.Site,
    facts: facts_.Facts,
    source: source_.Source,
    output: Path | None = None,
    form: str = 'tgz',
) -> variants.Variant:
    """Build the bundle of an instance, and write it if asked to.

    :param form: one of :data:`FORMS`
    :raises errors.Misconfigured: it is too large
    :raises errors.LocalFault: the file cannot be written
    """
    made = variants.compose(site, facts, source.limits)
    if output is not None:
        directory_.write_atomically(output, FORMS[form](made))
    return made


def iso(
    site: site_.Site,
    facts: facts_.Facts,
    source: source_.Source,
    output: Path,
    signing_key: bytes | None,
) -> tuple[variants.Variant, int]:
    """Write the CD of an instance; its bytes are counted.

    :param signing_key: PEM; None: the manifest is not signed
    :raises errors.Misconfigured: it cannot be made, or not signed
    :raises errors.LocalFault: the file cannot be written
    """
    made = variants.compose(site, facts, source.limits)
    signature = None
    if signing_key is not None:
        signature = manifest.sign(made.manifest, signing_key)
    image = iso_.image(made, signature)
    directory_.write_atomically(output, image)
    return made, len(image)


def lint(source: source_.Source) -> tuple[lint_.Finding, ...]:
    """What is wrong with the site directory, sorted by place.

    :raises errors.Misconfigured: it cannot even be read or served
    """
    site = site_.read_directory(source.directory, source.limits)
    return context_lint.findings(site, source.limits)


def publish(source: source_.Source, order: generations.Order) -> Published:
    """Publish the site directory as it stands.

    :raises NotPublished: it has errors
    :raises errors.Misconfigured: it cannot be served, or not so ordered
    :raises errors.TryAgain: somebody else publishes, or edits it
    :raises errors.LocalFault: the state directory cannot be written
    """
    _require_sound(order)
    drafts = dataclasses.replace(source, published=False)
    before = source_.fingerprint(drafts)
    members, tar = _directory(source)
    path = str(source.directory)
    site = site_.of_members(members, tar, path)
    found = context_lint.findings(site, source.limits)
    if source_.fingerprint(drafts) != before:
        raise errors.TryAgain(
            f'site context {path}: it was changed while it was read; publish'
            ' again when nobody edits it'
        )
    wrong = [f for f in found if f.level is lint_.Level.ERROR]
    if wrong:
        raise NotPublished(
            f'site context {path}: not published, {len(wrong)} errors; mend'
            f' them, the first is {wrong[0]}',
            found,
        )
    same = _same(source.state_directory, site.sha256)
    made = generations.publish(source.state_directory, tar, order)
    return Published(made, same, found)


def rollback(
    source: source_.Source,
    order: generations.Order,
    serial: int | None = None,
) -> Published:
    """Publish the content of an older generation again, as a new one.

    :param serial: None: the content before that which is current
    :raises errors.Misconfigured: there is none, or it cannot be served, or
        not so ordered
    :raises errors.TryAgain: somebody else publishes
    :raises errors.LocalFault: the state directory cannot be written
    """
    _require_sound(order)
    state = source.state_directory
    if serial is None:
        now = generations.current(state)
        if now is not None:
            about = generations.describe(state, now)
            serial = generations.before(state, about)
        if serial is None:
            raise errors.Misconfigured(
                f'site context {state}: there is no older generation to go'
                ' back to; see "hepix-vm context show"'
            )
    about = generations.describe(state, serial)
    # What cannot be read today must not become current.
    generations.read(state, serial, source.limits)
    tar = generations.content(state, about, source.limits)
    same = _same(state, about.sha256)
    made = generations.publish(state, tar, order, about.origin)
    return Published(made, same)


def _require_sound(order: generations.Order) -> None:
    """See that guests take it, and that it can be read back.

    :raises errors.Misconfigured: they would not
    """
    ends = order.expires_at
    if ends is not None and not order.now < ends <= manifest.LAST:
        raise errors.Misconfigured(
            'option --expires: expected a time from now to the end of the'
            f' year 9999, found {ends - order.now} seconds ahead; guests'
            ' refuse what has expired'
        )
    if len(order.comment) > _COMMENT:
        raise errors.Misconfigured(
            f'option --comment: expected at most {_COMMENT} characters, found'
            f' {len(order.comment)}; shorten it'
        )


def shown(state: Path) -> tuple[Shown, ...]:
    """The generations that are kept, the newest first.

    :raises errors.LocalFault: they cannot be looked at
    :raises errors.Misconfigured: it cannot be told which is current
    """
    now = generations.current(state)
    found = []
    for serial in reversed(generations.serials(state)):
        try:
            about = generations.describe(state, serial)
        except archive.BundleRefused as error:
            found.append(Shown(serial, serial == now, None, str(error)))
        else:
            found.append(Shown(serial, serial == now, about))
    return tuple(found)


def differences(
    source: source_.Source, old: int | None = None, new: int | None = None
) -> tuple[difference.Difference, ...]:
    """What differs between two generations, or one and the directory.

    :param old: serial; None: the current one, or nothing before the first
    :param new: serial; None: the site directory
    :raises errors.Misconfigured: one of them cannot be read
    """
    if old is None:
        old = generations.current(source.state_directory)
    before = () if old is None else _members(source, old)
    after = _directory(source)[0] if new is None else _members(source, new)
    return difference.between(before, after)


def _directory(
    source: source_.Source,
) -> tuple[tuple[archive.Member, ...], bytes]:
    path, limits = str(source.directory), source.limits
    members = archive.ordered(
        directory_.members(source.directory, limits.members, limits.unpacked),
        path,
    )
    return members, site_.packed(members, limits, path)


def _members(
    source: source_.Source, serial: int
) -> tuple[archive.Member, ...]:
    state = source.state_directory
    tar = generations.content(
        state, generations.describe(state, serial), source.limits
    )
    path = f'{state}, serial {serial}'
    return archive.ordered(
        archive.unpack(tar, source.limits.members, path), path
    )


def _same(state: Path, sha256: str) -> int | None:
    """The current serial, if its content is this."""
    try:
        now = generations.current(state)
        if now is not None:
            about = generations.describe(state, now)
            return now if about.sha256 == sha256 else None
    except archive.BundleRefused as error:
        # A damaged one is a reason to publish, not against it.
        LOG.warning('verdict=published-unreadable %s', error)
    return None
