-- Results that are kept in the run store, and what it takes to finish a transaction whose process has died.

-- One row for each key. `content` is the record of a result, a JSON object with `metadata` and `result`; a large one is
-- in a file instead, and `file` is its path. Rows come with the state of their run.
CREATE TABLE results (
    key TEXT PRIMARY KEY,               -- the cache key, the step of a flow run, or any other storage key
    run_id BLOB,                        -- the run whose result it is, if it is one
    created INTEGER NOT NULL,
    file TEXT,
    content TEXT
) WITHOUT ROWID;

-- Files that no row leads to any more, until somebody has removed them.
CREATE TABLE unused_files (
    file TEXT PRIMARY KEY
) WITHOUT ROWID;

CREATE TRIGGER results_replaced AFTER UPDATE OF file ON results
WHEN OLD.file IS NOT NULL AND OLD.file IS NOT NEW.file
BEGIN
    INSERT OR IGNORE INTO unused_files VALUES (OLD.file);
END;

CREATE TRIGGER results_deleted AFTER DELETE ON results
WHEN OLD.file IS NOT NULL
BEGIN
    INSERT OR IGNORE INTO unused_files VALUES (OLD.file);
END;

-- Completed runs whose transaction goes on, in flow runs that can be resumed: what a commit would keep, and what a
-- rollback would call. A row goes when its transaction has come to an end.
CREATE TABLE staged (
    id INTEGER PRIMARY KEY,             -- in the order of completion
    run_id BLOB NOT NULL UNIQUE,        -- a task run, or the flow run of a subflow
    around_id BLOB,                     -- the task run or flow run around it
    root_id BLOB NOT NULL,              -- the outermost flow run, which is the one to be resumed
    earlier_ids BLOB,                   -- runs of the same step that dead processes had completed, one after the other
    key TEXT,                           -- what the result is kept under, NULL if nothing is kept
    is_step INTEGER NOT NULL,           -- 1: the same call in a resumed run has the same key
    storage BLOB,                       -- where, pickled; NULL for the table `results`
    file TEXT,                          -- the record, as in `results`
    content TEXT,
    hooks BLOB,                         -- commit and rollback hooks, pickled
    "values" BLOB,                      -- named values of the transaction, pickled
    settlement_id BLOB                  -- the settlement that decides about it, NULL while nothing is decided
);

CREATE INDEX staged_of_flow_run ON staged (root_id);

-- Commits and rollbacks that are going on: decided, and not yet done.
CREATE TABLE settlements (
    id BLOB PRIMARY KEY,
    root_id BLOB NOT NULL,              -- as in `staged`
    decision TEXT NOT NULL,             -- COMMIT or ROLLBACK
    begun INTEGER NOT NULL,             -- so many of the hooks have been begun
    plan BLOB NOT NULL                  -- the hooks in their order, pickled
) WITHOUT ROWID;

CREATE INDEX settlements_of_flow_run ON settlements (root_id);
