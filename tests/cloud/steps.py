# SPDX-License-Identifier: Apache-2.0
"""Steps of a start: each begins when what it needs is done.

One loop in one thread starts processes and looks at them, so that Ctrl-C and
any failure stop everything at one place.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import graphlib
import time

from tests.cloud import errors
from tests.cloud import supervisor as supervisors
from tests.cloud import waits

INTERVAL = 0.1
LIMIT = 600.0


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """A program that ends by itself; done when it ended with status 0."""

    name: str
    argv: tuple[str, ...]
    needs: tuple[str, ...] = ()
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    limit: float = LIMIT


@dataclasses.dataclass(frozen=True, slots=True)
class Service:
    """A program that stays; done when ``ready`` says so."""

    name: str
    argv: tuple[str, ...]
    ready: Callable[[], bool]
    needs: tuple[str, ...] = ()
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    port: int | None = None
    limit: float = LIMIT


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """Something that becomes true, such as a host that reports itself."""

    name: str
    ready: Callable[[], bool]
    needs: tuple[str, ...] = ()
    log_of: str | None = None
    """The process whose log explains why it does not."""
    limit: float = LIMIT


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """Something that this process does itself, in a few seconds."""

    name: str
    action: Callable[[], None]
    needs: tuple[str, ...] = ()


Step = Command | Service | Check | Call


class _Run:
    """The state of one run: what has begun, when, and what is done."""

    def __init__(
        self,
        supervisor: supervisors.Supervisor,
        steps: Sequence[Step],
        report: Callable[[str], None],
    ) -> None:
        self._supervisor = supervisor
        self._steps = {step.name: step for step in steps}
        self._report = report
        self._began: dict[str, float] = {}
        self._services: list[str] = []
        # A cloud of fewer parts does without what these would need.
        self._order = graphlib.TopologicalSorter(
            {
                step.name: [name for name in step.needs if name in self._steps]
                for step in steps
            }
        )

    def to_the_end(self) -> None:
        self._order.prepare()
        while self._order.is_active():
            for name in self._order.get_ready():
                self._begin(self._steps[name])
            for name in list(self._began):
                self._look(self._steps[name])
            self._services_live()
            time.sleep(INTERVAL)

    def _begin(self, step: Step) -> None:
        self._began[step.name] = time.monotonic()
        match step:
            case Command():
                self._supervisor.spawn(step.name, step.argv, step.environment)
            case Service():
                self._supervisor.spawn(
                    step.name, step.argv, step.environment, step.port
                )
                self._services.append(step.name)
            case Check():
                pass
            case Call():
                step.action()

    def _look(self, step: Step) -> None:
        match step:
            case Command():
                done = self._ended_well(step)
            case Service() | Check():
                done = step.ready()
            case Call():
                done = True
        taken = time.monotonic() - self._began[step.name]
        if done:
            del self._began[step.name]
            self._order.done(step.name)
            self._report(f'{step.name} ({taken:.1f} s)')
        elif not isinstance(step, Call) and taken > step.limit:
            name = step.log_of if isinstance(step, Check) else step.name
            log = self._supervisor.layout.log_of(name) if name else None
            raise errors.NotReady(
                waits.with_log(
                    f'{step.name} is not ready after {step.limit:.0f} s', log
                )
            )

    def _ended_well(self, step: Command) -> bool:
        status = self._supervisor.exit_status(step.name)
        if status is None:
            return False
        if status != 0:
            log = self._supervisor.layout.log_of(step.name)
            raise errors.CloudError(
                waits.with_log(f'{step.name} ended with {status}', log)
            )
        self._supervisor.forget(step.name)
        return True

    def _services_live(self) -> None:
        for name in self._services:
            status = self._supervisor.exit_status(name)
            if status is not None:
                log = self._supervisor.layout.log_of(name)
                raise errors.CloudError(
                    waits.with_log(f'{name} ended with {status}', log)
                )


def run(
    supervisor: supervisors.Supervisor,
    steps: Sequence[Step],
    report: Callable[[str], None],
) -> None:
    """Take all steps, as many at once as their needs allow.

    :raises errors.CloudError: when one fails or takes longer than its limit
    """
    _Run(supervisor, steps, report).to_the_end()
