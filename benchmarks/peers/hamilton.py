"""Hamilton: a graph of one function, one of ten, and one whose function is called for each of many values."""

from __future__ import annotations

import importlib
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measuring import answer
from benchmarks.peers.works import CALL, FLOW, FOUND, KEPT, SUBMIT, TASKS, Variant, Works, main

os.environ["HAMILTON_TELEMETRY_ENABLED"] = "false"

fresh = itertools.count(1)


def answered(x: int) -> dict:  # type: ignore[type-arg]
    """The function as a node."""
    return answer(x)


def many_module(utilities: Any, htypes: Any) -> Any:
    """A function for each of many values, and one that collects."""

    def number(count: int) -> Any:
        yield from range(count)

    def each(number: int) -> dict:  # type: ignore[type-arg]
        return answer(number)

    def collected(each: Any) -> int:
        return len(list(each))

    number.__annotations__ = {"count": int, "return": htypes.Parallelizable[int]}
    each.__annotations__ = {"number": int, "return": dict}
    collected.__annotations__ = {"each": htypes.Collect[dict], "return": int}
    return utilities.create_temporary_module(number, each, collected, module_name="many_values")


def chain_module(utilities: Any, name: str) -> Any:
    """Functions that each want what the one before returns."""
    functions = []
    for number in range(TASKS):
        before = f"f{number - 1}" if number else "x"
        names: dict[str, Any] = {"answer": answer}
        exec(f"def f{number}({before}: {'dict' if number else 'int'}) -> dict: return answer(1)", names)
        functions.append(names[f"f{number}"])
    return utilities.create_temporary_module(*functions, module_name=name)


def with_drivers(is_cached: bool) -> Callable[[Path], AbstractContextManager[Works]]:
    """The works with drivers that keep results, or not."""

    @contextmanager
    def opened(folder: Path) -> Iterator[Works]:
        driver: Any = importlib.import_module("hamilton.driver")
        utilities: Any = importlib.import_module("hamilton.ad_hoc_utils")
        executors: Any = importlib.import_module("hamilton.execution.executors")
        htypes: Any = importlib.import_module("hamilton.htypes")

        def builder() -> Any:
            return driver.Builder().with_cache(path=str(folder)) if is_cached else driver.Builder()

        answered.__annotations__ = {"x": int, "return": dict}
        one = (
            builder()
            .with_modules(utilities.create_temporary_module(answered, module_name=f"one_{is_cached}"))
            .build()
        )
        ten = builder().with_modules(chain_module(utilities, f"chain_{is_cached}")).build()

        def executed(count: int, number: Callable[[], int]) -> None:
            for _ in range(count):
                one.execute(["answered"], inputs={"x": number()})

        def flows(count: int) -> None:
            for _ in range(count):
                ten.execute([f"f{TASKS - 1}"], inputs={"x": next(fresh)})

        works: dict[str, Callable[[int], object]] = {
            CALL: lambda count: executed(count, lambda: next(fresh)),
            FLOW: flows,
        }
        if is_cached:
            works[KEPT] = works[CALL]
            works[FOUND] = lambda count: executed(count, lambda: 0)
        else:
            many = (
                driver.Builder()
                .enable_dynamic_execution(allow_experimental_mode=True)
                .with_remote_executor(executors.MultiThreadingExecutor(max_tasks=8))
                .with_modules(many_module(utilities, htypes))
                .build()
            )
            works[SUBMIT] = lambda count: many.execute(["collected"], inputs={"count": count})
        yield works

    return opened


if __name__ == "__main__":
    main(
        "apache-hamilton",
        Variant("Hamilton", "nothing: results are in memory", with_drivers(False), 500),
        Variant("Hamilton, cache", "the result, in a file, and its key, in SQLite", with_drivers(True), 200),
    )
