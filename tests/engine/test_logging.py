"""Loggers of runs, prints as log lines, and what of it is stored."""

import asyncio
import builtins
import io
import logging
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from mainspring import flow, get_run_logger, task
from mainspring.client import get_client
from mainspring.context import FlowRunContext, TaskRunContext, get_run_context
from mainspring.exceptions import ConfigurationError, MissingContextError
from mainspring.logging import (
    LogEavesdropper,
    console,
    disable_logger,
    disable_run_logger,
    flow_run_logger,
    get_logger,
    patch_print,
    task_run_logger,
)
from mainspring.settings import temporary_settings
from tests.engine.history import flow_runs, messages, only_flow_run, only_task_run, task_runs
from tests.engine.scenarios import BoomError


@pytest.mark.contract("L-1", "N-5")
@pytest.mark.parametrize(
    ("name", "full"),
    [
        (None, "mainspring"),
        ("mainspring", "mainspring"),
        ("engine", "mainspring.engine"),
        ("mainspring.engine", "mainspring.engine"),
        ("mainspringy", "mainspring.mainspringy"),
    ],
)
def test_names_of_loggers(name: str | None, full: str) -> None:
    """The package's logger or one below it; a prefix is not doubled."""
    assert get_logger(name).name == full


@pytest.mark.contract("L-2", "L-5", "L-6", "L-7", "L-27", "E-137")
def test_what_lines_of_runs_carry(caplog: pytest.LogCaptureFixture) -> None:
    """Lines of task and flow runs carry names and ids; what is not known is marked as such."""

    @task
    def work() -> None:
        get_run_logger().info("from the task")

    @flow
    def pipeline() -> None:
        get_run_logger(more=1).info("from the flow")
        work()

    with caplog.at_level(logging.INFO):
        pipeline()
        work()
    flow_run = only_flow_run()
    in_flow, outside = task_runs()
    of_flow, of_task, alone = caplog.records
    assert (of_flow.name, of_task.name) == ("mainspring.flow_runs", "mainspring.task_runs")
    shown = [
        {
            key: value
            for key, value in vars(record).items()
            if key.startswith(("task_", "flow_")) or key == "more"
        }
        for record in (of_flow, of_task, alone)
    ]
    flow_extra = {
        "flow_run_id": str(flow_run.id),
        "flow_run_name": flow_run.name,
        "flow_name": "pipeline",
    }
    assert shown[0] == {**flow_extra, "more": 1}
    assert shown[1] == {
        **flow_extra,
        "task_run_id": str(in_flow.id),
        "task_run_name": in_flow.name,
        "task_name": "work",
    }
    assert shown[2] == {
        "task_run_id": str(outside.id),
        "task_run_name": "work",
        "task_name": "work",
        "flow_run_id": None,
        "flow_run_name": "<unknown>",
        "flow_name": "<unknown>",
    }


@pytest.mark.contract("L-7", "L-28")
def test_a_logger_of_nothing() -> None:
    """A flow run logger without flow and run is usable."""
    logger = flow_run_logger(None)
    assert logger.extra == {
        "flow_run_id": "<unknown>",
        "flow_run_name": "<unknown>",
        "flow_name": "<unknown>",
    }


@pytest.mark.contract("V-36")
def test_a_logger_of_a_flow_run_id() -> None:
    """Where only the id of a flow run is known, that is what lines carry."""
    run_id = uuid4()
    for given in (run_id, str(run_id)):
        extra = flow_run_logger(given).extra
        assert (extra["flow_run_id"], extra["flow_run_name"]) == (str(run_id), "<unknown>")


@pytest.mark.contract("L-8")
def test_extras_are_merged(caplog: pytest.LogCaptureFixture) -> None:
    """Extras of the call win; a child logger adds its own."""
    with caplog.at_level(logging.INFO):
        logger = flow_run_logger(None, None, a=1, b=1)
        logger.info("x", extra={"b": 2})
        logger.getChild("child", {"c": 3}).info("y")
    first, second = caplog.records
    assert (first.a, first.b) == (1, 2)  # type: ignore[attr-defined]
    assert (second.name, second.a, second.c) == ("mainspring.flow_runs.child", 1, 3)  # type: ignore[attr-defined]


