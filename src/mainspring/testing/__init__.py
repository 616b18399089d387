"""What tests of flows and tasks need, beside `pytest`; nothing of it is loaded by `import mainspring`.

- `children`: a function in a forked process that may die
- `worlds`, `locks`, `pipes`, `loops`: threads that a scheduler runs on a clock that jumps, and what they wait for
- `takeover`, `databases`: the standard library in the hands of such a world
- `virtual`: time that passes only while everybody waits; `jumping`, `signals`: its world; `belongings`: kept for later
- `simulation`, `faults`, `outside`: one run of a flow in which a seed decides what happens, and what it cannot decide
- `exploration`: `simulate` one seed and `explore` many
- `invariants`: what holds for every history, whatever has happened
- `traces`: what user code saw, to be compared with the history
"""

from mainspring.testing.children import ChildError
from mainspring.testing.exploration import (
    Exploration,
    SimulationError,
    SimulationWarning,
    explore,
    simulate,
)
from mainspring.testing.faults import NO_FAULTS, Faults, InjectedError
from mainspring.testing.outside import OutsideWorldError
from mainspring.testing.simulation import Simulation
from mainspring.testing.virtual import VirtualClock, virtual_time
from mainspring.testing.worlds import DeadlockError

__all__ = [
    "NO_FAULTS",
    "ChildError",
    "DeadlockError",
    "Exploration",
    "Faults",
    "InjectedError",
    "OutsideWorldError",
    "Simulation",
    "SimulationError",
    "SimulationWarning",
    "VirtualClock",
    "explore",
    "simulate",
    "virtual_time",
]
