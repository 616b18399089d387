"""Who may import whom: a module imports its own layer or a lower one."""

import sys
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.architecture.source import MODULES, Import, Module, Place, unit

LAYERS = {
    1: [
        "_cancel_scopes",
        "_forks",
        "_imports",
        "_interruption",
        "_representation",
        "_stacks",
        "annotations",
        "clock",
        "exceptions",
        "identifiers",
        "points",
    ],
    2: ["filters", "runs", "states"],
    3: ["_core"],
    4: [
        "_events",
        "_holder",
        "_portal",
        "context",
        "filesystems",
        "hashing",
        "locking",
        "logging",
        "serializers",
        "settings",
    ],
    5: [
        "_parameters",
        "_processes",
        "cache_policies",
        "cancellation",
        "client",
        "concurrency",
        "pruning",
        "events",
        "recording",
        "records",
        "results",
        "runtime",
        "store",
        "store_locks",
        "store_logs",
        "supervision",
        "suspensions",
        "transactions",
    ],
    6: [
        "_clusters",
        "_engine",
        "crash_hooks",
        "entrypoints",
        "flow_engine",
        "futures",
        "pauses",
        "reaping",
        "task_engine",
        "task_runners",
        "timeouts",
    ],
    7: ["flows", "resumption", "tasks"],
    8: ["__init__", "integrations", "testing"],
    9: ["__main__", "cli", "server"],
}
LAYER = {name: layer for layer, names in LAYERS.items() for name in names}

# Imports of our own modules which a rule below would refuse: (module, imported module) -> reason.
FUNCTION_IMPORTS: dict[tuple[str, str], str] = {}
TYPING_IMPORTS: dict[tuple[str, str], str] = {}

CHEAP_THIRD_PARTY = {"msgspec"}  # what `import mainspring` may load besides the standard library
LOADED_ON_USE = {
    "mainspring.store.postgres": {"psycopg"},
    "mainspring.testing.plugin": {"pytest"},
}  # modules that are imported when an address or another program asks for them, and what they need
MAY_IMPORT_ANYTHING = {"cli", "integrations", "server"}
FRONT_ENDS = {"cli", "server"}
SERVER_TOP_LAYER = 5  # the server reads and writes records; it runs nothing
NOT_IN_CORE = {"asyncio", "logging", "os", "random", "sqlite3", "threading", "time"}


def own_imports(*places: Place) -> list[tuple[Module, Import]]:
    return [
        (module, found)
        for module in MODULES
        for found in module.imports
        if found.is_own and found.place in places
    ]


def foreign_imports(*places: Place) -> list[tuple[Module, Import]]:
    return [
        (module, found)
        for module in MODULES
        for found in module.imports
        if not found.is_own and found.place in places
    ]


def top(name: str) -> str:
    return name.partition(".")[0]


def told(offenders: list[tuple[Module, Import]]) -> str:
    return "\n".join(
        f"{module.at(found.line)}: {module.name} imports {found.target} ({found.place} level)"
        for module, found in offenders
    )


def test_every_module_has_a_layer() -> None:
    """A new top-level module is put into the table before anything else is said about it."""
    unknown = sorted({module.unit for module in MODULES} - set(LAYER))
    assert not unknown, f"add to LAYERS in {__file__}: {unknown}"


def test_nothing_imports_a_higher_layer() -> None:
    """Imports at module level and for type checkers go sideways or down."""
    offenders = [
        (module, found)
        for module, found in own_imports("module", "typing")
        if LAYER.get(unit(found.target), 0) > LAYER.get(module.unit, 0)
        and not (found.place == "typing" and (module.name, found.target) in TYPING_IMPORTS)
    ]
    assert not offenders, told(offenders)


def test_no_own_import_hides_in_a_function() -> None:
    """A function imports only foreign packages; the command line starts quicker by exception."""
    offenders = [
        (module, found)
        for module, found in own_imports("function")
        if module.unit != "cli" and (module.name, found.target) not in FUNCTION_IMPORTS
    ]
    assert not offenders, told(offenders)


@pytest.mark.parametrize(("allowed", "place"), [(FUNCTION_IMPORTS, "function"), (TYPING_IMPORTS, "typing")])
def test_exceptions_are_in_use(allowed: dict[tuple[str, str], str], place: Place) -> None:
    """An exception to the rules above goes when the import it was made for goes."""
    used = {(module.name, found.target) for module, found in own_imports(place)}
    assert set(allowed) <= used


def test_import_is_light() -> None:
    """At module level, only the standard library and msgspec are imported."""
    offenders = [
        (module, found)
        for module, found in foreign_imports("module")
        if module.unit not in MAY_IMPORT_ANYTHING
        and top(found.target) not in CHEAP_THIRD_PARTY | sys.stdlib_module_names
        and top(found.target) not in LOADED_ON_USE.get(package(module.name), ())
    ]
    assert not offenders, told(offenders)


def package(name: str) -> str:
    """The package of `LOADED_ON_USE` that a module is in, if it is in one."""
    return next((each for each in LOADED_ON_USE if name == each or name.startswith(f"{each}.")), "")


def test_packages_for_use_are_loaded_on_use() -> None:
    """No module outside of them imports a package that is loaded on use: their names are in texts only."""
    offenders = [
        (module, found)
        for module, found in own_imports("module", "typing", "function")
        if package(found.target) and not package(module.name)
    ]
    assert not offenders, told(offenders)


def test_core_does_no_io() -> None:
    """The core knows neither time nor chance, nor anything that waits, logs or stores."""
    offenders = [
        (module, found)
        for module, found in foreign_imports("module", "typing", "function")
        if module.unit == "_core" and top(found.target) in NOT_IN_CORE
    ]
    assert not offenders, told(offenders)


def test_nothing_imports_the_front_ends() -> None:
    """A task never loads the command line or the server, not even inside a function."""
    offenders = [
        (module, found)
        for module, found in own_imports("module", "typing", "function")
        if unit(found.target) in FRONT_ENDS and LAYER.get(module.unit, 0) < LAYER["cli"]
    ]
    assert not offenders, told(offenders)


def test_server_runs_nothing() -> None:
    """The server uses the layers up to the store; no engines, no decorators, no command line."""
    offenders = [
        (module, found)
        for module, found in own_imports("module", "typing", "function")
        if module.unit == "server"
        and unit(found.target) != "server"
        and LAYER.get(unit(found.target), 0) > SERVER_TOP_LAYER
    ]
    assert not offenders, told(offenders)


def test_no_import_cycles() -> None:
    """The modules can be put in an order in which each imports only earlier ones."""
    graph: dict[str, set[str]] = {}
    for module, found in own_imports("module"):
        graph.setdefault(module.name, set()).add(found.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("import cycle: " + " <- ".join(error.args[1]))
