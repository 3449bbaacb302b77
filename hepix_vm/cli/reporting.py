# SPDX-License-Identifier: Apache-2.0
"""``image report``: tell an endorser."""

from __future__ import annotations

import argparse

from hepix_vm.cli import base
from hepix_vm.cli import images as images_
from hepix_vm.conf import mail as conf_mail
from hepix_vm import errors
from hepix_vm.mail import letter
from hepix_vm.operations import reporting


def _address(text: str) -> str:
    try:
        return letter.address(text)
    except letter.NotAnAddress as exc:
        raise argparse.ArgumentTypeError(f'{exc}, found {text!r}') from exc


class ImageReport(images_.Named):
    """Write to the endorsers of an image what is wrong with it.

    Prints the message; sends it with --send, by the mail server of group
    [mail]. The history keeps either.

    Exit status 0: it was printed or sent, 1: it was not sent, or not to all.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--reason',
            required=True,
            metavar='TEXT',
            help='what is wrong with the image, for its endorser',
        )
        parser.add_argument('--send', action='store_true', help='send it')
        parser.add_argument(
            '--to',
            metavar='ADDRESS',
            type=_address,
            action='append',
            default=[],
            help=(
                'write to this address, may be repeated; default: hv:email '
                'of the lists that endorse the image'
            ),
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Print it, and send it."""
        conf, now, who = self.app.configuration(), base.now(), base.who()
        author, server = conf_mail.author(conf), conf_mail.server(conf)
        if parsed_args.send and (server is None or author.sender is None):
            raise errors.Misconfigured(
                'option --send: expected options smtp_host and sender in '
                'group [mail], found them unset; without --send the message '
                'is printed'
            )
        site = self.site()
        report = reporting.prepare(
            site,
            now,
            parsed_args.image,
            parsed_args.reason,
            author,
            tuple(dict.fromkeys(parsed_args.to)),
        )
        for problem in report.problems:
            self.app.LOG.warning('%s', problem)
        self.app.stdout.write(letter.shown(report.letter))
        if not parsed_args.send or server is None:
            reporting.note(site, now, who, report, False)
            return
        refused = reporting.send(site, now, who, report, server)
        for line in refused:
            self.app.LOG.error('not sent to %s', line)
        if refused:
            self.exit_status = base.FAILED
        self.app.LOG.info('sent %s', report.summary)