@pytest.mark.contract("L-2", "L-3", "L-4", "L-17", "V-36")
def test_outside_of_runs() -> None:
    """There is no run logger, unless run loggers are switched off, so that functions can be unit tested."""
    with pytest.raises(MissingContextError, match="no active flow or task run context"):
        get_run_logger()
    with pytest.raises(TypeError, match="Received unexpected type 'str' for context"):
        get_run_logger("context")  # type: ignore[arg-type]

    @task
    def work() -> int:
        get_run_logger().info("dropped")
        return 1

    with disable_run_logger():
        assert work.fn() == 1
        null = get_run_logger()
        assert isinstance(null, logging.Logger)
        assert (null.name, null.disabled) == ("mainspring.null", True)


@pytest.mark.contract("L-2", "L-3")
def test_a_context_may_be_given() -> None:
    """An explicit context overrides the active one of its kind."""
    contexts: list[Any] = []

    @task
    def work() -> None:
        contexts.extend([TaskRunContext.get(), FlowRunContext.get()])
        of_flow = get_run_logger(FlowRunContext.get())
        assert of_flow.name == "mainspring.flow_runs"

    @flow
    def pipeline() -> None:
        work()

    pipeline()
    logger: Any = get_run_logger(contexts[0])
    assert logger.extra["task_run_id"] == str(only_task_run().id)
    logger = get_run_logger(contexts[1])
    assert logger.extra["flow_run_id"] == str(only_flow_run().id)


@pytest.mark.contract("L-16", "L-17")
@pytest.mark.parametrize("before", [True, False])
def test_disabling_loggers(before: bool) -> None:
    """The logger is silent inside and as before afterwards, also after an error."""
    logger = logging.getLogger("mainspring.some")
    logger.disabled = before
    try:
        with disable_logger("mainspring.some"):
            assert logger.disabled
        assert logger.disabled is before
        with pytest.raises(BoomError), disable_logger("mainspring.some"):
            raise BoomError
        assert logger.disabled is before
    finally:
        logger.disabled = False


@pytest.mark.contract("L-17", "V-36")
def test_a_disabled_run_logger_stores_nothing() -> None:
    """Switched off means off for the history as well."""

    @task
    def work() -> None:
        get_run_logger().error("dropped")

    with disable_run_logger():
        work()
    assert messages() == []


# Stored lines


@pytest.mark.contract("L-10")
def test_lines_are_stored_with_their_run() -> None:
    """Level, logger, text and run of a line are in the store; a flow run's lines include those of its tasks."""

    @task
    def work() -> None:
        get_run_logger().warning("careful %s", 1)
        get_run_logger().debug("not shown")

    @flow
    def pipeline() -> None:
        get_run_logger().info("begin")
        work()
        get_run_logger().info("end")

    pipeline()
    client = get_client()
    of_flow = client.read_logs(only_flow_run().id)
    of_task = client.read_logs(only_task_run().id)
    assert [(entry.level, entry.message) for entry in of_flow] == [
        (logging.INFO, "begin"),
        (logging.WARNING, "careful 1"),
        (logging.INFO, "end"),
    ]
    assert [entry.message for entry in of_task] == ["careful 1"]
    assert of_task[0].logger == "mainspring.task_runs"
    assert of_task[0].task_run_key == only_task_run().key


def test_the_traceback_of_a_line_is_stored() -> None:
    """A logged exception can be read later."""

    @task
    def work() -> None:
        try:
            raise BoomError("inside")
        except BoomError:
            get_run_logger().exception("caught")

    work()
    (message,) = messages()
    assert message.startswith("caught")
    assert "BoomError: inside" in message


