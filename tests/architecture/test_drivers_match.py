"""The sync and the async driver are one text: they differ only in the words of asyncio."""

import ast
import difflib
import re

import pytest

from tests.architecture.source import MODULES

# (module or package, sync class or function, async class or function)
PAIRS = [
    ("mainspring._engine.drivers", "SyncDriver", "AsyncDriver"),
    ("mainspring._engine.scopes", "SyncRunScope", "AsyncRunScope"),
    ("mainspring._engine.scopes", "SyncAttemptScope", "AsyncAttemptScope"),
    ("mainspring._engine.scopes", "SyncRunnerScope", "AsyncRunnerScope"),
    ("mainspring.task_engine", "SyncTaskRunEngine", "AsyncTaskRunEngine"),
    ("mainspring.task_engine", "run_task_sync", "run_task_async"),
    ("mainspring.task_engine", "run_generator_task_sync", "run_generator_task_async"),
    ("mainspring.flow_engine", "FlowRunEngine", "AsyncFlowRunEngine"),
    ("mainspring.flow_engine", "run_flow_sync", "run_flow_async"),
    ("mainspring.flow_engine", "finish_sync", "finish_async"),
    ("mainspring.flow_engine", "run_generator_flow_sync", "run_generator_flow_async"),
    ("mainspring.flow_engine", "iterate_sync", "iterate_async"),
    ("mainspring.flow_engine", "collect_sync", "collect_async"),
    ("mainspring.pauses.pausing", "wait_for_answer_sync", "wait_for_answer_async"),
    ("mainspring.transactions.faces", "drive", "adrive"),
]

# An async name and its sync twin, beside `Async...` and `Sync...`.
TWINS = {
    "AsyncClient": "Client",
    "AsyncFlowRunEngine": "FlowRunEngine",
    "AsyncTransaction": "Transaction",
    "AbstractAsyncContextManager": "AbstractContextManager",
    "AsyncExitStack": "ExitStack",
    "AsyncGenerator": "Generator",
    "AsyncIterator": "Iterator",
    "StopAsyncIteration": "StopIteration",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "aclose": "close",
    "adrive": "drive",
    "afinish": "finish",
    "aiter": "iter",
    "amake": "make",
    "aleave": "leave",
    "anext": "next",
    "aget": "get",
    "akeep": "keep",
    "apersist_result_record": "persist_result_record",
    "apack": "pack",
    "arelease": "release",
    "aresult": "result",
    "astore_parameters": "store_parameters",
    "arelease_left_over": "release_left_over",
    "atake_tag_slots": "take_tag_slots",
    "asend": "send",
    "asleep": "sleep",
    "await_inside": "wait_inside",
    "asynccontextmanager": "contextmanager",
    "athrow": "throw",
    "current_task": "no_task",
    "wait_async": "wait",
}


def sync_name(name: str) -> str:
    """The name the sync twin has: `AsyncThing` is `SyncThing`, `call_async` is `call_sync`."""
    if name in TWINS:
        return TWINS[name]
    name = re.sub(r"(?<![a-z])Async", "Sync", name)
    return re.sub(r"(?<![a-z])async(?![a-z])", "sync", name)


class WithoutAsync(ast.NodeTransformer):
    """Takes the async words, the docstrings and the annotations out of a definition."""

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self.visit(ast.FunctionDef(**vars(node)))

    def visit_AsyncFor(self, node: ast.AsyncFor) -> ast.AST:
        return self.visit(ast.For(**vars(node)))

    def visit_AsyncWith(self, node: ast.AsyncWith) -> ast.AST:
        return self.visit(ast.With(**vars(node)))

    def visit_Await(self, node: ast.Await) -> ast.AST:
        return self.visit(node.value)

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        node.is_async = 0
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        if any(isinstance(inner, ast.Yield) for inner in ast.walk(node)):
            self.drop_returned(node)
        return self.definition(node)

    def drop_returned(self, generator: ast.FunctionDef) -> None:
        """An async generator has no value to return, so whether one is returned is no difference."""
        for index, last in enumerate(generator.body):
            if isinstance(last, ast.Return) and last.value is not None:
                generator.body[index] = ast.copy_location(ast.Expr(last.value), last)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self.definition(node)

    def definition(self, node: ast.FunctionDef | ast.ClassDef) -> ast.AST:
        node.name = sync_name(node.name)
        if ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if node.value is None:
            return None
        return self.visit(ast.copy_location(ast.Assign([node.target], node.value), node))

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.arg, node.annotation = sync_name(node.arg), None
        return node

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        node.arg = node.arg and sync_name(node.arg)
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = sync_name(node.id)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        node.attr = sync_name(node.attr)
        return self.generic_visit(node)


def normalised(definition: ast.stmt) -> list[str]:
    return ast.unparse(WithoutAsync().visit(definition)).splitlines()


def find(module_name: str, name: str) -> ast.stmt:
    """A fresh copy of a top-level definition in a module or in the modules of a package."""
    for module in MODULES:
        if module.name == module_name or module.name.startswith(f"{module_name}."):
            for node in ast.parse("\n".join(module.lines)).body:
                if getattr(node, "name", None) == name:
                    return node
    pytest.fail(f"{module_name} has no {name}")


def differences(sync: ast.stmt, asynchronous: ast.stmt) -> str:
    texts = normalised(sync), normalised(asynchronous)
    return "\n".join(difflib.unified_diff(*texts, "sync", "async", lineterm="", n=6))


@pytest.mark.contract("W-1")
@pytest.mark.parametrize(("module", "sync", "asynchronous"), PAIRS, ids=lambda value: value)
def test_drivers_match(module: str, sync: str, asynchronous: str) -> None:
    """Without async words, docstrings and annotations both drivers read the same."""
    found = differences(find(module, sync), find(module, asynchronous))
    if found:
        pytest.fail(f"{sync} and {asynchronous} differ:\n{found}", pytrace=False)


SYNC = """
class SyncDoor(Door):
    '''Opens.'''
    def __enter__(self): return self.sync_open()
    def walk(self, steps: int = 1):
        left: int = steps
        with self.lock, SyncHook(self): return [self.step(each) for each in steps]
    def end(self):
        try: self.generator.send(None)
        except StopIteration: self.generator.close()
"""
ASYNC = """
class AsyncDoor(Door):
    '''Opens in a while.'''
    async def __aenter__(self) -> "AsyncDoor": return await self.async_open()
    async def walk(self, steps: float = 1):
        '''In a while.'''
        left = steps
        async with self.lock, AsyncHook(self):
            return [await self.step(each) async for each in steps]
    async def end(self):
        try: await self.generator.asend(None)
        except StopAsyncIteration: await self.generator.aclose()
"""


def test_async_words_are_no_difference() -> None:
    """Every async form has a sync twin which the comparison takes for the same."""
    assert not differences(ast.parse(SYNC).body[0], ast.parse(ASYNC).body[0])


def test_anything_else_is_a_difference() -> None:
    """A change of the logic on one side alone is found."""
    changed = ASYNC.replace("asend(None)", "asend(self)")
    assert "+            self.generator.send(self)" in differences(
        ast.parse(SYNC).body[0], ast.parse(changed).body[0]
    )
