# SPDX-License-Identifier: Apache-2.0
"""``subscription list|show|reset`` and ``db sync``."""

from __future__ import annotations

import argparse
from typing import Any

from hepix_vm.cli import base
from hepix_vm.operations import catalogue


class DbSync(base.Command):
    """Create the catalogue's tables, or bring them to this version."""

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Run the migrations."""
        version = catalogue.create_or_upgrade(self.site())
        self.app.stdout.write(f'catalogue schema {version}\n')


class SubscriptionList(base.Lister):
    """List the subscriptions and how they fare."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Show them."""
        found = catalogue.subscriptions(self.site())
        return (
            (
                'name',
                'standing',
                'version',
                'expires',
                'verified_at',
                'images',
                'approved',
                'last_code',
            ),
            [
                (
                    item.name,
                    _standing(item),
                    item.state.list_version if item.state else '',
                    base.shown_time(
                        item.state.expires if item.state else None
                    ),
                    base.shown_time(
                        item.state.verified_at if item.state else None
                    ),
                    item.images,
                    item.approved,
                    (item.state.last_code if item.state else '') or '',
                )
                for item in found
            ],
        )


def _standing(item: catalogue.Subscribed) -> str:
    if item.problem:
        return 'misconfigured'
    if item.state is None:
        return 'never synced'
    if not item.state.configured or item.configured is None:
        return 'unsubscribed'
    return item.state.standing.value


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
            'standing': _standing(item),
            'problem': item.problem,
            'images': item.images,
            'approved': item.approved,
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
