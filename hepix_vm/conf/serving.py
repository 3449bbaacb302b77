# SPDX-License-Identifier: Apache-2.0
"""Options of how the site's context is served; more of ``[context]``."""

from __future__ import annotations

from oslo_config import cfg

from hepix_vm.conf import catalogue
from hepix_vm.conf import context
from hepix_vm.context import assembling
from hepix_vm.context import identities
from hepix_vm.context import prepared
from hepix_vm import errors

GROUP = context.GROUP

#: What :func:`settings` needs to be loaded.
MODULES = ('catalogue', 'context', 'serving')

OPTS = [
    cfg.StrOpt(
        'behind',
        default='neutron',
        choices=[
            (
                'neutron',
                "neutron's metadata agent (ML2/OVS or OVN), which spoils gzip"
                ' in some releases: NAME.tgz is a PKZIP file of one member,'
                ' which GNU tar -z unpacks',
            ),
            (
                'direct',
                'nothing that changes a body: NAME.tgz is true gzip, which'
                ' every tar unpacks',
            ),
        ],
        help="""
What stands between virtual machines and this service, which decides what they
get as NAME.tgz. "hepix-vm-status upgrade check" says whether it is right.
""",
    ),
    cfg.FloatOpt(
        'facts_ttl',
        default=30.0,
        min=0,
        max=3600,
        help="""
Seconds for which what Nova said of an instance counts without asking again:
after a migration its machine features are those of the old host for this time
at most. What decides which context it gets counts for five seconds. A process
of its own asks Nova every two seconds what has changed, and what has not
counts anew. While Nova does not answer, what is known is used for five
minutes.
""",
    ),
    cfg.FloatOpt(
        'nova_timeout',
        default=5.0,
        min=0.5,
        max=30,
        help="""
Seconds that a request waits for Nova at most; then the virtual machine gets
503. The proxies on the way give up after 30 seconds themselves. In a process
of its own it is also the time-out of each request to Nova and Keystone, but
for lists of what has changed: they have 30 seconds at least.
""",
    ),
    cfg.IntOpt(
        'max_concurrent',
        default=64,
        min=1,
        max=10000,
        help="""
Requests that are at work at once in a process. Further ones get 503 at once,
so that those that are at work end in time. A server with fewer threads than
this never has as many.
""",
    ),
    cfg.IntOpt(
        'max_variants_size',
        default=prepared.Settings().most,
        min=1024 * 1024,
        help="""
Bytes of answers that each process keeps in memory. Instances that match the
same layers share one variant, about three times as large as its compressed
bundle; one that is not in memory is made again in some milliseconds.
""",
    ),
    cfg.StrOpt(
        'metadata_proxy_shared_secret',
        secret=True,
        help="""
The secret that neutron's metadata agent signs instances with, for a process
of its own ("hepix_vm.context.standalone"). Inside nova's metadata service
the option of the same name in group [neutron] of nova.conf counts instead.
""",
    ),
    cfg.ListOpt(
        'vendordata_roles',
        default=['service', 'admin'],
        help="""
Roles of which an account must have one to ask for vendordata: that of group
[vendordata_dynamic_auth] in nova.conf. Whoever may ask learns the context of
every instance.
""",
    ),
    cfg.URIOpt(
        'metadata_url',
        default='http://169.254.169.254',
        schemes=['http', 'https'],
        help="""
Under which address virtual machines reach this service; vendordata tells them
where their machine and job features are.
""",
    ),
]


def register(conf: cfg.ConfigOpts) -> None:
    """Make the options known to ``conf``."""
    # By name: a group object keeps overrides for every configuration.
    conf.register_opts(OPTS, group=GROUP.name)


def settings(conf: cfg.ConfigOpts) -> assembling.Settings:
    """The options as the value that serving takes.

    :param conf: with :data:`MODULES`
    :raises errors.Misconfigured: the signing key cannot be read
    """
    group = conf.context
    found = context.context_settings(conf)
    store = catalogue.reader_settings(conf)
    return assembling.Settings(
        context=found,
        variants=prepared.Settings(
            limits=found.source.limits,
            neutron=group.behind == 'neutron',
            most=group.max_variants_size,
        ),
        signing_key=context.signing_key(conf),
        identities=identities.Settings(
            ttl=group.facts_ttl, timeout=group.nova_timeout
        ),
        reader=store,
        features=context.features_settings(conf),
        state=context.site_state_settings(conf),
        audit=context.audit_settings(conf),
        most=group.max_concurrent,
    )


def shared_secret(conf: cfg.ConfigOpts) -> bytes:
    """The secret that neutron's metadata agent signs with.

    :raises errors.Misconfigured: not set
    """
    secret = conf.context.metadata_proxy_shared_secret
    if not secret:
        raise errors.Misconfigured(
            '[context] metadata_proxy_shared_secret is empty, so that anybody'
            ' could sign; set it here and in the metadata agent'
        )
    return str(secret).encode()
