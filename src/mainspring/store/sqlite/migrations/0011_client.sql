-- What clients need to look runs up, and to change them from outside.

-- Flows that were made known before their first run. All others are known by their runs.
CREATE TABLE flows (
    id BLOB PRIMARY KEY,                -- made of the name, the same everywhere
    name TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL
) WITHOUT ROWID;

ALTER TABLE flow_runs ADD COLUMN next_scheduled_start_time INTEGER; -- when a SCHEDULED run is due, else NULL
ALTER TABLE flow_runs ADD COLUMN renamed INTEGER; -- 1: somebody has named it from outside, and its process leaves it at that
ALTER TABLE task_runs ADD COLUMN next_scheduled_start_time INTEGER;
ALTER TABLE task_runs ADD COLUMN renamed INTEGER;
ALTER TABLE task_runs ADD COLUMN dynamic_key TEXT; -- what tells it from other runs of the task, if that is not made of its id

UPDATE flow_runs SET next_scheduled_start_time = 1000000 * (
    SELECT CAST(strftime('%s', substr(s.details, instr(s.details, '"scheduled_time":"') + 18, 19)) AS INTEGER)
    FROM states AS s WHERE s.run_id = flow_runs.id AND s.id = flow_runs.state_id
        AND instr(s.details, '"scheduled_time":"') > 0
) WHERE state_type = 'SCHEDULED' AND state_type <> 'COMPLETED';

UPDATE task_runs SET next_scheduled_start_time = 1000000 * (
    SELECT CAST(strftime('%s', substr(s.details, instr(s.details, '"scheduled_time":"') + 18, 19)) AS INTEGER)
    FROM states AS s WHERE s.run_id = task_runs.id AND s.id = task_runs.state_id
        AND instr(s.details, '"scheduled_time":"') > 0
) WHERE state_type = 'SCHEDULED' AND state_type <> 'COMPLETED';

CREATE INDEX flow_runs_of_flow ON flow_runs (flow_name);
CREATE INDEX flow_runs_by_start ON flow_runs (start_time);

DROP VIEW readable_flow_runs;
DROP VIEW readable_task_runs;

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
    renamed
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
    owner_id,
    strftime('%Y-%m-%dT%H:%M:%S', next_scheduled_start_time / 1000000, 'unixepoch')
        || printf('.%06dZ', next_scheduled_start_time % 1000000) AS next_scheduled_start_time,
    renamed,
    dynamic_key
FROM task_runs;
