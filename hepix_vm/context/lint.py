# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a site directory though it could be served; no I/O.

Errors stop a publication: what breaks the rule of 2010 (see
:mod:`hepix_vm.context.lint_shell`), private keys, a template's variable
within quotes, a script that no kernel starts. Warnings do not. A line with
the comment ``context-lint: allow RULE``, or the line after it, is only
warned about.
"""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import enum
import posixpath
import re

from hepix_vm.context import archive
from hepix_vm.context import lint_secrets
from hepix_vm.context import lint_shell
from hepix_vm.context import shell
from hepix_vm.context import site as site_
from hepix_vm.context import templates

_SHEBANG = re.compile(
    rb'#![ \t]*\S*?/(env[ \t]+(-\S+[ \t]+)*)?(ba|da|k|a|z)?sh\b'
)
_PLACE = re.compile(r'@[a-z][a-z0-9_]*@')
_ALLOWED = re.compile(r'#.*\bcontext-lint: allow ([a-z, -]+)')

#: Files that nobody needs in a bundle but to change the image.
_PAYLOADS = (
    (re.compile(r'.*\.(rpm|deb|apk|drpm|snap)'), 'package'),
    (re.compile(r'.*\.(whl|egg)'), 'python'),
    (re.compile(r'.*\.ko(\.(gz|xz|zst))?'), 'kernel-module'),
    (re.compile(r'(libc|libm|libpthread|ld-linux.*)\.so.*'), 'glibc'),
)

#: Texts that a shell gives to a shell are followed so far.
_DEEPEST = 5


class Level(enum.StrEnum):
    """Whether a finding stops a publication."""

    ERROR = 'error'
    WARNING = 'warning'


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Something to mend.

    :param path: below the site directory
    :param line: 1 or more; 0: the file as such
    :param rule: stable word
    """

    path: str
    line: int
    level: Level
    rule: str
    text: str

    @property
    def place(self) -> str:
        """File and line, as editors take it."""
        return f'{self.path}:{self.line}' if self.line else self.path

    def __str__(self) -> str:
        return f'{self.place}: {self.level}: {self.text} [{self.rule}]'


def findings(site: site_.Site) -> tuple[Finding, ...]:
    """Look at every file of every layer, sorted by place."""
    files = [
        _Given(layer, file)
        for layer in site.layers
        for file in layer.files
        if file.member.content is not None
    ]
    scripts = {
        given.path: shell.read(given.text) for given in files if given.is_shell
    }
    sourced = _sourced(files, scripts)
    found: set[Finding] = set()
    for given in files:
        own = set(_of_file(given))
        if given.path in scripts:
            own |= set(_of_script(given, scripts[given.path], sourced))
        found |= {_lenient(given, finding) for finding in own}
    return tuple(sorted(found))


def is_shell(name: str, content: bytes) -> bool:
    """Whether a file is a shell script, by its name or its first line.

    :param name: in the bundle
    """
    return name.endswith('.sh') or bool(_SHEBANG.match(content))


class _Given:
    """A file, as its author knows it."""

    def __init__(self, layer: site_.Layer, file: site_.File) -> None:
        self.name = file.member.path
        self.content = file.member.content or b''
        self.template = file.template is not None
        self.path = posixpath.join(layer.rule.directory, self.name) + (
            templates.SUFFIX if self.template else ''
        )
        self.text = self.content.decode('utf-8', 'replace')
        self.binary = b'\0' in self.content
        self.is_shell = not self.binary and is_shell(self.name, self.content)

    def line(self, place: int) -> int:
        return self.text.count('\n', 0, place) + 1