def test_lines_from_threads_of_a_run() -> None:
    """A thread that got a copy of the context writes to the same run."""
    import contextvars

    @task
    def work() -> None:
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(lambda: get_run_logger().info("from a thread"),))
        thread.start()
        thread.join()

    work()
    assert messages() == ["from a thread"]


@pytest.mark.parametrize(
    ("level", "shown"), [("DEBUG", ["d", "i", "e"]), ("INFO", ["i", "e"]), ("ERROR", ["e"])]
)
def test_the_level_of_run_loggers(level: str, shown: list[str]) -> None:
    """The setting says which lines of user code are kept."""

    @task
    def work() -> None:
        for name in ("debug", "info", "error"):
            getattr(get_run_logger(), name)(name[0])

    with temporary_settings({"logging.level": level}):
        work()
    assert messages() == shown


def test_a_broken_line_does_not_break_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    """A line whose text cannot be made is reported the way the standard library does."""

    @task
    def work() -> int:
        logger: Any = get_run_logger()
        raising = logging.raiseExceptions
        logging.raiseExceptions = False
        handlers = logging.getLogger().handlers[:]
        logging.getLogger().handlers.clear()  # those of pytest raise
        try:
            logger.info("%d", "no number")
        finally:
            logging.raiseExceptions = raising
            logging.getLogger().handlers[:] = handlers
        return 1

    assert work() == 1


@pytest.mark.contract("L-9")
def test_a_line_may_stay_out_of_the_store(caplog: pytest.LogCaptureFixture) -> None:
    """A line that is not to be stored goes to handlers only."""

    @task
    def work() -> None:
        logger = get_run_logger()
        logger.info("stored")
        logger.info("secret", extra={"send_to_api": False})
        logger.info("stored, too", extra={"send_to_api": True})

    with caplog.at_level(logging.INFO):
        work()
    assert messages() == ["stored", "stored, too"]
    assert [record.getMessage() for record in caplog.records] == ["stored", "secret", "stored, too"]


@pytest.mark.contract("V-36")
def test_long_lines_are_cut() -> None:
    """The store keeps as much of a line as the setting says, and how much is missing; no lines if switched off."""

    @task
    def work(text: str) -> None:
        get_run_logger().info(text)

    with temporary_settings({"logging.to_api.max_log_size": 10}):
        work("0123456789")
        work("0123456789abc")
    with temporary_settings({"logging.to_api.enabled": False}):
        work("x")
    shown = [messages(run) for run in task_runs()]
    assert shown == [["0123456789"], ["0123456789... (3 characters cut)"], []]
    with pytest.raises(ConfigurationError, match="max_log_size must be at least 1"):
        temporary_settings({"logging.to_api.max_log_size": 0}).__enter__()


# Listening


@pytest.mark.contract("L-18")
def test_listening_to_a_logger() -> None:
    """Lines of the logger and those below it are collected inside the block, and stay."""
    logger = logging.getLogger("mainspring.some")
    child = get_logger("some.child")
    with LogEavesdropper("mainspring.some") as heard:
        assert heard.text() == ""
        logger.warning("one %s", 1)
        child.error("two")
        get_logger("another").error("not for us")
    logger.error("too late")
    assert heard.text() == "[WARNING]: one 1\n[ERROR]: two"
    assert heard not in logger.handlers
    with heard:
        assert heard.text() == ""


@pytest.mark.contract("L-18")
def test_listening_from_a_level_on() -> None:
    """The level decides what is collected, also when it is below what the logger would pass on."""
    logger = logging.getLogger("mainspring.some")
    assert logger.getEffectiveLevel() > logging.DEBUG
    with LogEavesdropper("mainspring.some", logging.ERROR) as severe:
        logger.warning("w")
        logger.error("e")
    with LogEavesdropper("mainspring.some", level=logging.DEBUG) as everything:
        logger.debug("d")
    assert (severe.text(), everything.text()) == ("[ERROR]: e", "[DEBUG]: d")
    assert logger.level == logging.NOTSET
    with LogEavesdropper("mainspring.some") as usual:
        logger.debug("d")
    assert usual.text() == ""


