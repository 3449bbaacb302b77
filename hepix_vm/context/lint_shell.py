# SPDX-License-Identifier: Apache-2.0
"""What a site's scripts must leave alone in an endorsed image; no I/O.

The rule of 2010: the image stays as its endorser made it. No packages,
nothing below /usr, /boot and /lib/modules, no kernel modules, no change of
Python, Perl or glibc.
"""

from __future__ import annotations

from collections.abc import Iterator
import itertools
import posixpath
import re

from hepix_vm.context import shell

#: Directories of the image; the four of the second line are links into /usr
#: in most of today's.
PROTECTED = (
    *('/usr', '/boot', '/lib/modules'),
    *('/bin', '/sbin', '/lib', '/lib64'),
)

#: What is wrong with a command: rule and words.
Fault = tuple[str, str]

_MANAGERS = {
    **dict.fromkeys(
        (
            *('apt', 'apt-get', 'aptitude', 'dpkg', 'yum', 'dnf', 'dnf5'),
            *('microdnf', 'tdnf', 'rpm', 'rpm-ostree', 'zypper', 'pacman'),
            *('apk', 'emerge', 'opkg', 'snap', 'flatpak', 'brew', 'nix-env'),
            *('conda', 'mamba', 'npm', 'gem', 'alien', 'urpmi', 'swupd'),
        ),
        'package',
    ),
    **dict.fromkeys(
        ('pip', 'pip2', 'pip3', 'pipx', 'easy_install', 'uv'), 'python'
    ),
    **dict.fromkeys(('cpan', 'cpanm', 'cpanp'), 'perl'),
}
#: First arguments with which these only look.
_LOOKS = re.compile(
    r'--(query.*|list|status|listfiles|search|version|help)'
    r'|list|info|search|show|query|repolist|freeze|check|policy|history|help'
)
#: And these, where the same letters mean something else to others.
_LOOKS_OF = {
    'rpm': re.compile(r'-[qV].*|-E'),
    'dpkg': re.compile(r'-[lsLSV]'),
    'pacman': re.compile(r'-Q.*'),
}

_ALWAYS = {
    'insmod': 'kernel-module',
    'modprobe': 'kernel-module',
    'rmmod': 'kernel-module',
    'depmod': 'kernel-module',
    'dkms': 'kernel-module',
    'kmod': 'kernel-module',
    'ldconfig': 'glibc',
    'localedef': 'glibc',
}

#: Every file that these name is written or goes.
_WRITE_ALL = frozenset(
    {
        *('rm', 'rmdir', 'unlink', 'shred', 'touch', 'mkdir', 'mkfifo'),
        *('mknod', 'chmod', 'chown', 'chgrp', 'chattr', 'setfacl', 'setcap'),
        *('chcon', 'tee', 'truncate', 'mv', 'patch', 'ed', 'umount'),
    }
)
#: The last one is.
_WRITE_LAST = frozenset({'cp', 'install', 'ln', 'rsync', 'scp', 'mount'})
#: These name a directory or file in an option.
_OPTIONS = {
    'tar': ('-C', '--directory'),
    'unzip': ('-d',),
    'curl': ('-o', '--output', '--output-dir'),
    'wget': ('-O', '-P', '--output-document', '--directory-prefix'),
    'cp': ('-t', '--target-directory'),
    'mv': ('-t', '--target-directory'),
    'install': ('-t', '--target-directory'),
    'ln': ('-t', '--target-directory'),
    'cpio': ('-D', '--directory'),
}

#: These run what follows, after options, numbers and assignments.
_WRAPPERS = frozenset(
    {
        *('sudo', 'doas', 'env', 'nohup', 'exec', 'command', 'builtin'),
        *('nice', 'ionice', 'timeout', 'xargs', 'setsid', 'stdbuf', 'flock'),
        *('chroot', 'busybox', 'eval'),
    }
)
_SHELLS = frozenset({'sh', 'bash', 'dash', 'ksh', 'ash', 'zsh', 'su', 'eval'})
_ASSIGNMENT = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)\+?=(.*)', re.DOTALL)
_PASSED = re.compile(r'-.*|[0-9.]+[smhd]?|[A-Za-z_][A-Za-z0-9_]*=.*')
_PRELOAD = re.compile(r'/etc/ld\.so\.(preload|conf|cache)')
_INTERPRETER = re.compile(r'(python|perl)[0-9.]*')
_PYTHON_MODULES = frozenset({'pip', 'ensurepip', 'easy_install'})


