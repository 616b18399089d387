"""What tests of flows and tasks need, beside `pytest`; nothing of it is loaded by `import mainspring`.

- `children`: a function in a forked process that may die
- `worlds`, `locks`, `pipes`, `loops`: threads that a scheduler runs on a clock that jumps, and what they wait for
- `takeover`: the standard library in the hands of such a world
- `virtual`: time that passes only while everybody waits; `jumping` and `signals` are its world, and `belongings` what is
  put aside meanwhile
"""

from mainspring.testing.children import ChildError
from mainspring.testing.virtual import VirtualClock, virtual_time
from mainspring.testing.worlds import DeadlockError

__all__ = ["ChildError", "DeadlockError", "VirtualClock", "virtual_time"]
