# SPDX-License-Identifier: Apache-2.0
"""The site's context in a process of its own, behind a rule of a proxy.

For a WSGI server::

    uwsgi --module 'hepix_vm.context.standalone:make()' ...

The proxy in front of nova-metadata sends ``/context``, ``/machinefeatures``
and ``/jobfeatures`` here, and all else to nova. Who asks is proved by the
signature alone, with the secret of neutron's metadata agent; Nova's API says
whether the instance exists, and in which project. Nova itself asks for
``/vendordata`` where a group ``[keystone_authtoken]`` is configured; no
proxy of guests may send that here.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
import os
from typing import Any
from wsgiref import types

from oslo_config import cfg
from oslo_log import log as logging

from hepix_vm import conf
from hepix_vm.conf import openstack
from hepix_vm.conf import serving
from hepix_vm.context import application
from hepix_vm.context import asking
from hepix_vm.context import assembling
from hepix_vm.context import facts_api
from hepix_vm.context import identity
from hepix_vm.context import vendordata
from hepix_vm import errors

LOG = logging.getLogger(__name__)

#: Names the configuration file, where it is not the usual one.
VARIABLE = 'HEPIX_VM_CONFIG_FILE'

_PROGRAM = 'hepix-vm-context'
_TOKENS = 'keystone_authtoken'


def make() -> types.WSGIApplication:
    """The application, for a WSGI server.

    :raises SystemExit: 2 for a configuration that cannot be used, which is
        in the log
    """
    files = (os.environ.get(VARIABLE) or conf.DEFAULT_FILE,)
    try:
        _log(files)
        return assemble(files)
    except errors.HepixError as error:
        LOG.error('the site context is not served: %s', error)
        raise SystemExit(2) from error


def assemble(files: Sequence[str]) -> types.WSGIApplication:
    """The application of these configuration files.

    :raises errors.Misconfigured: they cannot be used
    """
    options = conf.load(files, (*serving.MODULES, 'openstack'))
    secret = serving.shared_secret(options)
    session = openstack.session(options)
    if session is None:
        raise errors.Misconfigured(
            'group [openstack]: expected an account that may see the servers'
            ' of all projects, found no auth_type; Nova is asked with it'
            ' which instances there are'
        )
    cloud = openstack.options(options)
    servers = facts_api.Servers(
        session,
        cloud['region_name'],
        cloud['interface'],
        options.context.nova_timeout,
    )
    parts = assembling.parts(
        serving.settings(options),
        servers.ask,
        identity.SignedIdentity(secret).identify,
        servers.changed,
    )
    tokens = None
    if _TOKENS in options.list_all_sections():
        tokens = _checked(
            vendordata.Vendordata(parts, _told(options)), options
        )
    return Routes(application.Application(parts), tokens)


class Routes:
    """Guests, and nova where it is to be answered."""

    def __init__(
        self,
        guests: types.WSGIApplication,
        nova: types.WSGIApplication | None,
    ) -> None:
        self._guests = guests
        self._nova = nova

    def __call__(
        self,
        environ: types.WSGIEnvironment,
        start_response: types.StartResponse,
    ) -> Iterable[bytes]:
        """Hand a request on."""
        if (
            self._nova is not None
            and asking.path_of(environ) == vendordata.PATH
        ):
            return self._nova(environ, start_response)
        return self._guests(environ, start_response)


def _told(options: cfg.ConfigOpts) -> vendordata.Settings:
    return vendordata.Settings(
        roles=frozenset(options.context.vendordata_roles),
        url=options.context.metadata_url.rstrip('/'),
    )


def _checked(
    application_: types.WSGIApplication, options: cfg.ConfigOpts
) -> types.WSGIApplication:
    """Let nobody in without a token of Keystone.

    Here rather than in a paste file: there it could be forgotten, and then
    anybody could write the headers that it leaves.

    :raises errors.Misconfigured: it is not installed, or cannot be made
    """
    try:
        from keystonemiddleware import auth_token
    except ImportError as error:
        raise errors.Misconfigured(
            f'group [{_TOKENS}] needs keystonemiddleware: {error}; install'
            ' hepix_vm[vendordata]'
        ) from error
    try:
        made: Any = auth_token.AuthProtocol(
            application_, {'oslo_config_config': options}
        )
    except Exception as error:
        raise errors.Misconfigured(
            f'group [{_TOKENS}]: {" ".join(str(error).split())}'
        ) from error
    checked: types.WSGIApplication = made
    return checked


def _log(files: Sequence[str]) -> None:
    """Log as the options of oslo.log say.

    :raises errors.Misconfigured: they say nonsense
    """
    options = cfg.ConfigOpts()
    logging.register_options(options)
    try:
        options(
            args=[],
            project='hepix_vm',
            default_config_files=list(files),
            default_config_dirs=[],
        )
        logging.setup(options, _PROGRAM)
    except (cfg.Error, ValueError, OSError, logging.LogConfigError) as error:
        raise errors.Misconfigured(
            f'configuration {", ".join(files)}: options of oslo.log in'
            f' [DEFAULT]: {" ".join(str(error).split())}'
        ) from error
