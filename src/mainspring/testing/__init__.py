"""What tests of flows and tasks need, beside `pytest`; nothing of it is loaded by `import mainspring`.

- `children`: a function in a forked process that may die
- `harnesses`: a home for a block, and what happened in it; `homes`: how the process gets another home
- `paths`: the states that a run went through, compared with those that a test expects
- `overrides`: fakes in place of the functions of tasks and flows
- `plugin`: the fixtures for pytest

Names are loaded when they are used: pytest loads the plugin also in projects that have nothing to do with mainspring.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mainspring.testing.children import ChildError
    from mainspring.testing.harnesses import Harness, harness
    from mainspring.testing.homes import HarnessError, reset_process_state
    from mainspring.testing.overrides import Fake, OverrideError, override
    from mainspring.testing.paths import assert_states

__all__ = [
    "ChildError",
    "Fake",
    "Harness",
    "HarnessError",
    "OverrideError",
    "assert_states",
    "harness",
    "override",
    "reset_process_state",
]

_HOMES = {
    "ChildError": "children",
    "Fake": "overrides",
    "Harness": "harnesses",
    "HarnessError": "homes",
    "OverrideError": "overrides",
    "assert_states": "paths",
    "harness": "harnesses",
    "override": "overrides",
    "reset_process_state": "homes",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
    return value


def __dir__() -> list[str]:
    return __all__
