# SPDX-License-Identifier: Apache-2.0
"""The site's own approved list.

It holds what the site approves today, of all endorsers that it follows, and
the site's local images. The site's signature is its approval: others may
follow this one list instead of many.
"""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path

from hepix_vm.catalogue import loading
from hepix_vm.catalogue import model
from hepix_vm.catalogue import store
from hepix_vm.endorse import files
from hepix_vm.endorse import keys
from hepix_vm.endorse import sealing
from hepix_vm import errors
from hepix_vm import imagelist
from hepix_vm.operations import site as site_

#: Keys of an image that say which list it comes from, and whose.
SOURCE, CREATOR = 'dc:source', 'dc:creator'


@dataclasses.dataclass(frozen=True, slots=True)
class Unchanged:
    """The list that is there says the same and is young enough."""

    image_list: imagelist.ImageList


def compose(
    site: site_.Site,
    path: Path,
    now: int,
    subscriptions: frozenset[str] | None = None,
) -> imagelist.ImageList:
    """The draft's own images, and those that the catalogue approves.

    Every image ends with the list that endorses it, at the latest.

    :param path: the site's draft, with its local images
    :param now: UNIX seconds
    :param subscriptions: only of these; None: of all
    :raises errors.Misconfigured: an unknown subscription, or a local image
        has the identifier of an endorsed one
    :raises errors.LocalFault: the catalogue cannot be read
    """
    draft = files.read_draft(path)
    approved = _approved(site, now, subscriptions)
    local = {image.identifier for image in draft.images}
    for image in approved:
        if image.identifier in local:
            raise errors.Misconfigured(
                f'{path}: the local image {image.identifier} has the '
                'identifier of an endorsed one; give it one of its own'
            )
    return dataclasses.replace(draft, images=(*draft.images, *approved))


def _approved(
    site: site_.Site, now: int, subscriptions: frozenset[str] | None
) -> tuple[imagelist.ImageEntry, ...]:
    unknown = sorted((subscriptions or frozenset()) - set(site.subscriptions))
    if unknown:
        raise errors.Misconfigured(
            f'subscription {unknown[0]}: expected one of '
            f'{", ".join(sorted(site.subscriptions)) or "(none)"}'
        )
    with site_.usable(site) as catalogue, catalogue.reading() as connection:
        images = store.images(connection)
        states = store.subscription_states(connection)
        snapshot = loading.load(connection, None, now).snapshot
    found = []
    for image in images:
        if subscriptions is not None and image.subscription not in (
            subscriptions
        ):
            continue
        decision = model.decide_bytes(
            snapshot, image.sha512, image.size, None, now, 1
        )
        # Of several endorsements of the same bytes the one that counts. What
        # this site runs although it has ended is no endorsement for others.
        counts = decision.endorsement
        if decision.code is not model.Reason.APPROVED or counts is None:
            continue
        if counts.row == image.row:
            found.append(_entry(site, image, states[image.subscription]))
    return tuple(found)


def _entry(
    site: site_.Site, image: store.Image, state: store.SubscriptionState
) -> imagelist.ImageEntry:
    ends = [end for end in (image.expires, state.expires) if end is not None]
    extra: dict[str, imagelist.JSON] = {
        SOURCE: f'urn:uuid:{state.list_identifier}'
    }
    configured = site.subscriptions.get(image.subscription)
    if configured is not None and not isinstance(configured, Exception):
        extra[CREATOR] = configured.endorser_subject
    told = image.entry
    return imagelist.ImageEntry(
        identifier=image.identifier,
        title=image.title,
        description=told['description'],
        uri=image.uri,
        size=image.size,
        version=image.version,
        sha512=image.sha512,
        arch=told['arch'],
        os=told['os'],
        os_version=told['os_version'],
        os_name=told['os_name'],
        comments=told['comments'],
        hypervisors=tuple(told['hypervisors']),
        format=told['format'],
        core_minimum=told['core_minimum'],
        ram_minimum=told['ram_minimum'],
        mpuri=told['mpuri'],
        expires=(
            datetime.datetime.fromtimestamp(min(ends), datetime.UTC)
            if ends
            else None
        ),
        extra=extra,
    )


def sign(
    composed: imagelist.ImageList,
    output: Path,
    source: keys.Source,
    now: datetime.datetime,
    if_older_than: datetime.timedelta | None = None,
    anchored: sealing.Anchored | None = None,
) -> sealing.Sealed | Unchanged:
    """Sign the site's list.

    :param output: the message; one that is there is the list before
    :param if_older_than: a list that says the same and is younger is left
        alone; None: it is always signed
    :raises errors.Misconfigured: nothing was written, and why
    """
    previous = sealing.read(files.read(output)) if output.exists() else None
    if (
        previous is not None
        and if_older_than is not None
        and now - previous.created < if_older_than
        and _content(previous) == _content(composed)
    ):
        return Unchanged(previous)
    with keys.signatory(source) as signatory:
        sealed = sealing.seal(
            composed, signatory, now, previous, None, anchored
        )
    files.write(output, sealed.message)
    return sealed


def _content(image_list: imagelist.ImageList) -> imagelist.ImageList:
    """A list without what differs between any two signings."""
    return dataclasses.replace(
        image_list,
        version='1',
        created=datetime.datetime.min.replace(tzinfo=datetime.UTC),
        expires=datetime.datetime.min.replace(tzinfo=datetime.UTC)
        + (image_list.expires - image_list.created),
    )
