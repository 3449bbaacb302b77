# SPDX-License-Identifier: Apache-2.0
"""``list publish|check``: where subscribers fetch a list."""

from __future__ import annotations

import argparse
import datetime
import os
from pathlib import Path
import re
from typing import Any

from hepix_vm.catalogue import fetch
from hepix_vm.cli import base
from hepix_vm.cli import judging
from hepix_vm.cli import progress
from hepix_vm.endorse import checking
from hepix_vm.endorse import files
from hepix_vm.endorse import publishing
from hepix_vm.endorse import sealing
from hepix_vm.endorse import targets
from hepix_vm import errors
from hepix_vm.operations import endorsing
from hepix_vm import trust

_TOKEN = re.compile(r'[A-Za-z0-9._~+/-]+=*')


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class ListPublish(base.Lister):
    """Put a signed list where subscribers fetch it, after its new images.

    TARGET is a directory, davs://HOST/PATH (WebDAV), https://HOST/PATH
    (plain PUT), s3://BUCKET/PREFIX or oci://HOST/REPOSITORY:TAG.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument('file', metavar='MESSAGE', type=Path)
        parser.add_argument('target', metavar='TARGET')
        parser.add_argument(
            '--images',
            metavar='IMAGE-FILE',
            nargs='+',
            action='extend',
            default=[],
            type=Path,
            help='files that are images; those that are there are not read',
        )
        parser.add_argument(
            '--base-uri',
            metavar='URI',
            help=(
                'where subscribers find what lies in TARGET; default: the '
                "folder of the list's hv:uri"
            ),
        )
        parser.add_argument(
            '--name', help='of the list in TARGET; default: as in its hv:uri'
        )
        parser.add_argument(
            '--dry-run',
            action='store_true',
            help='check everything and say what would be uploaded',
        )
        _access_options(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Publish, and show what became of each file."""
        with progress.shown(self.app.stderr) as told:
            placed = list(
                endorsing.publish(
                    parsed_args.file,
                    parsed_args.target,
                    parsed_args.images,
                    _access(parsed_args),
                    _now(),
                    parsed_args.base_uri,
                    parsed_args.name,
                    parsed_args.dry_run,
                    told,
                )
            )
        for one in placed:
            if one.outcome is publishing.Outcome.ELSEWHERE:
                self.app.LOG.warning(
                    'image %s lies elsewhere, at %s: see "hepix-vm list '
                    'check"',
                    one.subject,
                    one.uri,
                )
        return (
            ('subject', 'title', 'outcome', 'size', 'uri'),
            [
                (o.subject, o.title, o.outcome.value, o.size, o.uri)
                for o in placed
            ],
        )


def _access_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--token-file',
        metavar='FILE',
        type=Path,
        help=(
            'file with one line, "USER:SECRET" or a bearer token, not '
            'readable by everybody; default: ~/.netrc, or what "oras login" '
            'left; object stores: AWS_ACCESS_KEY_ID, ~/.aws/credentials'
        ),
    )
    parser.add_argument('--client-certificate', metavar='FILE', type=Path)
    parser.add_argument('--client-key', metavar='FILE', type=Path)
    parser.add_argument(
        '--ca-file',
        metavar='FILE',
        type=Path,
        help="PEM file of the CAs of the target's server",
    )
    parser.add_argument(
        '--s3-endpoint',
        metavar='URL',
        default=os.environ.get('AWS_ENDPOINT_URL'),
        help='of the object store; default: AWS_ENDPOINT_URL',
    )
    parser.add_argument(
        '--timeout',
        metavar='SECONDS',
        type=float,
        default=60,
        help='for a connection or an answer; default: 60',
    )


def _access(parsed_args: argparse.Namespace) -> targets.Access:
    user = password = token = None
    if parsed_args.token_file is not None:
        secret = files.read_secret(parsed_args.token_file)
        user, colon, password = secret.partition(':')
        if not colon:
            user, password, token = None, None, secret
            if not _TOKEN.fullmatch(secret):
                raise errors.Misconfigured(
                    f'{parsed_args.token_file}: expected USER:SECRET or a '
                    'bearer token, found something else'
                )
    return targets.Access(
        user=user,
        password=password,
        token=token,
        client_certificate=parsed_args.client_certificate,
        client_key=parsed_args.client_key,
        ca_file=parsed_args.ca_file,
        s3_endpoint=parsed_args.s3_endpoint,
        timeout=parsed_args.timeout,
    )


class ListCheck(base.Lister):
    """Say of a published list what its subscribers will say.

    Every image is fetched and hashed. Exit status 0: all is well, 1: there
    are problems.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            'url', metavar='URL', help='as subscribers configure it'
        )
        parser.add_argument(
            '--without-images',
            action='store_true',
            help='look at the list alone',
        )
        parser.add_argument('--ca-file', metavar='FILE')
        judging.options(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Check, and show what was found."""
        anchored = sealing.Anchored(
            trust.load(parsed_args.trust_anchors), judging.policy(parsed_args)
        )
        with progress.shown(self.app.stderr) as told:
            found = list(
                endorsing.check(
                    parsed_args.url,
                    anchored,
                    fetch.FetchSettings(ca_file=parsed_args.ca_file),
                    _now(),
                    not parsed_args.without_images,
                    told,
                )
            )
        if endorsing.worst(found) is checking.Level.PROBLEM:
            self.exit_status = base.FAILED
        return (
            ('level', 'subject', 'check', 'detail'),
            [(f.level.value, f.subject, f.check, f.detail) for f in found],
        )
