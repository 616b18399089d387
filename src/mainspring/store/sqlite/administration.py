"""Looking after a database as a whole: what it is, bringing it up to date, giving free space back."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from mainspring.exceptions import StoreMissing, StoreUnavailable
from mainspring.store.describing import DatabaseDescription, Migration, Vacuuming
from mainspring.store.sqlite import schema
from mainspring.store.sqlite.connections import MEMORY, Database, primary_code, refuse_directory, translated

__all__ = ["describe", "migrate", "vacuum"]

_VACUUM_WAIT_SECONDS = 5.0


def describe(path: str) -> DatabaseDescription:
    """What a file is; nothing is made or changed.

    Raises:
        StoreUnavailable: It cannot be read, or belongs to another program.
        StoreCorrupt: It is no database, or a damaged one.
    """
    place = _place(path)
    version, counts = _look(place)
    return DatabaseDescription(
        kind="sqlite",
        location=place,
        schema_version=version,
        known_version=len(schema.MIGRATIONS),
        size=None if version is None else _size(place),
        flow_runs=counts[0],
        task_runs=counts[1],
    )


def migrate(path: str) -> Migration:
    """Bring a database up to date, or make it; what opening does as well.

    Raises:
        StoreError: As opening does.
    """
    place = _place(path)
    before, _ = _look(place)
    database = Database(place, "process")
    database.prepare(create=True).close()
    after, _ = _look(place)
    return Migration(before or 0, after or 0)


def vacuum(path: str) -> Vacuuming:
    """Write the database anew without the room that deleted rows have left. Others wait meanwhile.

    Raises:
        StoreMissing: There is none.
        StoreUnavailable: Somebody reads or writes for so long that there is no beginning, or the disk is full.
        StoreError: As opening does.
    """
    place = _place(path)
    database = Database(place, "process")
    with closing(database.prepare(create=False)) as db:
        before = _size(place)
        try:
            db.execute(f"PRAGMA busy_timeout = {round(_VACUUM_WAIT_SECONDS * 1000)}")
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            if primary_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise StoreUnavailable(
                    f"The run store {place} cannot be vacuumed now: another process is reading or writing, and a"
                    f" vacuum needs it alone for a moment. Nothing was changed. Try again when fewer runs go on."
                ) from error
            raise translated(error, place) from error
    return Vacuuming(before, _size(place))


def _place(path: str) -> str:
    if path == MEMORY:
        raise StoreMissing(
            "A run store in memory is gone with its process, so there is nothing to look after. Set"
            " MAINSPRING_DATABASE_URL to a file."
        )
    return str(Path(path).resolve())


def _look(place: str) -> tuple[int | None, tuple[int, int]]:
    """The version of a database, None if it is not there or empty, and how many flow runs and task runs it has."""
    file = Path(place)
    try:
        refuse_directory(file)
        if not file.exists() or not file.stat().st_size:
            return None, (0, 0)
        with closing(sqlite3.connect(place, timeout=_VACUUM_WAIT_SECONDS, isolation_level=None)) as db:
            version = schema.read_version(db, place)
            if version is None:
                return None, (0, 0)
            (flow_runs,) = db.execute("SELECT count(*) FROM flow_runs").fetchone()
            (task_runs,) = db.execute("SELECT count(*) FROM task_runs").fetchone()
            return version, (flow_runs, task_runs)
    except sqlite3.Error as error:
        raise translated(error, place) from error
    except OSError as error:
        raise StoreUnavailable(f"The run store {place} cannot be read: {error}.") from error


def _size(place: str) -> int:
    """What the database and its log take; both are one thing to people."""
    total = 0
    for name in (place, f"{place}-wal"):
        try:
            total += Path(name).stat().st_size
        except FileNotFoundError:
            continue
    return total
