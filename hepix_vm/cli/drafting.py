# SPDX-License-Identifier: Apache-2.0
"""``list new|add|remove|set|diff``: drafts of an endorser."""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import Any

from hepix_vm.cli import base
from hepix_vm.cli import list_options
from hepix_vm.cli import progress
from hepix_vm import errors
from hepix_vm import imagelist
from hepix_vm.operations import drafting


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class ListNew(base.Command):
    """Begin an image list: an unsigned draft in a new file."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument('draft', metavar='DRAFT', type=Path)
        list_options.add_endorsers(parser, required=True)
        list_options.add_texts(parser)
        parser.add_argument(
            '--uri', metavar='URI', help='where subscribers will fetch it'
        )
        parser.add_argument(
            '--source', metavar='TEXT', help="default: the URI's host"
        )
        parser.add_argument(
            '--identifier', metavar='UUID', help='default: a new one'
        )
        parser.add_argument(
            '--dialect',
            choices=list(imagelist.Dialect),
            default=imagelist.Dialect.HEPIX,
            type=imagelist.Dialect,
            help='whose consumers read it; default: hepix',
        )
        parser.add_argument(
            '--vo', metavar='NAME', help='virtual organisation (appdb)'
        )
        parser.add_argument(
            '--from',
            dest='source_list',
            metavar='FILE',
            type=Path,
            help=(
                'take over a list that exists, signed or not, with its '
                'identifier, version and images'
            ),
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Write the draft."""
        fields = {
            name: getattr(parsed_args, name)
            for name in (
                'title',
                'description',
                'uri',
                'source',
                'identifier',
                'vo',
            )
        }
        who = list_options.endorsers(parsed_args)
        if parsed_args.source_list is not None:
            draft, warnings = drafting.adopt(
                parsed_args.draft, parsed_args.source_list, who, **fields
            )
            for warning in warnings:
                self.app.LOG.warning('%s', warning)
        else:
            if not fields['title'] or not fields['uri']:
                raise errors.Misconfigured(
                    'a new list needs --title and --uri, or --from FILE'
                )
            draft = drafting.create(
                parsed_args.draft, who, _now(), parsed_args.dialect, **fields
            )
        self.app.stdout.write(f'{draft.identifier}\n')


class ListAdd(base.Command):
    """Put an image file into a draft, or a new version of an image.

    The file is read once: size, digest, format and, where it can be told,
    the architecture come from it.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument('draft', metavar='DRAFT', type=Path)
        parser.add_argument('image', metavar='IMAGE-FILE', type=Path)
        parser.add_argument(
            '--update',
            metavar='IMAGE',
            help=(
                'identifier or title of the image of which this is a new '
                'version; what is not given stays'
            ),
        )
        parser.add_argument(
            '--identifier', metavar='UUID', help='default: a new one'
        )
        parser.add_argument(
            '--uri',
            metavar='URI',
            help=(
                'where subscribers will fetch it; {name}, {version}, '
                '{identifier}, {sha256} and {sha512} are filled in; default: '
                '{name} beside the list'
            ),
        )
        list_options.add_texts(parser)
        list_options.add_image(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Read the image and write the draft."""
        if parsed_args.update is not None and parsed_args.identifier:
            raise errors.Misconfigured(
                'an image keeps its identifier: give --update or '
                '--identifier, but not both'
            )
        with progress.shown(self.app.stderr) as told:
            added = drafting.add(
                parsed_args.draft,
                parsed_args.image,
                told,
                parsed_args.update,
                title=parsed_args.title,
                description=parsed_args.description,
                uri=parsed_args.uri,
                identifier=parsed_args.identifier,
                **list_options.image_fields(parsed_args),
            )
        for warning in added.warnings:
            self.app.LOG.warning('%s', warning)
        self.app.stdout.write(f'{added.image.identifier}\n')


class ListRemove(base.Command):
    """Take images out of a draft; subscribers withdraw them."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument('draft', metavar='DRAFT', type=Path)
        parser.add_argument('images', metavar='IMAGE', nargs='*')
        parser.add_argument(
            '--retire-list-withdrawing-all',
            action='store_true',
            help='empty the list for good: every image of it is withdrawn',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Write the draft."""
        if bool(parsed_args.images) == parsed_args.retire_list_withdrawing_all:
            raise errors.Misconfigured(
                'name images, or give --retire-list-withdrawing-all'
            )
        if parsed_args.images:
            drafting.remove(parsed_args.draft, tuple(parsed_args.images))
        else:
            drafting.retire(parsed_args.draft)


class ListSet(base.Command):
    """Change fields of a draft, or of one image in it."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument('draft', metavar='DRAFT', type=Path)
        parser.add_argument(
            '--image',
            metavar='IMAGE',
            help='identifier or title; default: the list itself',
        )
        list_options.add_texts(parser)
        parser.add_argument('--uri', metavar='URI')
        one = parser.add_argument_group('of the list')
        one.add_argument('--source', metavar='TEXT')
        one.add_argument('--list-version', metavar='VERSION')
        one.add_argument('--vo', metavar='NAME')
        one.add_argument(
            '--lifetime',
            metavar='DAYS',
            type=list_options.days,
            help='from signing to expiry; a new list has 28',
        )
        list_options.add_endorsers(parser, required=False)
        list_options.add_image(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Write the draft."""
        shared = {
            name: getattr(parsed_args, name)
            for name in ('title', 'description', 'uri')
        }
        of_list = {
            'source': parsed_args.source,
            'version': parsed_args.list_version,
            'vo': parsed_args.vo,
            'lifetime': parsed_args.lifetime,
            'endorsers': list_options.endorsers(parsed_args) or None,
        }
        of_image = list_options.image_fields(parsed_args)
        wrong = of_list if parsed_args.image is not None else of_image
        for name, value in wrong.items():
            if value is not None:
                raise errors.Misconfigured(
                    f'{name} is a field of '
                    + (
                        'the list: leave out --image'
                        if wrong is of_list
                        else 'an image: give --image'
                    )
                )
        drafting.change(
            parsed_args.draft,
            parsed_args.image,
            **shared,
            **(of_list if parsed_args.image is None else of_image),
        )


class ListDiff(base.Lister):
    """Show what changes between two lists, signed or not."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument('old', metavar='OLD', type=Path)
        parser.add_argument('new', metavar='NEW', type=Path)
        parser.add_argument(
            '--exit-code',
            action='store_true',
            help='exit with 1 if anything but version and dates differs',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Show the changes."""
        found = drafting.changes(parsed_args.old, parsed_args.new)
        if parsed_args.exit_code and any(c.more_than_dates for c in found):
            self.exit_status = base.FAILED
        return (
            ('subject', 'title', 'change', 'before', 'after'),
            [(c.subject, c.title, c.change, c.before, c.after) for c in found],
        )
