# SPDX-License-Identifier: Apache-2.0
"""``image explain``."""

from __future__ import annotations

import argparse
from typing import Any

from hepix_vm.cli import base
from hepix_vm.cli import images as images_
from hepix_vm.operations import explaining
from hepix_vm.operations import images


class ImageExplain(base.ShowOne, images_.Named):
    """Say why an image is approved or refused, and all that led there."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--project', metavar='ID', help='as seen by this project'
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Explain it."""
        found = explaining.explain(
            self.site(), base.now(), parsed_args.image, parsed_args.project
        )
        return (
            (
                'verdict',
                'code',
                'detail',
                'endorsements',
                'lists',
                'glance',
                'blocks',
                'history',
            ),
            (
                found.decision.verdict.value,
                found.decision.code.value,
                found.decision.sentence,
                [_endorsement(judged) for judged in found.endorsements],
                [
                    f'{state.name}: list {state.list_identifier} version '
                    f'{state.list_version}, {state.standing}, verified '
                    f'{base.shown_time(state.verified_at)}, expires '
                    f'{base.shown_time(state.expires)}'
                    for state in found.subscriptions
                ],
                [
                    f'{record.image_id}: {record.state} '
                    f'{record.reason}'.rstrip()
                    for record in found.records
                ],
                [
                    f'{block.subject} by {block.who} at '
                    f'{base.shown_time(block.at)}: {block.detail}'
                    for block in found.blocks
                ],
                [
                    f'{base.shown_time(event.at)} {event.who} {event.event} '
                    f'{event.subject}: {event.detail}'
                    for event in found.history
                ],
            ),
        )


def _endorsement(judged: images.Judged) -> str:
    image = judged.image
    approved = 'approved' if image.approved else 'not approved'
    listed = 'no longer listed' if image.withdrawn else 'listed'
    return (
        f'{image.subscription}: {image.identifier} version {image.version} '
        f'"{image.title}", {listed}, {approved}, {image.size} bytes, sha512 '
        f'{image.sha512}'
    )
