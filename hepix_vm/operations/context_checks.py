# SPDX-License-Identifier: Apache-2.0
"""Whether the site's context can reach its guests as it is configured.

The files of Nova and of neutron's metadata agent are read where they are on
this machine; which form of a bundle gets through depends on what stands in
front, and who may sign for an instance on a secret that all of them share.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
from importlib import metadata
from pathlib import Path as File

from oslo_config import cfg

from hepix_vm.context import archive
from hepix_vm.context import manifest
from hepix_vm.context import source as source_
from hepix_vm import errors
from hepix_vm.operations.status import Finding
from hepix_vm.operations.status import Grade
from hepix_vm.paths import paste
from hepix_vm.paths import service

FACTORY = 'hepix_vm.context.wsgi:app_factory'

#: Where it has to be mounted in nova-metadata.
PREFIXES = ('/context', '/machinefeatures', '/jobfeatures')

#: The first major release of neutron whose agent spoils gzip.
_SPOILS = 26

_SECRET = cfg.StrOpt('metadata_proxy_shared_secret', default='')
_NOVA = {
    'neutron': (cfg.BoolOpt('service_metadata_proxy', default=False), _SECRET)
}
_AGENT = {'DEFAULT': (_SECRET,)}


@dataclasses.dataclass(frozen=True, slots=True)
class Context:
    """What hepix_vm.conf says of it.

    :ivar signing_key: reads the key; see ``conf.context``
    :ivar neutron: option ``behind``
    :ivar secret: of a process of its own; '': there is none
    """

    source: source_.Source
    signing_key: Callable[[], bytes | None]
    neutron: bool = True
    secret: str = ''


@dataclasses.dataclass(frozen=True, slots=True)
class Machine:
    """What the files of this machine say.

    :ivar mounts: prefixes that are ours in nova-metadata
    :ivar nova: whether there is a nova.conf
    :ivar proxied: whether Nova believes a proxy who an instance is
    :ivar nova_secret: that they share
    :ivar agents: secrets of the metadata agents that are configured here
    """

    mounts: frozenset[str] = frozenset()
    nova: bool = False
    proxied: bool = False
    nova_secret: str = ''
    agents: tuple[str, ...] = ()


def look(
    context: Context,
    nova: File,
    paste_file: File,
    agents: Sequence[File],
    now: int,
) -> list[tuple[str, Finding]]:
    """All checks of the context, by title.

    :param nova: nova.conf of nova-metadata
    :param paste_file: its paste file
    :param agents: configuration files of neutron's metadata agents
    :param now: UNIX seconds
    """
    try:
        machine = _machine(nova, paste_file, agents)
    except errors.Misconfigured as exc:
        return [('Context', Finding(Grade.FAILURE, str(exc)))]
    wanted = (
        machine.mounts
        or context.secret
        or context.source.published
        or context.source.directory.is_dir()
    )
    if not wanted:
        return [
            (
                'Context',
                Finding(
                    Grade.WELL,
                    f'there is no {context.source.directory}, and nothing '
                    'serves it on this machine',
                ),
            )
        ]
    return [
        ('Context: content', _content(context.source, now)),
        ('Context: signing key', _signing(context)),
        ('Context: served', _served(context, machine, paste_file)),
        ('Context: secret', _secret(context, machine)),
        ('Context: behind', _behind(context, machine)),
    ]


def _machine(nova: File, paste_file: File, agents: Sequence[File]) -> Machine:
    """Read the files that are there.

    :raises errors.Misconfigured: one cannot be read
    """
    found = Machine()
    if _present(paste_file):
        mounted = paste.mounts(paste_file, 'metadata')
        found = dataclasses.replace(
            found,
            mounts=frozenset(
                prefix
                for prefix, factory in mounted.items()
                if factory == FACTORY
            ),
        )
    if _present(nova):
        group = _read('nova', _NOVA, nova)['neutron']
        found = dataclasses.replace(
            found,
            nova=True,
            proxied=group.service_metadata_proxy,
            nova_secret=group.metadata_proxy_shared_secret,
        )
    secrets = tuple(
        str(_read('neutron', _AGENT, one)['DEFAULT'][_SECRET.dest])
        for one in agents
        if _present(one)
    )
    return dataclasses.replace(found, agents=secrets)


def _read(
    name: str, options: dict[str, tuple[cfg.Opt, ...]], file: File
) -> cfg.ConfigOpts:
    folder = file.with_name(f'{file.name}.d')
    return service.read(
        name, options, [file], [folder] if _present(folder) else []
    )


def _present(file: File) -> bool:
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as exc:
        raise errors.Misconfigured(
            f'{file}: {exc.strerror}; run this as an account that may read it'
        ) from exc
    return True


def _content(source: source_.Source, now: int) -> Finding:
    try:
        site = source_.read(source)
    except archive.BundleRefused as exc:
        return Finding(Grade.FAILURE, str(exc))
    if site.expires_at is not None and site.expires_at <= now:
        return Finding(
            Grade.WARNING,
            f'generation {site.serial} has expired {now - site.expires_at} s '
            'ago, and guests may refuse it; run "hepix-vm context publish"',
        )
    if source.published:
        return Finding(Grade.WELL, f'generation {site.serial} is published')
    return Finding(Grade.WELL, f'{site.source} can be served as it stands')


def _signing(context: Context) -> Finding:
    try:
        key = context.signing_key()
        if key is None:
            return Finding(
                Grade.WELL, 'nothing is signed: no signing_key in [context]'
            )
        manifest.sign(b'', key)
    except errors.Misconfigured as exc:
        return Finding(Grade.FAILURE, str(exc))
    return Finding(Grade.WELL, 'it signs, and not everybody may read it')


def _served(context: Context, machine: Machine, paste_file: File) -> Finding:
    missing = [one for one in PREFIXES if one not in machine.mounts]
    if not missing:
        return Finding(Grade.WELL, 'nova-metadata serves it')
    if machine.mounts:
        return Finding(
            Grade.FAILURE,
            f'nova-metadata does not serve {" and ".join(missing)}; it takes '
            f'"{missing[0]}: hepix_context" in [composite:metadata] of '
            f'{paste_file}',
        )
    if context.secret:
        return Finding(
            Grade.WELL,
            'a process of its own serves it; the proxy in front has to send '
            f'{", ".join(PREFIXES)} there',
        )
    return Finding(
        Grade.WARNING,
        'nothing on this machine serves it; it takes an app with '
        f'paste.app_factory = {FACTORY} in [composite:metadata] of '
        f'{paste_file}, or metadata_proxy_shared_secret in [context] and a '
        'process of its own; run this where it is served',
    )


def _secret(context: Context, machine: Machine) -> Finding:
    if machine.mounts and not machine.proxied:
        return Finding(
            Grade.FAILURE,
            'Nova does not look at who the metadata proxy says that asks, so '
            'no guest gets context; it takes service_metadata_proxy = true '
            'in [neutron] of nova.conf',
        )
    if machine.mounts and not machine.nova_secret:
        return Finding(
            Grade.FAILURE,
            'anybody could sign, so no guest gets context; it takes '
            'metadata_proxy_shared_secret in [neutron] of nova.conf',
        )
    mine = [context.secret] if context.secret else []
    nova = [machine.nova_secret] if machine.nova_secret else []
    if len({*mine, *nova, *machine.agents}) > 1:
        return Finding(
            Grade.FAILURE,
            'metadata_proxy_shared_secret is not the same in hepix_vm.conf '
            '[context], nova.conf [neutron] and the configuration of the '
            'metadata agent, as far as they are here; what is signed with '
            'another one is refused',
        )
    if not mine and not nova:
        return Finding(
            Grade.WARNING,
            'no metadata_proxy_shared_secret is known on this machine; run '
            'this where context is served',
        )
    return Finding(Grade.WELL, 'it is set, and the same wherever it is here')


def _behind(context: Context, machine: Machine) -> Finding:
    if context.neutron:
        return Finding(
            Grade.WELL,
            'bundles are PKZIP files, which every release of neutron lets '
            'through',
        )
    evidence = []
    if machine.agents:
        evidence.append('a metadata agent is configured on this machine')
    if machine.mounts and machine.proxied:
        evidence.append('[neutron] service_metadata_proxy is on in nova.conf')
    if not evidence and (context.secret or machine.nova_secret):
        return Finding(
            Grade.WARNING,
            'bundles are gzip, which neutron spoils, and there is a '
            'metadata_proxy_shared_secret, which its metadata agent signs '
            'with; it takes behind = neutron in [context] unless something '
            'else signs',
        )
    if not evidence:
        return Finding(
            Grade.WELL, 'bundles are gzip; no sign of neutron on this machine'
        )
    release = neutron_release()
    old = release is not None and release < _SPOILS
    until = f' from release {_SPOILS} on; here is {release}' if old else ''
    return Finding(
        Grade.WARNING if old else Grade.FAILURE,
        f'{" and ".join(evidence)}, and the agent spoils gzip{until}; it '
        'takes behind = neutron in [context]',
    )


def neutron_release() -> int | None:
    """The major release of neutron that is installed beside us, if one is."""
    try:
        major = metadata.version('neutron').partition('.')[0]
    except metadata.PackageNotFoundError:
        return None
    return int(major) if major.isdigit() else None
