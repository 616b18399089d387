-- What the migrations 0001 to 0016 come to: a new database begins with this. A test compares the two.

CREATE TABLE owners (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    host TEXT NOT NULL,
    boot TEXT,                          -- which start of the machine, where the system tells
    pid INTEGER NOT NULL,
    started INTEGER NOT NULL,
    ended INTEGER
, lease_expires INTEGER, ended_by TEXT, settled_page INTEGER);

CREATE TABLE flow_runs (
    id BLOB PRIMARY KEY,
    flow_name TEXT NOT NULL,
    flow_version TEXT,
    name TEXT NOT NULL,
    parent_task_run_id BLOB,            -- the task run that stands for a subflow in its parent flow
    tags TEXT,                          -- JSON array
    parameters TEXT,                    -- JSON object
    state_id BLOB NOT NULL,             -- the newest row in `states`
    state_type TEXT NOT NULL,
    state_name TEXT NOT NULL,
    run_count INTEGER NOT NULL,         -- attempts begun
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,           -- the time of the newest state
    expected_start_time INTEGER NOT NULL,
    start_time INTEGER,
    end_time INTEGER,
    total_run_time INTEGER NOT NULL,    -- spent in RUNNING states
    owner_id INTEGER                    -- whose process wrote the newest state of its own accord
, next_scheduled_start_time INTEGER, renamed INTEGER, pending_id BLOB, running_id BLOB, message TEXT, details TEXT, data TEXT) WITHOUT ROWID;

CREATE TABLE task_runs (
    id BLOB PRIMARY KEY,
    flow_run_id BLOB,
    name TEXT NOT NULL,
    task_key TEXT NOT NULL,
    task_version TEXT,
    tags TEXT,                          -- JSON array
    task_inputs TEXT,                   -- JSON object: for each parameter where it came from
    empirical_policy TEXT,              -- JSON object: retries and delays as they hold for this run
    state_id BLOB NOT NULL,
    state_type TEXT NOT NULL,
    state_name TEXT NOT NULL,
    run_count INTEGER NOT NULL,
    flow_run_run_count INTEGER NOT NULL, -- the run_count of the flow run when this run was made
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    expected_start_time INTEGER NOT NULL,
    start_time INTEGER,
    end_time INTEGER,
    total_run_time INTEGER NOT NULL,
    owner_id INTEGER
, next_scheduled_start_time INTEGER, renamed INTEGER, dynamic_key TEXT, pending_id BLOB, running_id BLOB, message TEXT, details TEXT, data TEXT, cache_key TEXT, cache_components TEXT) WITHOUT ROWID;

CREATE TABLE "state_rows" (
    run_id BLOB NOT NULL,
    position INTEGER NOT NULL,          -- 1, 2, 3 ... within the run
    id BLOB NOT NULL,
    type TEXT NOT NULL,
    name TEXT NOT NULL,
    timestamp INTEGER NOT NULL,
    message TEXT,
    details TEXT,                       -- JSON object
    attempt INTEGER NOT NULL, data TEXT,           -- the run_count of the run when it was in this state
    PRIMARY KEY (run_id, position)
) WITHOUT ROWID;

CREATE TABLE logs (
    id INTEGER PRIMARY KEY,
    flow_run_id BLOB,
    task_run_id BLOB,
    timestamp INTEGER NOT NULL,
    level INTEGER NOT NULL,
    logger TEXT NOT NULL,
    message TEXT NOT NULL
);

