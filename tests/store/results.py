"""What every run store does for results and transactions, as tests: a part of the conformance suite."""

from collections.abc import Sequence

import pytest

from mainspring.identifiers import new_id
from mainspring.runs import FlowRun, Run
from mainspring.states import State
from mainspring.store import RunStore
from mainspring.store.results import (
    Attachment,
    KeptElsewhere,
    KeptResult,
    Leftovers,
    Settlement,
    StagedStep,
    Withdrawal,
)
from tests.store.histories import (
    COMPLETED,
    FAILED,
    RUNNING,
    SCHEDULED,
    advance,
    finished_flow_run,
    finished_task_run,
    new_flow_run,
    new_task_run,
    record,
)

PLAN = b"any bytes \0 \xff"


def complete(store: RunStore, *attachments: Attachment, run: Run | None = None) -> Run:
    """Let a run complete, with attachments; a new one if none is given."""
    run = new_task_run() if run is None else run
    change = advance(run, RUNNING, COMPLETED)
    change.attachments = attachments
    record(store, change)
    return run


def stage(store: RunStore, root_key: bytes, key: str | None = "k", **fields: object) -> StagedStep:
    """Let a new run complete that leaves something staged."""
    run = new_task_run()
    content = {} if key is None or "file" in fields else {"content": f"content of {key}"}
    step = StagedStep(run.key, root_key, root_key, key, **{**content, **fields})  # type: ignore[arg-type]
    complete(store, step, run=run)
    return step


def settle(store: RunStore, steps: Sequence[StagedStep], decision: str = "COMMIT") -> Settlement:
    """Open a settlement about staged steps, which must be accepted."""
    settlement = Settlement(new_id(), steps[0].root_key, decision, PLAN)  # type: ignore[arg-type]
    assert store.open_settlement(settlement, [step.run_key for step in steps])
    return settlement


def keys_of(store: RunStore, root_key: bytes) -> list[str | None]:
    return [step.key for step in store.read_leftovers(root_key).steps]