def test_listening_to_runs() -> None:
    """Lines of tasks are heard, from all threads; an error leaves the logger as it was."""

    @task
    def work(x: int) -> None:
        get_run_logger().info("x is %s", x)

    @flow
    def pipeline() -> None:
        work.map([1, 2]).wait()

    logger = logging.getLogger("mainspring.task_runs")
    handlers = logger.handlers[:]
    heard = LogEavesdropper("mainspring", logging.INFO)
    with heard:
        pipeline()
    with pytest.raises(BoomError), LogEavesdropper("mainspring", logging.INFO):
        raise BoomError
    assert sorted(heard.text().splitlines()) == ["[INFO]: x is 1", "[INFO]: x is 2"]
    assert logging.getLogger("mainspring").level == logging.NOTSET
    assert set(logger.handlers) >= set(handlers)


# Secrets

PASSWORD = "lovelace1815"
ADDRESS = f"s3://ada:{PASSWORD}@bucket/results"
HIDDEN = "s3://ada:***@bucket/results"


@dataclass
class Connection:
    url: str


class Broken:
    def __repr__(self) -> str:
        raise BoomError


@pytest.fixture
def with_password() -> Iterator[None]:
    """Settings in which there is a password."""
    with temporary_settings({"results.default_storage": ADDRESS}):
        yield


@pytest.mark.usefixtures("with_password")
@pytest.mark.contract("L-1", "L-19", "V-36")
@pytest.mark.parametrize(
    ("message", "arguments", "shown"),
    [
        (f"at {ADDRESS}", (), f"at {HIDDEN}"),
        ("at %s", (ADDRESS,), f"at {HIDDEN}"),
        ("at %s, %d, %.1f", (ADDRESS, 1, 0.5), f"at {HIDDEN}, 1, 0.5"),
        ("at %(url)s", ({"url": ADDRESS, "other": 1},), f"at {HIDDEN}"),
        ("%s", ([(ADDRESS, {ADDRESS: 1})],), f"[('{HIDDEN}', {{'{HIDDEN}': 1}})]"),
        ("%s", ({ADDRESS},), f"{{'{HIDDEN}'}}"),
        ("%s", (Connection(ADDRESS),), f"Connection(url='{HIDDEN}')"),
        ("%s %r", (ValueError(ADDRESS), ValueError(ADDRESS)), f"{HIDDEN} ValueError('{HIDDEN}')"),
        (ValueError(ADDRESS), (), HIDDEN),
        ("nothing of %s", (["it"],), "nothing of ['it']"),
    ],
)
@pytest.mark.parametrize("name", ["some", "task_runs", "flow_runs", "task_runs.child"])
def test_passwords_are_masked(
    name: str, message: object, arguments: tuple[Any, ...], shown: str, caplog: pytest.LogCaptureFixture
) -> None:
    """No handler gets to see them: not in the message, nor in arguments, however deep."""
    get_logger(name).error(message, *arguments)
    (record,) = caplog.records
    assert record.getMessage() == shown
    assert PASSWORD not in f"{record.msg!r} {record.msg} {record.args!r}"


@pytest.mark.usefixtures("with_password")
@pytest.mark.contract("L-19", "V-36")
def test_passwords_in_tracebacks_and_extras(caplog: pytest.LogCaptureFixture) -> None:
    """Run loggers mask the text of exceptions and what comes along, in the history as well."""

    @task
    def work() -> None:
        logger = get_run_logger(url=ADDRESS).getChild("traced")
        try:
            raise ValueError(ADDRESS)
        except ValueError:
            logger.exception("caught", stack_info=True)

    work()
    (record,) = caplog.records
    assert record.exc_info is None
    assert record.exc_text is not None
    assert record.exc_text.endswith(f"ValueError: {HIDDEN}")
    assert record.url == HIDDEN  # type: ignore[attr-defined]
    assert record.task_name == "work"  # type: ignore[attr-defined]
    assert PASSWORD not in logging.Formatter("%(message)s %(url)s").format(record)
    (stored,) = messages()
    assert HIDDEN in stored
    assert PASSWORD not in stored


