-- A run that went from Pending over Running to where it is keeps all three states in its own row: a row for each of
-- them cost more than everything else about it. What happens to it later moves them to rows of their own.
DROP VIEW attempts;
DROP VIEW readable_states;
DROP VIEW readable_flow_runs;
DROP VIEW readable_task_runs;
ALTER TABLE states RENAME TO state_rows;
ALTER TABLE flow_runs ADD COLUMN pending_id bytea;   -- its first state, entered when it was created; NULL: see `state_rows`
ALTER TABLE flow_runs ADD COLUMN running_id bytea;   -- its second one, entered at `start_time`
ALTER TABLE flow_runs ADD COLUMN message text;      -- of the third one, which is the newest
ALTER TABLE flow_runs ADD COLUMN details text;
ALTER TABLE flow_runs ADD COLUMN data text;
ALTER TABLE task_runs ADD COLUMN pending_id bytea;
ALTER TABLE task_runs ADD COLUMN running_id bytea;
ALTER TABLE task_runs ADD COLUMN message text;
ALTER TABLE task_runs ADD COLUMN details text;
ALTER TABLE task_runs ADD COLUMN data text;

CREATE VIEW states AS
SELECT run_id, position, id, type, name, timestamp, message, details, attempt, data FROM state_rows
UNION ALL
SELECT id, CAST(1 AS bigint), pending_id, CAST('PENDING' AS text), CAST('Pending' AS text) COLLATE "C", created,
    CAST(NULL AS text), CAST(NULL AS text), CAST(0 AS bigint), CAST(NULL AS text)
FROM task_runs WHERE pending_id IS NOT NULL
UNION ALL
SELECT id, CAST(2 AS bigint), running_id, CAST('RUNNING' AS text), CAST('Running' AS text) COLLATE "C", start_time,
    CAST(NULL AS text), CAST(NULL AS text), CAST(1 AS bigint), CAST(NULL AS text)
FROM task_runs WHERE pending_id IS NOT NULL
UNION ALL
SELECT id, CAST(3 AS bigint), state_id, state_type, state_name, updated, message, details, run_count, data
FROM task_runs WHERE pending_id IS NOT NULL
UNION ALL
SELECT id, CAST(1 AS bigint), pending_id, CAST('PENDING' AS text), CAST('Pending' AS text) COLLATE "C", created,
    CAST(NULL AS text), CAST(NULL AS text), CAST(0 AS bigint), CAST(NULL AS text)
FROM flow_runs WHERE pending_id IS NOT NULL
UNION ALL
SELECT id, CAST(2 AS bigint), running_id, CAST('RUNNING' AS text), CAST('Running' AS text) COLLATE "C", start_time,
    CAST(NULL AS text), CAST(NULL AS text), CAST(1 AS bigint), CAST(NULL AS text)
FROM flow_runs WHERE pending_id IS NOT NULL
UNION ALL
SELECT id, CAST(3 AS bigint), state_id, state_type, state_name, updated, message, details, run_count, data
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
SELECT id, CAST(1 AS bigint), start_time, updated, state_id, state_type, state_name, message
FROM task_runs WHERE pending_id IS NOT NULL
UNION ALL
SELECT id, CAST(1 AS bigint), start_time, updated, state_id, state_type, state_name, message
FROM flow_runs WHERE pending_id IS NOT NULL;

CREATE VIEW readable_states AS
SELECT
    encode(run_id, 'hex')::uuid AS run_id,
    position,
    encode(id, 'hex')::uuid AS id,
    type,
    name,
    mainspring_time(timestamp) AS timestamp,
    message,
    details,
    attempt,
    data
FROM states;

CREATE VIEW readable_flow_runs AS
SELECT
    encode(id, 'hex')::uuid AS id,
    flow_name,
    flow_version,
    name,
    encode(parent_task_run_id, 'hex')::uuid AS parent_task_run_id,
    tags,
    parameters,
    encode(state_id, 'hex')::uuid AS state_id,
    state_type,
    state_name,
    run_count,
    mainspring_time(created) AS created,
    mainspring_time(updated) AS updated,
    mainspring_time(expected_start_time) AS expected_start_time,
    mainspring_time(start_time) AS start_time,
    mainspring_time(end_time) AS end_time,
    total_run_time / 1e6::double precision AS total_run_time,
    owner_id,
    mainspring_time(next_scheduled_start_time) AS next_scheduled_start_time,
    renamed,
    encode(pending_id, 'hex')::uuid AS pending_id,
    encode(running_id, 'hex')::uuid AS running_id,
    message,
    details,
    data
FROM flow_runs;

CREATE VIEW readable_task_runs AS
SELECT
    encode(id, 'hex')::uuid AS id,
    encode(flow_run_id, 'hex')::uuid AS flow_run_id,
    name,
    task_key,
    task_version,
    tags,
    task_inputs,
    empirical_policy,
    encode(state_id, 'hex')::uuid AS state_id,
    state_type,
    state_name,
    run_count,
    flow_run_run_count,
    mainspring_time(created) AS created,
    mainspring_time(updated) AS updated,
    mainspring_time(expected_start_time) AS expected_start_time,
    mainspring_time(start_time) AS start_time,
    mainspring_time(end_time) AS end_time,
    total_run_time / 1e6::double precision AS total_run_time,
    owner_id,
    mainspring_time(next_scheduled_start_time) AS next_scheduled_start_time,
    renamed,
    dynamic_key,
    encode(pending_id, 'hex')::uuid AS pending_id,
    encode(running_id, 'hex')::uuid AS running_id,
    message,
    details,
    data
FROM task_runs;
