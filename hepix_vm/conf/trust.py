# SPDX-License-Identifier: Apache-2.0
"""Options of verifying lists that hold for all subscriptions."""

from __future__ import annotations

import datetime

from oslo_config import cfg

GROUP = cfg.OptGroup(
    'trust',
    title='Verifying signed lists',
    help="""
What holds for all subscriptions. Whom a list is believed by stands in its own
group.
""",
)

OPTS = [
    cfg.FloatOpt(
        'crl_warning_hours',
        default=48,
        min=0,
        help="""
A revocation list that runs out within this many hours is warned about by
"hepix-vm sync" and "hepix-vm trust show". When it has run out, lists that
depend on it are not believed until a fresh one is there.
""",
    ),
]


#: Options that bound what one message may cost, by their field in
#: ``hepix_vm.trust.Limits``; the defaults are its own, held by a test.
LIMIT_OPTS = {
    'message_bytes': cfg.IntOpt(
        'max_message_bytes',
        default=16 * 1024 * 1024,
        min=1024,
        help='Bytes of a signed message at most.',
    ),
    'header_bytes': cfg.IntOpt(
        'max_header_bytes',
        default=64 * 1024,
        min=1024,
        help='Bytes of one block of MIME headers at most.',
    ),
    'embedded_certificates': cfg.IntOpt(
        'max_embedded_certificates',
        default=256,
        min=1,
        help='Certificates that a message may carry (count).',
    ),
    'embedded_bytes': cfg.IntOpt(
        'max_embedded_bytes',
        default=32 * 32 * 1024,
        min=1024,
        help='Bytes of all certificates that a message carries, at most.',
    ),
    'certificate_bytes': cfg.IntOpt(
        'max_certificate_bytes',
        default=32 * 1024,
        min=1024,
        help='Bytes of one carried certificate at most.',
    ),
    'certificates': cfg.IntOpt(
        'max_path_candidates',
        default=32,
        min=1,
        help="""
Certificates of a message that are considered for the way from the signer to a
trust anchor (count).
""",
    ),
    'chain_depth': cfg.IntOpt(
        'max_chain_depth',
        default=6,
        min=2,
        help='Certificates from signer to anchor, both included, at most.',
    ),
    'signature_checks': cfg.IntOpt(
        'max_signature_checks',
        default=60,
        min=1,
        help='Public key operations that one message may cost (count).',
    ),
    'signers': cfg.IntOpt(
        'max_signers',
        default=8,
        min=1,
        help="""
Signatures in one message at most, where a subscription's threshold allows more
than one (count).
""",
    ),
    'ber_depth': cfg.IntOpt(
        'max_ber_depth',
        default=24,
        min=10,
        help='Nesting of the signature structure (levels).',
    ),
    'ber_nodes': cfg.IntOpt(
        'max_ber_nodes',
        default=20000,
        min=100,
        help='Elements of the signature structure (count).',
    ),
    'json_depth': cfg.IntOpt(
        'max_json_depth',
        default=32,
        min=6,
        max=200,
        help='Nesting of the objects and arrays of a list (levels).',
    ),
    'json_number': cfg.IntOpt(
        'max_json_number',
        default=64,
        min=20,
        max=4000,
        help='Length of one number in a list (characters).',
    ),
    'json_values': cfg.IntOpt(
        'max_json_values',
        default=1_000_000,
        min=1000,
        help='Commas and opening brackets of a list (count).',
    ),
    'images': cfg.IntOpt(
        'max_images',
        default=20_000,
        min=1,
        help='Images of one list (count).',
    ),
}
OPTS += LIMIT_OPTS.values()


def register(conf: cfg.ConfigOpts) -> None:
    """Make the options known to ``conf``."""
    # By name: a group object keeps overrides for every configuration.
    conf.register_opts(OPTS, group=GROUP.name)


def crl_warning(conf: cfg.ConfigOpts) -> datetime.timedelta:
    """How long before its end a CRL is warned about."""
    return datetime.timedelta(hours=conf.trust.crl_warning_hours)


def limits(conf: cfg.ConfigOpts) -> dict[str, int]:
    """The bounds, as arguments of ``hepix_vm.trust.Limits``."""
    return {
        field: int(conf.trust[option.dest])
        for field, option in LIMIT_OPTS.items()
    }
