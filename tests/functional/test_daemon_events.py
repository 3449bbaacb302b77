# SPDX-License-Identifier: Apache-2.0
"""Of several real daemons the one that leads tells, and its heir goes on."""

from __future__ import annotations

import json
from pathlib import Path
import signal

from hepix_vm.catalogue import channels
from hepix_vm.catalogue import lease
from hepix_vm.catalogue import notices
from hepix_vm.catalogue import schema
from tests import endorser
from tests.functional import daemons
from tests.unit.catalogue import following


def left(site: following.Site) -> int:
    """Events that the hook was not told yet, as far as is noted."""
    with site.database.reading() as connection:
        return notices.count(connection, channels.Channel.HOOK)


def test_one_daemon_tells_each_event_and_another_goes_on(
    tmp_path: Path,
) -> None:
    site = following.Site(tmp_path)
    site.follow()
    site.publish('main', '1', endorser.make_image(b'an image'))
    place, hook = tmp_path / 'events', tmp_path / 'hook'
    hook.write_text(f'#!/bin/sh\ncat >> {place}\n')
    hook.chmod(0o755)

    def told() -> list[str]:
        lines = place.read_text().splitlines() if place.exists() else []
        return [str(json.loads(line)['subject']) for line in lines]

    def happens(subject: str) -> None:
        site.database.transact(
            lambda made: notices.write(
                made, site.now, 'image.released', subject, {}
            )
        )

    more = f'[notify]\nhook = {hook}\nhook_timeout = 200\n'
    with daemons.crew(
        site, 'one two', lease_time=30, check_interval=1, more=more
    ) as crew:
        for one in crew:
            one.start()
        for one in crew:
            one.is_ready()
        leads = daemons.leader(site, crew)
        (other,) = (one for one in crew if one is not leads)
        happens('first')
        happens('second')
        leads.until('both events', lambda: told() == ['first', 'second'])
        # Killed before it has noted that, its heir would tell again.
        leads.until('that to be noted', lambda: not left(site))
        assert 'hook' not in other.said()
        leads.send(signal.SIGKILL)
        leads.ended()
        # Its heir need not wait until it has been silent for long enough.
        assert lease.release(site.database, daemons.fence(site))
        # It may have had the channel when it died: that is over by now.
        site.database.transact(
            lambda made: made.execute(
                schema.channel.update().values(claimed_until=site.now)
            )
        )
        happens('third')
        other.comes_to_lead()
        other.until('the third event', lambda: 'third' in told())
        assert told() == ['first', 'second', 'third']
        other.until('that to be noted', lambda: not left(site))
        other.send(signal.SIGTERM)
        assert other.ended() == 0
    site.close()
