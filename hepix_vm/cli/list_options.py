# SPDX-License-Identifier: Apache-2.0
"""Options that say what a list, its endorsers and its images are."""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
import re
from typing import Any

from hepix_vm.cli import base
from hepix_vm import imagelist
from hepix_vm.operations import drafting

_UNITS = {
    '': 1,
    'B': 1,
    'MIB': 2**20,
    'GIB': 2**30,
    'TIB': 2**40,
    'MB': 10**6,
    'GB': 10**9,
}
# Option, metavar, help; each is a field of an image.
_TEXTS = (
    ('os', 'NAME', 'kind of system, such as Linux'),
    ('os-version', 'VERSION', 'its version, such as "EL 9.4"'),
    ('os-name', 'NAME', 'the distribution, such as AlmaLinux'),
    ('arch', 'ARCH', 'x86_64, aarch64 ...; default: as the file tells'),
    ('format', 'FORMAT', 'qcow2, raw, ova ...; default: as the file tells'),
    ('comments', 'TEXT', 'for people'),
    ('mpuri', 'URI', "the image's page in AppDB, for accounting"),
)


def days(text: str) -> datetime.timedelta:
    """A DAYS argument, more than 0.

    :raises argparse.ArgumentTypeError: for anything else
    """
    try:
        found = datetime.timedelta(days=float(text))
    except (ValueError, OverflowError):
        found = datetime.timedelta(0)
    if found <= datetime.timedelta(0):
        raise argparse.ArgumentTypeError(
            f'expected days, more than 0, found {text!r}'
        )
    return found


def memory(text: str) -> int:
    """A SIZE argument in bytes.

    :raises argparse.ArgumentTypeError: for anything else
    """
    match = re.fullmatch(r'([0-9]{1,18}) ?([A-Za-z]*)', text, re.ASCII)
    if match is None or match[2].upper() not in _UNITS:
        raise argparse.ArgumentTypeError(
            f'expected a size such as 2GiB or 512MiB, found {text!r}'
        )
    return int(match[1]) * _UNITS[match[2].upper()]


def _hypervisors(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (one.strip() for one in text.split(','))))


def add_image(parser: argparse.ArgumentParser) -> None:
    """Add the options of an image."""
    parser.add_argument(
        '--image-version',
        metavar='VERSION',
        help='of the image; it contains a digit and never goes backwards',
    )
    for name, metavar, text in _TEXTS:
        parser.add_argument(f'--{name}', metavar=metavar, help=text)
    parser.add_argument(
        '--hypervisor',
        metavar='NAME[,NAME]',
        type=_hypervisors,
        help='where it runs; default of a new image: kvm',
    )
    parser.add_argument(
        '--core-minimum', metavar='N', type=int, help='virtual CPUs'
    )
    parser.add_argument(
        '--ram-minimum', metavar='SIZE', type=memory, help='such as 2GiB'
    )
    parser.add_argument(
        '--expires',
        metavar='TIME',
        type=base.moment,
        help='when the endorsement of this image ends; default: with the list',
    )


def image_fields(parsed_args: argparse.Namespace) -> dict[str, Any]:
    """The fields of an image that were given, None elsewhere."""
    names = [name.replace('-', '_') for name, _metavar, _text in _TEXTS]
    names += ['core_minimum', 'ram_minimum', 'expires']
    fields = {name: getattr(parsed_args, name) for name in names}
    return fields | {
        'version': parsed_args.image_version,
        'hypervisors': parsed_args.hypervisor,
    }


def add_endorsers(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Add the options of who endorses."""
    parser.add_argument(
        '--endorser',
        metavar='CERTIFICATE',
        type=Path,
        action='append',
        default=[],
        required=required,
        help=(
            'PEM file of who will sign; repeat it for several endorsers, who '
            'then all have to sign (consumers other than hepix_vm read one)'
        ),
    )
    parser.add_argument(
        '--creator',
        metavar='NAME',
        action='append',
        default=[],
        help="the endorser's name; default: as the certificate says",
    )
    parser.add_argument(
        '--email',
        metavar='ADDRESS',
        action='append',
        default=[],
        help='where sites report problems; default: as the certificate says',
    )


def add_texts(parser: argparse.ArgumentParser) -> None:
    """Add the options that lists and images have."""
    parser.add_argument('--title', metavar='TEXT')
    parser.add_argument('--description', metavar='TEXT')


def endorsers(
    parsed_args: argparse.Namespace,
) -> tuple[imagelist.Endorser, ...]:
    """Who endorses, from certificates."""
    return drafting.endorsers(
        parsed_args.endorser, parsed_args.creator, parsed_args.email
    )
