-- How a task run looks for a kept result is in its own row if it is known when that is written, as it mostly is. Only
-- what is found out later, or why nothing was looked up, is a row of its own, and counts instead.
DROP VIEW readable_task_runs;
ALTER TABLE cache_keys RENAME TO cache_key_rows;
ALTER TABLE task_runs ADD COLUMN cache_key text;    -- as `key` and `components` of `cache_keys`
ALTER TABLE task_runs ADD COLUMN cache_components text;

CREATE VIEW cache_keys AS
SELECT task_run_id, key, components, skipped, message FROM cache_key_rows
UNION ALL
SELECT id, cache_key, cache_components, CAST(NULL AS text), CAST(NULL AS text) FROM task_runs
WHERE cache_key IS NOT NULL AND NOT EXISTS (SELECT 1 FROM cache_key_rows AS r WHERE r.task_run_id = task_runs.id);

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
    data,
    cache_key,
    cache_components
FROM task_runs;
