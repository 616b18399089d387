"""What every run store does for flow runs that wait for somebody, as tests: a part of the conformance suite."""

from mainspring.identifiers import new_id
from mainspring.store import RunStore
from mainspring.store.pauses import PauseRecord, SuspensionRequest
from tests.store.histories import PAUSED, RUNNING, advance, new_flow_run, record


def waiting(run_key: bytes, key: str = "#1", root_key: bytes | None = None, **fields: object) -> PauseRecord:
    """A pause that nobody has answered."""
    about = {"requested": 1, "expires": 5, "schema": '{"type": "integer"}', **fields}
    return PauseRecord(flow_run_key=run_key, key=key, root_key=root_key or run_key, **about)  # type: ignore[arg-type]


class PauseRowsConformance:
    """A part of `RunStoreConformance`; the fixture ``store`` is that one's."""

    def test_a_pause_reads_as_opened(self, store: RunStore) -> None:
        """What is known of a pause comes back, and what waits in a flow run is found by it and the outermost one."""
        run, root = new_id(), new_id()
        pause = waiting(run, root_key=root, suspends=True, type=b"\0any")
        assert store.read_pause(run, "#1") is None
        assert store.open_pause(pause) == pause
        assert store.read_pause(run, "#1") == pause
        assert store.read_open_pauses(root) == [pause]
        assert store.read_open_pauses(run) == [pause]
        assert store.read_open_pauses(new_id()) == []

    def test_one_answer_wins(self, store: RunStore) -> None:
        """A pause is answered once; who comes later changes nothing, and a pause that is opened again keeps it."""
        run = new_id()
        store.open_pause(waiting(run))
        assert store.answer_pause(run, "#1", 3, "7")
        assert not store.answer_pause(run, "#1", 4, "8")
        assert not store.close_pause(run, "#1", 4)
        again = store.open_pause(waiting(run, requested=9, expires=19))
        assert (again.answered, again.input, again.requested) == (3, "7", 1)
        assert store.read_open_pauses(run) == []

    def test_input_as_bytes(self, store: RunStore) -> None:
        """An input that is no JSON comes back as the bytes that it was."""
        run = new_id()
        store.open_pause(waiting(run))
        assert store.answer_pause(run, "#1", 3, b"\x80\xff")
        found = store.read_pause(run, "#1")
        assert found is not None
        assert found.input == b"\x80\xff"

    def test_an_answer_that_is_refused(self, store: RunStore) -> None:
        """It is taken back with the reason, and the pause waits for another one."""
        run = new_id()
        store.open_pause(waiting(run))
        store.answer_pause(run, "#1", 3, "7")
        store.refuse_answer(run, "#1", "no")
        [found] = store.read_open_pauses(run)
        assert (found.answered, found.input, found.problem) == (None, None, "no")
        assert store.answer_pause(run, "#1", 4, "8")

    def test_a_pause_that_is_over(self, store: RunStore) -> None:
        """A closed pause takes no answer, until it is opened again."""
        run = new_id()
        store.open_pause(waiting(run))
        assert store.close_pause(run, "#1", 5)
        assert not store.answer_pause(run, "#1", 6, "7")
        assert store.read_open_pauses(run) == []
        store.open_pause(waiting(run, requested=7, expires=9))
        assert store.answer_pause(run, "#1", 8, "7")

    def test_what_is_not_there_is_not_answered(self, store: RunStore) -> None:
        """An answer to a pause that nobody has opened changes nothing."""
        assert not store.answer_pause(new_id(), "#1", 3, "7")
        assert not store.close_pause(new_id(), "#1", 3)

    def test_requests_to_suspend(self, store: RunStore) -> None:
        """The latest request counts, until it is dropped."""
        run = new_id()
        assert store.read_suspension(run) is None
        for expires in (5, 6):
            store.request_suspension(SuspensionRequest(run, 1, expires))
        assert store.read_suspension(run) == SuspensionRequest(run, 1, 6)
        store.drop_suspension(run)
        assert store.read_suspension(run) is None

    def test_whose_run_it_is(self, store: RunStore) -> None:
        """A run that this process has written is ours; nobody has one that is not there."""
        run = new_flow_run()
        record(store, advance(run, RUNNING, PAUSED))
        assert store.read_holder(run.key) == "us"
        assert store.read_holder(new_id()) == "nobody"