@pytest.mark.usefixtures("with_password")
def test_other_arguments_stay_what_they_are(caplog: pytest.LogCaptureFixture) -> None:
    """Objects without secrets are passed on themselves, those that cannot be shown too, and tracebacks as well."""
    connection, broken = Connection("s3://bucket"), Broken()
    logger = get_logger("some")
    error = ValueError("harmless")
    extra = {"broken": broken, "connection": connection}
    logger.error("%.0s %s", connection, 1.5, exc_info=error, extra=extra)
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert isinstance(record.args, tuple)
    assert record.args[0] is connection
    assert record.broken is broken  # type: ignore[attr-defined]
    assert record.connection is connection  # type: ignore[attr-defined]


@pytest.mark.usefixtures("with_password")
def test_endless_arguments(caplog: pytest.LogCaptureFixture) -> None:
    """A collection that contains itself does not keep the filter busy for ever."""
    endless: list[Any] = [ADDRESS]
    endless.append(endless)
    get_logger("some").error("%s", endless)
    assert PASSWORD not in caplog.records[0].getMessage()


def test_without_secrets_nothing_is_touched(caplog: pytest.LogCaptureFixture) -> None:
    """As long as the settings hold no password, records are passed on as they are."""
    argument = [ADDRESS]
    get_logger("some").error("%s", argument)
    assert caplog.records[0].getMessage() == str([ADDRESS])
    assert caplog.records[0].args == (argument,)


# What the engine itself says


@pytest.mark.contract("L-21", "L-22", "L-24")
def test_what_the_engine_says_by_default(caplog: pytest.LogCaptureFixture) -> None:
    """By default only what went wrong is told; success is silent."""

    @task
    def work(x: int) -> float:
        return 1 / x

    with caplog.at_level(logging.DEBUG):
        work(1)
        assert caplog.records == []
        work(0, return_state=True)
    assert {record.levelname for record in caplog.records} == {"ERROR"}
    assert all(record.name == "mainspring.task_runs" for record in caplog.records)


@pytest.mark.contract("E-17", "E-18", "V-7")
def test_the_finished_message(caplog: pytest.LogCaptureFixture) -> None:
    """INFO if completed, else ERROR; the debug setting shows the whole state; NotReady gets no advice."""
    from mainspring.states import Failed

    @task
    def work(x: Any) -> Any:
        return x

    with caplog.at_level(logging.INFO), temporary_settings({"logging.internal_level": "INFO"}):
        work(1)
        with temporary_settings({"debug_mode": True}):
            work(2)
        work(Failed(), return_state=True)
    finished = [record for record in caplog.records if record.getMessage().startswith("Finished in state")]
    assert [(record.levelname, record.getMessage()) for record in finished[:2]] == [
        ("INFO", "Finished in state Completed()"),
        ("INFO", "Finished in state Completed(message=None, type=COMPLETED, result=2)"),
    ]
    assert finished[2].levelname == "ERROR"
    assert "Please wait" not in finished[2].getMessage()


@pytest.mark.contract("E-18")
@pytest.mark.invariants(is_over=False)
def test_the_advice_to_wait(caplog: pytest.LogCaptureFixture) -> None:
    """A run that is left Pending is told to be waited for."""
    from mainspring.task_engine import SyncTaskRunEngine

    with caplog.at_level(logging.ERROR), SyncTaskRunEngine[Any, Any](task(lambda: None)).initialize_run():
        pass
    assert "Please wait for all submitted tasks to complete" in caplog.text


