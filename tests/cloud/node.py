# SPDX-License-Identifier: Apache-2.0
"""The network node of one cloud: namespaces of its own, for an optional part.

``python node.py PIDFILE PORT...`` moves into a network and a mount namespace
in which there is nothing yet, writes its process id once they can be entered,
and passes connections to the named ports of loopback on to those of where it
was started. Switches, interfaces and named namespaces that are made in there
are invisible to other clouds, and gone with the last of their processes.
Needs nothing but the standard library.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import pathlib
import socket
import subprocess
import sys
import threading

ADDRESS = '127.0.0.1'
SOCKETS = pathlib.Path('/run/openvswitch')
PIECE = 65536
# From <linux/sched.h>; Python has these from 3.12 on.
_NEW_MOUNTS = 0x00020000
_NEW_NETWORK = 0x40000000
_HERE = pathlib.Path('/proc/self/ns/net')


def _call(name: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise SystemExit(f'{name}: {os.strerror(number)}; root can do this')


def separate() -> None:
    """Move this thread into namespaces of its own.

    :raises SystemExit: when that is not allowed
    """
    _call('unshare', _NEW_MOUNTS | _NEW_NETWORK)
    for command in (
        ('mount', '--make-rprivate', '/'),
        # Where namespaces get their names and switches their sockets.
        ('mount', '-t', 'tmpfs', 'tmpfs', '/run'),
        ('ip', 'link', 'set', 'lo', 'up'),
    ):
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    SOCKETS.mkdir()


def listen(port: int) -> socket.socket:
    """Return a listening socket of the namespace that the thread is in."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((ADDRESS, port))
    listener.listen(128)
    return listener


async def _copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    while piece := await reader.read(PIECE):
        writer.write(piece)
        await writer.drain()
    writer.write_eof()


async def _join(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    port = writer.get_extra_info('sockname')[1]
    there = None
    try:
        far, there = await asyncio.open_connection(ADDRESS, port)
        await asyncio.gather(_copy(reader, there), _copy(far, writer))
    except OSError as error:
        print(f'port {port}: {error}', flush=True)
    finally:
        writer.close()
        if there is not None:
            there.close()


async def _serve(listeners: list[socket.socket]) -> None:
    servers = [
        await asyncio.start_server(_join, sock=listener)
        for listener in listeners
    ]
    await asyncio.gather(*(server.serve_forever() for server in servers))


def relay(outside: int, listeners: list[socket.socket]) -> None:
    """Pass connections on, until the process ends.

    :param outside: a descriptor of the network namespace to connect in; only
        the calling thread enters it
    """
    _call('setns', outside, _NEW_NETWORK)
    asyncio.run(_serve(listeners))


def main(file: str, *numbers: str) -> None:
    """Make the namespaces and hold them."""
    outside = os.open(_HERE, os.O_RDONLY)
    separate()
    listeners = [listen(int(number)) for number in numbers]
    thread = threading.Thread(target=relay, args=(outside, listeners))
    thread.start()
    fresh = pathlib.Path(f'{file}.new')
    fresh.write_text(f'{os.getpid()}\n')
    fresh.replace(file)
    thread.join()


if __name__ == '__main__':
    main(*sys.argv[1:])
