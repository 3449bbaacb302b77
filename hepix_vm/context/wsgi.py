# SPDX-License-Identifier: Apache-2.0
"""The site's context inside nova's metadata service.

One application, mounted at ``/context``, ``/machinefeatures`` and
``/jobfeatures`` of nova's ``api-paste.ini``; its parts, caches included, are
there once in a process.
"""

from __future__ import annotations

from collections.abc import Mapping
import threading
from wsgiref import types

from oslo_config import cfg
from oslo_log import log as logging

from hepix_vm import conf
from hepix_vm.conf import context as conf_context
from hepix_vm.conf import inside
from hepix_vm.conf import serving
from hepix_vm.context import answering
from hepix_vm.context import application
from hepix_vm.context import assembling
from hepix_vm.context import identity

LOG = logging.getLogger(__name__)

_lock = threading.Lock()
_made: dict[str, types.WSGIApplication] = {}


def app_factory(
    global_conf: Mapping[str, str], **local_conf: str
) -> types.WSGIApplication:
    """Make the application for nova's ``api-paste.ini``.

    ``hepix_vm_config`` names the configuration file of hepix_vm (default:
    what nova.conf says in ``[hepix_vm] config_file``).

    What is wrong in the configuration is logged, and the application then
    answers 503 until the service is started again: nova's metadata service
    has other guests to serve and starts all the same.
    """
    del global_conf
    try:
        inside.register(cfg.CONF)
        config_file = local_conf.get(
            'hepix_vm_config', cfg.CONF.hepix_vm.config_file
        )
        with _lock:
            if config_file not in _made:
                _made[config_file] = _assemble(config_file)
            return _made[config_file]
    except Exception as error:  # noqa: BLE001 nova must start all the same
        LOG.error(
            'the site context is not served (503 to every guest) until this'
            ' is mended and the service is started again: %s',
            error,
        )
        return answering.unavailable


def _assemble(config_file: str) -> types.WSGIApplication:
    secret = conf_context.nova_shared_secret(cfg.CONF)
    settings = serving.settings(conf.load((config_file,), serving.MODULES))
    # Part of nova's environment, not of ours.
    from hepix_vm.context import facts_nova

    return application.Application(
        assembling.parts(
            settings,
            facts_nova.ask,
            identity.SignedIdentity(secret).identify,
        )
    )
