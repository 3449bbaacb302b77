# SPDX-License-Identifier: Apache-2.0
"""``context lint``, ``publish``, ``rollback``, ``show`` and ``diff``."""

from __future__ import annotations

import argparse
from typing import Any

from hepix_vm.cli import base
from hepix_vm.cli import context as instances
from hepix_vm.conf import context as conf_context
from hepix_vm.context import generations
from hepix_vm.context import lint as lint_
from hepix_vm.operations import context

_DAY = 86400


class ContextLint(base.Lister, instances.Directory):
    """Say what is wrong with a site directory.

    Errors would stop "context publish", warnings would not. What shellcheck
    says, if it is installed, are warnings.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        instances.add_directory(parser, 'default: [context] directory')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Look at it."""
        found = context.lint(self.source(parsed_args))
        if any(one.level is lint_.Level.ERROR for one in found):
            self.exit_status = base.FAILED
        return base.rows(
            ('place', 'level', 'rule', 'text'),
            [
                (one.place, one.level.value, one.rule, base.shown(one.text))
                for one in found
            ],
        )


class ContextPublish(base.ShowOne, instances.Directory):
    """Publish the site directory: check it, give it a serial, make it current.

    Guests get it where [context] serve = published. Nothing is published
    when "context lint" finds an error.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        instances.add_directory(parser, 'default: [context] directory')
        _add_order(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Publish it."""
        conf = self.app.configuration()
        try:
            made = context.publish(
                self.source(parsed_args), _order(conf, parsed_args)
            )
        except context.NotPublished as exc:
            for finding in exc.findings:
                self.app.stderr.write(f'{base.shown(str(finding))}\n')
            raise
        return _published(made)


class ContextRollback(base.ShowOne):
    """Publish what was published before again, under a new serial."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            'serial',
            metavar='SERIAL',
            nargs='?',
            type=instances.serial,
            help='default: that of the content before the current one',
        )
        _add_order(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Go back."""
        conf = self.app.configuration()
        return _published(
            context.rollback(
                conf_context.context_source(conf),
                _order(conf, parsed_args),
                parsed_args.serial,
            )
        )


class ContextShow(base.Lister):
    """Show what was published, the newest first."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Show it."""
        source = conf_context.context_source(self.app.configuration())
        return base.rows(
            (
                *('serial', 'state', 'published_at', 'expires_at', 'by'),
                *('sha256', 'comment'),
            ),
            [
                _generation(one)
                for one in context.shown(source.state_directory)
            ],
        )


class ContextDiff(base.Command, instances.Directory):
    """Print what differs between two publications.

    By default from the current one to the site directory: what "context
    publish" would change.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            'old',
            metavar='FROM',
            nargs='?',
            type=instances.serial,
            help='a serial; default: the current one',
        )
        parser.add_argument(
            'new',
            metavar='TO',
            nargs='?',
            type=instances.serial,
            help='a serial; default: the site directory',
        )
        instances.add_directory(parser, 'default: [context] directory')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Print it."""
        out = self.app.stdout
        for one in context.differences(
            self.source(parsed_args), parsed_args.old, parsed_args.new
        ):
            detail = f' ({one.detail})' if one.detail else ''
            out.write(f'{one.change} {one.path}{detail}\n')
            for line in one.lines:
                # A tab harms no terminal and is what scripts are full of.
                out.write('\t'.join(map(base.shown, line.split('\t'))) + '\n')


def _add_order(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--comment', metavar='TEXT', default='', help='why, one line'
    )
    parser.add_argument(
        '--expires',
        metavar='TIME',
        type=base.moment,
        help='until when it holds; default: [context] expire_days from now',
    )


def _order(conf: Any, parsed_args: argparse.Namespace) -> generations.Order:
    now = base.now()
    expires = None
    if parsed_args.expires is not None:
        expires = int(parsed_args.expires.timestamp())
    elif conf.context.expire_days:
        expires = now + conf.context.expire_days * _DAY
    return generations.Order(
        now=now,
        expires_at=expires,
        by=base.who(),
        comment=base.shown(parsed_args.comment),
        keep=conf.context.keep_generations,
    )


def _published(made: context.Published) -> Any:
    about = made.generation
    shown = {
        'serial': about.serial,
        'published_at': base.shown_time(about.published_at),
        'expires_at': base.shown_time(about.expires_at),
        'sha256': about.sha256,
        'content_of': about.origin,
        'unchanged_since': made.unchanged or '',
        'warnings': [base.shown(str(finding)) for finding in made.warnings],
    }
    return tuple(shown), tuple(shown.values())


def _generation(one: context.Shown) -> tuple[Any, ...]:
    state = ['current'] if one.current else ['kept']
    about = one.generation
    if about is None:
        return (one.serial, 'damaged', '', '', '', '', base.shown(one.problem))
    if about.expires_at is not None and about.expires_at <= base.now():
        state.append('expired')
    if about.origin != one.serial:
        state.append(f'content of {about.origin}')
    return (
        one.serial,
        ', '.join(state),
        base.shown_time(about.published_at),
        base.shown_time(about.expires_at),
        base.shown(about.by),
        about.sha256,
        base.shown(about.comment),
    )
