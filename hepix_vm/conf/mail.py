# SPDX-License-Identifier: Apache-2.0
"""Options of messages to endorsers."""

from __future__ import annotations

from oslo_config import cfg

from hepix_vm import errors
from hepix_vm.mail import letter
from hepix_vm.mail import sending

GROUP = cfg.OptGroup(
    'mail',
    title='Messages to endorsers',
    help="""
A site does not patch an image that somebody endorsed: it tells the endorser.
"hepix-vm image report" writes that message, and sends it with --send where
smtp_host is set.
""",
)

OPTS = [
    cfg.StrOpt(
        'smtp_host',
        help='Mail server that takes messages. Unset: they are printed only.',
    ),
    cfg.PortOpt(
        'smtp_port',
        help="""
Its port. Unset: 587 with starttls, 465 with tls, 25 with none.
""",
    ),
    cfg.StrOpt(
        'encryption',
        default='starttls',
        choices=[
            ('starttls', 'it has to begin after the greeting'),
            ('tls', 'from the first byte'),
            ('none', 'not at all: for a server on this machine'),
        ],
        help='How the connection to the mail server is protected.',
    ),
    cfg.StrOpt(
        'ca_file',
        help="""
PEM file of the CAs that may have issued the certificate of the mail server.
Unset: those of the system.
""",
    ),
    cfg.StrOpt(
        'user',
        help="""
Account at the mail server. Unset: it asks for none. Never used without
encryption.
""",
    ),
    cfg.StrOpt(
        'password_file',
        help="File with that account's password, one line.",
    ),
    cfg.FloatOpt(
        'timeout',
        default=30,
        min=1,
        help='Seconds that sending one message may take in all.',
    ),
    cfg.StrOpt(
        'sender',
        help="""
Address that messages come from. Needed to send; without it the printed
message has no From line.
""",
    ),
    cfg.StrOpt(
        'contact',
        help="""
Address at the site that endorsers answer to. Unset: the sender.
""",
    ),
    cfg.StrOpt(
        'site_name',
        default='a cloud site',
        help='How the site calls itself in messages.',
    ),
    cfg.ListOpt(
        'cc',
        default=[],
        help="""
Addresses that get a copy of every message, such as that of a security team.
""",
    ),
]


def register(conf: cfg.ConfigOpts) -> None:
    """Make the options known to ``conf``."""
    # By name: a group object keeps overrides for every configuration.
    conf.register_opts(OPTS, group=GROUP.name)


def author(conf: cfg.ConfigOpts) -> letter.Author:
    """Who writes.

    :raises errors.Misconfigured: for what is not an address
    """
    group = conf.mail
    return letter.Author(
        sender=_address('sender', group.sender),
        name=group.site_name,
        contact=_address('contact', group.contact),
        cc=tuple(_required('cc', text) for text in group.cc),
    )


def server(conf: cfg.ConfigOpts) -> sending.Server | None:
    """The mail server; None when there is none."""
    group = conf.mail
    if not group.smtp_host:
        return None
    return sending.Server(
        host=group.smtp_host,
        port=group.smtp_port,
        encryption=sending.Encryption(group.encryption),
        ca_file=group.ca_file,
        user=group.user,
        password_file=group.password_file,
        timeout=group.timeout,
    )


def _address(option: str, text: str | None) -> str | None:
    return _required(option, text) if text else None


def _required(option: str, text: str) -> str:
    try:
        return letter.address(text)
    except letter.NotAnAddress as exc:
        raise errors.Misconfigured(
            f'group [mail] option {option}: {exc}, found {text!r}'
        ) from exc