class ResultRowsConformance:
    """A part of `RunStoreConformance`; the fixture ``store`` is that one's."""

    # Results

    def test_results_read_as_written(self, store: RunStore) -> None:
        """Each field comes back; under a key that nobody used there is nothing."""
        results = [
            KeptResult("text", '{"größe": "\\u0000"}', None, new_id()),
            KeptResult("file", None, "/a/b c", None),
            KeptResult("", "empty key"),
            KeptResult("s3://a/../b\0\n", ""),
        ]
        assert store.write([], [], [], results) == []
        assert [store.read_result(kept.key) for kept in results] == results
        assert store.read_result("other") is None
        assert store.read_result("TEXT") is None

    def test_result_comes_with_the_accepted_state(self, store: RunStore) -> None:
        """What is attached to a change is there when its states are, for new runs and for those that go on."""
        first = new_task_run()
        complete(store, KeptResult("a", "1", None, first.key), run=first)
        assert store.read_result("a") == KeptResult("a", "1", None, first.key)
        second = new_task_run()
        record(store, advance(second, RUNNING))
        change = advance(second, COMPLETED)
        change.attachments = (KeptResult("b", "2", None, second.key), KeptResult("c", "3", None, second.key))
        record(store, change)
        assert [getattr(store.read_result(key), "content", None) for key in "bc"] == ["2", "3"]

    def test_refused_change_attaches_nothing(self, store: RunStore) -> None:
        """A superseded attempt neither keeps, nor stages, nor withdraws; the other changes do."""
        root = finished_flow_run(store)
        run = new_task_run()
        complete(store, KeptResult("kept", "old", None, run.key), run=run)
        staged = StagedStep(run.key, root.key, root.key, "staged", content="old")
        settled = advance(run, State(COMPLETED, "RolledBack"))
        settled.attachments = (staged,)
        record(store, settled)
        late = advance(run, State(RUNNING), COMPLETED)
        late.follows = b"no such state...."
        late.attachments = (
            Withdrawal(run.key, "kept"),
            KeptResult("late", "new", None, run.key),
            KeptResult("kept", "new", None, run.key),
            StagedStep(new_id(), root.key, root.key, "late", content="new"),
        )
        other = new_task_run()
        good = advance(other, RUNNING, COMPLETED)
        good.attachments = (KeptResult("good", "new", None, other.key),)
        assert store.write([late, good]) == [late]
        assert store.read_result("kept") == KeptResult("kept", "old", None, run.key)
        assert store.read_result("late") is None
        assert store.read_leftovers(root.key).steps == [staged]
        assert store.read_result("good") is not None

    def test_failed_write_attaches_nothing(self, store: RunStore) -> None:
        """If one row of a call cannot be written, no result of it is kept."""
        run, bad = new_task_run(), new_task_run()
        bad.task_version = object()  # type: ignore[assignment]
        change = advance(run, RUNNING, COMPLETED)
        change.attachments = (KeptResult("a", "1", None, run.key),)
        with pytest.raises(Exception, match="run store"):
            store.write([change, advance(bad, RUNNING)], [], [], [KeptResult("b", "2")])
        assert store.read_result("a") is store.read_result("b") is None

    def test_result_replaces_what_was_under_its_key(self, store: RunStore) -> None:
        """With all of its fields, whether it comes with a run or alone."""
        first, second = new_task_run(), new_task_run()
        complete(store, KeptResult("k", "1", None, first.key), run=first)
        complete(store, KeptResult("k", None, "/f", second.key), run=second)
        assert store.read_result("k") == KeptResult("k", None, "/f", second.key)
        store.write([], [], [], [KeptResult("k", "3"), KeptResult("k", "4")])
        assert store.read_result("k") == KeptResult("k", "4")

    def test_forgetting_a_result(self, store: RunStore) -> None:
        """It is gone then; where there is nothing, the answer is False."""
        store.write([], [], [], [KeptResult("k", "1")])
        assert store.delete_result("other") is False
        assert store.delete_result("k") is True
        assert store.read_result("k") is None
        assert store.delete_result("k") is False

    def test_withdrawal_is_about_the_own_row(self, store: RunStore) -> None:
        """What a run has kept is gone with its withdrawal, and what another run has kept since then is not."""
        first, second = new_task_run(), new_task_run()
        complete(
            store, KeptResult("a", "1", None, first.key), KeptResult("b", "1", None, first.key), run=first
        )
        complete(store, KeptResult("b", "2", None, second.key), run=second)
        store.write([], [], [], [KeptResult("nobody's", "3")])
        rolled_back = advance(first, State(COMPLETED, "RolledBack"))
        rolled_back.attachments = tuple(Withdrawal(first.key, key) for key in ("a", "b", "nobody's"))
        record(store, rolled_back)
        assert store.read_result("a") is None
        assert store.read_result("b") == KeptResult("b", "2", None, second.key)
        assert store.read_result("nobody's") is not None

    def test_withdrawal_unstages(self, store: RunStore) -> None:
        """What the run has staged is gone, under a key or not, and what others have staged is not."""
        root = finished_flow_run(store)
        steps = [stage(store, root.key, key) for key in ("a", "b", None)]
        for step in steps[:1], steps[2:]:
            run = new_task_run()
            complete(store, Withdrawal(step[0].run_key), run=run)
        assert keys_of(store, root.key) == ["b"]

    def test_attachments_count_in_their_order(self, store: RunStore) -> None:
        """What is kept and withdrawn in one change is not there, and what is withdrawn and kept is."""
        first, second = new_task_run(), new_task_run()
        complete(store, KeptResult("a", "1", None, first.key), Withdrawal(first.key, "a"), run=first)
        complete(store, Withdrawal(second.key, "b"), KeptResult("b", "1", None, second.key), run=second)
        assert store.read_result("a") is None
        assert store.read_result("b") is not None

    def test_attachments_written_again_change_nothing(self, store: RunStore) -> None:
        """A write whose caller was interrupted after the commit may be repeated, with more states or without."""
        root, run = finished_flow_run(store), new_task_run()
        change = advance(run, RUNNING, COMPLETED)
        step = StagedStep(run.key, root.key, root.key, "s", content="1")
        change.attachments = (step, KeptResult("k", "1", None, run.key))
        record(store, change)
        assert store.write([change]) == []
        assert store.read_leftovers(root.key).steps == [step]
        later = advance(run, State(COMPLETED, "RolledBack"))
        change.states += later.states
        change.attachments = (*change.attachments, Withdrawal(run.key, "k"))
        assert store.write([change]) == []
        assert store.read_leftovers(root.key).steps == []
        assert store.read_result("k") is None

    def test_a_result_written_again_does_not_come_back(self, store: RunStore) -> None:
        """What has replaced it in the meantime stays, and so does what somebody has published or dropped."""
        root, run = finished_flow_run(store), new_task_run()
        change = advance(run, RUNNING, COMPLETED)
        change.attachments = (
            KeptResult("k", None, "/old", run.key),
            StagedStep(run.key, root.key, root.key, "s", content="1"),
        )
        record(store, change)
        store.write([], [], [], [KeptResult("k", None, "/new")])
        assert store.close_settlement(None, drop=[run.key])
        assert store.write([change]) == []
        assert store.read_result("k") == KeptResult("k", None, "/new")
        assert store.read_unused_files() == ["/old"]
        assert keys_of(store, root.key) == []

    def test_result_of_an_earlier_attempt_of_the_flow_run(self, store: RunStore) -> None:
        """Once the flow run is in its next attempt, task runs of the one before it bring no results, new or known."""
        flow_run = new_flow_run()
        record(store, advance(flow_run, RUNNING))
        going, new = new_task_run(flow_run), new_task_run(flow_run)
        going.flow_run_run_count = new.flow_run_run_count = 1
        complete(store, KeptResult("first", "1", None, going.key), run=going)
        record(store, advance(flow_run, State(SCHEDULED, "AwaitingRetry"), State(RUNNING, "Retrying")))
        rolled_back = advance(going, State(COMPLETED, "RolledBack"))
        rolled_back.attachments = (Withdrawal(going.key, "first"),)
        record(store, rolled_back)
        late = advance(new, RUNNING, COMPLETED)
        late.attachments = (KeptResult("k", None, "/late", new.key),)
        assert store.write([late]) == [late]
        assert store.read_run(new.key) is store.read_result("k") is store.read_result("first") is None
        assert store.read_unused_files() == ["/late"]
        late.attachments = (KeptElsewhere(new.key),)
        assert store.write([late]) == [late]
        next_one = new_task_run(flow_run)
        next_one.flow_run_run_count = 2
        complete(store, KeptResult("k", "2", None, next_one.key), run=next_one)
        by_hand = new_task_run(flow_run)
        complete(store, KeptResult("k", "3", None, by_hand.key), run=by_hand)
        assert store.read_result("k") == KeptResult("k", "3", None, by_hand.key)

    def test_results_with_lone_surrogates(self, store: RunStore) -> None:
        """What UTF-8 cannot hold keeps no run from being written; nobody finds anything under such a key."""
        root, run = finished_flow_run(store), new_task_run()
        complete(
            store,
            KeptResult("\udc80", None, "/\udcff/file", run.key),
            StagedStep(run.key, root.key, root.key, "\udc80", file="/\udcff/staged"),
            run=run,
        )
        store.write([], [], [], [KeptResult("\ud800", "1")])
        assert store.read_run(run.key) is not None
        assert store.read_result("\udc80") is None
        assert store.delete_result("\udc80") is False
        (step,) = store.read_leftovers(root.key).steps
        assert step.file == "/?/staged"
        complete(store, Withdrawal(run.key, "\udc80"))
        assert keys_of(store, root.key) == []

    # Staged steps

    def test_staged_steps_read_as_written(self, store: RunStore) -> None:
        """Each field comes back, in the order of completion, for the flow run that is asked for."""
        root, other = finished_flow_run(store), finished_flow_run(store)
        around = finished_task_run(store)
        runs = [new_task_run(), new_task_run(), FlowRun(new_id(), "f", State(RUNNING), "f")]
        steps = [
            StagedStep(
                runs[0].key, around.key, root.key, "größe", True, None, "text", None, b"\0h", b"\xffv"
            ),
            StagedStep(runs[1].key, None, root.key, "k", False, b"storage", None, "/file", None, None),
            StagedStep(runs[2].key, root.key, root.key),
        ]
        for run, step in reversed(list(zip(runs, steps, strict=True))):
            complete(store, step, run=run)
        foreign = stage(store, other.key)
        assert store.read_leftovers(root.key) == Leftovers([], steps[::-1])
        assert store.read_leftovers(other.key) == Leftovers([], [foreign])
        assert store.read_leftovers(new_id()) == Leftovers([], [])

    def test_what_is_staged_is_not_found(self, store: RunStore) -> None:
        """It counts when it is published, and not before."""
        stage(store, finished_flow_run(store).key, "k")
        assert store.read_result("k") is None

    # Settlements

    def test_settlement_reads_as_written(self, store: RunStore) -> None:
        """It is told of with its steps, which name it; the others name none."""
        root = finished_flow_run(store).key
        steps = [stage(store, root, key) for key in ("a", "b", "c")]
        settlement = settle(store, steps[:2])
        found = store.read_leftovers(root)
        assert found.settlements == [settlement]
        assert [step.settlement for step in found.steps] == [settlement.key, settlement.key, None]

    def test_settlement_of_a_step_that_is_gone(self, store: RunStore) -> None:
        """Somebody else goes on with it, so nothing is decided here, and nothing is changed."""
        root = finished_flow_run(store).key
        steps = [stage(store, root, "a"), stage(store, root, "b")]
        complete(store, Withdrawal(steps[1].run_key))
        settlement = Settlement(new_id(), root, "COMMIT", PLAN)
        assert not store.open_settlement(settlement, [step.run_key for step in steps])
        assert store.read_leftovers(root) == Leftovers([], steps[:1])

    def test_settlement_with_the_same_id_is_replaced(self, store: RunStore) -> None:
        """A commit that fails becomes a rollback, of which nothing has begun."""
        root = finished_flow_run(store).key
        steps = [stage(store, root, "a"), stage(store, root, "b")]
        settlement = settle(store, steps)
        assert store.advance_settlement(settlement.key, 2)
        instead = Settlement(settlement.key, root, "ROLLBACK", b"other")
        assert store.open_settlement(instead, [step.run_key for step in steps])
        assert store.read_leftovers(root).settlements == [instead]

    def test_progress_is_noted(self, store: RunStore) -> None:
        """So many hooks have been begun; of a settlement that is not there nothing is noted."""
        root = finished_flow_run(store).key
        settlement = settle(store, [stage(store, root)])
        for begun in (1, 2):
            assert store.advance_settlement(settlement.key, begun)
            assert store.read_leftovers(root).settlements[0].begun == begun
        assert not store.advance_settlement(new_id(), 3)
        assert store.read_leftovers(root).settlements[0].begun == 2

    def test_settlement_is_taken_over(self, store: RunStore) -> None:
        """Whoever had it can neither advance, nor claim, nor close it from then on; its steps go with it."""
        root = finished_flow_run(store).key
        step = stage(store, root)
        settlement = settle(store, [step])
        key = new_id()
        store.advance_settlement(settlement.key, 1)
        assert store.claim_settlement(settlement.key, key)
        for is_done in (
            store.advance_settlement(settlement.key, 2),
            store.claim_settlement(settlement.key, new_id()),
            store.close_settlement(settlement.key, [step.run_key], (), [KeptResult("more", "1")]),
            store.close_settlement(settlement.key, drop=[step.run_key]),
        ):
            assert is_done is False
        found = store.read_leftovers(root)
        assert found.settlements == [Settlement(key, root, "COMMIT", PLAN, 1)]
        assert [each.settlement for each in found.steps] == [key]
        assert store.read_result("k") is store.read_result("more") is None

    def test_settlement_that_was_taken_over_is_not_opened_again(self, store: RunStore) -> None:
        """Its former owner cannot turn the commit into a rollback: the steps are not its own any more."""
        root = finished_flow_run(store).key
        step = stage(store, root)
        settlement = settle(store, [step])
        key = new_id()
        assert store.claim_settlement(settlement.key, key)
        instead = Settlement(settlement.key, root, "ROLLBACK", PLAN)
        assert store.open_settlement(instead, [step.run_key]) is False
        assert [each.key for each in store.read_leftovers(root).settlements] == [key]

    def test_staged_step_is_settled_once(self, store: RunStore) -> None:
        """A step that a settlement is about is not given to another one."""
        root = finished_flow_run(store).key
        step = stage(store, root)
        settlement = settle(store, [step])
        assert store.open_settlement(Settlement(new_id(), root, "ROLLBACK", PLAN), [step.run_key]) is False
        assert store.close_settlement(None, [step.run_key]) is False
        assert store.read_leftovers(root).settlements == [settlement]

    def test_closing_publishes(self, store: RunStore) -> None:
        """The results of the staged runs count, and further ones, and nothing is left of the settlement."""
        root = finished_flow_run(store).key
        text, file = stage(store, root, "a"), stage(store, root, "b", file="/f")
        nothing = stage(store, root, None, hooks=b"h")
        left = stage(store, root, "left")
        steps = [text, file, nothing]
        settlement = settle(store, steps)
        keys = [step.run_key for step in steps]
        assert store.close_settlement(settlement.key, keys, (), [KeptResult("more", "2")])
        assert store.read_result("a") == KeptResult("a", "content of a", None, text.run_key)
        assert store.read_result("b") == KeptResult("b", None, "/f", file.run_key)
        assert store.read_result("more") == KeptResult("more", "2")
        assert store.read_leftovers(root) == Leftovers([], [left])
        assert store.read_unused_files() == []

    def test_closing_without_a_settlement(self, store: RunStore) -> None:
        """Where no hook was to be called, staged runs are published or dropped at once."""
        root = finished_flow_run(store).key
        publish, drop = stage(store, root, "a"), stage(store, root, "b")
        assert store.close_settlement(None, [publish.run_key], [drop.run_key])
        assert store.read_result("a") is not None
        assert store.read_result("b") is None
        assert store.read_leftovers(root) == Leftovers([], [])

    def test_closing_is_all_or_nothing(self, store: RunStore) -> None:
        """If one run is not staged any more, no other is published or dropped, and the settlement stays."""
        root = finished_flow_run(store).key
        steps = [stage(store, root, key) for key in ("a", "b", "c")]
        settlement = settle(store, steps)
        complete(store, Withdrawal(steps[1].run_key))
        keys = [step.run_key for step in steps]
        assert not store.close_settlement(settlement.key, keys[:2], keys[2:], [KeptResult("more", "1")])
        assert not any(store.read_result(key) for key in ("a", "b", "c", "more"))
        found = store.read_leftovers(root)
        assert found.settlements == [settlement]
        assert [step.key for step in found.steps] == ["a", "c"]

    def test_closing_replaces_older_results(self, store: RunStore) -> None:
        """What was under the key of a published result is not any more, file included."""
        root = finished_flow_run(store).key
        store.write([], [], [], [KeptResult("a", None, "/old")])
        step = stage(store, root, "a")
        assert store.close_settlement(None, [step.run_key])
        assert store.read_result("a") == KeptResult("a", "content of a", None, step.run_key)
        assert store.read_unused_files() == ["/old"]

    def test_settlements_in_their_order(self, store: RunStore) -> None:
        """Those of one flow run are told in the order in which they were opened, also when somebody has one of them."""
        root, other = finished_flow_run(store).key, finished_flow_run(store).key
        settlements = [settle(store, [stage(store, root, str(number))]) for number in range(4)]
        settle(store, [stage(store, other)])
        assert store.read_leftovers(root).settlements == settlements

    # Files

    def test_files_that_nothing_leads_to(self, store: RunStore) -> None:
        """Those of results that were replaced, deleted, withdrawn or dropped, each once, until they are forgotten."""
        root, run = finished_flow_run(store).key, new_task_run()
        store.write([], [], [], [KeptResult(f"k{number}", None, f"/{number}") for number in range(4)])
        assert store.read_unused_files() == []
        store.write([], [], [], [KeptResult("k0", "small"), KeptResult("k1", None, "/other")])
        store.delete_result("k2")
        complete(store, KeptResult("mine", None, "/mine", run.key), run=run)
        rolled_back = advance(run, State(FAILED))
        rolled_back.attachments = (Withdrawal(run.key, "mine"),)
        record(store, rolled_back)
        dropped = stage(store, root, "a", file="/dropped")
        assert store.close_settlement(None, drop=[dropped.run_key, dropped.run_key])
        withdrawn = stage(store, root, "b", file="/withdrawn")
        complete(store, Withdrawal(withdrawn.run_key))
        unused = ["/0", "/1", "/2", "/dropped", "/mine", "/withdrawn"]
        assert sorted(store.read_unused_files()) == unused
        store.forget_unused_files([*unused[1:], "/never"])
        assert store.read_unused_files() == ["/0"]

    def test_files_of_a_refused_change(self, store: RunStore) -> None:
        """Nothing leads to them, unless the change had been accepted before somebody else went on with the run."""
        root, run = finished_flow_run(store).key, new_task_run()
        change = advance(run, RUNNING, COMPLETED)
        change.attachments = (
            KeptResult("k", None, "/kept", run.key),
            StagedStep(run.key, root, root, "s", file="/staged"),
        )
        record(store, change)
        record(store, advance(run, State(FAILED)))
        assert store.write([change]) == [change]
        assert store.read_unused_files() == []
        late = advance(run, State(COMPLETED))
        late.follows = b"no such state...."
        late.attachments = (
            KeptResult("k", None, "/late", run.key),
            StagedStep(run.key, root, root, "s", file="/late and staged"),
            Withdrawal(run.key, "k"),
        )
        assert store.write([late]) == [late]
        assert sorted(store.read_unused_files()) == ["/late", "/late and staged"]
        assert store.read_result("k") == KeptResult("k", None, "/kept", run.key)

    def test_file_that_is_kept_again_is_in_use(self, store: RunStore) -> None:
        """A result that replaces itself does not lose its file."""
        for content in (None, None):
            store.write([], [], [], [KeptResult("k", content, "/f")])
        assert store.read_unused_files() == []

    def test_spooled_file_is_of_no_use_after_the_commit(self, store: RunStore) -> None:
        """A result that is kept elsewhere leaves no row, and the copy that was staged of it is to be removed."""
        root = finished_flow_run(store).key
        step = stage(store, root, "k", storage=b"elsewhere", file="/spooled")
        small = stage(store, root, "s", storage=b"elsewhere")
        assert store.close_settlement(None, [step.run_key, small.run_key])
        assert store.read_result("k") is store.read_result("s") is None
        assert store.read_unused_files() == ["/spooled"]
