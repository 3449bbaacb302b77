# SPDX-License-Identifier: Apache-2.0
"""``notify``: tell others now what is to be told."""

from __future__ import annotations

import argparse
import logging
from typing import Any

from hepix_vm.catalogue import channels
from hepix_vm.cli import base
from hepix_vm import errors
from hepix_vm.operations import noticing
from hepix_vm.operations import site as site_

_COLUMNS = ('channel', 'outcome', 'told', 'left', 'again', 'detail')


class Notify(base.Lister):
    """Tell others of the events that wait, on every channel that is on.

    Channels that failed are tried at once, and a mail is sent before its
    time. Exit status 0: all is well, 1: a channel failed.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            '--give-up',
            metavar='CHANNEL',
            choices=[channel.value for channel in channels.Channel],
            help=(
                'first give up the event that this channel (hook, message or '
                'mail) is at: it is never told, and those after it are'
            ),
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Tell, and say how each channel fared."""
        site = self.site()
        if parsed_args.give_up:
            self._give_up(site, channels.Channel(parsed_args.give_up))
        told = noticing.deliver(site, base.now(), at_once=True)
        if any(item.outcome is noticing.Outcome.FAILED for item in told):
            self.exit_status = base.FAILED
        return _COLUMNS, [
            (
                item.channel.value,
                item.outcome.value,
                item.told,
                item.left,
                base.shown_time(item.again),
                base.shown(item.detail),
            )
            for item in told
        ]

    def _give_up(self, site: site_.Site, channel: channels.Channel) -> None:
        notice = noticing.give_up(site, base.now(), base.who(), channel)
        if notice is None:
            self.app.LOG.info('channel %s: nothing waits', channel)
        else:
            self.app.LOG.info(
                'channel %s: event %s (%s of %s) is given up',
                channel,
                notice.id,
                notice.kind,
                base.shown(notice.subject),
            )


def afterwards(site: site_.Site, log: logging.Logger) -> None:
    """Tell at the end of another command, which does not fail by it."""
    try:
        noticing.deliver(site, base.now())
    except errors.HepixError as exc:
        log.warning('events were not told: %s', exc)
