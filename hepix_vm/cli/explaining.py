# SPDX-License-Identifier: Apache-2.0
"""``image explain``: text for a person, or one form for programs."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import TextIO

from cliff.formatters import base as formatters

from hepix_vm.catalogue import origin
from hepix_vm.catalogue import store
from hepix_vm.cli import base
from hepix_vm.cli import images as images_
from hepix_vm.operations import cached
from hepix_vm.operations import explaining
from hepix_vm.operations import rules

# What a person reads, in the order of the way that an image takes.
_TITLES = {
    'lists': 'Lists',
    'signers': 'Signed by',
    'endorsements': 'Endorsements',
    'rules': "This site's rules",
    'files': 'Files',
    'records': 'Glance images and their records',
    'publications': 'Published by this suite',
    'servers': 'Servers that run from it',
    'cached': 'Hosts that may have it cached',
    'blocks': 'Blocks',
    'history': 'History',
    'changes': 'What would change the decision',
}


class Text(formatters.SingleFormatter):
    """Prints an explanation for a person."""

    def add_argument_group(self, parser: argparse.ArgumentParser) -> None:
        """It has no options."""

    def emit_one(
        self,
        column_names: Sequence[str],
        data: Sequence[Any],
        stdout: TextIO,
        parsed_args: argparse.Namespace,
    ) -> None:
        """Print the decision, then a paragraph for each thing that is known.

        :param column_names: keys of the other forms
        """
        found = dict(zip(column_names, data, strict=True))
        if 'detail' in found:
            stdout.write(f'{found["detail"]}\n')
        for key, title in _TITLES.items():
            lines = list(found.get(key, ()))
            if key == 'servers' and found.get('servers_unknown'):
                lines.append(f'not known: {found["servers_unknown"]}')
            if lines:
                stdout.write(f'\n{title}\n')
                stdout.writelines(f'  {line}\n' for line in lines)


class ImageExplain(base.ShowOne, images_.Named):
    """Say why an image is approved or refused, and all that led there."""

    @property
    def formatter_namespace(self) -> str:
        """The usual forms, and text."""
        return 'hepix_vm.explain'

    @property
    def formatter_default(self) -> str:
        """For a person."""
        return 'text'

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
        shown = {
            'verdict': found.decision.verdict.value,
            'code': found.decision.code.value,
            'detail': found.decision.sentence,
            'endorsements': map(_endorsement, found.endorsements),
            'lists': map(_list, found.subscriptions),
            'glance': map(_record, found.records),
            'blocks': map(_block, found.blocks),
            'history': map(_line, found.history),
            'signers': _signers(found),
            'rules': _rules(found),
            'files': _files(found),
            'records': map(_recorded, found.records),
            'publications': map(_publication, found.publications),
            'servers': map(_server, found.servers.found),
            'servers_unknown': found.servers.problem,
            'changes': found.changes,
            'cached': map(_cached, found.cached),
        }
        return (
            tuple(shown),
            tuple(
                base.shown(value)
                if isinstance(value, str)
                else [base.shown(line) for line in value]
                for value in shown.values()
            ),
        )


def _endorsement(item: explaining.Endorsed) -> str:
    image = item.judged.image
    approved = 'approved' if image.approved else 'not approved'
    listed = 'no longer listed' if image.withdrawn else 'listed'
    text = (
        f'{image.subscription}: {image.identifier} version {image.version} '
        f'"{image.title}", {listed}, {approved}, {image.size} bytes, sha512 '
        f'{image.sha512}'
    )
    if item.came_with is not None:
        text += (
            f', came with list version {item.came_with.list_version} (message '
            f'sha256 {item.came_with.message_sha256})'
        )
    return f'{text}; today: {item.judged.decision.code}'


def _list(item: explaining.Followed) -> str:
    state, newest = item.state, item.newest
    text = (
        f'{state.name}: list {state.list_identifier} version '
        f'{state.list_version}, {state.standing}, verified '
        f'{base.shown_time(state.verified_at)}, expires '
        f'{base.shown_time(state.expires)}'
    )
    if newest is not None:
        text += (
            f', first seen {base.shown_time(newest.seen_at)}, message sha256 '
            f'{newest.message_sha256}'
        )
    return text


def _signers(found: explaining.Explained) -> Iterator[str]:
    """Who signed the newest lists, and those that the versions came with."""
    lists: dict[int, origin.SignedList] = {}
    for followed in found.subscriptions:
        if followed.newest is not None:
            lists[followed.newest.row] = followed.newest
    for item in found.endorsements:
        if item.came_with is not None:
            lists[item.came_with.row] = item.came_with
    for row in sorted(lists, reverse=True):
        signed = lists[row]
        for signer in signed.signers:
            yield (
                f'{signed.subscription} version {signed.list_version}: '
                f'{signer.subject}, issued by {signer.issuer}, certificate '
                f'sha256 {signer.sha256}'
            )


def _rules(found: explaining.Explained) -> Iterator[str]:
    for item in found.endorsements:
        image = item.judged.image
        for sentence in rules.sentences(item.case):
            yield f'{image.subscription} version {image.version}: {sentence}'


def _files(found: explaining.Explained) -> Iterator[str]:
    for item in found.endorsements:
        image, rule = item.judged.image, item.case.rule
        if image.proven:
            proof = 'its signature was checked'
        elif getattr(rule, 'image_signature', None) is not None:
            proof = 'its signature has not been checked'
        else:
            proof = 'no signature of its own is demanded'
        yield (
            f'{image.uri}: {image.size} bytes, sha512 {image.sha512}, {proof}'
        )


def _record(record: store.Record) -> str:
    return f'{record.image_id}: {record.state} {record.reason}'.rstrip()


def _recorded(record: store.Record) -> str:
    project = f', project {record.project}' if record.project else ''
    of = f', snapshot of a server of {record.parent}' if record.parent else ''
    return (
        f'{_record(record)}, recorded {base.shown_time(record.recorded_at)}, '
        f'{record.final_size} bytes{project}{of}'
    )


def _publication(item: origin.Publication) -> str:
    return (
        f'{item.image_id}: {item.state}, version {item.version} of '
        f'{item.subscription}, {base.shown_time(item.at)}'
    )


def _server(server: Any) -> str:
    return (
        f'{server.server_id} "{server.name}": {server.status}, project '
        f'{server.project}, host {server.host or "none"}, created '
        f'{server.created}, image {server.image_id}'
    )


def _cached(item: cached.Cached) -> str:
    if item.asked_at is None:
        return (
            f'host {item.host}: image {item.image_id}, base of '
            f'{item.servers} servers'
        )
    return (
        f'hosts of aggregate {item.aggregate}: image {item.image_id}, asked '
        f'to fetch it {base.shown_time(item.asked_at)}'
    )


def _block(block: store.Event) -> str:
    return (
        f'{block.subject} by {block.who} at {base.shown_time(block.at)}: '
        f'{block.detail}'
    )


def _line(line: Any) -> str:
    return (
        f'{base.shown_time(line.at)} {line.who} {line.event} {line.subject}: '
        f'{line.detail}'
    )
