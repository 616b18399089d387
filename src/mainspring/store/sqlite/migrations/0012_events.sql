-- Events that programs emit, and those of limits. The events of states are not here: each row in `states` is one.
CREATE TABLE events (
    id BLOB PRIMARY KEY,
    occurred INTEGER NOT NULL,
    event TEXT NOT NULL,
    resource_id TEXT NOT NULL,          -- what it happened to
    flow_run_id BLOB,                   -- the runs that it happened in, if any
    task_run_id BLOB,
    content TEXT NOT NULL               -- JSON object: the event with all of its fields
) WITHOUT ROWID;

CREATE INDEX events_by_time ON events (occurred);
CREATE INDEX events_of_flow_run ON events (flow_run_id) WHERE flow_run_id IS NOT NULL;
CREATE INDEX events_of_task_run ON events (task_run_id) WHERE task_run_id IS NOT NULL;

-- Who reads along in what others write. While there is somebody, each transaction that writes states or events leaves a
-- row in `changes`, which is removed when everybody has seen it.
CREATE TABLE followers (
    id BLOB PRIMARY KEY,
    owner_key TEXT NOT NULL,            -- whom to wake, in `owners`; empty if nobody
    expires INTEGER NOT NULL,           -- counts no more from then on, unless it is renewed
    transaction_id INTEGER NOT NULL,    -- what it has seen up to here
    position INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE changes (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    transaction_id INTEGER NOT NULL DEFAULT 0, -- always 0: in SQLite positions are in the order of commits
    states BLOB NOT NULL,               -- for each state the 16 bytes of its run and 4 bytes of its position there
    events BLOB NOT NULL                -- for each event the 16 bytes of its id
);

CREATE INDEX changes_in_order ON changes (transaction_id, position);
