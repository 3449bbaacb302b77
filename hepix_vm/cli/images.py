# SPDX-License-Identifier: Apache-2.0
"""``image list|show|approve|block|unblock`` and ``server list``."""

from __future__ import annotations

import argparse
from typing import Any

from hepix_vm.cli import base
from hepix_vm.cli import dependents
from hepix_vm.operations import foreseeing
from hepix_vm.operations import images
from hepix_vm.operations import serving
from hepix_vm.operations import withdrawing

_COLUMNS = (
    'subscription',
    'identifier',
    'version',
    'title',
    'size',
    'verdict',
    'code',
    'state',
)


def _row(judged: images.Judged) -> tuple[Any, ...]:
    image = judged.image
    return (
        image.subscription,
        image.identifier,
        image.version,
        image.title,
        image.size,
        judged.decision.verdict.value,
        judged.decision.code.value,
        judged.decision.state.value,
    )


class ImageList(base.Lister):
    """List the endorsed images and what is decided of them."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument('--subscription', metavar='NAME')
        parser.add_argument(
            '--all',
            action='store_true',
            help='withdrawn images and earlier versions too',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Show them."""
        found = images.images(
            self.site(),
            base.now(),
            parsed_args.subscription,
            parsed_args.all,
        )
        return _COLUMNS, [_row(judged) for judged in found]


class Named(base.Command):
    """A command about one image."""

    what = 'image identifier, SHA-512 or Glance image id'

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument('image', metavar='ID', help=self.what)
        return parser


class _Decided(Named):
    """A command that decides about one image."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--reason', default='', help='why, for the history'
        )
        return parser


class ImageShow(base.Lister, Named):
    """Show every endorsement of an image, earlier versions too."""

    what = 'image identifier or SHA-512'

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Show them."""
        found = images.image(self.site(), base.now(), parsed_args.image)
        return (
            (*_COLUMNS, 'sha512', 'uri', 'first_seen'),
            [
                (
                    *_row(judged),
                    judged.image.sha512,
                    judged.image.uri,
                    base.shown_time(judged.image.first_seen),
                )
                for judged in found
            ],
        )


class ImageApprove(base.ShowOne, _Decided):
    """Approve an image of a subscription with "approval = listed"."""

    what = 'image identifier'

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser = super().get_parser(prog_name)
        parser.add_argument('--subscription', metavar='NAME')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Approve it."""
        image = images.approve(
            self.site(),
            base.now(),
            parsed_args.image,
            base.who(),
            parsed_args.reason,
            parsed_args.subscription,
        )
        return (
            ('approved', 'version', 'title', 'subscription'),
            (image.identifier, image.version, image.title, image.subscription),
        )


class ImageBlock(base.Lister, _Decided):
    """Refuse an image from now on, whoever endorses it."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--dry-run',
            action='store_true',
            help=(
                'show what would be withdrawn, what runs from it and what '
                'would break, and change nothing; exit status 1: some of it '
                'could not be found out'
            ),
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Block it, and show the Glance images that this withdraws."""
        if parsed_args.dry_run:
            return self._foresee(parsed_args.image)
        withdrawn = images.block(
            self.site(),
            base.now(),
            parsed_args.image,
            base.who(),
            parsed_args.reason,
        )
        self.app.LOG.info(
            'blocked; "hepix-vm sync" deactivates its images in Glance'
        )
        return (
            ('image_id', 'code', 'detail'),
            [(w.image_id, w.code.value, w.detail) for w in withdrawn],
        )

    def _foresee(self, named: str) -> Any:
        now = base.now()
        foreseen = foreseeing.block(self.site(), now, named)
        for looked in foreseen.clouds.values():
            for sentence in foreseeing.warnings(looked):
                self.app.LOG.warning('%s', sentence)
        for problem in foreseen.problems:
            self.app.LOG.error('what depends on it is not known: %s', problem)
        self.exit_status = base.FAILED if foreseen.problems else base.WELL
        return dependents.COLUMNS, list(dependents.foreseen(foreseen, now))


class ImageUnblock(base.ShowOne, _Decided):
    """Lift a block; images withdrawn by it need a new import."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Unblock it."""
        target = images.unblock(
            self.site(),
            base.now(),
            parsed_args.image,
            base.who(),
            parsed_args.reason,
        )
        return ('unblocked',), (target,)


class ServerList(base.Lister):
    """List servers whose image would not boot today, or was withdrawn.

    Exit status 1: some service could not be asked, so some may be missing.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument(
            '--not-approved',
            action='store_true',
            help='servers that run from images that are not approved',
        )
        which.add_argument(
            '--withdrawn',
            action='store_true',
            help=(
                'servers, volumes, snapshots and images that were made of '
                'withdrawn images, and how'
            ),
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Show them."""
        if parsed_args.withdrawn:
            return self._withdrawn()
        return (
            (
                'server',
                'name',
                'project',
                'host',
                'status',
                'created',
                'image',
                'code',
                'detail',
            ),
            [
                (
                    judged.server.server_id,
                    judged.server.name,
                    judged.server.project,
                    judged.server.host or '',
                    judged.server.status,
                    judged.server.created,
                    judged.server.image_id or '',
                    judged.decision.code.value,
                    judged.decision.detail,
                )
                for judged in serving.not_approved(self.site(), base.now())
            ],
        )

    def _withdrawn(self) -> Any:
        clouds = withdrawing.look_all(self.site())
        for looked in clouds.values():
            for problem in looked.problems:
                self.exit_status = base.FAILED
                self.app.LOG.error('%s', problem)
        rows = list(dependents.looked(clouds, base.now()))
        return dependents.COLUMNS, rows