def _of_file(given: _Given) -> Iterator[Finding]:
    base = posixpath.basename(given.name)
    for pattern, rule in _PAYLOADS:
        if pattern.fullmatch(base):
            yield Finding(
                given.path,
                0,
                Level.ERROR,
                rule,
                'the image stays as it was endorsed; this could only change'
                ' it',
            )
    if lint_secrets.has_private_key(given.content):
        yield Finding(
            given.path,
            0,
            Level.ERROR,
            'private-key',
            'every user of every project can read a private key here',
        )
    if given.binary:
        return
    for line, what in lint_secrets.secrets(given.text):
        yield Finding(
            given.path,
            line,
            Level.WARNING,
            'secret',
            f'looks like {what}; every user of every project can read it',
        )
    place = given.text.find('\r\n')
    if place >= 0:
        first = given.is_shell and given.line(place) == 1
        yield Finding(
            given.path,
            given.line(place),
            Level.ERROR if first else Level.WARNING,
            'crlf',
            'the line ends as on Windows (CR LF)'
            + (', so that no kernel starts the script' if first else ''),
        )


def _of_script(
    given: _Given, script: shell.Script, sourced: set[str]
) -> Iterator[Finding]:
    for line, command in _commands(script):
        for rule, text in lint_shell.faults(command):
            yield Finding(given.path, line, Level.ERROR, rule, text)
        if given.path in sourced and lint_shell.leaves(command):
            yield Finding(
                given.path,
                line,
                Level.WARNING,
                'exit',
                'some guests source this script, and "exit" ends their own;'
                ' use "return" in a function, or if ... fi',
            )
    if given.name in archive.SCRIPTS and not given.content.startswith(b'#!'):
        yield Finding(
            given.path,
            1,
            Level.ERROR,
            'shebang',
            'guests execute this script; its first line must name what runs'
            ' it, as #!/bin/sh does',
        )
    if given.template:
        yield from _of_template(given, script)


def _of_template(given: _Given, script: shell.Script) -> Iterator[Finding]:
    for match in _PLACE.finditer(given.text):
        line = given.line(match.start())
        if _within(match.start(), script.quotes):
            yield Finding(
                given.path,
                line,
                Level.ERROR,
                'template',
                f'{match.group()} stands within quotes; it comes quoted, so'
                ' write it without',
            )
        elif _within(match.start(), script.documents):
            yield Finding(
                given.path,
                line,
                Level.WARNING,
                'template',
                f'{match.group()} comes quoted where it has unusual'
                ' characters, and in a here document the quotes stay',
            )


def _commands(
    script: shell.Script, depth: int = 0
) -> Iterator[tuple[int, shell.Command]]:
    """All commands with their lines, of texts for other shells too."""
    for command in script.commands:
        line = (*command.words, *command.written)[0].line
        yield line, command
        text = lint_shell.inner(command)
        if text is not None and depth < _DEEPEST:
            for _, own in _commands(shell.read(text), depth + 1):
                yield line, dataclasses.replace(own, inner=True)


def _sourced(
    files: list[_Given], scripts: dict[str, shell.Script]
) -> set[str]:
    """The scripts that guests source, and what these source in turn."""
    found = {
        given.path
        for given in files
        if given.name in archive.SCRIPTS and given.path in scripts
    }
    waiting = list(found)
    while waiting:
        for command in scripts[waiting.pop()].commands:
            target = posixpath.basename(lint_shell.sourced(command) or '')
            for given in files:
                if (
                    target == posixpath.basename(given.name)
                    and given.path in scripts
                    and given.path not in found
                ):
                    found.add(given.path)
                    waiting.append(given.path)
    return found


def _lenient(given: _Given, finding: Finding) -> Finding:
    """The finding as a warning, where its line says that it is meant."""
    if finding.level is Level.WARNING or not finding.line:
        return finding
    lines = given.text.split('\n')
    for line in lines[max(0, finding.line - 2) : finding.line]:
        allowed = _ALLOWED.search(line)
        if allowed and finding.rule in re.split('[, ]+', allowed[1]):
            return dataclasses.replace(
                finding,
                level=Level.WARNING,
                text=f'{finding.text} (allowed by a comment)',
            )
    return finding


def _within(place: int, spans: tuple[tuple[int, int], ...]) -> bool:
    return any(start <= place < end for start, end in spans)
