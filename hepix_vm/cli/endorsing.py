# SPDX-License-Identifier: Apache-2.0
"""``list sign|renew|site``: signed lists of an endorser."""

from __future__ import annotations

import argparse
import datetime
import getpass
import os
from pathlib import Path
import sys
from typing import Any

from hepix_vm.cli import base
from hepix_vm.cli import judging
from hepix_vm.cli import list_options
from hepix_vm.endorse import keys
from hepix_vm.endorse import sealing
from hepix_vm import errors
from hepix_vm import imagelist
from hepix_vm.operations import endorsing
from hepix_vm.operations import site_list
from hepix_vm import trust

_FIELDS = (
    'list',
    'version',
    'created',
    'expires',
    'images',
    'signed_by',
    'not_yet_signed_by',
    'output',
)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _signer_options(
    parser: argparse.ArgumentParser, *, required: bool = True
) -> None:
    parser.add_argument(
        '--certificate',
        metavar='FILE',
        type=Path,
        required=required,
        help="PEM file of the signer's certificate",
    )
    parser.add_argument(
        '--key',
        metavar='KEY',
        required=required,
        help=(
            'a PEM file; "ssh-agent:" for a key that ssh-add gave to the '
            'agent; or a PKCS #11 URI of a token, such as '
            '"pkcs11:token=NAME;object=LABEL?module-path=/PATH/LIBRARY.so"'
        ),
    )
    parser.add_argument(
        '--chain',
        metavar='FILE',
        type=Path,
        help='PEM file of further certificates to embed',
    )
    parser.add_argument(
        '--passphrase-file',
        metavar='FILE',
        type=Path,
        help=(
            "file with the key's passphrase or the token's PIN, not readable "
            'by everybody; default: ask'
        ),
    )


def _source(parsed_args: argparse.Namespace) -> keys.Source:
    return keys.Source(
        certificate=parsed_args.certificate,
        key=parsed_args.key,
        chain=parsed_args.chain,
        passphrase_file=parsed_args.passphrase_file,
        ask=_ask if sys.stdin is not None and sys.stdin.isatty() else None,
        agent=os.environ.get('SSH_AUTH_SOCK'),
    )


def _ask(what: str) -> str:
    return getpass.getpass(f'{what}: ')


def _anchored(parsed_args: argparse.Namespace) -> sealing.Anchored | None:
    if parsed_args.trust_anchors is None:
        return None
    return sealing.Anchored(
        trust.load(parsed_args.trust_anchors), judging.policy(parsed_args)
    )


def _names(identities: tuple[sealing.Identity, ...]) -> str:
    return '; '.join(str(subject) for subject, _issuer in identities)


class _Signing(base.ShowOne):
    """What commands that sign have in common."""

    def shown(self, sealed: sealing.Sealed, output: Path) -> Any:
        """The fields of what was signed; warnings go to the log."""
        for warning in sealed.warnings:
            self.app.LOG.warning('%s', warning)
        image_list = sealed.image_list
        return (
            _FIELDS,
            (
                image_list.identifier,
                image_list.version,
                image_list.created.isoformat(),
                image_list.expires.isoformat(),
                len(image_list.images),
                _names(sealed.signed),
                _names(sealed.missing),
                str(output),
            ),
        )

    def unchanged(self, image_list: imagelist.ImageList, output: Path) -> Any:
        """The fields of a list that was left alone."""
        return (
            _FIELDS[:5] + _FIELDS[-1:],
            (
                image_list.identifier,
                image_list.version,
                image_list.created.isoformat(),
                image_list.expires.isoformat(),
                len(image_list.images),
                str(output),
            ),
        )


