# SPDX-License-Identifier: Apache-2.0
"""``context build``, ``iso`` and ``explain``: what one instance gets."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from hepix_vm.cli import base
from hepix_vm.conf import context as conf_context
from hepix_vm.context import facts as facts_
from hepix_vm.context import site as site_
from hepix_vm.context import source as source_
from hepix_vm.context import variants
from hepix_vm.operations import context

_ABOUT = {
    'project': 'id of a project',
    'availability_zone': 'name of an availability zone',
    'host': 'name of a compute host',
    'hypervisor_type': 'as Nova names it, such as QEMU',
    'flavor': 'name of a flavor',
    'image': 'id of a Glance image',
    'endorser': 'distinguished name of an endorser',
    'list': 'identifier of an image list',
    'vo': 'virtual organisation of the endorsement',
    'identifier': 'identifier of the image in its list',
}


class Directory:
    """Commands that look at a site directory."""

    app: Any

    def source(self, parsed_args: argparse.Namespace) -> source_.Source:
        """Where the context is read from, as the arguments say."""
        found = conf_context.context_source(self.app.configuration())
        if parsed_args.directory is not None:
            return dataclasses.replace(
                found, directory=parsed_args.directory, published=False
            )
        return found


class _Instance(Directory):
    """Commands about what one instance gets."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Of the site and of the instance."""
        which = parser.add_mutually_exclusive_group()
        add_directory(which, 'default: what [context] serve says')
        which.add_argument(
            '--serial', metavar='SERIAL', type=serial, help='a publication'
        )
        parser.add_argument(
            '--server',
            metavar='UUID',
            help='a server; Nova and the catalogue are asked what it is',
        )
        for name, text in _ABOUT.items():
            parser.add_argument(
                f'--{name.replace("_", "-")}', metavar='VALUE', help=text
            )

    def chosen(
        self, parsed_args: argparse.Namespace
    ) -> tuple[site_.Site, facts_.Facts, source_.Source]:
        """The site and the instance that the arguments name."""
        source = self.source(parsed_args)
        site = context.read(source, parsed_args.serial)
        facts = self._facts(parsed_args)
        if facts.awaited:
            from hepix_vm.context import prepared

            refusal = prepared.awaited(site, facts)
            if refusal is not None:
                self.app.LOG.warning(
                    '%s; until then it gets 503', refusal.detail
                )
        return site, facts, source

    def _facts(self, parsed_args: argparse.Namespace) -> facts_.Facts:
        given = {name: getattr(parsed_args, name) for name in _ABOUT}
        found = facts_.Facts('', '')
        if parsed_args.server is not None:
            from hepix_vm.operations import context_facts

            found = context_facts.of_server(
                self.app.site(), parsed_args.server, base.now()
            )
        return _changed(found, given)


class ContextBuild(base.ShowOne, _Instance):
    """Build the bundle that an instance fetches as default.tgz.

    What the options do not say of the instance is not known of it, so that
    without any it gets the layers without conditions. The bundle is written
    where --output says; without that it is only described.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        self.arguments(parser)
        parser.add_argument('--output', metavar='FILE', type=Path)
        parser.add_argument(
            '--form', choices=sorted(context.FORMS), default='tgz'
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Build it."""
        site, facts, source = self.chosen(parsed_args)
        output = parsed_args.output
        built = context.build(site, facts, source, output, parsed_args.form)
        shown = {
            'files': [file.path for file in built.bundle.files],
            'layers': _layers(built),
            'serial': site.serial,
            'tar_bytes': len(built.bundle.tar),
            'tgz_bytes': len(built.bundle.tgz),
            'sha256_tar': built.bundle.sha256_tar,
            'written': str(output or ''),
        }
        return tuple(shown), tuple(shown.values())


class ContextIso(base.ShowOne, _Instance):
    """Write the CD of an instance: ISO 9660 with the label HEPIX_CTX.

    For clouds that give virtual machines a CD. It holds the files of the
    bundle, its manifest, the signature if [context] signing_key is set, and
    init.sh for the agent of OpenNebula.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        self.arguments(parser)
        parser.add_argument(
            '--output', metavar='FILE', type=Path, required=True
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Write it."""
        site, facts, source = self.chosen(parsed_args)
        key = conf_context.signing_key(self.app.configuration())
        made, size = context.iso(site, facts, source, parsed_args.output, key)
        shown = {
            'written': str(parsed_args.output),
            'bytes': size,
            'layers': _layers(made),
            'serial': site.serial,
            'sha256_tar': made.bundle.sha256_tar,
            'signed': key is not None,
        }
        return tuple(shown), tuple(shown.values())


class ContextExplain(base.Lister, _Instance):
    """Say which layers an instance gets, and why.

    For a server that exists, or for one that the options make up.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        self.arguments(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Explain it."""
        site, facts, _ = self.chosen(parsed_args)
        return base.rows(
            ('layer', 'matched', 'why'),
            [
                (layer.directory or '.', layer.matched, base.shown(layer.why))
                for layer in variants.explain(site, facts)
            ],
        )


def add_directory(parser: Any, default: str) -> None:
    """The option for another site directory."""
    parser.add_argument(
        '--directory',
        metavar='DIR',
        type=Path,
        help=f'site directory; {default}',
    )


def serial(text: str) -> int:
    """A SERIAL argument.

    :raises argparse.ArgumentTypeError: it is no number
    """
    if not text.isascii() or not text.isdigit() or not 0 < len(text) < 19:
        raise argparse.ArgumentTypeError(
            f'expected the number of a publication, found {text!r}; see'
            ' "hepix-vm context show"'
        )
    return int(text)


def _changed(
    facts: facts_.Facts, given: dict[str, str | None]
) -> facts_.Facts:
    """The facts with what the options say in place of what is known."""
    said = {name: value for name, value in given.items() if value is not None}
    names = {field.name for field in dataclasses.fields(facts_.Endorsed)}
    endorsed = facts.endorsed
    if names & said.keys():
        before = endorsed or facts_.Endorsed('', '', '', '')
        endorsed = dataclasses.replace(
            before, **{name: said[name] for name in names & said.keys()}
        )
    own: dict[str, Any] = {
        name: value for name, value in said.items() if name not in names
    }
    awaited = tuple(name for name in facts.awaited if name not in said)
    return dataclasses.replace(
        facts, endorsed=endorsed, awaited=awaited, **own
    )


def _layers(variant: variants.Variant) -> list[str]:
    return [name or '.' for name in variant.layers]
