-- Runs that somebody wants to be cancelled, until the process that they go on in has seen to it.
CREATE TABLE cancellations (
    run_id BLOB PRIMARY KEY,            -- a flow run or a task run
    requested INTEGER NOT NULL,
    reason TEXT NOT NULL
) WITHOUT ROWID;
