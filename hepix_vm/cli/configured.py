# SPDX-License-Identifier: Apache-2.0
"""The site, made from its configuration.

A module of its own, imported when a command needs the site: the database
libraries are most of the start-up time, and an endorser's commands do
without.
"""

from __future__ import annotations

from oslo_config import cfg

from hepix_vm.catalogue import database
from hepix_vm.conf import catalogue as conf_catalogue
from hepix_vm.conf import fetch as conf_fetch
from hepix_vm.conf import openstack as conf_openstack
from hepix_vm.conf import subscription as conf_subscription
from hepix_vm.conf import sync as conf_sync
from hepix_vm.conf import trust as conf_trust
from hepix_vm.operations import site as site_


def site(conf: cfg.ConfigOpts) -> site_.Site:
    """The site that operations work on; opens nothing yet.

    :raises errors.Misconfigured: for options that cannot be used
    """
    group = conf.openstack
    return site_.Site(
        catalogue=database.Database(
            conf_catalogue.reader_settings(conf).connection
        ),
        subscriptions=conf_subscription.subscriptions(conf),
        fetch=conf_fetch.settings(conf),
        cloud=site_.Cloud(
            session=lambda: conf_openstack.session(conf),
            region=group.region_name,
            interface=group.interface,
            visibility=group.visibility,
            import_deadline=group.import_deadline,
        ),
        timing=conf_sync.settings(conf),
        crl_warning=conf_trust.crl_warning(conf),
        refused_kept_days=conf.catalogue.refused_kept_days,
        run_anyway_longest=conf.catalogue.run_anyway_longest,
    )
