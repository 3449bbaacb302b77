# SPDX-License-Identifier: Apache-2.0
"""``image list|show|approve|block|unblock``, ``publish``, ``server list``."""

from __future__ import annotations

import argparse
from typing import Any

from hepix_vm.cli import base
from hepix_vm.cli import progress
from hepix_vm.glance import publish
from hepix_vm.operations import images
from hepix_vm.operations import serving

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

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Block it, and show the Glance images that this withdraws."""
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


class Publish(base.Lister):
    """Bring approved images into Glance through its import.

    Exit status 0: all are there, 1: at least one failed.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            'images',
            metavar='IDENTIFIER',
            nargs='*',
            help='only these; default: every approved image',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Publish, showing progress."""
        shown = progress.Progress(self.app.stderr)
        only = frozenset(name.lower() for name in parsed_args.images)
        try:
            results = list(
                serving.publish(self.site(), base.now(), only or None, shown)
            )
        finally:
            shown.close()
        if any(r.outcome is publish.Outcome.FAILED for r in results):
            self.exit_status = base.FAILED
        return (
            (
                'identifier',
                'version',
                'title',
                'outcome',
                'image_id',
                'detail',
            ),
            [
                (
                    r.identifier,
                    r.version,
                    r.title,
                    r.outcome.value,
                    r.image_id or '',
                    r.detail,
                )
                for r in results
            ],
        )


class ServerList(base.Lister):
    """List servers whose image would not boot today."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            '--not-approved',
            action='store_true',
            required=True,
            help='servers that run from images that are not approved',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Show them."""
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
