# SPDX-License-Identifier: Apache-2.0
"""Hands replies through the metadata agent of the Neutron it runs with.

``python agent.py PORT COUNT`` has the agent's own handler ask for ``/0`` up to
``/COUNT - 1`` at a port of loopback, where nova would be, and prints a JSON
array of what comes out: ``status``, ``content_type`` and ``body`` (base64), or
``raised``. It starts no thread: releases differ in what these are.
"""

import base64
import io
import json
import sys

from neutron.agent.metadata import agent
from neutron.conf.agent.metadata import config
from oslo_config import cfg
import webob

REQUEST = (
    'GET /%d HTTP/1.1\r\n'
    'Host: 169.254.169.254\r\n'
    'Accept: */*\r\n'
    'X-Forwarded-For: 10.0.0.5\r\n'
    'X-Neutron-Network-ID: network\r\n\r\n'
)
CAUGHT = 'An unknown error has occurred'


def configuration(port):
    """Return the agent's options, pointing at the stand-in."""
    for name in ('SHARED_OPTS', 'METADATA_PROXY_HANDLER_OPTS'):
        config.register_meta_conf_opts(getattr(config, name))
    cfg.CONF(args=[])
    cfg.CONF.set_override('nova_metadata_host', '127.0.0.1')
    cfg.CONF.set_override('nova_metadata_port', port)
    cfg.CONF.set_override('metadata_proxy_shared_secret', 'secret')
    return cfg.CONF


class Known:
    """Knows who asks, without asking a Neutron server."""

    def _get_instance_and_project_id(self, *_, **__):
        return 'instance', 'project'

    _get_instance_and_tenant_id = _get_instance_and_project_id


class OfProcess(Known, agent.MetadataProxyHandler):
    """The handler of releases up to 25, an application of WSGI."""

    def __init__(self, conf):
        self.conf = conf
        self._has_cache = False


class OfSocket(Known, agent.MetadataProxyHandler):
    """The handler of releases from 26 on, which writes to a socket."""

    def __init__(self, conf, request):
        # Past the one that wants a message queue.
        super(agent.MetadataProxyHandler, self).__init__(
            conf,
            has_cache=False,
            request=request,
            client_address='',
            server=None,
        )


def through_process(conf, number):
    """Return what the application answers."""
    request = webob.Request.from_bytes((REQUEST % number).encode())
    answer = request.get_response(OfProcess(conf))
    if answer.status_int == 500 and CAUGHT in answer.text:
        return {'raised': 'it was caught'}
    return told(answer)


class Wire:
    """A connection from haproxy, as far as the handler uses it."""

    def __init__(self, request):
        self.request = request
        self.taken = b''

    def recv(self, size):
        """Return the beginning of the request."""
        return self.request[:size]

    def sendall(self, reply):
        """Take a part of the reply."""
        self.taken += bytes(reply)

    def makefile(self, *_):
        """Return what nobody reads."""
        return io.BytesIO()


def through_socket(conf, number):
    """Return what haproxy would read from the agent's socket."""
    wire = Wire((REQUEST % number).encode())
    try:
        OfSocket(conf, wire)
    except Exception as error:  # noqa: BLE001 whatever it raises
        return {'raised': f'{type(error).__name__}: {error}'}
    return parsed(wire.taken)


def parsed(reply):
    """Read a reply as a strict proxy does."""
    head, mark, body = reply.partition(b'\r\n\r\n')
    if not mark:
        return {'raised': 'the headers have no end'}
    first, *lines = head.decode('latin-1').split('\r\n')
    fields = {}
    for line in lines:
        name, _, value = line.partition(':')
        fields[name.lower()] = value.strip()
    length = int(fields['content-length'])
    # After an empty body it sends a line end too many, which nobody reads.
    if len(body) < length or (length and len(body) > length):
        return {'raised': f'{len(body)} bytes are said to be {length}'}
    return {
        'status': int(first.split()[1]),
        'content_type': fields.get('content-type', ''),
        'body': base64.b64encode(body[:length]).decode(),
    }


def told(answer):
    """Return the same of an answer of WSGI."""
    return {
        'status': answer.status_int,
        'content_type': answer.headers.get('Content-Type', ''),
        'body': base64.b64encode(answer.body).decode(),
    }


def main(port, count):
    """Hand all replies through."""
    conf = configuration(int(port))
    of_socket = hasattr(agent.MetadataProxyHandler, 'handle')
    through = through_socket if of_socket else through_process
    print(json.dumps([through(conf, one) for one in range(int(count))]))


if __name__ == '__main__':
    main(*sys.argv[1:])
