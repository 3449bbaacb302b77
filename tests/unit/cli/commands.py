# SPDX-License-Identifier: Apache-2.0
"""Runs commands in this process, as an operator's shell would."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

from hepix_vm.catalogue import subscription
from hepix_vm.cli import main
from tests.unit.catalogue import following


@dataclasses.dataclass(frozen=True)
class Ran:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)


def run(
    entry: Callable[[list[str]], int], arguments: Iterable[object], capsys: Any
) -> Ran:
    """Run an entry point; no traceback ever."""
    capsys.readouterr()
    root = logging.getLogger()
    before = list(root.handlers)
    try:
        status = entry([str(argument) for argument in arguments])
    except SystemExit as exc:
        assert exc.code is None or isinstance(exc.code, int)
        status = exc.code or 0
    finally:
        for handler in set(root.handlers) - set(before):
            root.removeHandler(handler)
    out, err = capsys.readouterr()
    assert 'Traceback' not in out + err
    return Ran(status, out, err)


class Commands:
    """``hepix-vm`` with the configuration of a site."""

    def __init__(self, site: following.Site, capsys: Any) -> None:
        self.site = site
        self.file = site.folder / 'hepix_vm.conf'
        self._capsys = capsys

    def __call__(self, *arguments: object) -> Ran:
        """Run a command with the site's configuration file."""
        write_configuration(self.site, self.file)
        return self.bare('--config-file', self.file, *arguments)

    def bare(self, *arguments: object) -> Ran:
        """Run a command as it is."""
        return run(main.main, arguments, self._capsys)


def write_configuration(site: following.Site, path: Path) -> None:
    """Write the groups of a site, as an operator would."""
    # Small lists lose most of their images at once.
    lines = [
        '[catalogue]',
        f'connection = {site.url}',
        'brake_images = 1000000',
        'brake_percent = 100',
    ]
    for name, item in site.configured.items():
        assert isinstance(item, subscription.Subscription)
        lines += [
            f'[subscription:{name}]',
            f'url = {item.url}',
            f'list_identifier = {item.list_identifier}',
            f'endorser_subject = {item.endorser_subject}',
            f'endorser_issuer = {item.endorser_issuer}',
            f'trust_anchors = {item.trust_anchors}',
            f'approval = {item.approval}',
        ]
        lines += [f'approve_if = {line.text}' for line in item.approve_if]
        if item.brake is not None:
            lines += [
                f'brake_images = {item.brake.images}',
                f'brake_percent = {item.brake.percent}',
                f'brake_action = {"keep" if item.brake.keep else "suspend"}',
            ]
        if item.projects is not None:
            lines.append(f'projects = {",".join(sorted(item.projects))}')
    path.write_text('\n'.join(lines) + '\n')
    path.chmod(0o640)
