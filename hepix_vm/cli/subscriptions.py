# SPDX-License-Identifier: Apache-2.0
"""``subscription list|show|reset|confirm`` and ``db sync``."""

from __future__ import annotations

import argparse
from typing import Any

from hepix_vm.catalogue import subscription
from hepix_vm.cli import base
from hepix_vm.operations import catalogue
from hepix_vm.operations import waiting


class DbSync(base.Command):
    """Create the catalogue's tables, or bring them to this version."""

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Run the migrations."""
        version = catalogue.create_or_upgrade(self.site())
        self.app.stdout.write(f'catalogue schema {version}\n')


class SubscriptionList(base.Lister):
    """List the subscriptions and how they fare.

    State fresh: its images run. Stale: they are not placed, none is
    withdrawn, and they come back by themselves.
    """

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Show them."""
        now = base.now()
        return (
            (
                'name',
                'state',
                'version',
                'expires',
                'verified_at',
                'images',
                'approved',
                'waiting',
                'last_code',
                'failures',
                'next_attempt',
            ),
            [
                (item.name, str(item.condition(now)), *_row(item))
                for item in catalogue.subscriptions(self.site())
            ],
        )


def _row(item: catalogue.Subscribed) -> tuple[Any, ...]:
    state = item.state
    if state is None:
        return '', '', '', item.images, item.approved, item.waiting, '', 0, ''
    return (
        state.list_version or '',
        base.shown_time(state.expires),
        base.shown_time(state.verified_at),
        item.images,
        item.approved,
        item.waiting,
        state.last_code or '',
        state.failures,
        base.shown_time(state.next_attempt),
    )


class SubscriptionShow(base.ShowOne):
    """Show one subscription: whom it trusts, and its last list."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument('name', metavar='NAME')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Show it."""
        item = catalogue.subscription(self.site(), parsed_args.name)
        fields: dict[str, Any] = {
            'name': item.name,
            'state': str(item.condition(base.now())),
            'problem': item.problem,
            'images': item.images,
            'approved': item.approved,
            'waiting': item.waiting,
        }
        if item.configured is not None:
            rule = item.configured
            fields |= {
                'url': rule.url,
                'list_identifier': rule.list_identifier,
                'endorser_subject': rule.endorser_subject,
                'endorser_issuer': rule.endorser_issuer,
                'trust_anchors': rule.trust_anchors,
                'approval': rule.approval.value,
                'approve_if': [line.text for line in rule.approve_if],
                'brake': _brake(rule.brake),
                'projects': (
                    'all'
                    if rule.projects is None
                    else ', '.join(sorted(rule.projects))
                ),
                'list_max_age': rule.list_max_age,
            }
        if item.state is not None:
            state = item.state
            fields |= {
                'version': state.list_version,
                'created': base.shown_time(state.created),
                'expires': base.shown_time(state.expires),
                'payload_sha256': state.payload_sha256,
                'verified_at': base.shown_time(state.verified_at),
                'last_attempt': base.shown_time(state.last_attempt),
                'last_code': state.last_code,
                'last_detail': state.last_detail,
                'standing': state.standing.value,
                'failures': state.failures,
                'next_attempt': base.shown_time(state.next_attempt),
            }
        return tuple(fields), tuple(fields.values())


class SubscriptionReset(base.ShowOne):
    """Take the next list as if it were the first, lower version or not.

    For an endorser who has published a version or date too high by mistake,
    and cannot go on from there. Signature, endorser and dates are checked as
    ever. The reason is kept in the history.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument('name', metavar='NAME')
        parser.add_argument('--reason', required=True)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Reset it."""
        state = catalogue.reset(
            self.site(),
            base.now(),
            parsed_args.name,
            base.who(),
            parsed_args.reason,
        )
        return (
            ('reset', 'version', 'created'),
            (state.name, state.list_version, base.shown_time(state.created)),
        )


def _brake(brake: subscription.Brake | None) -> str:
    if brake is None:
        return 'none'
    return (
        f'more than {brake.images} images or {brake.percent} % wait and '
        f'{"go on running" if brake.keep else "are suspended"}'
    )


class SubscriptionConfirm(base.ShowOne):
    """Let withdrawals act that wait, because a list lacked many images.

    Ask the endorser first, by another way than the list. The reason is kept
    in the history.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument('name', metavar='NAME')
        parser.add_argument('--reason', required=True)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Confirm them."""
        confirmed = waiting.confirm(
            self.site(),
            base.now(),
            parsed_args.name,
            base.who(),
            parsed_args.reason,
        )
        self.app.LOG.info(
            'confirmed; "hepix-vm sync" deactivates the images in Glance'
        )
        return (
            ('confirmed', 'images', 'withdrawn'),
            (
                confirmed.subscription,
                sorted({image.identifier for image in confirmed.images}),
                [w.image_id for w in confirmed.withdrawals],
            ),
        )
