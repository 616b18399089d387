-- The history of runs, version 1.
--
-- Made to be queried: column names are those of the fields in Python. Ids are the 16 bytes of a UUID
-- version 7, so later rows have greater ids. Times are microseconds since the epoch (UTC), durations
-- microseconds. Columns that hold JSON are NULL when there is nothing in them. The views named readable_*
-- show the same with ids and times as text; filter by id on the tables, which have the indexes.

-- The processes that wrote here. One whose `ended` is NULL holds a lock on the file
-- <database>.owners/<key>.lock for as long as it lives.
CREATE TABLE owners (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    host TEXT NOT NULL,
    boot TEXT,                          -- which start of the machine, where the system tells
    pid INTEGER NOT NULL,
    started INTEGER NOT NULL,
    ended INTEGER
);

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
) WITHOUT ROWID;

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
) WITHOUT ROWID;

-- Every state of every run, flow runs and task runs alike. Rows are added and never changed.
CREATE TABLE states (
    run_id BLOB NOT NULL,
    position INTEGER NOT NULL,          -- 1, 2, 3 ... within the run
    id BLOB NOT NULL,
    type TEXT NOT NULL,
    name TEXT NOT NULL,
    timestamp INTEGER NOT NULL,
    message TEXT,
    details TEXT,                       -- JSON object
    attempt INTEGER NOT NULL,           -- the run_count of the run when it was in this state
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

-- Most runs are completed soon after they are written, so an index over the others costs next to nothing.
CREATE INDEX task_runs_not_completed ON task_runs (state_type) WHERE state_type <> 'COMPLETED';
CREATE INDEX flow_runs_not_completed ON flow_runs (state_type) WHERE state_type <> 'COMPLETED';
CREATE INDEX task_runs_of_flow_run ON task_runs (flow_run_id);
CREATE INDEX subflow_runs ON flow_runs (parent_task_run_id) WHERE parent_task_run_id IS NOT NULL;
CREATE INDEX logs_of_run ON logs (flow_run_id, task_run_id);
CREATE INDEX owners_not_ended ON owners (id) WHERE ended IS NULL;

-- One row per attempt: from a RUNNING state to the state that followed it.
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
FROM states AS began
LEFT JOIN states AS next ON next.run_id = began.run_id AND next.position = began.position + 1
WHERE began.type = 'RUNNING';

-- For people: ids in their usual form, times in ISO 8601, durations in seconds.

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
    owner_id
FROM flow_runs;

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
    owner_id
FROM task_runs;

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
    attempt
FROM states;

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