class ListSign(_Signing):
    """Sign a draft, or join the signers of a message.

    Version and dates are set, what is written has been read back as
    subscribers do, and the draft then holds what was signed.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            'file',
            metavar='FILE',
            type=Path,
            help='the draft; with --join the message',
        )
        parser.add_argument(
            '--output',
            metavar='MESSAGE',
            type=Path,
            help=(
                'the signed message; the one that is there is the list '
                'before, whose version is raised; default with --join: FILE'
            ),
        )
        parser.add_argument(
            '--join',
            action='store_true',
            help='add a signature; those that are there stay as they are',
        )
        parser.add_argument(
            '--dialect',
            choices=list(imagelist.Dialect),
            type=imagelist.Dialect,
            help="whose consumers read it; default: the draft's",
        )
        _signer_options(parser)
        judging.options(parser, required=False)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Sign, and show what was signed."""
        output: Path | None = parsed_args.output
        source, anchored = _source(parsed_args), _anchored(parsed_args)
        if parsed_args.join:
            if parsed_args.dialect is not None:
                raise errors.Misconfigured(
                    '--dialect: what others have signed cannot be changed'
                )
            output = output or parsed_args.file
            return self.shown(
                endorsing.join(
                    parsed_args.file, output, source, _now(), anchored
                ),
                output,
            )
        if output is None:
            raise errors.Misconfigured('where to? give --output')
        sealed = endorsing.sign(
            parsed_args.file,
            output,
            source,
            _now(),
            parsed_args.dialect,
            anchored,
        )
        return self.shown(sealed, output)


class ListRenew(_Signing):
    """Sign the content of a message again, before it expires.

    Made for cron: with --if-older-than it does nothing until it is time.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument('file', metavar='MESSAGE', type=Path)
        parser.add_argument(
            '--output', metavar='MESSAGE', type=Path, help='default: in place'
        )
        parser.add_argument(
            '--if-older-than',
            metavar='DAYS',
            type=list_options.days,
            help='leave a younger list alone',
        )
        parser.add_argument(
            '--lifetime',
            metavar='DAYS',
            type=list_options.days,
            help='from now to expiry; default: as before',
        )
        parser.add_argument(
            '--previous-certificate',
            metavar='FILE',
            type=Path,
            help='who signed the message, if the certificate is another now',
        )
        _signer_options(parser)
        judging.options(parser, required=False)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Renew, and show what was signed."""
        output = parsed_args.output or parsed_args.file
        done = endorsing.renew(
            parsed_args.file,
            output,
            _source(parsed_args),
            _now(),
            parsed_args.if_older_than,
            parsed_args.lifetime,
            parsed_args.previous_certificate,
            _anchored(parsed_args),
        )
        if isinstance(done, endorsing.NotNeeded):
            return self.unchanged(done.image_list, parsed_args.file)
        return self.shown(done, output)


class ListSite(base.Lister):
    """Show or sign the site's own list: what it approves today.

    It holds the approved images of all endorsers that the site follows and
    the images of DRAFT, which are the site's own.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            'draft',
            metavar='DRAFT',
            type=Path,
            help='of the site, by "hepix-vm list new"; it stays as it is',
        )
        parser.add_argument(
            '--subscription',
            metavar='NAME',
            action='append',
            help='only images of these; default: of all',
        )
        parser.add_argument(
            '--sign',
            action='store_true',
            help='sign the list; needs --output, --certificate and --key',
        )
        parser.add_argument('--output', metavar='MESSAGE', type=Path)
        parser.add_argument(
            '--if-older-than',
            metavar='DAYS',
            type=list_options.days,
            help='leave a younger list alone that says the same',
        )
        _signer_options(parser, required=False)
        judging.options(parser, required=False)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Compose, sign and show the list."""
        composed = site_list.compose(
            self.site(),
            parsed_args.draft,
            base.now(),
            frozenset(parsed_args.subscription or ()) or None,
        )
        if parsed_args.sign:
            self._sign(composed, parsed_args)
        return (
            ('identifier', 'version', 'title', 'expires', 'source', 'uri'),
            [
                (
                    image.identifier,
                    image.version,
                    image.title,
                    image.expires.isoformat() if image.expires else '',
                    str(image.extra.get(site_list.SOURCE, 'local')),
                    image.uri,
                )
                for image in composed.images
            ],
        )

    def _sign(
        self, composed: imagelist.ImageList, parsed_args: argparse.Namespace
    ) -> None:
        for name in ('output', 'certificate', 'key'):
            if getattr(parsed_args, name) is None:
                raise errors.Misconfigured(f'--sign needs --{name}')
        done = site_list.sign(
            composed,
            parsed_args.output,
            _source(parsed_args),
            _now(),
            parsed_args.if_older_than,
            _anchored(parsed_args),
        )
        if isinstance(done, site_list.Unchanged):
            return
        for warning in done.warnings:
            self.app.LOG.warning('%s', warning)
