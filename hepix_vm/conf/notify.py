# SPDX-License-Identifier: Apache-2.0
"""Options of telling others what happens."""

from __future__ import annotations

from collections.abc import Iterator
import socket

from oslo_config import cfg

from hepix_vm.catalogue import channels
from hepix_vm.catalogue import notices
from hepix_vm.conf import mail
from hepix_vm import errors
from hepix_vm.mail import letter
from hepix_vm.notify import digest
from hepix_vm.notify import hook
from hepix_vm.notify import messaging
from hepix_vm.notify import settings as settings_

Channel = channels.Channel

GROUP = cfg.OptGroup(
    'notify',
    title='Telling others what happens to images',
    help="""
What is published, retired and withdrawn can be told to a program, on a message
bus and by mail, each of which is off unless it is set here. Events wait in the
catalogue until they are told, at the end of "hepix-vm sync" and "hepix-vm
publish", by the daemon, or by "hepix-vm notify". A channel that is switched on
begins with what happens after the last of these. An event may be told more
than once, with the same id.
""",
)

_KINDS = f'Kinds are: {", ".join(notices.KINDS)}.'

OPTS = [
    cfg.StrOpt(
        'hook',
        help="""
Program that gets each event as JSON on its standard input: an absolute path,
without arguments. It belongs to root or to the account that runs hepix-vm, and
not everybody may write it. No shell is involved. Exit status 0: it was told;
anything else: it is told again later. Its output is logged.
""",
    ),
    cfg.FloatOpt(
        'hook_timeout',
        default=30,
        min=1,
        help="""
Seconds that the hook may take for one event. After that it is killed, with all
that it started in its process group.
""",
    ),
    cfg.ListOpt(
        'hook_events',
        default=[],
        help=f'Kinds of events for the hook. Unset: all. {_KINDS}',
    ),
    cfg.StrOpt(
        'transport_url',
        secret=True,
        help="""
Message bus that gets each event as a notification, as oslo.messaging takes it:
rabbit://USER:PASSWORD@HOST:5672/VHOST. Needs the extra "messaging". Options of
the driver, such as those of TLS in [oslo_messaging_rabbit], stand in this
file, too. Drivers that do not wait for the broker (kafka) are refused.
""",
    ),
    cfg.StrOpt(
        'message_topic',
        default='hepix_vm',
        regex=r'^[A-Za-z0-9_.\-]{1,200}$',
        help="""
Topic of the notifications; with RabbitMQ the queue TOPIC.info keeps them until
somebody takes them.
""",
    ),
    cfg.StrOpt(
        'publisher_id',
        sample_default='hepix_vm.HOST',
        help='Who notifications are from. Unset: hepix_vm and the host name.',
    ),
    cfg.FloatOpt(
        'message_timeout',
        default=30,
        min=1,
        help='Seconds within which the bus has to confirm a notification.',
    ),
    cfg.ListOpt(
        'message_events',
        default=[],
        help=f'Kinds of events for the bus. Unset: all. {_KINDS}',
    ),
    cfg.ListOpt(
        'mail_to',
        default=[],
        help="""
Addresses that get one mail about all new events, through the server of group
[mail], which has to have smtp_host and sender. Nothing new: no mail.
""",
    ),
    cfg.IntOpt(
        'mail_interval',
        default=86400,
        min=60,
        help='Seconds between two such mails at least.',
    ),
    cfg.ListOpt(
        'mail_events',
        default=[],
        help=f'Kinds of events for the mail. Unset: all. {_KINDS}',
    ),
    cfg.IntOpt(
        'kept_days',
        default=30,
        min=1,
        help="""
Days after which events are deleted. What could not be told for that long never
is; "hepix-vm status" says how much that was.
""",
    ),
]


def register(conf: cfg.ConfigOpts) -> None:
    """Make the options known to ``conf``."""
    # By name: a group object keeps overrides for every configuration.
    conf.register_opts(OPTS, group=GROUP.name)


def settings(conf: cfg.ConfigOpts) -> settings_.Settings:
    """The options as values; opens nothing, and imports no driver.

    :raises errors.Misconfigured: for what cannot be used
    """
    group = conf.notify
    ways = dict(_ways(conf))
    kinds = {
        channel: _kinds(f'{channel}_events', group[f'{channel}_events'])
        for channel in Channel
        if group[f'{channel}_events']
    }
    if group.mail_interval >= group.kept_days * 86400:
        raise errors.Misconfigured(
            'group [notify]: events are deleted before they are mailed: '
            f'expected mail_interval below kept_days ({group.kept_days} days '
            f'are {group.kept_days * 86400} s), found {group.mail_interval}'
        )
    return settings_.Settings(
        ways=ways,
        kinds=kinds,
        intervals={Channel.MAIL: group.mail_interval},
        kept_days=group.kept_days,
    )


def _ways(
    conf: cfg.ConfigOpts,
) -> Iterator[tuple[Channel, settings_.Way]]:
    group = conf.notify
    if group.hook:
        yield Channel.HOOK, hook.Hook(group.hook, group.hook_timeout)
    if group.transport_url:
        messaging.require(group.transport_url)
        yield (
            Channel.MESSAGE,
            messaging.Bus(
                url=group.transport_url,
                topic=group.message_topic,
                publisher=(
                    group.publisher_id or f'hepix_vm.{socket.gethostname()}'
                ),
                options=lambda: conf,
                timeout=group.message_timeout,
            ),
        )
    if group.mail_to:
        yield Channel.MAIL, _digest(conf)


def _digest(conf: cfg.ConfigOpts) -> digest.Digest:
    server, author = mail.server(conf), mail.author(conf)
    if server is None or author.sender is None:
        raise errors.Misconfigured(
            'group [notify] option mail_to: expected group [mail] with '
            'smtp_host and sender, found it without'
        )
    return digest.Digest(
        to=tuple(_address(text) for text in conf.notify.mail_to),
        author=author,
        server=server,
    )


def _address(text: str) -> str:
    try:
        return letter.address(text)
    except letter.NotAnAddress as exc:
        raise errors.Misconfigured(
            f'group [notify] option mail_to: {exc}, found {text!r}'
        ) from exc


def _kinds(option: str, found: list[str]) -> frozenset[str]:
    for kind in found:
        if kind not in notices.KINDS:
            raise errors.Misconfigured(
                f'group [notify] option {option}: expected some of '
                f'{", ".join(notices.KINDS)}; found {kind!r}'
            )
    return frozenset(found)
