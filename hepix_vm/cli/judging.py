# SPDX-License-Identifier: Apache-2.0
"""Options that say how a signed message is judged."""

from __future__ import annotations

import argparse
from pathlib import Path
import re

from hepix_vm import trust

MODES = ('require', 'if-present', 'off')


def _pin(text: str) -> str:
    pin = text.replace(':', '').lower()
    if not re.fullmatch('[0-9a-f]{64}', pin):
        raise argparse.ArgumentTypeError(
            f'expected 64 hex digits, found {text!r}'
        )
    return pin


def options(
    parser: argparse.ArgumentParser,
    *,
    required: bool = True,
    instead: str | None = None,
) -> None:
    """Add the options of a policy.

    :param required: whether trust anchors have to be given
    :param instead: help of ``--subscription``, by which all of them can be
        replaced; None if they cannot
    """
    holder: argparse._ActionsContainer = parser
    if instead is not None:
        holder = parser.add_mutually_exclusive_group(required=required)
        holder.add_argument('--subscription', metavar='NAME', help=instead)
        required = False
    holder.add_argument(
        '--trust-anchors',
        metavar='DIR',
        type=Path,
        required=required,
        help=(
            'directory of CA certificates and CRLs: HASH.N, HASH.rN and '
            'HASH.signing_policy, or *.pem'
        ),
    )
    parser.add_argument(
        '--crl',
        choices=MODES,
        help='how revocation is checked; default: require',
    )
    parser.add_argument(
        '--signing-policy',
        choices=MODES,
        help=(
            'how HASH.signing_policy files are used; default: if-present, '
            'required of an anchor that has one'
        ),
    )
    parser.add_argument(
        '--pin',
        metavar='HEX',
        type=_pin,
        action='append',
        default=[],
        help=(
            "SHA-256 of the signer's SubjectPublicKeyInfo: must match; a "
            'self-signed signer is acceptable only with it'
        ),
    )


def policy(
    parsed_args: argparse.Namespace, endorser: trust.Endorser | None = None
) -> trust.Policy:
    """The policy that the options describe."""
    pins = frozenset(parsed_args.pin)
    return trust.Policy(
        crl=parsed_args.crl or 'require',
        signing_policy=parsed_args.signing_policy or 'if-present',
        pins=pins,
        accept_self_signed_pinned=bool(pins),
        endorser=endorser,
    )
