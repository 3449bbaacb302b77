# SPDX-License-Identifier: Apache-2.0
"""Approved images enter the site's clouds, and old versions leave them."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
from pathlib import Path
import time

from oslo_log import log

from hepix_vm.catalogue import database
from hepix_vm.catalogue import runs
from hepix_vm.catalogue import store
from hepix_vm import errors
from hepix_vm.glance import conversion
from hepix_vm.glance import outcomes
from hepix_vm.glance import publish as publish_
from hepix_vm.glance import source
from hepix_vm.glance import spool
from hepix_vm.operations import catalogue as catalogue_
from hepix_vm.operations import proving
from hepix_vm.operations import quarantining
from hepix_vm.operations import site as site_
from hepix_vm.operations import targets
from hepix_vm.operations import turns

LOG = log.getLogger(__name__)

#: The job, as ``status`` knows it.
RUN = 'publish'

# Images that a note of a run names.
_NAMED = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Wish:
    """What is to be published.

    :ivar only: image identifiers; None: all that are approved
    :ivar clouds: names; None: all
    :ivar retry: whether what failed in quarantine is tried again
    """

    only: frozenset[str] | None = None
    clouds: frozenset[str] | None = None
    retry: bool = False

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return self.only is None and self.clouds is None


@dataclasses.dataclass(frozen=True, slots=True)
class Rehearsed:
    """What a run would do.

    :ivar diff: lines, '' where nothing would change
    :ivar problems: clouds that cannot be asked, with the reason
    """

    diff: str
    problems: tuple[str, ...]


def publish(
    site: site_.Site,
    now: int,
    wish: Wish | None = None,
    told: publish_.Told = lambda progress: None,
) -> Iterator[publish_.Published]:
    """Bring approved images into the clouds, one result after the other.

    Images that lack nothing but the signature of their file are proven first.

    :param now: UNIX seconds
    :raises errors.HepixError: when nothing at all can be published
    """
    wish = wish or Wish()
    began = time.monotonic()
    results: list[publish_.Published] = []
    problem = ''
    try:
        for result in _published(site, now, wish, told):
            results.append(result)
            yield result
    except errors.HepixError as exc:
        problem = str(exc)
        raise
    finally:
        if wish.everything and (problem or results):
            run = _run(results, problem, now, time.monotonic() - began)
            with (
                contextlib.suppress(errors.HepixError),
                site_.usable(site) as catalogue,
            ):
                catalogue.transact(lambda made: runs.remember(made, run))


def _run(
    results: Sequence[publish_.Published],
    problem: str,
    now: int,
    took: float,
) -> runs.Run:
    bad = [r for r in results if r.outcome is outcomes.Outcome.FAILED]
    named = '; '.join(
        f'{r.identifier or "cloud"} in {r.cloud}: {r.detail}'
        for r in bad[:_NAMED]
    )
    detail = problem or (f'{len(bad)} failed: {named}' if bad else '')
    return runs.Run(RUN, now, now + int(took), not detail, detail)


def _published(
    site: site_.Site,
    now: int,
    wish: Wish,
    told: publish_.Told,
) -> Iterator[publish_.Published]:
    clouds = _clouds(site, wish)
    with (
        site_.usable(site) as store_,
        turns.taken(
            store_,
            Path(site.fetch.spool_directory),
            now,
            site.publishing.patience,
            lambda holder: told(
                publish_.Progress('publish', f'wait for {holder}', 0, 0)
            ),
        ) as mine,
    ):
        spool.prune(site.fetch, now)
        quarantining.clean(site, mine, now)
        conversion.prune(Path(site.fetch.spool_directory) / source.FOLDER)
        reached, unreachable = _targets(site, mine, clouds, now)
        yield from unreachable
        spooled = set()
        for proved in proving.prove(site, now, told):
            if proved.problem:
                spooled.add(proved.image.sha512)
                if _meant(wish, proved.image):
                    yield from _unproven(proved, reached)
        yield from publish_.publish(
            mine,
            reached,
            dataclasses.replace(
                _manner(site, wish, whole=not unreachable),
                spooled=frozenset(spooled),
            ),
            now,
            told,
        )
        for asked in targets.precached(site, mine, now):
            LOG.debug('asked for %s at %s', asked.image_id, asked.aggregate)


def _meant(wish: Wish, image: store.Image) -> bool:
    return wish.only is None or image.identifier in wish.only


def _unproven(
    proved: proving.Proved, reached: Iterable[publish_.Target]
) -> Iterator[publish_.Published]:
    for target in reached:
        yield outcomes.of_image(
            proved.image,
            target.cloud.name,
            outcomes.Outcome.FAILED,
            None,
            f'the signature of the file: {proved.problem}',
        )


def rehearse(
    site: site_.Site, now: int, wish: Wish | None = None
) -> Rehearsed:
    """What :func:`publish` would do; changes nothing.

    :param now: UNIX seconds
    :raises errors.HepixError: when nothing at all could be published
    """
    wish = wish or Wish()
    clouds = _clouds(site, wish)
    with site_.usable(site) as store_:
        reached, unreachable = _targets(site, store_, clouds, now)
        plans = publish_.planned(store_, reached, _manner(site, wish), now)
    return Rehearsed(
        ''.join(planned.text for planned in plans),
        (
            *(f'cloud {one.cloud}: {one.detail}' for one in unreachable),
            *(
                f'cloud {planned.target.cloud.name}: {planned.problem}'
                for planned in plans
                if planned.problem
            ),
        ),
    )


def synchronise_first(
    site: site_.Site, now: int, only: Collection[str] | None
) -> catalogue_.Synced:
    """Sync the subscriptions of some images, whatever is due.

    :param only: image identifiers; None: of all subscriptions
    :raises errors.Misconfigured: for an identifier that no list has
    :raises errors.HepixError: when the catalogue cannot be used
    """
    names: frozenset[str] | None = None
    if only is not None:
        with site_.usable(site) as store_, store_.reading() as connection:
            listed = {
                identifier: {
                    image.subscription
                    for image in store.images(connection, named=identifier)
                }
                for identifier in sorted(only)
            }
        unknown = [name for name, found in listed.items() if not found]
        if unknown:
            raise errors.Misconfigured(
                f'image {", ".join(unknown)}: expected the identifier of an '
                'image of a followed list; without an identifier all lists '
                'are synced'
            )
        names = frozenset().union(*listed.values()) & site.subscriptions.keys()
    return catalogue_.synchronise(site, now, names)


def _clouds(site: site_.Site, wish: Wish) -> dict[str, site_.Cloud]:
    clouds = site.clouds
    if wish.clouds is None:
        return clouds
    unknown = sorted(wish.clouds - clouds.keys())
    if unknown:
        raise errors.Misconfigured(
            f'cloud {", ".join(unknown)}: expected one of '
            f'{", ".join(clouds)}; see groups [openstack:NAME]'
        )
    return {name: clouds[name] for name in clouds if name in wish.clouds}


def _manner(
    site: site_.Site, wish: Wish, whole: bool = True
) -> publish_.Manner:
    return publish_.Manner(
        fetch=site.fetch,
        access={
            name: item.reached()
            for name, item in site.subscriptions.items()
            if not isinstance(item, errors.Misconfigured)
        },
        settings=site.publishing,
        conversion=site.conversion,
        only=wish.only,
        retry=wish.retry,
        whole=whole and (wish.clouds is None or len(site.clouds) == 1),
    )


def _targets(
    site: site_.Site,
    store_: database.Database,
    clouds: dict[str, site_.Cloud],
    now: int,
) -> tuple[list[publish_.Target], list[publish_.Published]]:
    """What can be reached, and why the rest cannot.

    :raises errors.HepixError: when there is one cloud, which cannot be
    """
    found = []
    failed: list[publish_.Published] = []
    for name, cloud in clouds.items():
        try:
            found.append(targets.target(site, store_, name, cloud, now))
        except errors.HepixError as exc:
            if len(clouds) == 1:
                raise
            failed.append(outcomes.of_cloud(name, str(exc)))
    return found, failed