def faults(command: shell.Command) -> Iterator[Fault]:
    """What a command does to the image."""
    for word in command.written:
        yield from _write(word.text)
    words = [word.text for word in command.words]
    yield from _settings(words)
    words = _unwrapped(words)
    if not words:
        return
    name, rest = posixpath.basename(words[0]), words[1:]
    yield from _program(name, rest)
    for path in _paths(name, rest):
        yield from _write(path)


def inner(command: shell.Command) -> str | None:
    """The script that a command hands to a shell as text, if it does."""
    words = _unwrapped([word.text for word in command.words], ('eval',))
    if not words or posixpath.basename(words[0]) not in _SHELLS:
        return None
    if words[0] == 'eval':
        return ' '.join(words[1:])
    for option, text in itertools.pairwise(words[1:]):
        if re.fullmatch(r'-[a-z]*c', option):
            return text
    return None


def leaves(command: shell.Command) -> bool:
    """Whether it ends the shell that runs it."""
    return (
        not command.inner
        and bool(command.words)
        and command.words[0].text == 'exit'
    )


def sourced(command: shell.Command) -> str | None:
    """The file that it runs in the same shell, if it does."""
    words = command.words
    if len(words) > 1 and words[0].text in ('.', 'source'):
        return words[1].text
    return None


def _unwrapped(words: list[str], kept: tuple[str, ...] = ()) -> list[str]:
    while words:
        name = posixpath.basename(words[0])
        if _ASSIGNMENT.fullmatch(words[0]):
            words = words[1:]
        elif name in _WRAPPERS and name not in kept:
            words = words[1:]
            while words and _PASSED.fullmatch(words[0]):
                words = words[1:]
            if name in ('flock', 'chroot'):
                words = words[1:]
        elif name == 'find' and '-exec' in words:
            words = words[words.index('-exec') + 1 :]
        else:
            break
    return words


def _program(name: str, rest: list[str]) -> Iterator[Fault]:
    first = next(iter(rest), '')
    own = _LOOKS_OF.get(name, _LOOKS)
    if name in _MANAGERS and not (
        _LOOKS.fullmatch(first) or own.fullmatch(first)
    ):
        yield (_MANAGERS[name], f'{name} changes the packages of the image')
    if name in _ALWAYS:
        yield (_ALWAYS[name], f'{name} changes what the endorser has checked')
    if _INTERPRETER.fullmatch(name):
        for option, module in itertools.pairwise(rest):
            if option == '-m' and module in _PYTHON_MODULES:
                yield ('python', f'{name} -m {module} changes Python')
            if option.startswith('-M') and module == 'install':
                yield ('perl', f'{name} {option} changes Perl')
    if name in ('alternatives', 'update-alternatives'):
        for word in rest:
            if _INTERPRETER.fullmatch(word):
                rule = 'perl' if word.startswith('perl') else 'python'
                yield (rule, f'{name} changes what {word} is')


def _paths(name: str, rest: list[str]) -> Iterator[str]:
    plain = [word for word in rest if not word.startswith('-')]
    if name in _WRITE_ALL or (
        name in ('sed', 'perl')
        and any(re.fullmatch(r'-[a-zA-Z]*i.*|--in-place.*', w) for w in rest)
    ):
        yield from plain
    elif name in _WRITE_LAST and len(plain) > 1:
        yield plain[-1]
    elif name == 'install' and any(w.startswith('-d') for w in rest):
        yield from plain
    elif name == 'dd':
        yield from (w[3:] for w in rest if w.startswith('of='))
    options = _OPTIONS.get(name, ())
    for word, after in itertools.pairwise([*rest, '']):
        for option in options:
            if word == option:
                yield after
            elif word.startswith(
                f'{option}=' if option.startswith('--') else option
            ):
                yield word[len(option) :].lstrip('=')


def _write(path: str) -> Iterator[Fault]:
    if not path.startswith('/'):
        return
    found = posixpath.normpath('/' + path.lstrip('/'))
    if _PRELOAD.match(found):
        yield ('glibc', f'{found} changes which libraries programs load')
    for top in PROTECTED:
        if found == top or found.startswith(f'{top}/'):
            yield ('write', f'{found} is below {top}, which is the image')
            return


def _settings(words: list[str]) -> Iterator[Fault]:
    """Variables that change an interpreter or the loader for all later."""
    exports = bool(words) and words[0] in ('export', 'declare', 'typeset')
    if not exports and not all(map(_ASSIGNMENT.fullmatch, words)):
        return
    for word in words:
        match = _ASSIGNMENT.fullmatch(word)
        if match is not None and match[1] == 'LD_PRELOAD' and match[2]:
            yield ('glibc', 'LD_PRELOAD changes every program that follows')
