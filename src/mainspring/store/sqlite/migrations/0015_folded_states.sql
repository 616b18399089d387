-- A run that went from Pending over Running to where it is keeps all three states in its own row: a row for each of
-- them cost more than everything else about it. What happens to it later moves them to rows of their own.
DROP VIEW attempts;
DROP VIEW readable_states;
DROP VIEW readable_flow_runs;
DROP VIEW readable_task_runs;
ALTER TABLE states RENAME TO state_rows;
ALTER TABLE flow_runs ADD COLUMN pending_id BLOB;   -- its first state, entered when it was created; NULL: see `state_rows`
ALTER TABLE flow_runs ADD COLUMN running_id BLOB;   -- its second one, entered at `start_time`
ALTER TABLE flow_runs ADD COLUMN message TEXT;      -- of the third one, which is the newest
ALTER TABLE flow_runs ADD COLUMN details TEXT;
ALTER TABLE flow_runs ADD COLUMN data TEXT;
ALTER TABLE task_runs ADD COLUMN pending_id BLOB;
ALTER TABLE task_runs ADD COLUMN running_id BLOB;
ALTER TABLE task_runs ADD COLUMN message TEXT;
ALTER TABLE task_runs ADD COLUMN details TEXT;
ALTER TABLE task_runs ADD COLUMN data TEXT;

-- With casts, as SQLite looks into a view that is joined only if its parts have columns of the same kinds.
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
    data
FROM task_runs;
