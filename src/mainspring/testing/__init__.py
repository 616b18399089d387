"""What tests of flows and tasks need, beside `pytest`; nothing of it is loaded by `import mainspring`.

- `harnesses`: a home for a block, and what happened in it; `homes`: how the process gets another home
- `paths`: the states that a run went through, compared with those that a test expects
- `overrides`: fakes in place of the functions of tasks and flows
- `plugin`: the fixtures and the marker for pytest
- `rules`: what holds for every history, whatever has happened
- `traces`: what user code saw, to be compared with the history
- `crashes`: `crash_everywhere`; `rounds`, `lives`, `blame`: one flow run that is killed, each of its processes, and
  which task is to blame; `children`: a function in a forked process that may die
- `exploration`: `simulate` one seed and `explore` many; `rehearsals`: how that gets faster
- `simulation`, `episodes`: one run of a flow in which a seed decides what happens, and each of its processes; `faults`,
  `outside`: what goes wrong, and what a seed cannot decide
- `worlds`, `locks`, `pipes`, `loops`: threads that a scheduler runs on a clock that jumps, and what they wait for
- `takeover`, `databases`: the standard library in the hands of such a world
- `virtual`: time that passes only while everybody waits; `jumping`, `signals`: its world; `stillness`: whoever holds
  that up for ever is told; `belongings`: kept for later
- `options`: numbers that are given, refused early

Names are loaded when they are used: pytest loads the plugin also in projects that have nothing to do with mainspring.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mainspring.testing.children import ChildError
    from mainspring.testing.crashes import CrashReport, crash_everywhere
    from mainspring.testing.exploration import (
        Exploration,
        SimulationError,
        SimulationWarning,
        explore,
        simulate,
    )
    from mainspring.testing.faults import NO_FAULTS, Faults, InjectedError
    from mainspring.testing.harnesses import Harness, harness
    from mainspring.testing.homes import HarnessError, reset_process_state
    from mainspring.testing.outside import OutsideWorldError
    from mainspring.testing.overrides import Fake, OverrideError, override
    from mainspring.testing.paths import assert_states
    from mainspring.testing.rounds import Crash, CrashError, CrashRound
    from mainspring.testing.rules import InvariantError, invariants
    from mainspring.testing.simulation import Simulation
    from mainspring.testing.traces import Trace
    from mainspring.testing.virtual import VirtualClock, virtual_time
    from mainspring.testing.worlds import StandstillError

__all__ = [
    "NO_FAULTS",
    "ChildError",
    "Crash",
    "CrashError",
    "CrashReport",
    "CrashRound",
    "Exploration",
    "Fake",
    "Faults",
    "Harness",
    "HarnessError",
    "InjectedError",
    "InvariantError",
    "OutsideWorldError",
    "OverrideError",
    "Simulation",
    "SimulationError",
    "SimulationWarning",
    "StandstillError",
    "Trace",
    "VirtualClock",
    "assert_states",
    "crash_everywhere",
    "explore",
    "harness",
    "invariants",
    "override",
    "reset_process_state",
    "simulate",
    "virtual_time",
]

_HOMES = {
    "NO_FAULTS": "faults",
    "ChildError": "children",
    "Crash": "rounds",
    "CrashError": "rounds",
    "CrashReport": "crashes",
    "CrashRound": "rounds",
    "Exploration": "exploration",
    "Fake": "overrides",
    "Faults": "faults",
    "Harness": "harnesses",
    "HarnessError": "homes",
    "InjectedError": "faults",
    "InvariantError": "rules",
    "OutsideWorldError": "outside",
    "OverrideError": "overrides",
    "Simulation": "simulation",
    "SimulationError": "exploration",
    "SimulationWarning": "exploration",
    "StandstillError": "worlds",
    "Trace": "traces",
    "VirtualClock": "virtual",
    "assert_states": "paths",
    "crash_everywhere": "crashes",
    "explore": "exploration",
    "harness": "harnesses",
    "invariants": "rules",
    "override": "overrides",
    "reset_process_state": "homes",
    "simulate": "exploration",
    "virtual_time": "virtual",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
    return value


def __dir__() -> list[str]:
    return __all__
