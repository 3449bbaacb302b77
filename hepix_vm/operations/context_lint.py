# SPDX-License-Identifier: Apache-2.0
"""All that can be found in a site directory, by other programs too."""

from __future__ import annotations

from collections.abc import Iterator
import json
from pathlib import Path
import shutil
import subprocess
import tempfile
from typing import Any

from hepix_vm.context import archive
from hepix_vm.context import bundle
from hepix_vm.context import lint
from hepix_vm.context import site as site_
from hepix_vm.context import templates
from hepix_vm.context import variants

#: Seconds that shellcheck may take.
_PATIENCE = 120.0

#: It says that a script has no first line; some are only sourced.
_LEFT_OUT = 'SC2148'


def findings(
    site: site_.Site, limits: bundle.Limits
) -> tuple[lint.Finding, ...]:
    """What is wrong, sorted by place.

    What shellcheck says, where it is installed, are warnings.
    """
    return tuple(
        sorted(
            {
                *lint.findings(site),
                *_too_large(site, limits),
                *_shellcheck(site),
            }
        )
    )


def _too_large(
    site: site_.Site, limits: bundle.Limits
) -> Iterator[lint.Finding]:
    """Put together each layer with those of all, and all of them.

    These are not all variants, which would be too many, but what is too
    large is seldom so only in the middle.
    """
    always = tuple(layer for layer in site.layers if not layer.rule.when)
    some = [layer for layer in site.layers if layer.rule.when]
    choices = [always, *((*always, layer) for layer in some), site.layers]
    for chosen in dict.fromkeys(choices):
        try:
            variants.merged(site, chosen, {}, limits)
        except archive.BundleRefused as error:
            yield lint.Finding(
                '+'.join(layer.rule.directory for layer in chosen) or '.',
                0,
                lint.Level.ERROR,
                'size',
                str(error),
            )


def _shellcheck(site: site_.Site) -> Iterator[lint.Finding]:
    program = shutil.which('shellcheck')
    if program is None:
        return
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        paths = [
            path for layer in site.layers for path in _scripts(layer, top)
        ]
        if not paths:
            return
        for comment in _asked(program, top, paths):
            yield lint.Finding(
                str(comment['file']),
                int(comment['line']),
                lint.Level.WARNING,
                'shellcheck',
                f'SC{comment["code"]}: {comment["message"]}',
            )


def _scripts(layer: site_.Layer, top: Path) -> Iterator[str]:
    """Write the scripts of a layer; templates as their authors know them."""
    for file in layer.files:
        content = file.member.content
        if content is None or b'\0' in content:
            continue
        if not lint.is_shell(file.member.path, content):
            continue
        suffix = templates.SUFFIX if file.template is not None else ''
        path = Path(layer.rule.directory, file.member.path + suffix)
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_bytes(content)
        yield str(path)


def _asked(program: str, top: Path, paths: list[str]) -> list[Any]:
    """Its comments; none when it does not answer in the form that we know."""
    command = [
        *(program, '--format=json1', '--severity=warning', '--norc'),
        *(f'--exclude={_LEFT_OUT}', '--', *paths),
    ]
    try:
        ran = subprocess.run(  # noqa: S603 - no shell, names are checked
            command,
            cwd=top,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
        found = json.loads(ran.stdout)['comments']
    except (
        *(OSError, subprocess.TimeoutExpired),
        *(ValueError, LookupError, TypeError),
    ):
        return []
    return [
        comment
        for comment in found
        if isinstance(comment, dict)
        and {'file', 'line', 'code', 'message'} <= comment.keys()
    ]
