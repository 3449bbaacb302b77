# SPDX-License-Identifier: Apache-2.0
"""Drafts of image lists: begin one, edit it, compare two."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import datetime
from pathlib import Path
from typing import Any
import urllib.parse
import uuid

from hepix_vm.endorse import difference
from hepix_vm.endorse import draft as drafts
from hepix_vm.endorse import files
from hepix_vm.endorse import identity
from hepix_vm.endorse import publishing
from hepix_vm.endorse import recognise
from hepix_vm import errors
from hepix_vm import imagelist
from hepix_vm.operations import messages

Told = publishing.Told


def _silent(*_args: object) -> None:
    """Tell nobody."""


@dataclasses.dataclass(frozen=True, slots=True)
class Added:
    """An image that was put into a draft.

    :param warnings: what the endorser should look at, in words
    """

    image: imagelist.ImageEntry
    warnings: tuple[str, ...]


def endorsers(
    certificates: Sequence[Path],
    creators: Sequence[str] = (),
    emails: Sequence[str] = (),
) -> tuple[imagelist.Endorser, ...]:
    """What a list says of the holders of certificates.

    :param creators: names of the first ones; default: as certificates say
    :param emails: addresses of the first ones
    :raises errors.Misconfigured: a certificate is unreadable or tells no
        address
    """

    def given(values: Sequence[str], number: int) -> str | None:
        return values[number] if number < len(values) else None

    return tuple(
        identity.endorser(
            identity.load(path)[0],
            given(creators, number),
            given(emails, number),
        )
        for number, path in enumerate(certificates)
    )


def create(
    path: Path,
    who: tuple[imagelist.Endorser, ...],
    now: datetime.datetime,
    dialect: imagelist.Dialect,
    **fields: Any,
) -> imagelist.ImageList:
    """Begin a list: a draft in a new file.

    :param fields: of :class:`imagelist.ImageList`; identifier and
        description may be None
    :raises errors.Misconfigured: the file is there already, or subscribers
        would refuse the list
    """
    _require_new(path)
    moment = now.astimezone(datetime.UTC).replace(microsecond=0)
    values: dict[str, Any] = {
        'identifier': str(uuid.uuid4()),
        'description': '',
        'version': '1',
        'source': urllib.parse.urlsplit(fields['uri']).hostname or '',
    }
    values |= {k: v for k, v in fields.items() if v is not None}
    draft = imagelist.ImageList(
        created=moment,
        expires=moment + drafts.LIFETIME,
        endorsers=who,
        dialect=dialect,
        **values,
    )
    files.write_draft(path, draft)
    return draft


def adopt(
    path: Path,
    origin: Path,
    who: tuple[imagelist.Endorser, ...],
    /,
    **fields: Any,
) -> tuple[imagelist.ImageList, tuple[str, ...]]:
    """Make a draft from a list that exists, signed or not.

    Identifiers, versions and images are kept; its endorser is replaced.

    :returns: the draft, and what was odd in the list
    :raises errors.HepixError: the file is there already, or the list cannot
        be read
    """
    _require_new(path)
    found = messages.show(files.read(origin))
    for problem in found.problems:
        if problem.dropped:
            raise errors.Misconfigured(
                f'{origin}: {problem}; correct the list, or leave the image '
                'out of it'
            )
    warnings = [str(problem) for problem in found.problems]
    draft = drafts.changed(found, endorsers=who or None, **fields)
    if draft.expires - draft.created > drafts.LONGEST:
        warnings.append(
            f'the list expired at {draft.expires.isoformat()}, which protects '
            f'nobody; from now on it lives for {drafts.LIFETIME.days} days'
        )
        draft = drafts.with_lifetime(draft, drafts.LIFETIME)
    files.write_draft(path, draft)
    return draft, tuple(warnings)


def _require_new(path: Path) -> None:
    if path.exists():
        raise errors.Misconfigured(
            f'{path}: there is a file already; edit it with "hepix-vm list '
            'set", or move it away'
        )


def add(
    path: Path,
    image_path: Path,
    told: Told = _silent,
    update: str | None = None,
    **fields: Any,
) -> Added:
    """Put an image into a draft, or a new version of one.

    :param update: identifier or title of the image of which this is a new
        version: it keeps identifier and everything that is not given
    :param fields: of :class:`imagelist.ImageEntry`; None is unknown. In
        ``uri`` ``{sha256}``, ``{sha512}``, ``{identifier}``, ``{version}``
        and ``{name}`` stand for themselves; without one the image lies
        beside the list
    :raises errors.Misconfigured: the file is no usable image, something has
        to be said that the file does not tell, or a rule of lists is broken
    """
    draft = files.read_draft(path)
    before = drafts.find(draft, update) if update is not None else None
    pattern = fields.pop('uri') or _beside(draft, '{name}')
    examined = recognise.examine(
        image_path,
        ('sha512', 'sha256') if '{sha256}' in pattern else ('sha512',),
        lambda done, size: told(image_path.name, 'hashing', done, size),
    )
    values = _described(image_path, examined, before, fields)
    values['uri'] = _filled(
        pattern,
        name=urllib.parse.quote(image_path.name),
        identifier=values['identifier'],
        version=urllib.parse.quote(values['version']),
        **examined.digests,
    )
    image = (
        imagelist.ImageEntry(**values)
        if before is None
        else dataclasses.replace(before, **values)
    )
    warnings = examined.warnings
    if before is not None and (before.uri, image.sha512) == (
        image.uri,
        before.sha512,
    ):
        raise errors.Misconfigured(
            f'{image_path}: the image {before.identifier} has these bytes '
            'already'
        )
    if before is not None and before.uri == image.uri:
        warnings += (
            f'{image.uri} was the address of version {before.version}: until '
            'the new list is out subscribers find other bytes there; an '
            'address of its own avoids that',
        )
    put = drafts.with_image if before is None else drafts.with_update
    files.write_draft(path, put(draft, image))
    return Added(image, warnings)


def _beside(draft: imagelist.ImageList, name: str) -> str:
    base = publishing.base_of(draft)
    return base.replace('{', '%7B').replace('}', '%7D') + name


def _filled(pattern: str, **known: str) -> str:
    for word, value in known.items():
        pattern = pattern.replace(f'{{{word}}}', value)
    return pattern


def _described(
    path: Path,
    examined: recognise.Examined,
    before: imagelist.ImageEntry | None,
    fields: dict[str, Any],
) -> dict[str, Any]:
    """The fields of an entry: given, told by the file, or as before."""
    values = {name: v for name, v in fields.items() if v is not None}
    _require_format(path, examined, values)
    for name in ('format', 'arch'):
        told = getattr(examined, name)
        if told is not None:
            values.setdefault(name, told)
    needed = ['version', 'arch', 'os', 'os_version', 'format']
    if before is None:
        values.setdefault('identifier', str(uuid.uuid4()))
        values.setdefault('title', path.stem)
        values.setdefault('description', '')
    else:
        values['identifier'] = before.identifier
        needed = ['version']
    missing = [name for name in needed if name not in values]
    if missing:
        options = {'version': '--image-version'}
        raise errors.Misconfigured(
            f'{path}: the file does not tell '
            + ', '.join(
                f'{name} (give {options.get(name, "--" + name)})'.replace(
                    '_', '-'
                )
                for name in missing
            )
        )
    return values | {
        'size': examined.size,
        'sha512': examined.digests['sha512'],
    }


def _require_format(
    path: Path, examined: recognise.Examined, values: dict[str, Any]
) -> None:
    stated = values.get('format')
    if stated is None:
        return
    values['format'] = stated = stated.lower()
    unknown = examined.format is None and stated not in recognise.RECOGNISED
    if examined.format != stated and not unknown:
        raise errors.Misconfigured(
            f'{path}: --format says {stated}, but the file is '
            f'{examined.format or "not"}'
        )


def remove(path: Path, names: tuple[str, ...]) -> imagelist.ImageList:
    """Take images out of a draft.

    :raises errors.Misconfigured: one is not in it
    """
    draft = drafts.without(files.read_draft(path), names)
    files.write_draft(path, draft)
    return draft


def retire(path: Path) -> imagelist.ImageList:
    """Empty a draft: subscribers withdraw all of its images.

    :raises errors.Misconfigured: it is no draft
    """
    draft = drafts.retired(files.read_draft(path))
    files.write_draft(path, draft)
    return draft


def change(
    path: Path,
    image: str | None,
    lifetime: datetime.timedelta | None = None,
    **fields: Any,
) -> imagelist.ImageList:
    """Change fields of a draft, or of one image in it.

    :param image: identifier or title; None for the list itself
    :param fields: None keeps a field
    :raises errors.Misconfigured: a rule of lists would be broken
    """
    draft = files.read_draft(path)
    if image is None:
        draft = drafts.changed(draft, **fields)
        if lifetime is not None:
            draft = drafts.with_lifetime(draft, lifetime)
    else:
        draft = drafts.changed_image(draft, image, **fields)
    files.write_draft(path, draft)
    return draft


def changes(old: Path, new: Path) -> tuple[difference.Change, ...]:
    """What differs between two lists, signed or not.

    :raises errors.HepixError: one cannot be read
    """
    return tuple(
        difference.changes(
            messages.show(files.read(old)), messages.show(files.read(new))
        )
    )
