# SPDX-License-Identifier: Apache-2.0
"""``list verify``, ``message verify`` and ``list show``."""

from __future__ import annotations

import argparse
import datetime
import os
from pathlib import Path
import tempfile
from typing import Any

from hepix_vm.cli import base
from hepix_vm.cli import judging
from hepix_vm.endorse import files
from hepix_vm import errors
from hepix_vm.operations import messages
from hepix_vm import trust
from hepix_vm.trust import names


def _name(text: str) -> trust.Name:
    try:
        return names.parse(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def _verify_options(
    parser: argparse.ArgumentParser, instead: str | None = None
) -> None:
    parser.add_argument('file', metavar='FILE', type=Path)
    judging.options(parser, instead=instead)
    parser.add_argument(
        '--at',
        metavar='TIME',
        type=base.moment,
        help='judge as of this time, RFC 3339 or UNIX seconds; default: now',
    )


def _at(parsed_args: argparse.Namespace) -> datetime.datetime:
    given: datetime.datetime | None = parsed_args.at
    return given or datetime.datetime.now(datetime.UTC)


def _shown(verdict: messages.Verdict) -> tuple[tuple[str, ...], Any]:
    signer = verdict.signer
    shown = (
        None
        if signer is None
        else {
            'subject': signer.subject.rfc4514(),
            'issuer': signer.issuer.rfc4514(),
            'sha256': signer.sha256,
        }
    )
    return (
        ('verdict', 'code', 'detail', 'signer', 'payload_sha256'),
        (
            'accepted' if verdict.accepted else 'refused',
            verdict.code,
            verdict.detail,
            shown,
            verdict.payload_sha256,
        ),
    )


class MessageVerify(base.ShowOne):
    """Verify any signed message; its payload is not looked into.

    Exit status 0: accepted, 1: refused, 2: wrong use or unreadable files.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        _verify_options(parser)
        parser.add_argument(
            '--output',
            metavar='PAYLOAD',
            type=Path,
            help='write the verified bytes here, only when accepted',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Verify and show the verdict."""
        verdict = messages.verify_message(
            files.read(parsed_args.file),
            trust.load(parsed_args.trust_anchors),
            judging.policy(parsed_args),
            _at(parsed_args),
        )
        if verdict.payload is not None and parsed_args.output is not None:
            _write(parsed_args.output, verdict.payload)
        self.exit_status = base.WELL if verdict.accepted else base.FAILED
        return _shown(verdict)


class ListVerify(base.ShowOne):
    """Verify a signed image list, as a subscriber would.

    Either with trust anchors and the options here, or exactly as a
    subscription of this site says, also a list that is not S/MIME.

    Exit status 0: accepted, 1: refused, 2: wrong use or unreadable files.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        _verify_options(
            parser,
            'judge as "hepix-vm sync" judges the lists of this subscription; '
            'instead of all options but --at',
        )
        parser.add_argument(
            '--endorser-subject',
            metavar='DN',
            type=_name,
            help='subject DN of the only endorser that is accepted',
        )
        parser.add_argument(
            '--endorser-issuer',
            metavar='DN',
            type=_name,
            help="subject DN of that endorser's CA; goes with the other",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Verify and show the verdict."""
        if parsed_args.subscription is not None:
            verdict = self._as_subscribed(parsed_args)
        else:
            verdict = messages.verify_list(
                files.read(parsed_args.file),
                trust.load(parsed_args.trust_anchors),
                judging.policy(parsed_args, _endorser(parsed_args)),
                _at(parsed_args),
            )
        self.exit_status = base.WELL if verdict.accepted else base.FAILED
        return _shown(verdict)

    def _as_subscribed(
        self, parsed_args: argparse.Namespace
    ) -> messages.Verdict:
        from hepix_vm.operations import subscribed

        for name in (
            'crl',
            'signing_policy',
            'pin',
            'endorser_subject',
            'endorser_issuer',
        ):
            if getattr(parsed_args, name):
                raise errors.Misconfigured(
                    f'the subscription says how its lists are judged: leave '
                    f'out --{name.replace("_", "-")}'
                )
        return subscribed.verify(
            self.site(),
            parsed_args.subscription,
            files.read(parsed_args.file),
            _at(parsed_args),
        )


def _endorser(parsed_args: argparse.Namespace) -> trust.Endorser | None:
    subject = parsed_args.endorser_subject
    issuer = parsed_args.endorser_issuer
    if (subject is None) != (issuer is None):
        raise errors.Misconfigured(
            'an endorser is a subject and an issuer: give both '
            '--endorser-subject and --endorser-issuer, or neither'
        )
    if subject is None or issuer is None:
        return None
    return trust.Endorser(subject=subject, issuer=issuer)


def _write(target: Path, payload: bytes) -> None:
    """Write a file whole or not at all; a device or pipe as it is."""
    try:
        if target.exists() and not target.is_file():
            target.write_bytes(payload)
            return
        handle, name = tempfile.mkstemp(
            prefix=f'.{target.name}.', dir=target.parent
        )
        try:
            with os.fdopen(handle, 'wb') as stream:
                stream.write(payload)
            Path(name).chmod(0o644)
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as exc:
        raise errors.Misconfigured(
            f'{target}: cannot be written: {exc.strerror}'
        ) from exc


class ListShow(base.Lister):
    """Show the images of a list.

    Of a file: whatever it says, signed or not, nothing of it is believed.
    Of a subscription: the lists that were accepted and refused.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument('file', metavar='FILE', type=Path, nargs='?')
        what.add_argument('--subscription', metavar='NAME')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Show the list or lists."""
        if parsed_args.subscription is not None:
            return self._seen(parsed_args.subscription)
        image_list = messages.show(files.read(parsed_args.file))
        self.app.LOG.warning(
            'list %s version %s, created %s, expires %s: not verified, see '
            '"hepix-vm list verify"',
            image_list.identifier,
            image_list.version,
            image_list.created.isoformat(),
            image_list.expires.isoformat(),
        )
        for problem in image_list.problems:
            self.app.LOG.warning('%s', problem)
        return (
            ('identifier', 'version', 'title', 'size', 'sha512', 'uri'),
            [
                (i.identifier, i.version, i.title, i.size, i.sha512, i.uri)
                for i in image_list.images
            ],
        )

    def _seen(self, name: str) -> Any:
        from hepix_vm.operations import catalogue

        site = self.site()
        catalogue.subscription(site, name)
        return (
            ('seen_at', 'verdict', 'code', 'list', 'version', 'detail'),
            [
                (
                    base.shown_time(seen.seen_at),
                    seen.verdict,
                    seen.code,
                    seen.list_identifier or '',
                    seen.list_version or '',
                    seen.detail,
                )
                for seen in catalogue.lists_seen(site, name)
            ],
        )
