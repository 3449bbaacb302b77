# SPDX-License-Identifier: Apache-2.0
"""The site, made from its configuration.

A module of its own, imported when a command needs the site: the database
libraries are most of the start-up time, and an endorser's commands do
without.
"""

from __future__ import annotations

from oslo_config import cfg

from hepix_vm.catalogue import database
from hepix_vm.catalogue import schema
from hepix_vm.conf import catalogue as conf_catalogue
from hepix_vm.conf import conversion as conf_conversion
from hepix_vm.conf import fetch as conf_fetch
from hepix_vm.conf import lineage as conf_lineage
from hepix_vm.conf import notify as conf_notify
from hepix_vm.conf import openstack as conf_openstack
from hepix_vm.conf import precache as conf_precache
from hepix_vm.conf import publish as conf_publish
from hepix_vm.conf import quarantine as conf_quarantine
from hepix_vm.conf import subscription as conf_subscription
from hepix_vm.conf import sync as conf_sync
from hepix_vm.conf import trust as conf_trust
from hepix_vm.conf import withdraw as conf_withdraw
from hepix_vm.nova import capacity
from hepix_vm.operations import site as site_


def site(conf: cfg.ConfigOpts) -> site_.Site:
    """The site that operations work on; opens nothing yet.

    :raises errors.Misconfigured: for options that cannot be used
    """
    return site_.Site(
        catalogue=database.Database(
            conf_catalogue.reader_settings(conf).connection
        ),
        subscriptions=conf_subscription.subscriptions(conf),
        fetch=conf_fetch.settings(conf),
        cloud=_cloud(conf, schema.DEFAULT_CLOUD),
        further={
            name: _cloud(conf, name) for name in conf_openstack.clouds(conf)
        },
        publishing=conf_publish.settings(conf),
        precache=conf_precache.settings(conf),
        conversion=conf_conversion.settings(conf),
        timing=conf_sync.settings(conf),
        crl_warning=conf_trust.crl_warning(conf),
        refused_kept_days=conf.catalogue.refused_kept_days,
        run_anyway_longest=conf.catalogue.run_anyway_longest,
        notices=conf_notify.settings(conf),
        withdrawal=conf_withdraw.settings(conf),
        children=conf_lineage.children(conf),
        hosts=capacity.Settings(interval=conf.context.hosts_interval),
        grace_secs=conf.context.grace_secs,
        audit_kept_days=conf.context.audit_kept_days,
    )


def _cloud(conf: cfg.ConfigOpts, name: str) -> site_.Cloud:
    found = conf_openstack.options(conf, name)
    return site_.Cloud(
        session=lambda: conf_openstack.session(conf, name),
        region=found['region_name'],
        interface=found['interface'],
        import_deadline=found['import_deadline'],
        group=conf_openstack.group(name),
        rules=lambda: conf_publish.rules(conf, name),
        quarantine=lambda: conf_quarantine.place(conf, name),
    )