CREATE TABLE concurrency_limits (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    "limit" INTEGER NOT NULL,           -- so many slots may be taken at a time
    active INTEGER NOT NULL,            -- 0: the limit stops nobody
    slot_decay_per_second REAL NOT NULL, -- 0: slots are free when their holder gives them back
    avg_slot_occupancy_seconds REAL,    -- a moving average, NULL until a slot was given back
    decaying_slots REAL NOT NULL,       -- limits with decay: what was left of the slots taken ...
    decaying_since INTEGER NOT NULL,    -- ... at this time
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE slots (
    id INTEGER PRIMARY KEY,             -- in the order of arrival, which is the order of service
    lease_id BLOB NOT NULL,             -- the request; it has a row for each of its limits
    limit_id BLOB NOT NULL,
    slots INTEGER NOT NULL,
    holder_type TEXT,                   -- flow_run, task_run or deployment
    holder_id BLOB,
    requested INTEGER NOT NULL,
    acquired INTEGER,                   -- NULL while waiting
    lease_expires INTEGER NOT NULL,     -- others may take the slots from then on
    owner_id INTEGER
);

CREATE TABLE "cache_key_rows" (
    task_run_id BLOB PRIMARY KEY,
    key TEXT,                           -- under which a result is looked up and kept, NULL if there is none
    components TEXT,                    -- JSON object: what went into the key, as texts, mostly hashes
    skipped TEXT,                       -- why nothing was looked up: refresh, disabled, generator, no key or error
    message TEXT                        -- the error, if the key could not be computed
) WITHOUT ROWID;

CREATE TABLE locks (
    key TEXT PRIMARY KEY,
    holder TEXT NOT NULL,               -- any text, made up by whoever took the lock
    acquired INTEGER NOT NULL,
    expires INTEGER,                    -- the lock is free from then on, NULL for no end
    owner_id INTEGER                    -- the process, whose death frees the lock
) WITHOUT ROWID;

CREATE TABLE resumptions (
    flow_run_id BLOB PRIMARY KEY,
    entrypoint TEXT,                    -- the flow, as module:name
    file TEXT,                          -- the file that defines it
    parameters TEXT,                    -- where the parameters are kept by value
    problem TEXT,                       -- why the run cannot be resumed by its id
    step TEXT,                          -- for a subflow: what tells its run from others of its parent
    attempt INTEGER NOT NULL            -- the attempt whose steps are gone on with
) WITHOUT ROWID;

CREATE TABLE unused_files (
    file TEXT PRIMARY KEY
) WITHOUT ROWID;

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

CREATE TABLE settlements (
    id BLOB PRIMARY KEY,
    root_id BLOB NOT NULL,              -- as in `staged`
    decision TEXT NOT NULL,             -- COMMIT or ROLLBACK
    begun INTEGER NOT NULL,             -- so many of the hooks have been begun
    plan BLOB NOT NULL                  -- the hooks in their order, pickled
) WITHOUT ROWID;

CREATE TABLE crash_hooks (
    run_id BLOB PRIMARY KEY,
    entrypoint TEXT,                    -- the task or flow, as module:name; NULL if no name leads to it
    file TEXT                           -- the file that defines it
) WITHOUT ROWID;

CREATE TABLE pauses (
    flow_run_id BLOB NOT NULL,          -- the run that waits
    key TEXT NOT NULL,                  -- what tells its pauses from one another
    root_id BLOB NOT NULL,              -- the outermost flow run around, by which they are resumed
    requested INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    suspends INTEGER NOT NULL,          -- 1: the run leaves its process meanwhile
    "schema" TEXT,                      -- JSON schema of the input, {} if that cannot be told, NULL if none is wanted
    type BLOB,                          -- the type of the input, pickled; NULL if other processes cannot have it
    answered INTEGER,
    input,                              -- TEXT: JSON; BLOB: pickled; NULL: none
    problem TEXT,                       -- why an answer was refused where the run goes on
    closed INTEGER,                     -- when it was too late for an answer
    PRIMARY KEY (flow_run_id, key)
) WITHOUT ROWID;

CREATE TABLE suspensions (
    flow_run_id BLOB PRIMARY KEY,
    requested INTEGER NOT NULL,
    expires INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE cancellations (
    run_id BLOB PRIMARY KEY,            -- a flow run or a task run
    requested INTEGER NOT NULL,
    reason TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE flows (
    id BLOB PRIMARY KEY,                -- made of the name, the same everywhere
    name TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE events (
    id BLOB PRIMARY KEY,
    occurred INTEGER NOT NULL,
    event TEXT NOT NULL,
    resource_id TEXT NOT NULL,          -- what it happened to
    flow_run_id BLOB,                   -- the runs that it happened in, if any
    task_run_id BLOB,
    content TEXT NOT NULL               -- JSON object: the event with all of its fields
) WITHOUT ROWID;

CREATE TABLE followers (
    id BLOB PRIMARY KEY,
    owner_key TEXT NOT NULL,            -- whom to wake, in `owners`; empty if nobody
    expires INTEGER NOT NULL,           -- counts no more from then on, unless it is renewed
    transaction_id INTEGER NOT NULL,    -- what it has seen up to here
    position INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE changes (
    position INTEGER PRIMARY KEY,
    transaction_id INTEGER NOT NULL DEFAULT 0, -- always 0: in SQLite positions are in the order of commits
    states BLOB NOT NULL,               -- for each state the 16 bytes of its run and 4 bytes of its position there
    events BLOB NOT NULL                -- for each event the 16 bytes of its id
);

CREATE TABLE results (
    key TEXT NOT NULL UNIQUE,           -- the cache key, the step of a flow run, or any other storage key
    run_id BLOB,                        -- the run whose result it is, if it is one
    created INTEGER NOT NULL,
    file TEXT,
    content TEXT
);

CREATE INDEX task_runs_not_completed ON task_runs (state_type) WHERE state_type <> 'COMPLETED';

CREATE INDEX flow_runs_not_completed ON flow_runs (state_type) WHERE state_type <> 'COMPLETED';

CREATE INDEX task_runs_of_flow_run ON task_runs (flow_run_id);

CREATE INDEX subflow_runs ON flow_runs (parent_task_run_id) WHERE parent_task_run_id IS NOT NULL;

CREATE INDEX logs_of_run ON logs (flow_run_id, task_run_id);

CREATE INDEX owners_not_ended ON owners (id) WHERE ended IS NULL;

CREATE VIEW readable_logs AS
SELECT
    id,
    nullif(lower(substr(hex(flow_run_id), 1, 8) || '-' || substr(hex(flow_run_id), 9, 4) || '-' || substr(hex(flow_run_id), 13, 4)
        || '-' || substr(hex(flow_run_id), 17, 4) || '-' || substr(hex(flow_run_id), 21)), '----') AS flow_run_id,
    nullif(lower(substr(hex(task_run_id), 1, 8) || '-' || substr(hex(task_run_id), 9, 4) || '-' || substr(hex(task_run_id), 13, 4)
        || '-' || substr(hex(task_run_id), 17, 4) || '-' || substr(hex(task_run_id), 21)), '----') AS task_run_id,
    strftime('%Y-%m-%dT%H:%M:%S', timestamp / 1000000, 'unixepoch')
        || printf('.%06dZ', timestamp % 1000000) AS timestamp,
    level,
    logger,
    message
FROM logs;

CREATE INDEX slots_of_limit ON slots (limit_id);

CREATE INDEX slots_of_lease ON slots (lease_id);

CREATE INDEX staged_of_flow_run ON staged (root_id);

CREATE INDEX settlements_of_flow_run ON settlements (root_id);

CREATE INDEX pauses_of_flow_run ON pauses (root_id);

CREATE INDEX flow_runs_of_flow ON flow_runs (flow_name);

CREATE INDEX flow_runs_by_start ON flow_runs (start_time);

CREATE INDEX events_by_time ON events (occurred);

CREATE INDEX events_of_flow_run ON events (flow_run_id) WHERE flow_run_id IS NOT NULL;

CREATE INDEX events_of_task_run ON events (task_run_id) WHERE task_run_id IS NOT NULL;

CREATE INDEX changes_in_order ON changes (transaction_id, position);

CREATE INDEX flow_runs_by_end ON flow_runs (end_time);

CREATE INDEX flow_runs_by_name ON flow_runs (name, id DESC);

CREATE INDEX flow_runs_in_other_states ON flow_runs (lower(state_name)) WHERE state_name <> 'Completed';

CREATE INDEX task_runs_in_other_states ON task_runs (lower(state_name)) WHERE state_name <> 'Completed';

CREATE VIEW states AS
SELECT run_id, position, id, type, name, timestamp, message, details, attempt, data FROM state_rows
UNION ALL
SELECT id, CAST(1 AS INTEGER), pending_id, CAST('PENDING' AS TEXT), CAST('Pending' AS TEXT), created,
    CAST(NULL AS TEXT), CAST(NULL AS TEXT), CAST(0 AS INTEGER), CAST(NULL AS TEXT)
FROM task_runs WHERE pending_id IS NOT NULL
UNION ALL
SELECT id, CAST(2 AS INTEGER), running_id, CAST('RUNNING' AS TEXT), CAST('Running' AS TEXT), start_time,
    CAST(NULL AS TEXT), CAST(NULL AS TEXT), CAST(1 AS INTEGER), CAST(NULL AS TEXT)
FROM task_runs WHERE pending_id IS NOT NULL
UNION ALL
SELECT id, CAST(3 AS INTEGER), state_id, state_type, state_name, updated, message, details, run_count, data
FROM task_runs WHERE pending_id IS NOT NULL
UNION ALL
SELECT id, CAST(1 AS INTEGER), pending_id, CAST('PENDING' AS TEXT), CAST('Pending' AS TEXT), created,
    CAST(NULL AS TEXT), CAST(NULL AS TEXT), CAST(0 AS INTEGER), CAST(NULL AS TEXT)
FROM flow_runs WHERE pending_id IS NOT NULL
UNION ALL
SELECT id, CAST(2 AS INTEGER), running_id, CAST('RUNNING' AS TEXT), CAST('Running' AS TEXT), start_time,
    CAST(NULL AS TEXT), CAST(NULL AS TEXT), CAST(1 AS INTEGER), CAST(NULL AS TEXT)
FROM flow_runs WHERE pending_id IS NOT NULL
UNION ALL
SELECT id, CAST(3 AS INTEGER), state_id, state_type, state_name, updated, message, details, run_count, data
FROM flow_runs WHERE pending_id IS NOT NULL;

CREATE VIEW attempts AS
SELECT
    began.run_id,
    began.attempt,
    began.timestamp AS start_time,
    next.timestamp AS end_time,
    next.id AS state_id,
    next.type AS state_type,
    next.name AS state_name,
    next.message
FROM state_rows AS began
LEFT JOIN state_rows AS next ON next.run_id = began.run_id AND next.position = began.position + 1
WHERE began.type = 'RUNNING'
UNION ALL
SELECT id, CAST(1 AS INTEGER), start_time, updated, state_id, state_type, state_name, message
FROM task_runs WHERE pending_id IS NOT NULL
UNION ALL
SELECT id, CAST(1 AS INTEGER), start_time, updated, state_id, state_type, state_name, message
FROM flow_runs WHERE pending_id IS NOT NULL;

CREATE VIEW readable_states AS
SELECT
    lower(substr(hex(run_id), 1, 8) || '-' || substr(hex(run_id), 9, 4) || '-' || substr(hex(run_id), 13, 4)
        || '-' || substr(hex(run_id), 17, 4) || '-' || substr(hex(run_id), 21)) AS run_id,
    position,
    lower(substr(hex(id), 1, 8) || '-' || substr(hex(id), 9, 4) || '-' || substr(hex(id), 13, 4)
        || '-' || substr(hex(id), 17, 4) || '-' || substr(hex(id), 21)) AS id,
    type,
    name,
    strftime('%Y-%m-%dT%H:%M:%S', timestamp / 1000000, 'unixepoch')
        || printf('.%06dZ', timestamp % 1000000) AS timestamp,
    message,
    details,
    attempt,
    data
FROM states;

CREATE VIEW readable_flow_runs AS
SELECT
    lower(substr(hex(id), 1, 8) || '-' || substr(hex(id), 9, 4) || '-' || substr(hex(id), 13, 4)
        || '-' || substr(hex(id), 17, 4) || '-' || substr(hex(id), 21)) AS id,
    flow_name,
    flow_version,
    name,
    nullif(lower(substr(hex(parent_task_run_id), 1, 8) || '-' || substr(hex(parent_task_run_id), 9, 4) || '-' || substr(hex(parent_task_run_id), 13, 4)
        || '-' || substr(hex(parent_task_run_id), 17, 4) || '-' || substr(hex(parent_task_run_id), 21)), '----') AS parent_task_run_id,
    tags,
    parameters,
    lower(substr(hex(state_id), 1, 8) || '-' || substr(hex(state_id), 9, 4) || '-' || substr(hex(state_id), 13, 4)
        || '-' || substr(hex(state_id), 17, 4) || '-' || substr(hex(state_id), 21)) AS state_id,
    state_type,
    state_name,
    run_count,
    strftime('%Y-%m-%dT%H:%M:%S', created / 1000000, 'unixepoch')
        || printf('.%06dZ', created % 1000000) AS created,
    strftime('%Y-%m-%dT%H:%M:%S', updated / 1000000, 'unixepoch')
        || printf('.%06dZ', updated % 1000000) AS updated,
    strftime('%Y-%m-%dT%H:%M:%S', expected_start_time / 1000000, 'unixepoch')
        || printf('.%06dZ', expected_start_time % 1000000) AS expected_start_time,
    strftime('%Y-%m-%dT%H:%M:%S', start_time / 1000000, 'unixepoch')
        || printf('.%06dZ', start_time % 1000000) AS start_time,
    strftime('%Y-%m-%dT%H:%M:%S', end_time / 1000000, 'unixepoch')
        || printf('.%06dZ', end_time % 1000000) AS end_time,
    total_run_time / 1e6 AS total_run_time,
    owner_id,
    strftime('%Y-%m-%dT%H:%M:%S', next_scheduled_start_time / 1000000, 'unixepoch')
        || printf('.%06dZ', next_scheduled_start_time % 1000000) AS next_scheduled_start_time,
    renamed,
    nullif(lower(substr(hex(pending_id), 1, 8) || '-' || substr(hex(pending_id), 9, 4) || '-' || substr(hex(pending_id), 13, 4)
        || '-' || substr(hex(pending_id), 17, 4) || '-' || substr(hex(pending_id), 21)), '----') AS pending_id,
    nullif(lower(substr(hex(running_id), 1, 8) || '-' || substr(hex(running_id), 9, 4) || '-' || substr(hex(running_id), 13, 4)
        || '-' || substr(hex(running_id), 17, 4) || '-' || substr(hex(running_id), 21)), '----') AS running_id,
    message,
    details,
    data
FROM flow_runs;

CREATE VIEW cache_keys AS
SELECT task_run_id, key, components, skipped, message FROM cache_key_rows
UNION ALL
SELECT id, cache_key, cache_components, CAST(NULL AS TEXT), CAST(NULL AS TEXT) FROM task_runs
WHERE cache_key IS NOT NULL AND NOT EXISTS (SELECT 1 FROM cache_key_rows AS r WHERE r.task_run_id = task_runs.id);

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

CREATE VIEW readable_task_runs AS
SELECT
    lower(substr(hex(id), 1, 8) || '-' || substr(hex(id), 9, 4) || '-' || substr(hex(id), 13, 4)
        || '-' || substr(hex(id), 17, 4) || '-' || substr(hex(id), 21)) AS id,
    nullif(lower(substr(hex(flow_run_id), 1, 8) || '-' || substr(hex(flow_run_id), 9, 4) || '-' || substr(hex(flow_run_id), 13, 4)
        || '-' || substr(hex(flow_run_id), 17, 4) || '-' || substr(hex(flow_run_id), 21)), '----') AS flow_run_id,
    name,
    task_key,
    task_version,
    tags,
    task_inputs,
    empirical_policy,
    lower(substr(hex(state_id), 1, 8) || '-' || substr(hex(state_id), 9, 4) || '-' || substr(hex(state_id), 13, 4)
        || '-' || substr(hex(state_id), 17, 4) || '-' || substr(hex(state_id), 21)) AS state_id,
    state_type,
    state_name,
    run_count,
    flow_run_run_count,
    strftime('%Y-%m-%dT%H:%M:%S', created / 1000000, 'unixepoch')
        || printf('.%06dZ', created % 1000000) AS created,
    strftime('%Y-%m-%dT%H:%M:%S', updated / 1000000, 'unixepoch')
        || printf('.%06dZ', updated % 1000000) AS updated,
    strftime('%Y-%m-%dT%H:%M:%S', expected_start_time / 1000000, 'unixepoch')
        || printf('.%06dZ', expected_start_time % 1000000) AS expected_start_time,
    strftime('%Y-%m-%dT%H:%M:%S', start_time / 1000000, 'unixepoch')
        || printf('.%06dZ', start_time % 1000000) AS start_time,
    strftime('%Y-%m-%dT%H:%M:%S', end_time / 1000000, 'unixepoch')
        || printf('.%06dZ', end_time % 1000000) AS end_time,
    total_run_time / 1e6 AS total_run_time,
    owner_id,
    strftime('%Y-%m-%dT%H:%M:%S', next_scheduled_start_time / 1000000, 'unixepoch')
        || printf('.%06dZ', next_scheduled_start_time % 1000000) AS next_scheduled_start_time,
    renamed,
    dynamic_key,
    nullif(lower(substr(hex(pending_id), 1, 8) || '-' || substr(hex(pending_id), 9, 4) || '-' || substr(hex(pending_id), 13, 4)
        || '-' || substr(hex(pending_id), 17, 4) || '-' || substr(hex(pending_id), 21)), '----') AS pending_id,
    nullif(lower(substr(hex(running_id), 1, 8) || '-' || substr(hex(running_id), 9, 4) || '-' || substr(hex(running_id), 13, 4)
        || '-' || substr(hex(running_id), 17, 4) || '-' || substr(hex(running_id), 21)), '----') AS running_id,
    message,
    details,
    data,
    cache_key,
    cache_components
FROM task_runs;
