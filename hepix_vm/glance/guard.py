# SPDX-License-Identifier: Apache-2.0
"""Paste filter ``hepix_guard``: an open Glance does not start.

Glance goes on without import plugins that it cannot load, and has ways to an
image with data that never run them. The guard looks when Glance makes its
application: whatever is wrong, the guard's own trouble included, ends that.
"""

from __future__ import annotations

from collections.abc import Callable
import importlib
from pathlib import Path as File
from typing import Any

from oslo_config import cfg
from oslo_log import log

from hepix_vm.catalogue import reader
from hepix_vm import conf as options
from hepix_vm.conf import guard as guard_options
from hepix_vm.conf import inside
from hepix_vm import errors
from hepix_vm.glance import lineage
from hepix_vm.glance import listing
from hepix_vm.glance import paths as glance_paths
from hepix_vm.glance import plugins
from hepix_vm import paths
from hepix_vm.paths import policies

LOG = log.getLogger(__name__)

Application = Callable[..., Any]


class GlanceOpen(errors.Misconfigured):
    """Glance must not start as it is."""


def filter_factory(
    global_conf: dict[str, str], **_local_conf: str
) -> Callable[[Application], Application]:
    """The filter; made when Glance starts.

    :param global_conf: of PasteDeploy; names the paste file
    :raises GlanceOpen: in place of a filter, so that Glance does not start
    """
    try:
        settings = _require_closed(cfg.CONF, File(global_conf['__file__']))
        return _wrapping(settings)
    except errors.HepixError as exc:
        text = str(exc)
    except Exception as exc:
        LOG.exception('the guard of hepix_vm failed')
        text = f'{type(exc).__name__}: {" ".join(str(exc).split())}'
    text = f'Glance does not start: {text}'
    LOG.critical('%s', text)
    raise GlanceOpen(text)


def _wrapping(
    settings: inside.InsideSettings,
) -> Callable[[Application], Application]:
    """What stands around Glance's application when it has started."""
    # Policy and plugins of this process decide with it.
    reader.shared(settings.reader).begin()

    def wrap(app: Application) -> Application:
        return lineage.Lineage(app, settings.reader, settings.nova)

    return wrap


def _require_closed(
    glance: cfg.ConfigOpts, paste_file: File
) -> inside.InsideSettings:
    """Our settings, when nothing is open that the site did not accept.

    :param glance: Glance's own configuration
    :raises errors.HepixError: otherwise
    """
    settings = inside.settings(glance)
    ours = options.load((glance.hepix_vm.config_file,), ('guard',))
    accepted = guard_options.accepted(ours)
    # Read once more: Glance registers its options bit by bit.
    conf = glance_paths.configuration(
        [File(one) for one in glance.config_file],
        [File(one) for one in glance.config_dir],
    )
    glance_paths.require_guarded(conf, paste_file)
    _require_plugins(conf, settings)
    looked = glance_paths.looked(conf, policies.judge(conf, 'glance'))
    wrong = []
    for one in looked:
        if one.state is paths.State.CLOSED:
            LOG.debug('%s', one.sentence())
        elif one.name in accepted:
            LOG.warning('accepted by option: %s', one.sentence())
        else:
            wrong.append(one)
    if wrong:
        names = ', '.join(one.name for one in wrong)
        raise GlanceOpen(
            f'{"; ".join(one.sentence() for one in wrong)}; or accept it by '
            f'"accept_open = {names}" in [glance_guard] of hepix_vm.conf'
        )
    return settings


def _require_plugins(
    conf: cfg.ConfigOpts, settings: inside.InsideSettings
) -> None:
    """Both of our import plugins will run, in their places.

    :raises errors.Misconfigured: when they will not
    """
    between = listing.converting(
        glance_paths.plugins(conf), settings.unchanging_plugins
    )
    listing.require_loaded(plugins.loadable())
    try:
        listing.require_allowed(between, settings.allow_conversion)
    except listing.PluginsMisplaced as exc:
        LOG.warning('every import will be refused: %s', exc)
    importlib.import_module('hepix_vm.glance.check')
