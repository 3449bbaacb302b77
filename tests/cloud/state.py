# SPDX-License-Identifier: Apache-2.0
"""What is known of a cloud, in a file that outlives the process."""

import dataclasses
import json
import os
import pathlib
from typing import Any

from tests.cloud import errors
from tests.cloud import processes

NAME = 'cloud.json'
VERSION = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Started:
    """One process of the cloud and all that is needed to start it again."""

    name: str
    argv: tuple[str, ...]
    environment: dict[str, str]
    log: str
    port: int | None
    leader: processes.Leader


@dataclasses.dataclass(slots=True)
class State:
    """A cloud as its state file has it; secrets included (mode 0600)."""

    release: str
    venv: str
    token: str
    password: str
    metadata_secret: str
    boot: str
    ports: dict[str, int] = dataclasses.field(default_factory=dict)
    started: dict[str, Started] = dataclasses.field(default_factory=dict)
    ready: bool = False

    def leaders(self) -> list[processes.Leader]:
        """Return the session leaders; none after a reboot."""
        if self.boot != processes.boot():
            return []
        return [one.leader for one in self.started.values()]

    def belonging(self) -> set[int]:
        """Return the ids of all living processes of this cloud."""
        found = processes.belonging(
            processes.table(), self.leaders(), self.token
        )
        # Each log is in a folder of its own of the work directory.
        logs = {pathlib.Path(one.log) for one in self.started.values()}
        for work in {log.parent.parent for log in logs}:
            found |= processes.machines(work / 'data')
        return found


def save(work: pathlib.Path, state: State) -> None:
    """Write the state by temporary file and rename."""
    text = json.dumps(
        {'version': VERSION, **dataclasses.asdict(state)}, indent=1
    )
    aside = work / f'.{NAME}.{os.getpid()}'
    aside.touch(mode=0o600)
    aside.write_text(text + '\n')
    aside.replace(work / NAME)


def _started(value: dict[str, Any]) -> Started:
    return Started(
        **{
            **value,
            'argv': tuple(value['argv']),
            'leader': processes.Leader(**value['leader']),
        }
    )


def load(work: pathlib.Path) -> State:
    """Read the state of the cloud in a work directory.

    :raises errors.CloudError: when there is none or it is not understood
    """
    path = work / NAME
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        raise errors.CloudError(
            f'no cloud in {work}: {path} is not there'
        ) from None
    except (OSError, ValueError) as error:
        raise errors.CloudError(f'{path} cannot be read: {error}') from error
    if value.pop('version', None) != VERSION:
        raise errors.CloudError(f'{path} is not of version {VERSION}')
    started = value.pop('started')
    return State(
        **value, started={name: _started(started[name]) for name in started}
    )
