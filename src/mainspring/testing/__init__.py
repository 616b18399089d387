"""What tests of flows and tasks need, beside `pytest`; nothing of it is loaded by `import mainspring`.

- `children`: a function in a forked process that may die
- `crashes`: `crash_everywhere`; `rounds`, `lives`, `blame`: one flow run that is killed, each of its processes, and
  which task is to blame
- `worlds`, `locks`, `pipes`, `loops`: threads that a scheduler runs on a clock that jumps, and what they wait for
- `takeover`, `databases`: the standard library in the hands of such a world
- `simulation`, `faults`, `outside`: one run of a flow in which a seed decides what happens, and what it cannot decide
- `exploration`: `simulate` one seed and `explore` many
- `invariants`: what holds for every history, whatever has happened
- `traces`: what user code saw, to be compared with the history
"""

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
from mainspring.testing.outside import OutsideWorldError
from mainspring.testing.rounds import Crash, CrashError, CrashRound
from mainspring.testing.simulation import Simulation

__all__ = [
    "NO_FAULTS",
    "ChildError",
    "Crash",
    "CrashError",
    "CrashReport",
    "CrashRound",
    "Exploration",
    "Faults",
    "InjectedError",
    "OutsideWorldError",
    "Simulation",
    "SimulationError",
    "SimulationWarning",
    "crash_everywhere",
    "explore",
    "simulate",
]