@pytest.mark.contract("E-73", "L-22", "L-20")
def test_a_crash_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """An ERROR names the reason, and DEBUG lines have the traceback."""

    @task
    def work() -> None:
        raise SystemExit

    with (
        caplog.at_level(logging.DEBUG, "mainspring.task_runs"),
        temporary_settings({"logging.internal_level": "DEBUG"}),
        pytest.raises(SystemExit),
    ):
        work()
    (crash,) = [record for record in caplog.records if "Crash detected!" in record.getMessage()]
    assert crash.levelname == "ERROR"
    assert "Python system exit" in crash.getMessage()
    assert any(record.levelname == "DEBUG" and record.exc_info for record in caplog.records)


# Prints


@pytest.mark.contract("L-11", "L-15")
def test_patching_print() -> None:
    """The builtin is replaced inside the block and back afterwards, also after an error, nested or not."""
    original = builtins.print
    with patch_print():
        with patch_print():
            assert builtins.print is not original
        assert builtins.print is not original
    assert builtins.print is original
    with pytest.raises(BoomError), patch_print():
        raise BoomError
    assert builtins.print is original


@pytest.mark.contract("L-12", "L-13")
def test_prints_become_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Arguments, separator and end are honoured, trailing space is removed, nothing reaches the terminal."""

    @task(log_prints=True)
    def work() -> None:
        print("a", 1, None)
        print("a", "b", sep="-", end="!\n\n")
        print("to stderr", file=sys.stderr)
        print("default", file=None)
        print()
        print("two\nlines")

    work()
    assert messages() == ["a 1 None", "a-b!", "to stderr", "default", "", "two\nlines"]
    captured = capsys.readouterr()
    assert captured.out == ""


@pytest.mark.contract("L-12")
def test_prints_to_files_stay_prints() -> None:
    """What is printed to a file goes to the file."""
    file = io.StringIO()

    @task(log_prints=True)
    def work() -> None:
        print("to a file", file=file)

    work()
    assert file.getvalue() == "to a file\n"
    assert messages() == []


@pytest.mark.contract("L-14", "L-25", "U-19")
@pytest.mark.parametrize("setting", [False, True])
@pytest.mark.parametrize("of_flow", [None, False, True])
@pytest.mark.parametrize("of_task", [None, False, True])
def test_who_decides_about_prints(
    of_task: bool | None, of_flow: bool | None, setting: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """A task's own choice, else its flow's, else the setting."""

    @task(log_prints=of_task)
    def work() -> None:
        print("task")

    @flow(log_prints=of_flow)
    def pipeline() -> None:
        print("flow")
        work()

    with temporary_settings({"logging.log_prints": setting}):
        pipeline()
    flow_logs = setting if of_flow is None else of_flow
    task_logs = flow_logs if of_task is None else of_task
    out = capsys.readouterr().out
    assert ("flow\n" in out, "task\n" in out) == (not flow_logs, not task_logs)
    logged = messages(only_flow_run())
    assert ("flow" in logged, "task" in logged) == (flow_logs, task_logs)


@pytest.mark.contract("L-15")
def test_prints_of_the_caller_are_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """While a task on a thread logs its prints, those of others are printed."""
    printed, done = threading.Event(), threading.Event()

    @task(log_prints=True)
    def work() -> None:
        print("from the task")
        printed.set()
        done.wait(5)

    @flow
    def pipeline() -> None:
        future = work.submit()
        printed.wait(5)
        print("from the flow")
        done.set()
        future.wait()

    pipeline()
    assert capsys.readouterr().out == "from the flow\n"
    assert messages(only_task_run()) == ["from the task"]


@pytest.mark.contract("L-15", "G-14")
def test_prints_between_the_steps_of_a_generator(capsys: pytest.CaptureFixture[str]) -> None:
    """The consumer's prints are no lines of the generator's run."""

    @task(log_prints=True)
    def steps() -> Any:
        print("inside")
        yield 1

    for _ in steps():
        print("outside")
    assert capsys.readouterr().out == "outside\n"
    assert messages() == ["inside"]


def test_prints_of_async_tasks() -> None:
    """Concurrent async tasks print to their own runs."""

    @task(log_prints=True, task_run_name="{x}")
    async def work(x: str) -> None:
        for _ in range(3):
            print(x)
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(work("a"), work("b"))

    asyncio.run(main())
    assert {run.name: messages(run) for run in task_runs()} == {"a": ["a"] * 3, "b": ["b"] * 3}


@pytest.mark.contract("V-36")
@pytest.mark.parametrize(("of_flow", "of_task"), [(True, False), (False, True)])
def test_prints_of_a_flow_in_a_task(of_flow: bool, of_task: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """The flow's own setting counts, not that of the task which calls it."""

    @flow(log_prints=of_flow)
    def inner() -> None:
        print("inside")

    @task(log_prints=of_task)
    def work() -> None:
        inner()

    work()
    assert messages(only_flow_run()) == (["inside"] if of_flow else [])
    assert capsys.readouterr().out == ("" if of_flow else "inside\n")


@pytest.mark.contract("V-36")
def test_a_printed_line_tells_where_it_was_printed(caplog: pytest.LogCaptureFixture) -> None:
    """The record names the function and file of the caller of print."""

    @task(log_prints=True)
    def work() -> None:
        print("here")

    with caplog.at_level(logging.INFO):
        work()
    (record,) = caplog.records
    assert (record.funcName, record.filename) == ("work", "test_logging.py")


def test_a_line_shows_the_name_of_the_run_as_it_is_then(caplog: pytest.LogCaptureFixture) -> None:
    """Loggers made early follow a rename."""

    @task(task_run_name="renamed")
    def work() -> None:
        get_run_logger().info("x")

    with caplog.at_level(logging.INFO):
        work()
    assert caplog.records[0].task_run_name == "renamed"  # type: ignore[attr-defined]
    logger = task_run_logger(only_task_run())
    assert logger.extra["task_run_name"] == "renamed"


# Contexts


@pytest.mark.contract("C-2", "C-3", "C-11")
def test_contexts() -> None:
    """A context is entered once at a time, found inside, and gone afterwards; a second one nests."""
    first, second = FlowRunContext(), FlowRunContext()
    with pytest.raises(MissingContextError):
        get_run_context()
    with first:
        assert FlowRunContext.get() is first is get_run_context()
        with pytest.raises(RuntimeError, match="Context already entered"):
            first.__enter__()
        with second:
            assert FlowRunContext.get() is second
        assert FlowRunContext.get() is first
    assert FlowRunContext.get() is None
    with pytest.raises(RuntimeError, match="Asymmetric use of context"):
        first.__exit__()
    with first:
        assert FlowRunContext.get() is first


@pytest.mark.contract("C-5")
def test_contexts_follow_asyncio_tasks() -> None:
    """An asyncio task has a copy of its creator's context."""
    context = FlowRunContext()

    async def look() -> Any:
        return FlowRunContext.get()

    async def main() -> Any:
        with context:
            inside = asyncio.create_task(look())
        return await inside, await look()

    assert asyncio.run(main()) == (context, None)


def test_no_flow_run_is_left_out() -> None:
    """Reading logs of an id that no run has gives nothing."""
    task(lambda: None)()
    assert get_client().read_logs(uuid4()) == []
    assert flow_runs() == []


def test_no_line_is_logged_before_there_is_somewhere_for_it_to_go() -> None:
    """While one thread sets up the output, another one that logs its first line waits for it."""
    threads = [threading.Thread(target=console.ensure_output) for _ in range(2)]
    with logging._lock:  # type: ignore[attr-defined]  # setting the level of a logger needs it
        for thread in threads:
            thread.start()
        threads[1].join(0.2)
        assert [thread.is_alive() for thread in threads] == [True, True]
    for thread in threads:
        thread.join()
    assert logging.getLogger("mainspring.task_runs").level == logging.INFO
